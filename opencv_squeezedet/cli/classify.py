"""The command ``classify``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack

import cv2

from opencv_squeezedet.classifier import Classes, SqueezeNet
from opencv_squeezedet.cli.common import (
    EXIT_SOME_FAILED,
    OF_MODEL,
    OF_SOURCES,
    SOURCE_HELP,
    Parser,
    add_backend,
    check_targets,
    complain,
    positive,
    reason,
    shown,
    usage_errors,
    write_errors,
)
from opencv_squeezedet.cli.outputs import JsonOutput
from opencv_squeezedet.cli.sources import Frame, Source, SourceError, find_sources
from opencv_squeezedet.model_files import reserved_by

DESCRIPTION = (
    "Classify pictures: the most probable classes of each. No classifier comes with the package, so --model is required."
)
USAGE = "--model M [options] SOURCE ..."
EXAMPLE = "--model squeezenet-v1.1 photo.jpg"


def add_arguments(parser: Parser) -> None:
    """Add classify's arguments."""
    parser.add_sources(metavar="SOURCE", help=SOURCE_HELP)
    add = parser.add_argument_group("model").add_argument
    add(
        "--model",
        required=True,
        metavar="M",
        help="a model's files, .caffemodel, .onnx or .net, or a name from 'squeezedet models list'",
    )
    add("--weights", metavar="W", help="its caffemodel, if its name differs")
    add_backend(add)
    add = parser.add_argument_group("input and output").add_argument
    add("-r", "--recursive", action="store_true", help="subfolders too")
    add("--every", type=positive, default=1, metavar="N", help="every N-th frame of a video")
    add("--top", type=positive, default=5, metavar="N", help="classes per picture (default: 5)")
    add("--json", metavar="FILE", help="all as JSON; - for stdout, without the table")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    sources = find_sources(
        args.sources,
        recursive=args.recursive,
        without=(),
        complain=lambda message: complain(args.program, message),
    )
    model = reserved_by(args.model, args.weights)
    check_targets({"--json": args.json}, {OF_SOURCES: sources.files, OF_MODEL: model})
    with usage_errors():
        classifier = SqueezeNet(args.model, args.weights, backend=args.backend, target=args.target)
    failures = sources.failures
    with write_errors(), ExitStack() as stack:
        written = None if args.json is None else stack.enter_context(JsonOutput(args.json))
        for frame in _frames(sources.frames, args.every):
            message = frame if isinstance(frame, str) else _classify(classifier, frame, args, written)
            if message is not None:
                complain(args.program, message)
                failures += 1
    return EXIT_SOME_FAILED if failures else 0


def _frames(sources: list[Source], every: int) -> Iterator[Frame | str]:
    """Yield each picture, or what is wrong with a source."""
    for source in sources:
        if isinstance(source, Frame):
            yield source
            continue
        try:
            yield from source.frames(every)
        except SourceError as error:
            yield str(error)


def _classify(classifier: SqueezeNet, frame: Frame, args: argparse.Namespace, written: JsonOutput | None) -> str | None:
    """Classify one picture and write its classes; returns what is wrong with it, if anything is."""
    try:
        image = frame.load()
        classes = classifier.classify(image, args.top)
    except (OSError, ValueError, MemoryError, RuntimeError, cv2.error) as error:
        return f"{frame.name}: {reason(error)}"
    if written is not None:
        written.add_result(frame, (image.shape[1], image.shape[0]), classes.to_dict())
    if args.json != "-":
        print("\n".join(_lines(frame, classes)))
    return None


def _lines(frame: Frame, classes: Classes) -> list[str]:
    """The picture's name, followed by a line per class."""
    number = "" if frame.number is None else f" frame {frame.number}"
    return [shown(frame.name) + number, *(f"  {c.probability:.3f} {c.class_id:>4} {shown(c.label)}" for c in classes)]
