"""What `detect` reads: pictures, folders, patterns, lists, videos, cameras and standard input, as one row of frames."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from opencv_squeezedet.files import PICTURE_SUFFIXES, VIDEO_SUFFIXES, decode_picture, read_picture
from opencv_squeezedet.preprocess import Picture

Complain = Callable[[str], None]


class SourceError(Exception):
    """A source cannot be read, or ends before its time."""


@dataclass(frozen=True)
class Frame:
    """One picture to look at: where it is from, and how to get it.

    Parameters
    ----------
    name : str
        The source as it was named.
    stem, suffix : str
        For the names of files that are made of it.
    load : function
        Gives the picture; OSError or ValueError where it cannot.
    path : Path or None
        The file, where it is one picture.
    number : int or None
        The frame's number in a video, from 0.
    """

    name: str
    stem: str
    suffix: str
    load: Callable[[], Picture]
    path: Path | None = None
    number: int | None = None


@dataclass(frozen=True)
class Video:
    """A video file or a camera.

    Parameters
    ----------
    name : str
        The file's, or the camera's number.
    camera : int or None
        The camera's number.
    """

    name: str
    camera: int | None = None

    @property
    def stem(self) -> str:
        """For the names of files that are made of it."""
        return Path(self.name).stem if self.camera is None else f"camera-{self.camera}"

    def open(self) -> cv2.VideoCapture:
        """Return the opened video; SourceError where it cannot be opened."""
        capture = cv2.VideoCapture(self.name) if self.camera is None else cv2.VideoCapture(self.camera)
        if not capture.isOpened():
            raise SourceError(f"{self.name}: OpenCV cannot open this {'video' if self.camera is None else 'camera'}")
        return capture

    def frames(self, every: int) -> Iterator[Frame]:
        """Every so many frames of the video; SourceError where none can be read, or a camera stops giving them."""
        capture = self.open()
        number = 0
        try:
            while capture.grab():
                if number % every == 0:
                    done, image = capture.retrieve()
                    if not done:
                        break
                    yield Frame(self.name, f"{self.stem}_{number:06}", ".jpg", _given(image), number=number)
                number += 1
        finally:
            capture.release()
        if self.camera is not None:
            raise SourceError(f"camera {self.camera} gives no more frames")
        if not number:
            raise SourceError(f"{self.name}: no frame can be read")


Source = Frame | Video


def find_sources(arguments: list[str], *, recursive: bool, complain: Complain) -> tuple[list[Source], int]:
    """Return all pictures and videos that the arguments name, and the number of arguments that name none.

    A picture or video file; a folder (its pictures by name, ``recursive``: those of its folders too); a glob pattern; a
    ``.txt`` file that lists sources, one a line; a camera's number; ``-`` for a picture on standard input.
    """
    sources: list[Source] = []
    failures = 0
    for argument in arguments:
        try:
            found = _sources_of(argument, recursive)
        except OSError as error:
            complain(f"{argument}: {error.strerror or error}")
            found = []
        except ValueError as error:
            complain(f"{argument}: {error}")
            found = []
        failures += not found
        sources += found
    return sources, failures


def _sources_of(argument: str, recursive: bool) -> list[Source]:
    path = Path(argument)
    if argument == "-":
        return [Frame("-", "stdin", ".jpg", _from_standard_input)]
    if path.is_dir():
        inside = path.rglob("*") if recursive else path.iterdir()
        pictures = sorted(p for p in inside if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file())
        if not pictures:
            raise ValueError("no pictures in this folder")
        return [_picture(p) for p in pictures]
    if path.suffix.lower() == ".txt" and path.is_file():
        return _listed(path, recursive)
    if argument.isdecimal() and not path.exists():
        return [Video(argument, int(argument))]
    if glob.has_magic(argument) and not os.path.lexists(argument):
        matches = sorted(glob.glob(argument, recursive=True))
        if not matches:
            raise ValueError("nothing matches this pattern")
        return [source for match in matches for source in _sources_of(match, recursive)]
    if path.suffix.lower() in VIDEO_SUFFIXES:
        path.stat()  # OSError where it is missing
        return [Video(argument)]
    return [_picture(path)]


def _listed(path: Path, recursive: bool) -> list[Source]:
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    names = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not names:
        raise ValueError("this list names no sources")
    if any(name.lower().endswith(".txt") for name in names):
        raise ValueError("a list cannot name another list")
    return [source for name in names for source in _sources_of(name, recursive)]


def _picture(path: Path) -> Frame:
    return Frame(str(path), path.stem, path.suffix, lambda: read_picture(path), path)


def _given(image: Picture) -> Callable[[], Picture]:
    return lambda: image


def _from_standard_input() -> Picture:
    return decode_picture(np.frombuffer(sys.stdin.buffer.read(), np.uint8))


def count_frames(sources: list[Source], every: int) -> int | None:
    """Return how many frames there will be, as far as the videos' headers are right; None with a camera."""
    total = 0
    for source in sources:
        if isinstance(source, Frame):
            total += 1
        elif source.camera is not None:
            return None
        else:
            capture = cv2.VideoCapture(source.name)
            frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            capture.release()
            if frames <= 0:
                return None
            total += -(-frames // every)
    return total
