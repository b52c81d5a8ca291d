"""What `detect` writes: files for each frame, and files that grow with every frame."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.cli.sources import Frame, Video, is_utf8
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.draw import draw
from opencv_squeezedet.export import coco_categories
from opencv_squeezedet.files import WholeFile, encode_picture, temporary_beside, write_whole
from opencv_squeezedet.preprocess import Picture

_CODECS = {".avi": "MJPG", ".m4v": "mp4v", ".mkv": "mp4v", ".mov": "mp4v", ".mp4": "mp4v"}
_LEAST_FREE_BYTES = 8 << 20  # OpenCV does not tell when a video no longer fits on the disk


@dataclass
class Seen:
    """A frame, its picture, and what was found in it; ``stem`` is for the names of its files."""

    frame: Frame
    stem: str
    image: Picture
    detections: Detections

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture."""
        return self.image.shape[1], self.image.shape[0]

    @cached_property
    def annotated(self) -> NDArray[np.uint8]:
        """The picture with its boxes, drawn when it is first asked for."""
        return draw(self.image, self.detections)


class Output(Protocol):
    """Takes every frame in order; written whole when its context ends."""

    def __enter__(self) -> Any: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
    def add(self, seen: Seen) -> None:
        """Take the next frame."""


class Names:
    """Stems for the files made of each frame: no two alike, and no file of the user's overwritten.

    Parameters
    ----------
    folder : Path or None
        Where annotated copies go; None if none are made.
    sources : set of Path
        All files that are read, resolved. Where some lie in the folder, nothing that is there is overwritten.
    """

    def __init__(self, folder: Path | None, sources: set[Path]) -> None:
        self._folder = folder
        self._among_sources = folder is not None and any(path.parent == folder.resolve() for path in sources)
        self._taken: set[str] = set()
        self._next_number: dict[str, int] = {}

    def stem(self, frame: Frame | Video, suffix: str) -> str:
        """Return the frame's stem, with a number where it is taken."""
        number = self._next_number.get(frame.stem, 1)
        while True:
            stem = frame.stem if number == 1 else f"{frame.stem}-{number}"
            number += 1
            key = stem.casefold()  # some file systems do not tell upper from lower case
            if key not in self._taken and not self._is_users(stem + suffix):
                self._taken.add(key)
                self._next_number[frame.stem] = number
                return stem

    def _is_users(self, name: str) -> bool:
        return self._folder is not None and self._among_sources and os.path.lexists(self._folder / name)


# ---- files for each frame ----------------------------------------------------------------------------------------------


def picture_suffix(suffix: str) -> str:
    """Return the suffix itself where OpenCV writes colour pictures of that type, else that of PNG."""
    grey = suffix.lower() in {".pbm", ".pgm", ".pnm"}
    return suffix if suffix.isascii() and not grey and cv2.haveImageWriter(f"x{suffix}") else ".png"


def write_annotated(folder: Path, seen: Seen) -> None:
    """Write the annotated picture, as a file of the source's type."""
    suffix = picture_suffix(seen.frame.suffix)
    write_whole(folder / (seen.stem + suffix), encode_picture(seen.annotated, suffix))


def write_yolo(folder: Path, seen: Seen) -> None:
    """Write the labels as YOLO's text file."""
    write_whole(folder / f"{seen.stem}.txt", seen.detections.to_yolo(seen.size).encode())


def write_yolo_names(folder: Path, names: tuple[str, ...]) -> None:
    """Write the label table as YOLO's ``data.yaml``; ValueError if another one is there."""
    rows = "".join(f"  {i}: {json.dumps(name)}\n" for i, name in enumerate(names))  # JSON's strings are YAML's
    content, path = f"nc: {len(names)}\nnames:\n{rows}".encode(), folder / "data.yaml"
    if path.exists() and path.read_bytes() != content:
        raise ValueError(f"{str(path)!r} is there already, and tells other names")
    write_whole(path, content)


def write_voc(folder: Path, seen: Seen) -> None:
    """Write the labels as PASCAL VOC's XML file."""
    name = seen.frame.name if seen.frame.path else seen.stem + seen.frame.suffix
    xml = seen.detections.to_voc_xml(name, seen.size)
    write_whole(folder / f"{seen.stem}.xml", xml.encode("utf-8"))


