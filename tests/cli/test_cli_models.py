"""``squeezedet models``: what it prints, and what it says when something is wrong; the weights come from this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from server import CONTENT, FILE, Server, entry, in_a_process, serving
from terminal import open_terminal, read_terminal

from opencv_squeezedet import cli, registry
from opencv_squeezedet.model import EMBEDDED
from opencv_squeezedet.model_files import models_folder

for _library in ("filelock", "platformdirs", "requests", "tqdm"):
    pytest.importorskip(_library, reason="of the extra fetch")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv(registry.CACHE, str(folder))
    monkeypatch.delenv(registry.MIRROR, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("opencv_squeezedet.registry.download.BACKOFF", 0.001)
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that has a thing, beside the embedded model and another thing, which is nowhere."""
    with serving() as server:
        there = [
            registry.find_entry("embedded"),
            entry(f"{server.url}/{FILE}"),
            entry(f"{server.url}/other", name="other", file="other.net", task="classifier", definition=None),
        ]
        monkeypatch.setattr("opencv_squeezedet.registry.published.entries", lambda: {one.name: one for one in there})
        yield server


def run(*arguments: str, status: int = 0) -> None:
    assert cli.main(["models", *arguments]) == status


def test_list(server: Server, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cache / FILE).write_bytes(CONTENT)
    (cache / "other.net").write_bytes(CONTENT[1:])
    run("list")
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "task", "state", "what"]
    assert [row.split()[:3] for row in rows] == [
        ["embedded", "detector", "shipped"],
        ["thing", "detector", "fetched"],
        ["other", "classifier", "damaged"],
    ]
    assert (
        len({row.index(word) for row, word in zip([header, *rows], ["what", "light", "a thing", "a thing"], strict=True)}) == 1
    )


def test_list_of_what_is_published(capsys: pytest.CaptureFixture[str]) -> None:
    run("list", "--json")
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found] == registry.names()
    assert {one["state"] for one in found} == {"shipped", "not fetched"}
    assert found[0]["path"] == os.path.join(models_folder(), f"{EMBEDDED}.sdz")


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    run("info", "gsoc-voc", "squeezenet-compressed")
    first, second = capsys.readouterr().out.split("\n\n")
    told = dict(line.split(maxsplit=1) for line in second.splitlines())
    assert told["name"] == "squeezenet-compressed"
    assert told["size"] == "675763"
    assert told["sha256"] == "e4ab6960ae8cd81505e1c2136921201507e930966c53deaf15862a395b3a3261"
    assert "git_blob      75bb0da1add86fc5c1b15d1b1e64db3d1ef641c3" in first
    assert "sha256" not in first


def test_fetch_verify_and_path(server: Server, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(cache / FILE)
    run("path", "thing", status=1)
    assert capsys.readouterr() == ("", "squeezedet models: thing is not fetched: run squeezedet models fetch thing\n")
    run("fetch", "thing", "embedded")
    out, err = capsys.readouterr()
    assert out.splitlines() == [path, os.path.join(models_folder(), f"{EMBEDDED}.sdz")]
    assert err == f"fetching {server.url}/{FILE}\n"
    run("path", "thing")
    assert capsys.readouterr() == (f"{path}\n", "")
    run("verify")
    out, err = capsys.readouterr()
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [
        ["embedded", "shipped"],
        ["thing", "fetched"],
        ["other", "not"],
    ]
    assert err == ""
    Path(path).write_bytes(b"broken")
    for arguments in (["verify"], ["verify", "thing"], ["path", "thing"]):
        run(*arguments, status=1)
        out, err = capsys.readouterr()
        assert err.startswith(f"squeezedet models: {path}: its git blob id is ")
        assert len(err.splitlines()) == 1
        assert ("damaged" in out) == (arguments[0] == "verify")
    run("verify", "other", status=1)
    assert len(server.requests) == 1


def test_a_fetch_that_fails_does_not_keep_the_others(server: Server, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.manners = [404]
    run("fetch", "other", "thing", "--json", status=1)
    out, err = capsys.readouterr()
    (found,) = json.loads(out)
    assert (found["name"], found["state"], found["path"]) == ("thing", "fetched", str(cache / FILE))
    told = [line for line in err.splitlines() if not line.startswith("fetching ")]
    assert len(told) == 1
    assert told[0].startswith(f"squeezedet models: cannot fetch 'other': {server.url}/other: the server answered 404")
    assert "By hand: get " in told[0]


def test_cache_and_timeout(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.manners = ["mute"]
    run("fetch", "thing", "--cache", str(tmp_path / "else where"), "--timeout", "0.1")
    assert capsys.readouterr().out == f"{tmp_path / 'else where' / FILE}\n"
    run("path", "thing", status=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: ACTION"),
        (["steal", "thing"], "argument ACTION: invalid choice: 'steal'"),
        (["list", "thing"], "list takes no NAME"),
        (["fetch"], "fetch takes at least one NAME"),
        (["fetch", "gsoc"], "no published weights are named 'gsoc'; the names are embedded, pyramid-voc, gsoc-voc, "),
        (["fetch", "gsoc-voc", "--timeout", "0"], "argument --timeout: a number above 0 was expected, got '0'"),
        (["fetch", "gsoc-voc", "--timeout", "soon"], "argument --timeout: a number above 0 was expected, got 'soon'"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(*arguments, status=2)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"squeezedet models: {message}")
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1


def test_a_missing_extra_is_one_line(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "opencv_squeezedet.registry.download", raising=False)
    monkeypatch.setitem(sys.modules, "filelock", None)
    run("fetch", "thing", status=2)
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'opencv-squeezedet[fetch]'" in line
    run("list")


def test_a_terminal_gets_a_bold_header_cut_lines_and_a_progress_bar(server: Server) -> None:
    server.manners = ["slow"]
    code = f"""{in_a_process(server)}
from opencv_squeezedet import cli
sys.exit(cli.main(["models", "fetch", "thing"]) or cli.main(["models", "list"]))"""
    main, terminal = open_terminal()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"COLUMNS": "50"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=terminal, stderr=terminal, env=environment) as process:
        os.close(terminal)
        shown = read_terminal(main)
        assert process.wait(20) == 0
    assert "k/393k [" in shown
    lines = shown.split("\n")[:-1]
    start = next(i for i, line in enumerate(lines) if line.startswith("\x1b[1mname"))
    assert lines[start].endswith("\x1b[0m")
    assert {len(line) for line in lines[start + 1 :]} <= set(range(1, 51))
    assert lines[start + 1].startswith("thing  detector  fetched")
