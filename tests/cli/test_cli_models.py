"""``squeezedet models``: what it prints, and what it says when something is wrong; the weights come from this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import error_line
from server import CONTENT, FILE, Server, entry, serving

from opencv_squeezedet import cli, registry
from opencv_squeezedet.model import EMBEDDED
from opencv_squeezedet.model_files import models_folder

for _library in ("filelock", "platformdirs", "requests", "tqdm"):
    pytest.importorskip(_library, reason="of the extra fetch")


pytestmark = pytest.mark.usefixtures("cache")


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
    cache.mkdir()
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


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    run("info", "gsoc-voc", "squeezenet-compressed")
    first, second = capsys.readouterr().out.split("\n\n")
    details = dict(line.split(maxsplit=1) for line in second.splitlines())
    assert details["name"] == "squeezenet-compressed"
    assert details["size"] == "675763"
    assert details["sha256"] == "e4ab6960ae8cd81505e1c2136921201507e930966c53deaf15862a395b3a3261"
    assert "git_blob      75bb0da1add86fc5c1b15d1b1e64db3d1ef641c3" in first
    assert "sha256" not in first


def test_fetch_verify_and_path(server: Server, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(cache / FILE)
    run("path", "thing", status=1)
    assert "squeezedet models fetch thing" in capsys.readouterr().err
    run("fetch", "thing", "embedded")
    out, err = capsys.readouterr()
    assert out.splitlines() == [path, os.path.join(models_folder(), f"{EMBEDDED}.sdz")]
    assert err == f"fetching {server.url}/{FILE}\n"
    run("path", "thing")
    assert capsys.readouterr() == (f"{path}\n", "")
    run("verify")
    states = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]]
    assert states == [["embedded", "shipped"], ["thing", "fetched"], ["other", "not"]]
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
    server.manners = [404, "mute"]
    folder = cache / "else where"
    run("fetch", "other", "thing", "--json", "--cache", str(folder), "--timeout", "0.1", status=1)
    out, err = capsys.readouterr()
    (found,) = json.loads(out)
    assert (found["name"], found["state"], found["path"]) == ("thing", "fetched", str(folder / FILE))
    told = [line for line in err.splitlines() if not line.startswith("fetching ")]
    assert len(told) == 1
    assert told[0].startswith(f"squeezedet models: cannot fetch 'other': {server.url}/other: the server answered 404")
    assert "By hand: get " in told[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("list thing", "no NAME"),
        ("fetch", "at least one NAME"),
        ("fetch gsoc", "'gsoc'; the names are embedded, pyramid-voc, gsoc-voc, "),
        ("fetch gsoc-voc --timeout 0", "got '0'"),
    ],
)
def test_wrong_usage(arguments: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = error_line(cli.main, ["models", *arguments.split()], capsys)
    assert line.startswith("squeezedet models: ")
    assert words in line
