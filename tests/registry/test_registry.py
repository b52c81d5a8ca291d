"""Published weights: what the registry tells, and that they come here whole, or not at all, whatever the network does.

Everything is fetched from a server on this machine; no test reaches the published addresses.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from networks import MODELS
from server import CONTENT, FILE, Server, bomb, entry, git_blob, in_a_process, serving

import opencv_squeezedet as sd
from opencv_squeezedet import registry
from opencv_squeezedet.errors import FetchError, ModelError
from opencv_squeezedet.model import EMBEDDED, Model
from opencv_squeezedet.model_files import models_folder
from opencv_squeezedet.network.architectures import ARCHITECTURES
from opencv_squeezedet.preprocess import Preprocess
from opencv_squeezedet.registry import Entry, fetch

for _library in ("requests", "filelock", "platformdirs"):
    pytest.importorskip(_library, reason="of the extra fetch")


@pytest.fixture
def server(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that has the one thing of the registry."""
    with serving() as server:
        publish(monkeypatch, entry(f"{server.url}/{FILE}"))
        yield server


def publish(monkeypatch: pytest.MonkeyPatch, *there: Entry) -> None:
    monkeypatch.setattr("opencv_squeezedet.registry.published.entries", lambda: {one.name: one for one in there})


def fetched(timeout: float = 2.0) -> bytes:
    return fetch("thing", timeout=timeout).read_bytes()


def left(cache: Path) -> set[str]:
    """What is in the cache folder, but for the lock."""
    return {path.name for path in cache.iterdir()} - {f"{FILE}.lock"}


# ---- what the registry tells ---------------------------------------------------------------------------------------------


def test_every_entry_can_be_proved_and_found() -> None:
    names = ["embedded", "pyramid-voc", "gsoc-voc", "gsoc-imagenet"]
    names += ["squeezenet-v1.0", "squeezenet-v1.1", "squeezenet-compressed"]
    assert list(registry.entries()) == names
    for one in registry.entries().values():
        assert one.sha256 or one.git_blob, one.name
        for digest, length in ((one.sha256, 64), (one.git_blob, 40)):
            assert digest is None or (len(digest) == length and int(digest, 16))
        assert one.architecture in ARCHITECTURES
        assert one.task in ("detector", "classifier")
        assert all((one.what, one.licence, one.source))
        assert (not one.urls) == (one.name == "embedded")
        assert all(url.startswith("https://") and url.endswith(f"/{one.file}") for url in one.urls)
        description = json.loads((MODELS / f"{one.definition}.json").read_text())
        width, height = Preprocess(**description["preprocess"]).size
        assert ARCHITECTURES[one.architecture].build().input_shape == (1, 3, height, width)
        assert ("head" in description) == (one.task == "detector")
        assert one.name != "gsoc-voc" or sd.HeadConfig.from_dict(description["head"]) == sd.VOC
    assert len({one.file for one in registry.entries().values()}) == len(registry.entries())


def test_the_embedded_model_is_the_registered_one() -> None:
    one = registry.find_entry("embedded")
    assert one.definition == EMBEDDED
    assert one.state() == "shipped", f"registry.json tells of another: {one.problem(one.path())}"
    assert fetch("embedded") == Path(models_folder(), f"{EMBEDDED}.sdz")


def test_a_model_of_the_repository_needs_no_download_in_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opencv_squeezedet.registry.entry.models_folder", lambda: str(MODELS))
    assert registry.find_entry("pyramid-voc").state() == "shipped"
    assert sd.SqueezeDet("pyramid-voc").config.input_size == (416, 416)
    monkeypatch.setattr("opencv_squeezedet.registry.entry.models_folder", lambda: str(tmp_path))
    monkeypatch.setenv(registry.CACHE, str(tmp_path / "cache"))
    assert registry.find_entry("pyramid-voc").state() == "not fetched"
    monkeypatch.setenv(registry.MIRROR, str(MODELS))
    assert Model.load("pyramid-voc").head.input_size == (416, 416)


def test_an_embedded_model_that_was_changed_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{EMBEDDED}.sdz").write_bytes(b"something else")
    monkeypatch.setattr("opencv_squeezedet.registry.entry.models_folder", lambda: str(tmp_path))
    assert registry.find_entry("embedded").state() == "damaged"
    with pytest.raises(FetchError, match=r"14 bytes.*reinstall"):
        fetch("embedded")


