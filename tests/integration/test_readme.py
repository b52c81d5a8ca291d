"""What README.md shows is what happens: its Python blocks and its commands give the output printed under them."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from networks import ROOT

import opencv_squeezedet as sd
from opencv_squeezedet import cli
from opencv_squeezedet.cli.parser import make_parser

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(README)


@pytest.fixture(autouse=True)
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clone's root as far as README uses it, but for what is written."""
    for name in ("samples", "models"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)


def test_python_blocks_print_what_is_shown() -> None:
    namespace: dict[str, object] = {}
    shown = 0
    for (language, code), (following, expected) in zip(BLOCKS, [*BLOCKS[1:], ("", "")], strict=True):
        if language != "python":
            continue
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, "README.md", "exec"), namespace)
        if following == "text":
            assert out.getvalue() == expected
            shown += 1
    assert shown >= 3


def test_a_model_with_a_head_of_one_s_own() -> None:
    text = (ROOT / "models" / "README.md").read_text(encoding="utf-8")
    (code,) = [code for language, code in BLOCK.findall(text) if language == "python"]
    namespace: dict[str, Any] = {}
    exec(compile(code, "models/README.md", "exec"), namespace)
    detector = namespace["detector"]
    assert (detector.config.input_size, detector.config.labels) == ((640, 384), ("bolt", "nut"))
    image = cv2.imread("samples/chelsea.jpg")
    blobs = detector.forward(image)
    for suffix in (".prototxt", ".onnx"):
        for blob, other in zip(blobs, sd.SqueezeDet(f"mine{suffix}").forward(image), strict=True):
            np.testing.assert_allclose(blob, other, rtol=1e-4, atol=1e-5)


def test_detect_prints_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [code for language, code in BLOCKS if language == "console" and "detect samples/" in code]
    assert commands
    for code in commands:
        command, expected = code.split("\n", 1)
        assert cli.detect_main(shlex.split(command.rpartition("&& ")[2].removeprefix("$ "))[1:]) == 0
        assert capsys.readouterr().out == expected


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda path: path.stem)
def test_every_option_shown_exists(path: Path) -> None:
    blocks = re.findall(r"^```(?:console|\{shell\})\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    shown = [line.partition(" | ")[0] for code in blocks for line in code.replace("\\\n", " ").splitlines()]
    for words in (shlex.split(line)[1:] for line in shown if line.startswith(("$ detect ", "$ classify ", "$ squeezedet "))):
        if "--help" in words:
            continue
        name, *arguments = words[1:] if words[0] == "squeezedet" else words
        assert name in cli.SUBCOMMANDS
        assert make_parser(import_module(f"opencv_squeezedet.cli.{name}"), name).parse(arguments)


def test_the_picture_is_the_one_that_detect_writes() -> None:
    assert cli.detect_main(["samples/chelsea.jpg"]) == 0
    shown, written = cv2.imread(str(ROOT / "docs" / "chelsea.jpg")), cv2.imread("detections/chelsea.jpg")
    assert np.abs(shown.astype(int) - written).mean() < 1


def test_the_table_is_what_was_measured() -> None:
    rows = json.loads((ROOT / "docs" / "measured" / "zoo.json").read_text(encoding="utf-8"))["detectors"]
    for row in rows:
        numbers = (f"{row[key]:.1f}" for key in ("megabytes", "voc07"))
        assert f"| {row['name']} | {row['engine']} | {' | '.join(numbers)} | {row['milliseconds']:.0f} |" in README


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 125


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / target).exists(), target