def write_crops(folder: Path, seen: Seen) -> None:
    """Write what is in each box as a picture, in a folder for each class."""
    suffix = picture_suffix(seen.frame.suffix)
    for i, d in enumerate(seen.detections):
        x1, y1 = (int(edge) for edge in d.xyxy[:2])
        x2, y2 = (int(np.ceil(edge)) for edge in d.xyxy[2:])
        place = folder / d.label.replace("/", "_").replace("\\", "_").replace("..", "_")
        place.mkdir(exist_ok=True)
        write_whole(place / f"{seen.stem}_{i}{suffix}", encode_picture(seen.image[y1:y2, x1:x2], suffix))


# ---- files that grow with every frame ----------------------------------------------------------------------------------


class _Text:
    """Text to a file that appears whole, or to standard output."""

    def __init__(self, target: str) -> None:
        self._file = None if target == "-" else WholeFile(Path(target))

    def __enter__(self) -> Any:
        if self._file:
            self._file.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        try:
            if _finished(exception[0]):
                self._write(self._end())
        except BaseException:
            exception = sys.exc_info()
            raise
        finally:
            if self._file:
                self._file.__exit__(*exception)

    def _end(self) -> str:
        """What comes after the last frame."""
        return ""

    def _write(self, text: str) -> None:
        if self._file:
            self._file.write(text.encode("utf-8", "backslashreplace"))
        else:
            try:
                sys.stdout.write(text)
            except BrokenPipeError:
                raise
            except OSError as error:
                raise OSError(error.errno, error.strerror, "standard output") from error


def _finished(kind: type[BaseException] | None) -> bool:
    return kind is None or kind is KeyboardInterrupt


class JsonOutput(_Text):
    """A list with an object for each frame: file, frame (of a video), width, height, detections."""

    _separator = "[\n"

    def add(self, seen: Seen) -> None:
        """Take the next frame."""
        self.add_result(seen.frame, seen.size, seen.detections.to_dict())

    def add_result(self, frame: Frame, size: tuple[int, int], result: dict[str, Any]) -> None:
        """Take the next frame, its picture's width and height, and what was found in it."""
        number = {} if frame.number is None else {"frame": frame.number}
        entry = {"file": frame.name, **number, "width": size[0], "height": size[1], **result}
        self._write(self._separator + json.dumps(entry))
        self._separator = ",\n"

    def _end(self) -> str:
        return "[]\n" if self._separator == "[\n" else "\n]\n"


