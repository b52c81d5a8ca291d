"""The outputs of `detect`: the parser, the checks and the outputs are derived from `FORMATS`, which has a row per option."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from opencv_squeezedet.cli import annotated
from opencv_squeezedet.cli.arguments import positive
from opencv_squeezedet.cli.errors import CommandError, usage_errors
from opencv_squeezedet.cli.results import Output, RunInfo, Seen, picture_suffix
from opencv_squeezedet.cli.sources import Frame
from opencv_squeezedet.cli.targets import OF_MODEL, OF_SOURCES, check_targets, resolved
from opencv_squeezedet.cli.terminal import shown
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
        self._write(self._folder, seen)


def write_yolo(folder: Path, seen: Seen) -> None:
    """Write the detections as a YOLO label file."""
    write_whole(folder / f"{seen.stem}.txt", seen.detections.to_yolo(seen.size).encode())


def write_yolo_names(folder: Path, names: tuple[str, ...]) -> None:
    """Write the label table as YOLO's ``data.yaml``; ValueError if a different file exists."""
    rows = "".join(f"  {i}: {_in_yaml(name)}\n" for i, name in enumerate(names))
    content, path = f"nc: {len(names)}\nnames:\n{rows}".encode(), folder / "data.yaml"
    if has_content(path, content):
        return
    if path.exists():
        raise ValueError(f"{str(path)!r} already exists, with other names")
    write_whole(path, content)


def _in_yaml(text: str) -> str:
    """The text as a YAML string, which escapes characters beyond 16 bits differently from JSON."""
    return '"' + "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in text) + '"'


def write_voc(folder: Path, seen: Seen) -> None:
    """Write the detections as a PASCAL VOC XML file."""
    write_whole(folder / f"{seen.stem}.xml", seen.detections.to_voc_xml(seen.file_name, seen.size).encode())


def write_crops(folder: Path, seen: Seen) -> None:
    """Write the content of each box as a picture, in a folder per class."""
    suffix = picture_suffix(seen.frame.suffix)
    for i, d in enumerate(seen.detections):
        x1, y1 = (int(edge) for edge in d.xyxy[:2])
        x2, y2 = (int(np.ceil(edge)) for edge in d.xyxy[2:])
        name = shown(d.label).replace("/", "_").replace("\\", "_").replace("..", "_")
        class_folder = folder / (name if name.strip(". ") else "_")
        class_folder.mkdir(exist_ok=True)
        write_whole(class_folder / f"{seen.stem}_{i}{suffix}", encode_picture(seen.image[y1:y2, x1:x2], suffix))


# ---- text files and standard output ----------------------------------------------------------------------------------


class TextOutput(Output):
    """Text with a part per frame: in a file that appears when it is complete, or on standard output."""

    def __init__(self, target: str) -> None:
        self._file = None if target == "-" else WholeFile(Path(target))

    def __enter__(self) -> Any:
        if self._file:
            self._file.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        try:
            if exception[0] in (None, KeyboardInterrupt):
                self._write(self._end())
        except BaseException:
            exception = sys.exc_info()
            raise
        finally:
            if self._file:
                self._file.__exit__(*exception)

    def _end(self) -> str:
        """The text after the last frame."""
        return ""

    def _write(self, text: str) -> None:
        if self._file:
            self._file.write(text.encode("utf-8", "backslashreplace"))
        else:
            sys.stdout.write(text)


class JsonOutput(TextOutput):
    """A list with an object for each frame: file, frame (of a video), width, height, detections."""

    _separator = "[\n"

    def add(self, seen: Seen) -> None:
        self.add_result(seen.frame, seen.size, seen.detections.to_dict())

    def add_result(self, frame: Frame, size: tuple[int, int], result: dict[str, Any]) -> None:
        """Take the next frame, its picture's width and height, and the result for it."""
        self._write(self._separator + json.dumps(_entry(frame, size, result)))
        self._separator = ",\n"

    def _end(self) -> str:
        return "[]\n" if self._separator == "[\n" else "\n]\n"


def _entry(frame: Frame, size: tuple[int, int], result: dict[str, Any]) -> dict[str, Any]:
    number = {} if frame.number is None else {"frame": frame.number}
    return {"file": frame.name, **number, "width": size[0], "height": size[1], **result}


class JsonLinesOutput(TextOutput):
    """A line per frame with the object of `JsonOutput`, so that a reader can follow the run."""

    def add(self, seen: Seen) -> None:
        self._write(json.dumps(_entry(seen.frame, seen.size, seen.detections.to_dict())) + "\n")
        if self._file is None:
            sys.stdout.flush()


class CsvOutput(TextOutput):
    """A row for each object: file, frame (of a video), label, class_id, confidence, x1, y1, x2, y2."""

    def __enter__(self) -> Any:
        super().__enter__()
        stream = SimpleNamespace(write=self._write)
        self._rows = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        self._rows.writerow(["file", "frame", "label", "class_id", "confidence", "x1", "y1", "x2", "y2"])
        return self

    def add(self, seen: Seen) -> None:
        number = "" if seen.frame.number is None else seen.frame.number
        for d in seen.detections.to_dict()["detections"]:
            self._rows.writerow([seen.frame.name, number, d["label"], d["class_id"], d["confidence"], *d["xyxy"]])


class CocoOutput(TextOutput):
    """A COCO data set whose annotations have scores: images, annotations, categories."""

    def __init__(self, target: str, run_info: RunInfo) -> None:
        super().__init__(target)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._categories = coco_categories(run_info.labels)

    def add(self, seen: Seen) -> None:
        width, height = seen.size
        self._images.append({"id": len(self._images) + 1, "file_name": seen.file_name, "width": width, "height": height})
        self._annotations += seen.detections.to_coco(len(self._images), len(self._annotations) + 1)

    def _end(self) -> str:
        document = {"images": self._images, "annotations": self._annotations, "categories": self._categories}
        return json.dumps(document) + "\n"


