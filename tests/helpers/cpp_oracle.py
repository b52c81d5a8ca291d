"""The C++ class itself, run by a small program that is compiled when it is needed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np
from blobs import Blobs

SOURCE = Path(__file__).with_name("infer_bbox_oracle.cpp")
HEADER = Path("/usr/include/opencv4/opencv2/core_detect.hpp")
MISSING = (
    None
    if shutil.which("g++") and HEADER.exists()
    else "the C++ class is not here: it needs g++ and Debian's libopencv-contrib-dev"
)

CppDetection = tuple[int, int, int, int, int, str, float]


class CppInferBbox:
    """A process that holds ``cv::dnn_objdetect::InferBbox``; blobs reach it through a shared file."""

    def __init__(self) -> None:
        if MISSING:
            raise RuntimeError(MISSING)
        self._folder = tempfile.TemporaryDirectory()
        program = Path(self._folder.name, "infer_bbox_oracle")
        libraries = ["-I/usr/include/opencv4", "-lopencv_dnn_objdetect", "-lopencv_core"]
        subprocess.run(["g++", "-O2", "-o", program, SOURCE, *libraries], check=True)
        blobs = Path(self._folder.name, "blobs")
        sizes = [23 * 23 * 36, 4761 * 20, 23 * 23 * 9]
        self._memory = np.memmap(blobs, np.float32, "w+", shape=sum(sizes))
        self._parts = np.split(self._memory, np.cumsum(sizes)[:-1])
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([program, blobs], stdin=pipe, stdout=pipe, text=True, bufsize=1)

    def __enter__(self) -> CppInferBbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.communicate()
        self._folder.cleanup()

    def _ask(self, command: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def _detections(self, command: str) -> list[CppDetection]:
        count = int(self._ask(command))
        found = []
        for _ in range(count):
            assert self._process.stdout is not None
            *box, class_idx, label, prob = self._process.stdout.readline().split()
            found.append((*map(int, box), int(class_idx), label, float.fromhex(prob)))
        return found  # type: ignore[return-value]

    def load(self, blobs: Blobs) -> None:
        for part, blob in zip(self._parts, blobs, strict=True):
            part[:] = blob.reshape(-1)

    def filter(self, threshold: float) -> list[CppDetection]:
        """xmin, ymin, xmax, ymax, class_idx, label_name, class_prob of each detection, in the class's own order."""
        return self._detections(f"run {threshold!r}")

    def filter_twice(self, first: float, second: float) -> list[CppDetection]:
        return self._detections(f"twice {first!r} {second!r}")

    def seconds(self, threshold: float, count: int) -> float:
        """Seconds for constructing the object and filtering once, mean of ``count`` times."""
        return float(self._ask(f"time {threshold!r} {count}")) / count
