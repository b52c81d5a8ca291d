"""The command ``classify``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import nullcontext

import cv2

from opencv_squeezedet.classifier import SqueezeNet
from opencv_squeezedet.cli import arguments
from opencv_squeezedet.cli.errors import EXIT_SOME_FAILED, usage_errors, write_errors
from opencv_squeezedet.cli.outputs import JsonOutput
from opencv_squeezedet.cli.parser import CommandParser
from opencv_squeezedet.cli.sources import Frame, Source, VideoError, find_sources
from opencv_squeezedet.cli.targets import OF_MODEL, OF_SOURCES, check_targets
from opencv_squeezedet.cli.terminal import complain, shown
from opencv_squeezedet.errors import reason
from opencv_squeezedet.model_files import reserved_by

DESCRIPTION = (
    "Classify pictures: print the most probable classes of each. The package contains no classifier, so --model is required."
)
USAGE = "--model MODEL [options] SOURCE ..."
EXAMPLE = "--model squeezenet-v1.1 photo.jpg"


def add_arguments(parser: CommandParser) -> None:
    parser.add_sources(metavar="SOURCE", help=arguments.SOURCE_HELP)
    add = parser.add_argument_group("classification").add_argument
    add("--model", required=True, metavar="MODEL", help=arguments.MODEL_HELP)
    arguments.add_weights(add)
    arguments.add_backend(add)
    add = parser.add_argument_group("input").add_argument
    arguments.add_recursive(add)
    arguments.add_every(add)
    add = parser.add_argument_group("output").add_argument
    add("--top", type=arguments.positive, default=5, metavar="N", help="number of classes per picture (default: %(default)s)")
    add("--json", metavar="FILE", help="write all results as JSON; - writes them to standard output in place of the text")


def run(args: argparse.Namespace) -> int:
    sources = find_sources(
        args.sources, recursive=args.recursive, without=(), complain=lambda message: complain(args.program, message)
    )
    model = reserved_by(args.model, args.weights)
    check_targets({"--json": args.json}, {OF_SOURCES: sources.files, OF_MODEL: model})
    with usage_errors():
        classifier = SqueezeNet(args.model, args.weights, backend=args.backend, target=args.target)
    failures = sources.failures
    with write_errors(), nullcontext() if args.json is None else JsonOutput(args.json) as written:
        for frame in _frames(sources.frames, args.every):
            message = frame if isinstance(frame, str) else _classify(classifier, frame, args, written)
            if message is not None:
                complain(args.program, message)
                failures += 1
    return EXIT_SOME_FAILED if failures else 0


def _frames(sources: list[Source], every: int) -> Iterator[Frame | str]:
    """Yield each picture, or the error message of a source."""
    for source in sources:
        if isinstance(source, Frame):
            yield source
            continue
        try:
            yield from source.frames(every)
        except VideoError as error:
            yield str(error)


def _classify(classifier: SqueezeNet, frame: Frame, args: argparse.Namespace, written: JsonOutput | None) -> str | None:
    """Classify a picture and write its classes; returns the error message if that fails."""
    try:
        image = frame.load()
        classes = classifier.classify(image, args.top)
    except (OSError, ValueError, MemoryError, RuntimeError, cv2.error) as error:
        return f"{frame.name}: {reason(error)}"
    if written is not None:
        written.add_result(frame, (image.shape[1], image.shape[0]), classes.to_dict())
    if args.json != "-":
        number = "" if frame.number is None else f" frame {frame.number}"
        rows = (f"  {c.probability:.3f} {c.class_id:>4} {shown(c.label)}" for c in classes)
        print(shown(frame.name) + number, *rows, sep="\n")
    return None
