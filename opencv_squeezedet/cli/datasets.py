"""What the subcommands that work on a data set share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from opencv_squeezedet.cli.common import Parser, complain, usage_errors, write_errors
from opencv_squeezedet.datasets import Dataset, load_dataset
from opencv_squeezedet.files import write_whole

_MOST_PROBLEMS = 10


def add_dataset_arguments(parser: Parser) -> None:
    """Add the data set and the options that select its parts."""
    parser.add_argument("dataset", metavar="DATASET", help="COCO's JSON, a VOC folder, YOLO's folder or YAML")
    add = parser.add_argument_group("input").add_argument
    add("--split", metavar="S", help="VOC, YOLO: which split (all)")
    add("--images", metavar="DIR", help="the pictures, if elsewhere")


def input_size(text: str) -> tuple[int, int]:
    """Read a network's input size: 416 or 416x416."""
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"pixels, as in 416 or 416x416, were expected, got {text!r}")
    return int(found[1]), int(found[2] or found[1])


def load(args: argparse.Namespace, labels: Sequence[str] | None = None) -> Dataset:
    """Load the data set that the arguments name, and print its first problems.

    Raises
    ------
    CommandError
        If it cannot be used.
    """
    with usage_errors():
        dataset = load_dataset(args.dataset, images=args.images, split=args.split, labels=labels)
    for problem in dataset.problems[:_MOST_PROBLEMS]:
        complain(args.program, problem)
    if len(dataset.problems) > _MOST_PROBLEMS:
        complain(args.program, f"and {len(dataset.problems) - _MOST_PROBLEMS} more problems in the data set")
    return dataset


def write(target: str, content: bytes) -> None:
    """Write a file; CommandError if that fails."""
    with write_errors():
        write_whole(Path(target), content)