# ---- the table -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OutputFormat:
    """An option of `detect` that writes detections in a format.

    The value of a folder's option is for files per frame; that of a stream's is a file, or "-" for standard output; a switch
    has none. `make` returns the output for the value and a `RunInfo`; ValueError if that is impossible.
    """

    option: str
    kind: Literal["folder", "file", "stream", "switch"]
    help: str
    make: Callable[[Any, RunInfo], Output]
    suffixes: frozenset[str] = frozenset()  # of files directly in the folder; no source or other target there may have them
    short: str | None = None
    default: Path | None = None

    @property
    def name(self) -> str:
        """The attribute in argparse's namespace."""
        return self.option[2:].replace("-", "_")


def _yolo(folder: Path, run_info: RunInfo) -> Output:
    write_yolo_names(folder, run_info.labels)
    return FrameFiles(folder, write_yolo)


def _files(write: Callable[[Path, Seen], None]) -> Callable[[Path, RunInfo], Output]:
    return lambda folder, _: FrameFiles(folder, write)


_TO_STDOUT = "; - is standard output"

FORMATS = (
    OutputFormat(
        "--output",
        "folder",
        "folder for the annotated copies (default: %(default)s)",
        annotated.copies,
        PICTURE_SUFFIXES | {".mp4"},
        "-o",
        Path("detections"),
    ),
    OutputFormat("--json", "stream", f"write all detections as JSON{_TO_STDOUT}", lambda target, _: JsonOutput(target)),
    OutputFormat(
        "--jsonl", "stream", f"write a line of JSON per frame{_TO_STDOUT}", lambda target, _: JsonLinesOutput(target)
    ),
    OutputFormat("--csv", "stream", f"write all detections as CSV{_TO_STDOUT}", lambda target, _: CsvOutput(target)),
    OutputFormat("--coco", "stream", f"write all detections as a COCO data set{_TO_STDOUT}", CocoOutput),
    OutputFormat("--yolo", "folder", "write YOLO label files", _yolo, frozenset({".txt", ".yaml"})),
    OutputFormat("--voc", "folder", "write PASCAL VOC XML files", _files(write_voc), frozenset({".xml"})),
    OutputFormat("--crops", "folder", "write each object as a picture of its own, in a folder per class", _files(write_crops)),
    OutputFormat(
        "--video-out",
        "file",
        "write the annotated copy of the only video, camera or stream to this file",
        annotated.video_copy,
    ),
    OutputFormat("--show", "switch", "show each frame in a window; q or Escape ends the command", annotated.window),
)


def add_arguments(add: Callable[..., object]) -> None:
    """Add the options of the table, ``--no-image``, which turns off the only default, and those of drawing."""
    for row in FORMATS:
        names = [name for name in (row.short, row.option) if name]
        kind: dict[str, Any] = {"type": str if row.kind == "stream" else Path, "default": row.default}
        kind["metavar"] = "DIR" if row.kind == "folder" else "FILE"
        add(*names, help=row.help, **({"action": "store_true"} if row.kind == "switch" else kind))
    add("--no-image", action="store_true", help="write no annotated copies")
    add(
        "--line-width",
        type=positive,
        metavar="N",
        help="width of the boxes' lines in pixels (default: 1/200 of the shorter side, at least 2)",
    )
    add("--no-labels", dest="labels", action="store_false", help="draw boxes without class and score")


def folders(args: argparse.Namespace) -> list[Path]:
    """Return all output folders, in which no sources are searched for."""
    return [folder for row in FORMATS if row.kind == "folder" and (folder := getattr(args, row.name)) is not None]


def to_stdout(args: argparse.Namespace) -> bool:
    """Whether a format is written to standard output, which then gets nothing else."""
    targets = [getattr(args, row.name) for row in FORMATS if row.kind == "stream"]
    return any(target == "-" or own_descriptor(target) == 1 for target in targets if target is not None)


def make_outputs(args: argparse.Namespace, run_info: RunInfo) -> list[Output]:
    """Return the outputs that the arguments name, after checking that each can be written; CommandError if not."""
    values = [(row, getattr(args, row.name)) for row in FORMATS if not (row.name == "output" and args.no_image)]
    asked = [(row, value) for row, value in values if value]
    files = {row.option: value for row, value in asked if row.kind in ("file", "stream")}
    folders = [(row, folder) for row, folder in asked if row.kind == "folder"]
    for _, folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(f"cannot make the folder {shown(folder)}: {error.strerror}") from error
        if not os.access(folder, os.W_OK):
            raise CommandError(f"cannot write to the folder {shown(folder)}")
    check_targets(files, {OF_SOURCES: run_info.sources.files, OF_MODEL: reserved_by(args.model, args.weights)})
    for row, folder in folders:
        parent = resolved(folder)
        for path in run_info.sources.files:
            if path.suffix in row.suffixes and path.parent == parent and row.name != "output":  # its names are made unique
                raise CommandError(f"{row.option}: {shown(path)} is one of the sources")
        for option, target in files.items():
            path = resolved(target)
            if path.suffix.lower() in row.suffixes and path.parent == parent:
                problem = f"{row.option} may write a file of this name too; choose another folder or suffix"
                raise CommandError(f"{option}: {shown(target)}: {problem}")
    outputs = []
    for row, value in asked:
        with usage_errors(about=f"{row.option}: "):
            outputs.append(row.make(value, run_info))
    return outputs
