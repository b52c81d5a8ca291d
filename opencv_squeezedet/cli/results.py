"""What `detect` passes to its outputs: each frame with its detections, and the settings of the run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.cli.sources import Frame, Sources, Video
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.draw import draw
from opencv_squeezedet.preprocess import Picture


@dataclass
class Seen:
    """A frame, its picture and its detections; ``stem`` begins the names of its files. The rest is for `draw`."""

    frame: Frame
    stem: str
    image: Picture
    detections: Detections
    line_width: int | None = None
    labels: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture."""
        return self.image.shape[1], self.image.shape[0]

    @property
    def file_name(self) -> str:
        """The picture's file name, for formats that need a name."""
        return self.frame.name if self.frame.path else self.stem + self.frame.suffix

    @cached_property
    def annotated(self) -> NDArray[np.uint8]:
        """The picture with its boxes, drawn on first use."""
        return draw(self.image, self.detections, line_width=self.line_width, label=self.labels, confidence=self.labels)


class Output:
    """An output of `detect`, as a context manager. It gets each frame twice: in `write`, then in `add`."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def write(self, seen: Seen) -> None:
        """Do work that needs no order, such as drawing and files of a single frame; called from several threads."""

    def add(self, seen: Seen) -> None:
        """Take the next frame, in order."""


class UniqueStems:
    """Unique stems for the files of each frame, which overwrite no file of the user.

    If some sources are in ``folder``, that of the annotated copies, none of its files is overwritten. The frames of an only
    source (``alone``) differ by their numbers: stems are not remembered, whose number would grow without bound for a camera.
    """

    def __init__(self, folder: Path | None, sources: set[Path], *, alone: bool = False) -> None:
        self._folder, self._alone = folder, alone
        self._among_sources = folder is not None and any(path.parent == folder.resolve() for path in sources)
        self._taken: set[str] = set()
        self._next_number: dict[str, int] = {}

    def stem(self, frame: Frame | Video, suffix: str) -> str:
        """Return the frame's stem, with a number if it is taken."""
        number = self._next_number.get(frame.stem, 1)
        while True:
            stem = frame.stem if number == 1 else f"{frame.stem}-{number}"
            number += 1
            key = stem.casefold()  # some file systems ignore case
            if key not in self._taken and not self._is_users(stem + suffix):
                if not self._alone:
                    self._taken.add(key)
                    self._next_number[frame.stem] = number
                return stem

    def _is_users(self, name: str) -> bool:
        return self._folder is not None and self._among_sources and os.path.lexists(self._folder / name)


@dataclass(frozen=True)
class RunInfo:
    """What the outputs need to know before the first frame."""

    sources: Sources
    names: UniqueStems
    labels: tuple[str, ...]  # the model's classes
    every: int  # one of this many frames of a video is processed
    video_out: Path | None  # copy of the only video, instead of that in the folder of copies


def picture_suffix(suffix: str) -> str:
    """Return the suffix if OpenCV can write colour pictures of that type, else ".png"."""
    grey = suffix.lower() in {".pbm", ".pgm", ".pnm"}
    return suffix if suffix.isascii() and not grey and cv2.haveImageWriter(f"x{suffix}") else ".png"
