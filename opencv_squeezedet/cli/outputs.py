"""What `detect` writes: `FORMATS` has a row for each option, from which follow the parser, the checks and the outputs."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from opencv_squeezedet.cli import annotated
from opencv_squeezedet.cli.common import (
    OF_MODEL,
    OF_SOURCES,
    CommandError,
    check_targets,
    real_place,
    shown,
    usage_errors,
)
from opencv_squeezedet.cli.results import Job, Output, Seen, picture_suffix
from opencv_squeezedet.cli.sources import Frame
from opencv_squeezedet.export import coco_categories
from opencv_squeezedet.files import WholeFile, has_content, own_descriptor, write_whole
from opencv_squeezedet.model_files import reserved_by
from opencv_squeezedet.pictures import PICTURE_SUFFIXES, encode_picture

# ---- files for each frame ----------------------------------------------------------------------------------------------


class FrameFiles(Output):
    """Files for each frame, in a folder."""

    def __init__(self, folder: Path, write: Callable[[Path, Seen], None]) -> None:
        self._folder, self._write = folder, write

    def write(self, seen: Seen) -> None:
        """Write the files of a frame."""
        self._write(self._folder, seen)


def write_yolo(folder: Path, seen: Seen) -> None:
    """Write the labels as YOLO's text file."""
    write_whole(folder / f"{seen.stem}.txt", seen.detections.to_yolo(seen.size).encode())


def write_yolo_names(folder: Path, names: tuple[str, ...]) -> None:
    """Write the label table as YOLO's ``data.yaml``; ValueError if another one is there."""
    rows = "".join(f"  {i}: {_in_yaml(name)}\n" for i, name in enumerate(names))
    content, path = f"nc: {len(names)}\nnames:\n{rows}".encode(), folder / "data.yaml"
    if has_content(path, content):
        return
    if path.exists():
        raise ValueError(f"{str(path)!r} is already there, with other names")
    write_whole(path, content)


def _in_yaml(text: str) -> str:
    """A text as YAML's, which differs from JSON's in how it tells what lies beyond 16 bits."""
    return '"' + "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in text) + '"'


def write_voc(folder: Path, seen: Seen) -> None:
    """Write the labels as PASCAL VOC's XML file."""
    write_whole(folder / f"{seen.stem}.xml", seen.detections.to_voc_xml(seen.file_name, seen.size).encode())


def write_crops(folder: Path, seen: Seen) -> None:
    """Write what is in each box as a picture, in a folder for each class."""
    suffix = picture_suffix(seen.frame.suffix)
    for i, d in enumerate(seen.detections):
        x1, y1 = (int(edge) for edge in d.xyxy[:2])
        x2, y2 = (int(np.ceil(edge)) for edge in d.xyxy[2:])
        name = shown(d.label).replace("/", "_").replace("\\", "_").replace("..", "_")
        place = folder / (name if name.strip(". ") else "_")
        place.mkdir(exist_ok=True)
        write_whole(place / f"{seen.stem}_{i}{suffix}", encode_picture(seen.image[y1:y2, x1:x2], suffix))


# ---- text that grows with every frame ----------------------------------------------------------------------------------


class TextOutput(Output):
    """Text that grows with every frame: in a file that appears whole, or on standard output."""

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


class JsonOutput(TextOutput):
    """A list with an object for each frame: file, frame (of a video), width, height, detections."""

    _separator = "[\n"

    def add(self, seen: Seen) -> None:
        """Take the next frame."""
        self.add_result(seen.frame, seen.size, seen.detections.to_dict())

    def add_result(self, frame: Frame, size: tuple[int, int], result: dict[str, Any]) -> None:
        """Take the next frame, its picture's width and height, and what was found in it."""
        self._write(self._separator + json.dumps(_entry(frame, size, result)))
        self._separator = ",\n"

    def _end(self) -> str:
        return "[]\n" if self._separator == "[\n" else "\n]\n"


def _entry(frame: Frame, size: tuple[int, int], result: dict[str, Any]) -> dict[str, Any]:
    number = {} if frame.number is None else {"frame": frame.number}
    return {"file": frame.name, **number, "width": size[0], "height": size[1], **result}


class JsonLinesOutput(TextOutput):
    """A line for each frame, the object of `JsonOutput`, which can be read while others are still to come."""

    def add(self, seen: Seen) -> None:
        """Take the next frame."""
        self._write(json.dumps(_entry(seen.frame, seen.size, seen.detections.to_dict())) + "\n")
        if self._file is None:
            sys.stdout.flush()


class CsvOutput(TextOutput):
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


class CocoOutput(TextOutput):
    """A COCO data set whose annotations have scores: images, annotations, categories."""

    def __init__(self, target: str, labels: tuple[str, ...]) -> None:
        super().__init__(target)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._categories = coco_categories(labels)

    def add(self, seen: Seen) -> None:
        """Take the next frame."""
        width, height = seen.size
        self._images.append({"id": len(self._images) + 1, "file_name": seen.file_name, "width": width, "height": height})
        self._annotations += seen.detections.to_coco(len(self._images), len(self._annotations) + 1)

    def _end(self) -> str:
        return json.dumps({"images": self._images, "annotations": self._annotations, "categories": self._categories})