class CsvOutput(_Text):
    """A row for each object: file, frame (of a video), label, class_id, confidence, x1, y1, x2, y2."""

    def __enter__(self) -> Any:
        super().__enter__()
        self._rows(["file", "frame", "label", "class_id", "confidence", "x1", "y1", "x2", "y2"])
        return self

    def add(self, seen: Seen) -> None:
        """Take the next frame."""
        number = "" if seen.frame.number is None else seen.frame.number
        for d in seen.detections.to_dict()["detections"]:
            self._rows([seen.frame.name, number, d["label"], d["class_id"], d["confidence"], *d["xyxy"]])

    def _rows(self, row: list[Any]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerow(row)
        self._write(line.getvalue())


class CocoOutput:
    """A COCO data set whose annotations have scores: images, annotations, categories."""

    def __init__(self, target: str, names: tuple[str, ...]) -> None:
        self._path, self._names = Path(target), names
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def __enter__(self) -> CocoOutput:
        return self

    def add(self, seen: Seen) -> None:
        """Take the next frame."""
        name = seen.frame.name if seen.frame.path else seen.stem + seen.frame.suffix
        width, height = seen.size
        self._images.append({"id": len(self._images) + 1, "file_name": name, "width": width, "height": height})
        self._annotations += seen.detections.to_coco(len(self._images), len(self._annotations) + 1)

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        if _finished(kind):
            tables = {"images": self._images, "annotations": self._annotations, "categories": coco_categories(self._names)}
            write_whole(self._path, json.dumps(tables).encode())


class VideoOutput:
    """Annotated copies of videos, one after the other; each is playable whenever it ends.

    Parameters
    ----------
    paths : dict of Video to Path
        The copy of each video; those that are not there get none.
    every : int
        How many frames of the video one of the copy stands for.
    """

    def __init__(self, paths: dict[Video, Path], every: int) -> None:
        self._paths, self._every = paths, every
        self._video: Video | None = None
        self._writer: cv2.VideoWriter | None = None
        self._path = self._temporary = Path()
        self._size = (0, 0)
        self._written = 0

    def __enter__(self) -> VideoOutput:
        return self

    def add(self, seen: Seen) -> None:
        """Take the next frame; OSError if the disk is nearly full or the video cannot be written."""
        if seen.frame.video is not self._video:
            self._finish()
            self._video = seen.frame.video
            if self._video is not None and self._video in self._paths:
                self._begin(self._paths[self._video], seen)
        if self._writer is None:
            return
        if shutil.disk_usage(self._temporary.parent).free < _LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        self._writer.write(seen.annotated if seen.size == self._size else cv2.resize(seen.annotated, self._size))
        self._written += 1

    def __exit__(self, *exception: Any) -> None:
        self._finish()

    def _begin(self, path: Path, seen: Seen) -> None:
        self._path, self._size, self._written = path, seen.size, 0
        self._temporary = temporary_beside(path.resolve())
        if not is_utf8(str(self._temporary)):
            raise OSError(errno.EILSEQ, "OpenCV cannot write a video to a folder whose name is not UTF-8", str(path))
        rate = seen.frame.frames_per_second
        rate = (rate if 1 <= rate <= 1000 else 25.0) / self._every
        codec = cv2.VideoWriter.fourcc(*_CODECS[path.suffix.lower()])
        for digits in (3, 2, 1, 0):  # MPEG-4 does not take every fraction
            writer = cv2.VideoWriter(str(self._temporary), codec, max(round(rate, digits), 1.0), self._size)
            if writer.isOpened():
                self._writer = writer
                return
        self._temporary.unlink(missing_ok=True)
        raise OSError(errno.EIO, "OpenCV cannot write this video", str(path))

    def _finish(self) -> None:
        """Close the video, and give it its name if all of it is there: OpenCV does not tell when a disk is full."""
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        try:
            capture = cv2.VideoCapture(str(self._temporary))
            whole = capture.grab() and capture.get(cv2.CAP_PROP_FRAME_COUNT) >= self._written
            capture.release()
            if not whole:
                raise OSError(errno.EIO, "OpenCV could not write the whole video; is the disk full?", str(self._path))
            self._temporary.replace(self._path.resolve())
        finally:
            self._temporary.unlink(missing_ok=True)


def check_video_suffix(path: Path) -> None:
    """ValueError for a suffix that OpenCV cannot be asked to write."""
    if path.suffix.lower() not in _CODECS:
        raise ValueError(f"a video file {', '.join(sorted(_CODECS))} was expected, got {str(path)!r}")


class Window:
    """A window that shows every frame; q or Escape ends the command, as closing it does."""

    _title = "detect"

    def __enter__(self) -> Window:
        cv2.namedWindow(self._title, cv2.WINDOW_NORMAL)
        return self

    def add(self, seen: Seen) -> None:
        """Show the next frame; KeyboardInterrupt if the user has had enough."""
        cv2.imshow(self._title, seen.annotated)
        key = cv2.waitKey(1) & 0xFF
        if key in (ord("q"), 27) or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            raise KeyboardInterrupt

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        cv2.destroyAllWindows()


def display_works() -> bool:
    """Whether a window can be opened; tried in another process, for a toolkit without a display may end its own."""
    code = "import cv2; cv2.namedWindow('x'); cv2.destroyAllWindows()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


class Outputs:
    """All outputs of one run, as a context.

    Parameters
    ----------
    per_frame : list of functions
        Called for each frame, in any order and from several threads.
    in_order : list of Output
        Take each frame in order.
    """

    def __init__(self, per_frame: list[Callable[[Seen], None]], in_order: list[Output]) -> None:
        self._per_frame, self._in_order = per_frame, in_order
        self._annotated_in_order = any(isinstance(output, (VideoOutput, Window)) for output in in_order)
        self._stack = ExitStack()

    def __enter__(self) -> Outputs:
        with ExitStack() as stack:
            for output in self._in_order:
                stack.enter_context(output)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def write(self, seen: Seen) -> None:
        """Write the files of one frame, and draw it where it is needed later."""
        for write in self._per_frame:
            write(seen)
        if self._annotated_in_order:
            _ = seen.annotated

    def add(self, seen: Seen) -> None:
        """Hand the frame to the outputs that take them in order."""
        for output in self._in_order:
            output.add(seen)
