"""The sources of `detect`: pictures, folders, patterns, lists, videos, cameras and standard input, as frames."""

from __future__ import annotations

import glob
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import cv2
import numpy as np

from opencv_squeezedet._checks import MOST
from opencv_squeezedet.cli.targets import resolved
from opencv_squeezedet.errors import reason
from opencv_squeezedet.files import read_at_most, read_regular, read_whole, real_path
from opencv_squeezedet.pictures import MOST_PICTURE_BYTES, PICTURE_SUFFIXES, VIDEO_SUFFIXES, decode_picture, read_picture
from opencv_squeezedet.preprocess import Picture

Complain = Callable[[str], None]
_KNOWN = PICTURE_SUFFIXES | VIDEO_SUFFIXES

_MOST_LIST_BYTES = 1 << 28


class VideoError(Exception):
    """A video, a camera or a stream cannot be read."""


@dataclass(frozen=True)
class Frame:
    """A picture to process: its source as the user named it, parts of its output files' names, and how to load it."""

    name: str
    stem: str
    suffix: str
    load: Callable[[], Picture]  # raises OSError or ValueError
    path: Path | None = None  # of a picture file
    video: Video | None = None
    number: int | None = None  # in the video, from 0
    frames_per_second: float = 0.0  # according to the video's header


@dataclass(frozen=True, eq=False)
class Video:
    """A video file, a camera (by its number) or a network stream (by its address); a source named twice is two."""

    name: str
    camera: int | None = None

    @property
    def stem(self) -> str:
        """The stem of the names of its output files."""
        if self.camera is not None:
            return f"camera-{self.camera}"
        if is_address(self.name):
            address = urlsplit(self.name)
            return re.sub(r"[^\w.-]", "_", PurePosixPath(address.path).stem) or "stream"
        return Path(self.name).stem

    @property
    def path(self) -> Path | None:
        """The file; None for a camera or a stream."""
        return Path(self.name) if self.kind == "video" else None

    @property
    def kind(self) -> str:
        """Either video, camera or stream."""
        return "camera" if self.camera is not None else "stream" if is_address(self.name) else "video"

    def open(self) -> cv2.VideoCapture:
        """Return the opened video; VideoError if it cannot be opened."""
        if not is_utf8(self.name):
            raise VideoError(f"{self.name}: OpenCV cannot open a video whose name is not UTF-8")
        address = os.path.abspath(self.name) if self.kind == "video" else self.name  # OpenCV would take "a:b.mp4" for a URL
        capture = cv2.VideoCapture(address if self.camera is None else self.camera)
        if not capture.isOpened():
            raise VideoError(f"{self.name}: OpenCV cannot open this {self.kind}")
        return capture

    def frames(self, every: int) -> Iterator[Frame]:
        """Yield every N-th frame, for N = ``every``; VideoError if a frame cannot be decoded, or a camera stops.

        The number of frames in a video's header is an estimate: a video may end earlier.
        """
        capture = self.open()
        rate = capture.get(cv2.CAP_PROP_FPS)
        number = 0
        try:
            while capture.grab():
                if number % every == 0:
                    done, image = capture.retrieve()
                    if not done:
                        raise VideoError(f"{self.name}: frame {number} cannot be decoded")
                    stem = f"{self.stem}_{number:06}"
                    load = partial(np.asarray, image)
                    yield Frame(self.name, stem, ".jpg", load, video=self, number=number, frames_per_second=rate)
                number += 1
        finally:
            capture.release()
        if self.camera is not None:
            raise VideoError(f"camera {self.camera} gives no more frames")
        if not number:
            raise VideoError(f"{self.name}: no frame can be read")