# ---- the table -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """An option of `detect` under which something is written.

    Parameters
    ----------
    option : str
        Its long name.
    kind : {"folder", "file", "stream", "switch"}
        What it takes: a folder, for files of each frame; a file; a file, or "-" for standard output; nothing.
    help : str
        For the parser.
    make : function
        Returns the output, from what the option takes and the `Job`; ValueError if there can be none.
    suffixes : frozenset of str
        Of the files that are written directly in a folder: neither a source nor another target may be one of them.
    short : str, optional
        Its short name.
    default : Path, optional
        What it takes if it is not given; without one nothing is written then.
    """

    option: str
    kind: Literal["folder", "file", "stream", "switch"]
    help: str
    make: Callable[[Any, Job], Output]
    suffixes: frozenset[str] = frozenset()
    short: str | None = None
    default: Path | None = None

    @property
    def name(self) -> str:
        """Of the attribute in argparse's namespace."""
        return self.option[2:].replace("-", "_")


def _yolo(folder: Path, job: Job) -> Output:
    write_yolo_names(folder, job.labels)
    return FrameFiles(folder, write_yolo)


_COPIES = PICTURE_SUFFIXES | {".mp4"}

FORMATS = (
    Format("--output", "folder", "copies (default: detections/)", annotated.copies, _COPIES, "-o", Path("detections")),
    Format("--json", "stream", "all as JSON; - for stdout", lambda target, _: JsonOutput(target)),
    Format("--jsonl", "stream", "a line of JSON per frame", lambda target, _: JsonLinesOutput(target)),
    Format("--csv", "stream", "all as CSV; - likewise", lambda target, _: CsvOutput(target)),
    Format("--coco", "stream", "all as COCO; likewise", lambda target, job: CocoOutput(target, job.labels)),
    Format("--yolo", "folder", "YOLO's label files", _yolo, frozenset({".txt", ".yaml"})),
    Format("--voc", "folder", "PASCAL VOC's XML files", lambda folder, _: FrameFiles(folder, write_voc), frozenset({".xml"})),
    Format("--crops", "folder", "each object as a picture", lambda folder, _: FrameFiles(folder, write_crops)),
    Format("--video-out", "file", "copy of the one video, camera", annotated.video_copy),
    Format("--show", "switch", "frames in a window; q ends", annotated.window),
)


def add_arguments(add: Callable[..., object]) -> None:
    """Add the options of the table, and the one that turns its only default off, with an ``add_argument``."""
    for row in FORMATS:
        if row.kind == "switch":
            add(row.option, action="store_true", help=row.help)
            continue
        names = [name for name in (row.short, row.option) if name]
        metavar = "DIR" if row.kind == "folder" else "FILE"
        add(*names, type=str if row.kind == "stream" else Path, default=row.default, metavar=metavar, help=row.help)
    add("--no-image", action="store_true", help="no annotated copies")


def folders(args: argparse.Namespace) -> list[Path]:
    """Return all folders that the arguments name, in which no sources are looked for."""
    return [folder for row in FORMATS if row.kind == "folder" and (folder := getattr(args, row.name)) is not None]


def to_stdout(args: argparse.Namespace) -> bool:
    """Whether a format goes to standard output, which then has nothing else."""
    targets = [getattr(args, row.name) for row in FORMATS if row.kind == "stream"]
    return any(target == "-" or own_descriptor(target) == 1 for target in targets if target is not None)


def make_outputs(args: argparse.Namespace, job: Job) -> Outputs:
    """Return the outputs that the arguments ask for, after checking that each can be written; CommandError if not."""
    asked = list(_asked(args))
    files = {row.option: value for row, value in asked if row.kind in ("file", "stream")}
    folders = [(row, folder) for row, folder in asked if row.kind == "folder"]
    for _, folder in folders:
        _make_folder(folder)
    check_targets(files, {OF_SOURCES: job.sources.files, OF_MODEL: reserved_by(args.model, args.weights)})
    for row, folder in folders:
        place = real_place(folder)
        for path in job.sources.files:
            if path.suffix in row.suffixes and path.parent == place and row.name != "output":  # whose names give way
                raise CommandError(f"{row.option}: {shown(path)} is one of the sources")
        for option, target in files.items():
            path = real_place(target)
            if path.suffix.lower() in row.suffixes and path.parent == place:
                problem = f"{row.option} may write a file of this name too; choose another folder or suffix"
                raise CommandError(f"{option}: {shown(target)}: {problem}")
    outputs = []
    for row, value in asked:
        with usage_errors(about=f"{row.option}: "):
            outputs.append(row.make(value, job))
    return Outputs(outputs)


def _asked(args: argparse.Namespace) -> Iterator[tuple[Format, Any]]:
    for row in FORMATS:
        value = getattr(args, row.name)
        if value and not (row.name == "output" and args.no_image):
            yield row, value


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot make the folder {shown(folder)}: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise CommandError(f"cannot write to the folder {shown(folder)}")


class Outputs(Output):
    """All outputs of a run as one."""

    def __init__(self, outputs: list[Output]) -> None:
        self._outputs = outputs
        self._stack = ExitStack()

    def __enter__(self) -> Outputs:
        with ExitStack() as stack:
            for output in self._outputs:
                stack.enter_context(output)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def write(self, seen: Seen) -> None:
        """Hand a frame to all, in any order."""
        for output in self._outputs:
            output.write(seen)

    def add(self, seen: Seen) -> None:
        """Hand the next frame to all."""
        for output in self._outputs:
            output.add(seen)
