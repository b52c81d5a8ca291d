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


def add_dataset_arguments(parser: Parser, *, split: str = "VOC, YOLO: which split (all)") -> None:
    """Add the data set and the options that select its parts."""
    parser.add_argument("dataset", metavar="DATASET", help="COCO's JSON, a VOC folder, YOLO's folder or YAML")
    add = parser.add_argument_group("input").add_argument
    add("--split", metavar="S", help=split)
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
    if dataset.layout:
        complain(args.program, f"{args.dataset}: {dataset.layout}")
    for problem in dataset.problems[:_MOST_PROBLEMS]:
        complain(args.program, problem)
    if len(dataset.problems) > _MOST_PROBLEMS:
        complain(args.program, f"and {len(dataset.problems) - _MOST_PROBLEMS} more problems in the data set")
    return dataset


def is_share(split: str | None) -> bool:
    """Whether a split is a number, as in ``--split 0.2``."""
    return re.fullmatch(r"0?\.\d+", split or "") is not None


def load_parts(args: argparse.Namespace, labels: Sequence[str] | None = None) -> tuple[Dataset, Dataset | None]:
    """Load the data set that the arguments name; for ``--split 0.2`` all but a random fifth of it, and that fifth.

    Raises
    ------
    CommandError
        If it cannot be used.
    """
    if not is_share(args.split):
        return load(args, labels), None
    dataset = load(argparse.Namespace(**{**vars(args), "split": None}), labels)
    with usage_errors(about="--split: "):
        return dataset.random_split(float(args.split))


def load_measured(args: argparse.Namespace, labels: Sequence[str] | None = None) -> Dataset:
    """Load the data set that the arguments name; for ``--split 0.2`` the fifth that `load_parts` holds apart."""
    dataset, apart = load_parts(args, labels)
    return dataset if apart is None else apart


def write(target: str, content: bytes) -> None:
    """Write a file; CommandError if that fails."""
    with write_errors():
        write_whole(Path(target), content)