def is_utf8(name: str) -> bool:
    """Whether OpenCV accepts this name: a name that is not UTF-8 ends the process."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_address(name: str) -> bool:
    """Whether a source is the address of a network stream."""
    return re.match(r"(rtsp|https?)://", name, re.IGNORECASE) is not None


Source = Frame | Video


@dataclass
class Sources:
    """The sources that the arguments name, in their order."""

    frames: list[Source] = field(default_factory=list)
    files: set[Path] = field(default_factory=set)  # with the lists of sources, resolved: not to be overwritten
    failures: int = 0  # arguments, or lines of lists, that name no source


def find_sources(arguments: list[str], *, recursive: bool, without: Iterable[Path], complain: Complain) -> Sources:
    """Return all pictures and videos that the arguments name.

    A picture or video file; a folder (its pictures by name; with ``recursive`` those of its subfolders too, except the folders
    ``without``); a glob pattern; a ``.txt`` file that lists sources, one per line, as they would be given as arguments; a
    camera number; an address (``rtsp://``, ``http://``, ``https://``); a pipe, or ``-`` for standard input, whose picture is
    read at once. CommandError if symbolic links make a loop of a folder of ``without``.
    """
    sources = Sources()
    outputs = {resolved(folder) for folder in without}
    for argument in arguments:
        _find(argument, recursive, outputs, sources, complain)
    return sources


def _find(argument: str, recursive: bool, without: set[Path], sources: Sources, complain: Complain) -> None:
    try:
        path = Path(argument)
        if path.suffix.lower() == ".txt" and path.is_file():
            sources.files.add(real_path(path))
            for name in _listed(path):
                _find(name, recursive, without, sources, lambda message: complain(f"{argument}: {message}"))
            return
        frames = _sources_of(argument, recursive, without)
        files = {real_path(source.path) for source in frames if source.path is not None}
    except (OSError, ValueError) as error:
        complain(f"{argument}: {reason(error)}")
        sources.failures += 1
        return
    sources.frames += frames
    sources.files |= files


def _sources_of(argument: str, recursive: bool, without: set[Path]) -> list[Source]:
    path = Path(argument)
    if not argument:
        raise ValueError("an empty name is not a source")
    if argument == "-":  # may never end: read at once, in the main thread, so that Ctrl-C interrupts the wait
        content = read_at_most(sys.stdin.buffer, MOST_PICTURE_BYTES) if sys.stdin is not None else b""
        return [Frame("-", "stdin", ".jpg", partial(decode_picture, content))]
    if is_address(argument):
        return [Video(argument)]
    if path.is_dir():
        return _in_folder(path, recursive, without)
    if argument.isdecimal() and int(argument) <= MOST and not path.exists():
        return [Video(argument, int(argument))]
    if glob.has_magic(argument) and not os.path.lexists(argument):
        return [source for match in _matches(argument) for source in _sources_of(match, recursive, without)]
    if path.suffix.lower() in VIDEO_SUFFIXES:
        if not stat.S_ISREG(path.stat().st_mode):  # OSError if it is missing
            raise ValueError("a video is read from a regular file only")  # OpenCV would block, even to Ctrl-C
        return [Video(argument)]
    if path.is_fifo():
        return [Frame(str(path), path.stem, path.suffix, partial(decode_picture, read_whole(path, MOST_PICTURE_BYTES)))]
    return [_picture(path)]


def _matches(pattern: str) -> list[str]:
    """The pictures and videos that match a pattern, or everything that matches if none do."""
    matches = sorted(glob.glob(pattern, recursive=True))
    if not matches:
        raise ValueError("nothing matches this pattern")
    return [match for match in matches if os.path.splitext(match)[1].lower() in _KNOWN and not os.path.isdir(match)] or matches


def _in_folder(folder: Path, recursive: bool, without: set[Path]) -> list[Source]:
    inside = folder.rglob("*") if recursive else folder.iterdir()
    root = real_path(folder)
    skipped = {path for path in without if root in path.parents}
    files = [p for p in inside if p.suffix.lower() in _KNOWN and p.is_file()]
    if skipped:
        files = [p for p in files if skipped.isdisjoint(real_path(p).parents)]
    if not files:
        raise ValueError("no pictures or videos in this folder")
    return [Video(str(p)) if p.suffix.lower() in VIDEO_SUFFIXES else _picture(p) for p in sorted(files)]


def _listed(path: Path) -> list[str]:
    text = read_regular(path, _MOST_LIST_BYTES).decode("utf-8-sig", errors="surrogateescape")
    lines = text.replace("\r", "\n").split("\n")
    names = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not names:
        raise ValueError("this list has no sources")
    if any(name.lower().endswith(".txt") for name in names):
        raise ValueError("a list cannot name another list")
    return names


def _picture(path: Path) -> Frame:
    return Frame(str(path), path.stem, path.suffix, partial(read_picture, path), path)


def count_frames(sources: list[Source], every: int) -> int | None:
    """Return the number of frames, according to the videos' headers; None if there is a camera or a stream."""
    total = 0
    for source in sources:
        if isinstance(source, Frame):
            total += 1
        elif source.path is None:
            return None
        else:
            try:
                capture = source.open()
            except VideoError:
                continue  # reported later, in order
            frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            capture.release()
            if frames <= 0:
                return None
            total += -(-frames // every)
    return total
