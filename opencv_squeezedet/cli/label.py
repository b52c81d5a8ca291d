"""The command ``squeezedet label``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from opencv_squeezedet.cli.arguments import add_quiet
from opencv_squeezedet.cli.errors import EXIT_SOME_FAILED, CommandError, usage_errors
from opencv_squeezedet.cli.parser import CommandParser
from opencv_squeezedet.cli.targets import OF_MODEL, OF_SOURCES, check_targets
from opencv_squeezedet.cli.terminal import complain, shown
from opencv_squeezedet.extras import needs
from opencv_squeezedet.model_files import reserved_by
from opencv_squeezedet.pictures import PICTURE_SUFFIXES
from opencv_squeezedet.presets import VOC
from opencv_squeezedet.progress import progress_bar

DESCRIPTION = "Label pictures with a teacher, for squeezedet train --teacher: boxes, each with a score for every class."
USAGE = "[options] SOURCE ... -o FILE"
EXAMPLE = "photos/ --teacher picodet=p.onnx --teacher yolox=y.param --weights 1,0.7 -o teacher.json"


def add_arguments(parser: CommandParser) -> None:
    parser.add_sources(metavar="SOURCE", help="a picture, or a folder of pictures")
    add = parser.add_argument_group("labelling").add_argument
    add(
        "--teacher",
        required=True,
        action="append",
        metavar="TEACHER",
        help="a model as in squeezedet detect --model; KIND=PATH, where KIND is nanodet, nanodet-plus, picodet or yolox; or "
        "MODULE:FUNCTION, a Python function that returns a teacher; several teachers are fused",
    )
    add("--weights", metavar="W,W", help="weights of the teachers, separated by commas (default: all equal)")
    add("--mirror", action="store_true", help="let the first teacher label the mirrored picture too")
    add("--labels", metavar="A,B", help="classes, separated by commas (default: the twenty of PASCAL VOC)")
    add(
        "--hint",
        action="append",
        default=[],
        metavar="PREFIX=CLASS",
        help="class shown by the pictures whose file names begin with PREFIX; PREFIX= skips them; may be repeated",
    )
    add("-o", "--output", required=True, type=Path, metavar="FILE", help="file for the pseudo-labels, JSON in COCO's format")
    add_quiet(add)


def run(args: argparse.Namespace) -> int:
    labels = VOC.labels if args.labels is None else tuple(label.strip() for label in args.labels.split(","))
    hints = {}
    for hint in args.hint:
        prefix, equals, label = hint.partition("=")
        if not equals or (label and label not in labels):
            raise CommandError(
                f"--hint: PREFIX=CLASS was expected, with one of the classes {', '.join(labels)}, got {shown(hint)!r}"
            )
        hints[prefix] = label
    try:
        weights = None if args.weights is None else [float(weight) for weight in args.weights.split(",")]
    except ValueError:
        raise CommandError(f"--weights: numbers separated by commas were expected, got {shown(args.weights)!r}") from None
    problems: list[str] = []

    def report(problem: str) -> None:
        problems.append(problem)
        complain(args.program, problem)

    missing: list[str] = []
    paths = list(_pictures(args.sources, missing.append))
    teachers = [name.partition("=")[2] or name for name in args.teacher]
    check_targets({"--output": args.output}, {OF_SOURCES: paths, OF_MODEL: reserved_by(*teachers)})
    with usage_errors():
        with needs("train"):
            from opencv_squeezedet.training import Ensemble, load_teacher, predict, write_pseudo_labels
        if not paths:
            raise CommandError(shown("; ".join(missing)) or "no pictures in the folders")
        for problem in missing:
            report(problem)
        teacher, *others = loaded = [load_teacher(name) for name in args.teacher]
        if others or weights is not None or args.mirror:
            teacher = Ensemble(loaded, labels, weights, mirror=args.mirror)
        with progress_bar(iterable=paths, quiet=args.quiet, extra="train", unit=" pictures") as bar:
            write_pseudo_labels(args.output, labels, predict(teacher, bar, labels, hints, report))
    return EXIT_SOME_FAILED if problems else 0


def _pictures(sources: Iterable[str], report: Callable[[str], None]) -> Iterator[Path]:
    for source in map(Path, sources):
        if source.is_dir():
            yield from sorted(path for path in source.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
        elif source.is_file():
            yield source
        else:
            report(f"{source}: {'not a regular' if source.exists() else 'no such'} file or folder")
