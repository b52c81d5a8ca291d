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

from opencv_squeezedet.detections import Detections
from opencv_squeezedet.draw import draw
from opencv_squeezedet.export import coco_categories
from opencv_squeezedet.files import WholeFile, encode_picture, write_whole
from opencv_squeezedet.preprocess import Picture
from opencv_squeezedet.sources import Frame, Video

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
    """Stems for the files made of each frame: no two alike, and no file of the user's overwritten."""

    def __init__(self, folder: Path, sources: set[Path]) -> None:
        self._folder = folder
        self._sources = sources
        self._taken: set[str] = set()
        self._next_number: dict[str, int] = {}

    def stem(self, frame: Frame | Video, suffix: str) -> str:
        """Return the frame's stem, with a number where it is taken."""
        number = self._next_number.get(frame.stem, 1)
        while True:
            stem = frame.stem if number == 1 else f"{frame.stem}-{number}"
            number += 1
            key = stem.casefold()  # some file systems do not tell upper from lower case
            if key not in self._taken and (self._folder / (stem + suffix)).resolve() not in self._sources:
                self._taken.add(key)
                self._next_number[frame.stem] = number
                return stem


# ---- files for each frame ----------------------------------------------------------------------------------------------


def picture_suffix(suffix: str) -> str:
    """Return the suffix itself where OpenCV writes such files, else that of PNG."""
    return suffix if cv2.haveImageWriter(f"x{suffix}") else ".png"


def write_annotated(folder: Path, seen: Seen) -> None:
    """Write the annotated picture, as a file of the source's type."""
    suffix = picture_suffix(seen.frame.suffix)
    write_whole(folder / (seen.stem + suffix), encode_picture(seen.annotated, suffix))


def write_yolo(folder: Path, seen: Seen) -> None:
    """Write the labels as YOLO's text file."""
    write_whole(folder / f"{seen.stem}.txt", seen.detections.to_yolo(seen.size).encode())


def write_yolo_names(folder: Path, names: tuple[str, ...]) -> None:
    """Write the label table as YOLO's ``data.yaml``."""
    rows = "".join(f"  {i}: {json.dumps(name)}\n" for i, name in enumerate(names))  # JSON's strings are YAML's
    write_whole(folder / "data.yaml", f"nc: {len(names)}\nnames:\n{rows}".encode())


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
            self._file.write(text.encode("utf-8", "surrogateescape"))
        else:
            sys.stdout.write(text)


def _finished(kind: type[BaseException] | None) -> bool:
    return kind is None or kind is KeyboardInterrupt


class JsonOutput(_Text):
    """A list with an object for each frame: file, frame (of a video), width, height, detections."""

    _separator = "[\n"

    def add(self, seen: Seen) -> None:
        """Take the next frame."""
        number = {} if seen.frame.number is None else {"frame": seen.frame.number}
        width, height = seen.size
        entry = {"file": seen.frame.name, **number, "width": width, "height": height, **seen.detections.to_dict()}
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
        csv.writer(line, lineterminator="\n").writerow(row)
        self._write(line.getvalue())


class CocoOutput:
    """A COCO data set whose annotations have scores: images, annotations, categories."""

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self._path, self._names = path, names
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
    """An annotated video; begun with its first frame, playable whenever it ends."""

    def __init__(self, path: Path, name: str, frames_per_second: float) -> None:
        self._path, self._name, self._fps = path, name, frames_per_second
        self._temporary = path.with_name(f".{os.getpid()}-{path.name}")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def __enter__(self) -> VideoOutput:
        return self

    def add(self, seen: Seen) -> None:
        """Take the next frame, if it is of this video; OSError if the disk is nearly full or the video cannot be written."""
        if seen.frame.name != self._name or seen.frame.number is None:
            return
        if self._writer is None:
            self._size = seen.size
            codec = cv2.VideoWriter.fourcc(*_CODECS[self._path.suffix.lower()])
            self._writer = cv2.VideoWriter(str(self._temporary), codec, self._fps, self._size)
            if not self._writer.isOpened():
                raise OSError(errno.EIO, "OpenCV cannot write this video", str(self._path))
        if shutil.disk_usage(self._path.parent).free < _LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        self._writer.write(seen.annotated if seen.size == self._size else cv2.resize(seen.annotated, self._size))

    def __exit__(self, *exception: Any) -> None:
        if self._writer is None:
            return
        self._writer.release()
        self._temporary.replace(self._path)  # what is there can be played, however it came to an end


def video_output(path: Path, video: Video, every: int) -> VideoOutput:
    """Return the output for a video's annotated copy; ValueError for a suffix that OpenCV cannot be asked to write."""
    if path.suffix.lower() not in _CODECS:
        raise ValueError(f"a video file {', '.join(sorted(_CODECS))} was expected, got {str(path)!r}")
    capture = video.open()
    fps = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return VideoOutput(path, video.name, (fps if 1 <= fps <= 1000 else 25.0) / every)


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
