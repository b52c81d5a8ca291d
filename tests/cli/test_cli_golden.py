"""Each output format of ``detect``, byte for byte as stored in ``tests/golden/detect``.

The detections are given, so that neither the embedded model nor the version of OpenCV matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import opencv_squeezedet as sd
from opencv_squeezedet import cli

FOUND = {
    0: ([[0.5, 1.25, 40, 30.75], [20, 10, 64, 48], [0, 44, 12.125, 47.5]], [0.875, 0.5, 0.0625], [7, 10, 7]),
    1: ([[1, 2, 3, 4]], [1.0], [0]),
    2: (np.zeros((0, 4)), [], []),
}
"""By the blue of a picture: boxes, scores, class ids."""


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Every file that ``detect`` writes of three pictures, by its name."""

    def detect_batch(self: sd.SqueezeDet, images: Iterable[Any], **_: Any) -> list[sd.Detections]:
        return [sd.Detections(*FOUND[int(image[0, 0, 0])], self.config.labels) for image in images]

    monkeypatch.setattr(sd.SqueezeDet, "detect_batch", detect_batch)
    monkeypatch.chdir(tmp_path)
    for blue, name in enumerate(("one.png", "two & 'more'.png", "none.png")):
        cv2.imwrite(name, np.full((48, 64, 3), blue, np.uint8))
    sources = sorted(path.name for path in tmp_path.iterdir())
    texts = {"--json": "all.json", "--jsonl": "all.jsonl", "--csv": "all.csv", "--coco": "coco.json"}
    folders = {name: name[2:] for name in ("--yolo", "--voc", "--crops", "--output")}
    assert cli.detect_main([*sources, "--quiet", *(text for pair in (texts | folders).items() for text in pair)]) == 0
    files = [
        path for path in sorted(tmp_path.rglob("*")) if path.is_file() and path.relative_to(tmp_path).as_posix() not in sources
    ]
    return {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in files}


def test_formats(outputs: dict[str, bytes], golden: Callable[[str, bytes], None]) -> None:
    """Of pictures the names and sizes: how PNG packs pixels differs from one version of OpenCV to another."""
    lines = []
    for name, content in outputs.items():
        if name.endswith(".png"):
            height, width = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape[:2]
            lines.append(f"{name} {width}x{height}\n")
        else:
            golden(f"detect/{name}", content)
    golden("detect/pictures.txt", "".join(lines).encode())


def test_standard_output(tmp_path: Path, outputs: dict[str, bytes], golden: Callable[[str, bytes], None], capsys: Any) -> None:
    capsys.readouterr()
    assert cli.detect_main(["one.png", "none.png", "--no-image"]) == 0
    golden("detect/stdout.txt", capsys.readouterr().out.encode())