def test_a_git_blob_id_is_git_s(tmp_path: Path) -> None:
    """Beside the one that everybody knows, that of the empty file, and of a file that git's manual hashes."""
    path, known = tmp_path / "blob", {b"": "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"}
    for content, expected in (known | {b"test content\n": "d670460b4b4aece5915caf5c68d12f560a9fe3e4"}).items():
        path.write_bytes(content)
        assert entry("x", git_blob=expected).problem(path) is None
        path.write_bytes(content + b"x")
        assert str(entry("x", git_blob=expected).problem(path)).endswith(f"instead of {expected}")


def test_every_checksum_that_is_known_must_be_right(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    good = {"size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest(), "git_blob": git_blob(CONTENT)}
    assert entry("x", **good).problem(path) is None
    for field, wrong in (("size", 7), ("sha256", "0" * 64), ("git_blob", "0" * 40)):
        assert entry("x", **(good | {field: wrong})).problem(path) is not None


# ---- names for models ---------------------------------------------------------------------------------------------------


@pytest.fixture
def published(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The embedded model's weights as if they were to be fetched, and a classifier's."""
    server.content = (MODELS / f"{EMBEDDED}.caffemodel").read_bytes()
    address = f"{server.url}/{FILE}"
    classifier = entry(address, server.content, name="namer", task="classifier", file="namer.caffemodel")
    publish(monkeypatch, entry(address, server.content), classifier)
    return server


def test_a_detector_by_its_name(published: Server, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    detector = sd.SqueezeDet("thing")
    assert detector.config == sd.SqueezeDet().config
    assert len(published.requests) == 1
    assert left(cache) == {FILE}
    assert f"{published.url}/{FILE}\n" in capfd.readouterr().err
    sd.SqueezeDet("thing")
    sd.SqueezeDet("thing", MODELS / f"{EMBEDDED}.caffemodel")
    assert len(published.requests) == 1
    assert capfd.readouterr() == ("", "")


def test_a_classifier_is_no_detector_and_is_not_fetched_as_one(published: Server) -> None:
    with pytest.raises(ModelError, match=r"'namer' is a classifier.*detectors are thing"):
        sd.SqueezeDet("namer")
    with pytest.raises(ModelError, match=r"'thing' is a detector.*classifiers are namer"):
        registry.find_network("thing", task="classifier")
    assert published.requests == []
    found = registry.find_network("namer", task="classifier")
    assert Path(str(found.weights)).read_bytes() == published.content
    assert found.stem == registry.find_entry("namer").stem


def test_a_file_wins_over_a_name(published: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("thing.caffemodel").touch()
    with pytest.raises(FileNotFoundError, match=r"'thing.prototxt'"):
        sd.SqueezeDet("thing")
    assert published.requests == []
    with pytest.raises(FileNotFoundError):
        sd.SqueezeDet(Path("namer"))  # a path is not a name


def test_the_embedded_model_by_its_name_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("requests", "filelock", "platformdirs", "tqdm"):
        monkeypatch.setitem(sys.modules, module, None)
    assert Model.load("embedded").head == Model.load().head


# ---- a server's manners --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manners", "ranges"),
    [
        (["truncate"], [None, "bytes=196608-"]),
        (["truncate", "no range"], [None, "bytes=196608-"]),
        (["truncate", "drop"], [None, "bytes=196608-", "bytes=196608-"]),
        (["truncate", "other range"], [None, "bytes=196608-", None]),
        (["truncate", 416], [None, "bytes=196608-", None]),
        (["truncate in silence"], [None, None]),
        (["corrupt"], [None, None]),
        (["corrupt", "truncate", "corrupt"], [None, None, "bytes=196608-", None]),
        (["drop", "drop", "drop"], [None] * 4),
        ([500], [None, None]),
        ([503, 429, 408], [None] * 4),
        (["redirect"], [None, None]),
        (["truncate", "redirect"], [None, "bytes=196608-", "bytes=196608-"]),
        (["compress"], [None]),
        (["huge length"], [None]),
        (["long length"], [None]),
        (["short length"], [None, None]),
        (["negative length"], [None]),
        (["other name"], [None]),
        (["redirect upwards"], [None, None]),
        (["stall"], [None, "bytes=196608-"]),
        (["mute"], [None, None]),
    ],
    ids=str,
)
def test_what_is_over_soon(server: Server, cache: Path, manners: list[str | int], ranges: list[str | None]) -> None:
    server.manners = [*manners]
    for _ in range(2):  # the second time from the cache folder
        assert fetched(timeout=0.2 if manners[0] in ("stall", "mute") else 2) == CONTENT
    assert [span for _, span in server.requests] == ranges
    assert left(cache) == {FILE}


@pytest.mark.parametrize(
    ("manners", "message", "requests"),
    [
        ([404], r"404 Not Found\. ", 1),
        ([500] * 4, r"500 Internal Server Error \(4 attempts\)\. ", 4),
        (["corrupt"] * 4, r"published.*git blob id is \w{40} instead of \w{40} \(4", 4),
        (["truncate in silence"] * 4, r"published.*git blob id", 4),
        (["drop"] * 4, r"\(4 attempts\)\. ", 4),
        (["mute"] * 4, r"in time \(4 attempts\)\. ", 4),
        (["redirect for ever"], r"30 redirects\. ", 31),
        (["redirect to a file"], r"'file:///etc/passwd'\. ", 1),
        (["two lengths"] * 4, r"\(4 attempts\)\. ", 4),
        (["bomb in a bomb"], r"'gzip, gzip'.*\. ", 1),
    ],
    ids=str,
)
def test_what_does_not_get_better(server: Server, cache: Path, manners: list[str | int], message: str, requests: int) -> None:
    server.manners = manners
    bomb()  # which takes a moment
    with pytest.raises(FetchError, match=message) as caught:
        fetched(timeout=0.1 if "mute" in manners else 10)
    wait_for("all requests", lambda: len(server.requests) >= requests)  # the server notes them in a thread of its own
    assert len(server.requests) == requests
    assert not (cache / FILE).exists()
    message = str(caught.value)
    assert "'thing'" in message
    assert all(part in message.rpartition("By hand")[2] for part in (f"{server.url}/{FILE}", repr(str(cache / FILE))))


@pytest.mark.parametrize("manner", ["endless", "bomb"])
def test_a_file_that_is_too_large(manner: str, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not end, or unpacks to a thousand times as much."""
    publish(monkeypatch, entry(f"{server.url}/{FILE}", size=len(CONTENT)))
    server.manners = [manner]
    bomb()
    tracemalloc.start()
    with pytest.raises(FetchError, match=r"393216 bytes"):
        fetched()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 50 << 20  # urllib3 before 2.6 unpacks a whole piece at once
    assert left(cache) == set()


def test_the_second_address(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, entry([f"{server.url}/old/{FILE}", f"{server.url}/new/{FILE}"]))
    server.manners = [404]
    assert fetched() == CONTENT
    assert [path for path, _ in server.requests] == [f"/old/{FILE}", f"/new/{FILE}"]
    Path(registry.cache_folder(), FILE).unlink()
    server.manners = [404, 403]
    with pytest.raises(FetchError, match=r"/old/thing\S+ .*404 Not Found; \S+/new/thing\S+ .*403"):
        fetched()


# ---- mirrors and files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["server", "server/", "folder", "folder/", "file URL"])
def test_a_mirror_takes_the_place_of_the_published_address(
    form: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mir ror ä"
    folder.mkdir()
    (folder / FILE).write_bytes(CONTENT)
    mirror = {"server": f"{server.url}/a", "folder": str(folder), "file URL": folder.as_uri()}[form.rstrip("/")]
    monkeypatch.setenv(registry.MIRROR, mirror + "/" * form.endswith("/"))
    publish(monkeypatch, entry("http://no-such-host.invalid/thing"))
    assert fetched() == CONTENT
    assert server.requests == ([(f"/a/{FILE}", None)] if form.startswith("server") else [])


@pytest.mark.parametrize(
    ("mirror", "message"),
    [
        ("/no/such/folder", "/no/such/folder/thing.caffemodel: No such file"),
        ("file:///no/such/folder", "file:///no/such/folder/thing.caffemodel: No such file"),
        ("ftp://host/x", "ftp://host/x/thing.caffemodel: only http, https and file"),
        ("mirror", "not the published"),
    ],
)
def test_a_mirror_without_it(mirror: str, message: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mirror").mkdir()
    Path("mirror", FILE).write_bytes(CONTENT[:-1] + b"?")
    monkeypatch.setenv(registry.MIRROR, mirror)
    publish(monkeypatch, entry("http://no-such-host.invalid/thing"))
    with pytest.raises(FetchError, match=message):
        fetched()
    assert left(cache) == set()


# ---- the cache folder ----------------------------------------------------------------------------------------------------


def test_a_wrong_file_put_there_by_hand(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / FILE).write_bytes(b"a page that says: log in")
    server.manners = [404]
    with pytest.raises(FetchError, match=r"not the published.*git blob id is \w+ instead of"):
        fetched()
    assert (cache / FILE).read_bytes() == b"a page that says: log in"
    assert fetched() == CONTENT


def test_the_folder_that_is_given_wins_over_the_environment(server: Server, cache: Path, tmp_path: Path) -> None:
    assert fetch("thing", cache=tmp_path / "other") == tmp_path / "other" / FILE
    assert not cache.exists()


def test_the_user_s_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    platformdirs = importlib.import_module("platformdirs")
    monkeypatch.delenv(registry.CACHE, raising=False)
    assert registry.cache_folder() == Path(platformdirs.user_cache_dir("opencv-squeezedet", appauthor=False))


def test_a_cache_folder_that_cannot_be_made(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(registry.CACHE, str(tmp_path / "file" / "cache"))
    with pytest.raises(FetchError, match=r"'.*/file/cache' .*\(Not a dir.*OPENCV_SQUEEZEDET_CACHE"):
        fetched()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only for this user")
def test_a_file_in_a_folder_that_cannot_be_written_to(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / FILE).write_bytes(CONTENT)
    cache.chmod(0o500)
    try:
        assert fetched() == CONTENT
    finally:
        cache.chmod(0o700)


# ---- more than one process -----------------------------------------------------------------------------------------------


def start_fetching(server: Server, before: str = "") -> subprocess.Popen[str]:
    """Fetch in a process of its own."""
    code = f"""{in_a_process(server)}
{before}
print(registry.fetch("thing", timeout=10))"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-X", "utf8", "-c", code], encoding="utf-8", **pipes)


def wait_for(what: str, condition: object) -> None:
    assert callable(condition)
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def test_two_processes_fetch_once(server: Server, cache: Path) -> None:
    server.manners = ["slow"]
    processes = [start_fetching(server) for _ in range(2)]
    wait_for("a request", lambda: server.requests)
    assert fetched(timeout=30) == CONTENT
    for process in processes:
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert out == f"{cache / FILE}\n"
    assert len(server.requests) == 1
    assert left(cache) == {FILE}


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_what_was_killed_is_taken_up_again(number: signal.Signals, server: Server, cache: Path) -> None:
    server.manners = ["stall"]
    part = cache / f"{FILE}.part"
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # also where a shell's "&" ignores it
    with start_fetching(server, heard) as process:
        wait_for("bytes", lambda: part.exists() and part.stat().st_size > 0)
        process.send_signal(number)
        assert process.wait(20) != 0
        server.over.set()
    assert not (cache / FILE).exists()
    here = part.stat().st_size
    assert 0 < here <= 196_608
    assert fetched() == CONTENT
    assert server.requests[1:] == [(f"/{FILE}", f"bytes={here}-")]
    assert left(cache) == {FILE}


@pytest.mark.parametrize("content", [CONTENT, CONTENT + b"more", b"not the beginning", b""])
def test_whatever_part_is_there(content: bytes, server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / f"{FILE}.part").write_bytes(content)
    assert fetched() == CONTENT
    assert left(cache) == {FILE}
    assert len(server.requests) == (0 if content == CONTENT else 2 if content else 1)


# ---- without the extra ----------------------------------------------------------------------------------------------------


def test_without_the_extra_the_error_names_it(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "opencv_squeezedet.registry.download", raising=False)
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(ImportError, match=r"pip install 'opencv-squeezedet\[fetch\]'.*http") as caught:
        fetched()
    assert str(cache / FILE) in str(caught.value)
    cache.mkdir()
    (cache / FILE).write_bytes(CONTENT)
    assert fetched() == CONTENT


def test_without_platformdirs_the_environment_must_tell_the_folder(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(registry.CACHE)
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    with pytest.raises(ImportError, match=r"pip install 'opencv-squeezedet\[fetch\]'.*OPENCV_SQUEEZEDET_CACHE.*http"):
        fetched()
    assert registry.find_entry("thing").state() == "not fetched"
