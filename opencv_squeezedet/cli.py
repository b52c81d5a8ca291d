"""The command ``detect``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import cv2

from opencv_squeezedet._checks import fraction
from opencv_squeezedet._version import __version__
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.detector import SqueezeDet
from opencv_squeezedet.draw import draw
from opencv_squeezedet.files import PICTURE_SUFFIXES, encode_picture, read_picture, write_whole
from opencv_squeezedet.model import ModelError

EXIT_SOME_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


class CommandError(Exception):
    """Ends the command with one line on standard error."""

    def __init__(self, message: str, status: int = EXIT_USAGE) -> None:
        super().__init__(message)
        self.status = status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message} (see detect --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``detect``; returns the exit status: 0, 1 if some picture failed, 2 for wrong usage, 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name may hold what the terminal cannot show
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # the command says itself what went wrong
    try:
        status = _detect(_parse(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return status
    except CommandError as error:
        _complain(str(error))
        return error.status
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # as in "detect ... | head": nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_SOME_FAILED


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    # argparse cannot do both: sources between the options, and sources after "--" that begin with a dash.
    end = argv.index("--") if "--" in argv else len(argv)
    args = parser.parse_intermixed_args(argv[:end])
    args.sources += map(Path, argv[end + 1 :])
    if not args.sources:
        parser.error("the following arguments are required: IMAGE|FOLDER")
    return args


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="detect",
        usage="detect [options] IMAGE|FOLDER ...",
        description="Find objects in pictures: one line an object, and annotated copies of the pictures.",
        epilog="example: detect holiday/ photo.jpg -o found --threshold 0.4 --json found.json",
    )
    parser.add_argument("sources", nargs="*", type=Path, metavar="IMAGE|FOLDER", help="picture, or folder of pictures")
    parser.add_argument("-o", "--output", type=Path, default=Path("detections"), metavar="DIR", help="default: detections/")
    parser.add_argument("--model", metavar="M", help="a model M.prototxt, M.caffemodel, M.json (default: the embedded)")
    parser.add_argument("--weights", metavar="W", help="caffemodel, where its name is another")
    parser.add_argument("--threshold", type=_threshold, metavar="T", help="score threshold in [0, 1] (default: the model's)")
    parser.add_argument("--nms", type=_threshold, metavar="T", help="NMS threshold in [0, 1] (default: the model's)")
    parser.add_argument("--json", metavar="FILE", help="write all objects as JSON; - for standard output, without other lines")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _threshold(text: str) -> float:
    try:
        return fraction("a threshold", float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a number in [0, 1] was expected, got {text!r}") from None


def _detect(args: argparse.Namespace) -> int:
    detector = _load(args.model, args.weights)
    _make_folder(args.output)
    pictures, failures = _pictures(args.sources)
    taken = {path.resolve() for path in pictures}  # no picture of the user's is overwritten
    _check_json_target(args.json, taken)
    results: list[dict[str, Any]] = []
    status = EXIT_SOME_FAILED if failures else 0
    try:
        for path, say in _with_progress(pictures):
            try:
                image = read_picture(path)
                found = detector.detect(image, score_threshold=args.threshold, nms_threshold=args.nms)
                suffix = path.suffix if cv2.haveImageWriter("x" + path.suffix) else ".png"
                content = encode_picture(draw(image, found), suffix)
            except (OSError, ValueError, MemoryError, cv2.error) as error:
                _complain(f"{_shown(path)}: {_reason(error)}")
                status = EXIT_SOME_FAILED
                continue
            _write(_free_name(args.output, path.stem, suffix, taken), content)
            results.append({"file": str(path), "width": image.shape[1], "height": image.shape[0], **found.to_dict()})
            if args.json != "-":
                say(_lines(path, found))
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED  # what is done is still written
    _write_json(args.json, results)
    return status


def _load(model: str | None, weights: str | None) -> SqueezeDet:
    try:
        with _native_messages_hidden():
            return SqueezeDet(model, weights)
    except OSError as error:
        name = f"{_shown(Path(error.filename))}: " if error.filename else ""
        raise CommandError(name + _reason(error)) from error
    except ModelError as error:
        raise CommandError(_reason(error)) from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot make the folder {_shown(folder)}: {error.strerror}") from error


def _check_json_target(target: str | None, taken: set[Path]) -> None:
    """Refuse at once what could not be written at the end, and keep the name from the annotated pictures."""
    if target is None or target == "-":
        return
    path = Path(target).resolve()
    if path in taken:
        raise CommandError(f"--json: {_shown(Path(target))} is one of the pictures")
    if path.is_dir() or not path.parent.is_dir():
        raise CommandError(f"--json: {_shown(Path(target))} is a folder, or lies in none")
    taken.add(path)


def _pictures(sources: list[Path]) -> tuple[list[Path], int]:
    """All picture files, those of a folder by name, and how many sources have none."""
    pictures: list[Path] = []
    failures = 0
    for source in sources:
        if not source.is_dir():
            pictures.append(source)
            continue
        try:
            inside = sorted(path for path in source.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file())
        except OSError as error:
            inside = []
            _complain(f"{_shown(source)}: {_reason(error)}")
        else:
            if not inside:
                _complain(f"{_shown(source)}: no pictures in this folder")
        failures += not inside
        pictures += inside
    return pictures, failures


def _with_progress(pictures: list[Path]) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """Each picture with a function that prints a line; a progress bar where there is a terminal, tqdm and enough to do."""
    if len(pictures) > 1 and sys.stderr.isatty():
        try:
            from tqdm import tqdm
        except ImportError:
            pass
        else:
            with tqdm(pictures, unit="picture", leave=False) as bar:
                for path in bar:
                    yield path, tqdm.write
            return
    for path in pictures:
        yield path, print


def _free_name(folder: Path, stem: str, suffix: str, taken: set[Path]) -> Path:
    """A file name in the folder that no source has and no other output of this run; marks it as taken."""
    number = 1
    while True:
        path = folder / (f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}")
        key = path.resolve()
        if key not in taken:
            taken.add(key)
            return path
        number += 1


def _lines(path: Path, found: Detections) -> str:
    """One line an object: file, label, score, box."""
    boxes = [f"{_shown(path)}: {d.label} {d.confidence:.2f} ({', '.join(f'{v:.0f}' for v in d.xyxy)})" for d in found]
    return "\n".join(boxes) or f"{_shown(path)}: nothing found"


def _write_json(target: str | None, results: list[dict[str, Any]]) -> None:
    if target is None:
        return
    text = json.dumps(results, indent=1) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        _write(Path(target), text.encode())


def _write(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content)
    except OSError as error:
        raise CommandError(f"cannot write {_shown(path)}: {error.strerror or error}", EXIT_SOME_FAILED) from error


@contextmanager
def _native_messages_hidden() -> Iterator[None]:
    """Keep libraries below Python from writing to standard error what an exception tells as well."""
    sys.stderr.flush()
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _complain(message: str) -> None:
    print(f"detect: {message}", file=sys.stderr)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _shown(path: Path) -> str:
    """A file name on one line, whatever it holds."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(path))
