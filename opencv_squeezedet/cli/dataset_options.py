"""The options that select a data set, and loading it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence

from opencv_squeezedet.cli.errors import usage_errors
from opencv_squeezedet.cli.parser import CommandParser
from opencv_squeezedet.cli.terminal import complain
from opencv_squeezedet.datasets import Dataset, Problem, load_dataset

DATASET_HELP = "data set: a COCO JSON file, a PASCAL VOC folder, or a YOLO folder or YAML file"
IMAGES_HELP = "folder of the data set's pictures, if they are elsewhere"


def add_dataset_arguments(parser: CommandParser, *, fraction: str = "") -> None:
    """Add the data set and the options that select its parts; ``fraction`` says what ``--split 0.2`` does."""
    parser.add_argument("dataset", metavar="DATASET", help=DATASET_HELP)
    add = parser.add_argument_group("input").add_argument
    add("--split", metavar="SPLIT", help=f"split of a VOC or YOLO data set{fraction} (default: all pictures)")
    add("--images", metavar="DIR", help=IMAGES_HELP)


def load(args: argparse.Namespace, labels: Sequence[str] | None = None) -> Dataset:
    """Load the data set that the arguments name, and print its problems, a line for each kind.

    Raises
    ------
    CommandError
        If it cannot be used.
    """
    with usage_errors():
        dataset = load_dataset(args.dataset, images=args.images, split=args.split, labels=labels)
    if dataset.layout:
        complain(args.program, f"{args.dataset}: {dataset.layout}")
    print_problems(args.program, dataset.problems)
    return dataset


def print_problems(program: str, problems: Iterable[Problem]) -> None:
    """Print a line for each kind of problem."""
    for problem in problems:
        complain(program, str(problem))


def is_fraction(split: str | None) -> bool:
    """Whether a split is a number, as in ``--split 0.2``."""
    return re.fullmatch(r"0?\.\d+", split or "") is not None


def load_parts(args: argparse.Namespace, labels: Sequence[str] | None = None) -> tuple[Dataset, Dataset | None]:
    """Load the data set that the arguments name; for ``--split 0.2`` all but a random fifth of it, and that fifth.

    Raises
    ------
    CommandError
        If it cannot be used.
    """
    if not is_fraction(args.split):
        return load(args, labels), None
    dataset = load(argparse.Namespace(**{**vars(args), "split": None}), labels)
    with usage_errors(about="--split: "):
        return dataset.random_split(float(args.split))


def load_measured(args: argparse.Namespace, labels: Sequence[str] | None = None) -> Dataset:
    """Load the data set that the arguments name; for ``--split 0.2`` the fifth that `load_parts` holds out."""
    dataset, held_out = load_parts(args, labels)
    return dataset if held_out is None else held_out
