"""The options that select a data set, and loading it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from opencv_squeezedet.cli.errors import CommandError, usage_errors
from opencv_squeezedet.cli.parser import CommandParser
from opencv_squeezedet.cli.terminal import complain
from opencv_squeezedet.datasets import Dataset, Problem, load_dataset, usual_splits

DATASET_HELP = "data set: a COCO JSON file, a YOLO YAML file, or a folder in the layout of COCO, VOC, YOLO, KITTI or labelme"
IMAGES_HELP = "folder of the data set's pictures, if they are elsewhere"
_HELD_OUT = 0.2


def add_dataset_arguments(parser: CommandParser, *, split: str = "split of the data set (default: all pictures)") -> None:
    """Add the data set and the options that select its parts; ``split`` is the help of ``--split``."""
    parser.add_argument("dataset", metavar="DATASET", help=DATASET_HELP)
    add = parser.add_argument_group("input").add_argument
    add("--split", metavar="SPLIT", help=split)
    add("--images", metavar="DIR", help=IMAGES_HELP)


def load(
    args: argparse.Namespace, labels: Sequence[str] | None = None, other: Dataset | None = None, **changes: str | None
) -> Dataset:
    """Load the data set that the arguments, with some ``changes``, name, and print its problems, a line for each kind.

    Problems that ``other``, the other split, has too are not printed again. CommandError if it cannot be used.
    """
    options = {name: getattr(args, name) for name in ("dataset", "images", "split")} | changes
    with usage_errors():
        dataset = load_dataset(options["dataset"], images=options["images"], split=options["split"], labels=labels)
    known = () if other is None else other.problems
    print_problems(args.program, [problem for problem in dataset.problems if problem not in known])
    return dataset


def print_problems(program: str, problems: Iterable[Problem]) -> None:
    """Print a line for each kind of problem."""
    for problem in problems:
        complain(program, str(problem))


def _is_fraction(split: str | None) -> bool:
    """Whether a split is a number, as in ``--split 0.2``."""
    return re.fullmatch(r"0?\.\d+", split or "") is not None


def load_measured(args: argparse.Namespace, labels: Sequence[str] | None = None) -> Dataset:
    """Load the data set that the arguments name; for ``--split 0.2`` the pictures that `load_parts` holds out."""
    if _is_fraction(args.split):
        return _random_split(args, labels)[1]
    dataset = load(args, labels)
    if args.split is None and dataset.splits:
        complain(args.program, f"all pictures of the splits {', '.join(dataset.splits)} are used; --split selects one split")
    return dataset


def _random_split(args: argparse.Namespace, labels: Sequence[str] | None = None) -> tuple[Dataset, Dataset]:
    with usage_errors():
        train, _ = usual_splits(args.dataset)
    dataset = load(args, labels, split=train)
    with usage_errors(about="--split: "):
        return dataset.random_split(float(args.split))


class Parts(NamedTuple):
    """The pictures to train on, those to validate on, and where they are from."""

    train: Dataset
    train_source: str
    validation: Dataset | None
    validation_source: str


def load_parts(args: argparse.Namespace) -> Parts:
    """Load the pictures to train and to validate on; see the help of ``squeezedet train``.

    CommandError if they cannot be used, or the options contradict each other.
    """
    if args.val_split is not None and args.val == "none":
        raise CommandError("--val none switches validation off: --val-split cannot be combined with it")
    if _is_fraction(args.split):
        if args.val is not None or args.val_split is not None:
            raise CommandError(
                f"--split {args.split} holds out pictures for validation: --val and --val-split cannot be combined with it"
            )
        rest, held_out = _random_split(args)
        return Parts(rest, "the other pictures", held_out, "held out at random")
    with usage_errors():
        train, val = usual_splits(args.dataset)
    split = args.split or train
    dataset = load(args, split=split)
    source = "all pictures" if split is None else f"split {split}"
    if args.val == "none":
        return Parts(dataset, source, None, "none, the accuracy is not measured")
    if args.val is not None:
        with usage_errors():
            val_split = args.val_split or usual_splits(args.val)[1]
        validation = load(args, dataset.labels, dataset=args.val, images=None, split=val_split)
        return Parts(dataset, source, validation, f"from {args.val}")
    val_split = args.val_split or (val if split is not None and val != split else None)
    if val_split is not None:
        return Parts(dataset, source, load(args, dataset.labels, dataset, split=val_split), f"split {val_split}")
    if len(dataset.pictures) < 2:
        return Parts(dataset, source, None, "none, a single picture cannot be divided")
    rest, held_out = dataset.random_split(_HELD_OUT)
    if all(picture.difficult.all() for picture in held_out.pictures):
        return Parts(dataset, source, None, "none, a random fifth of the pictures has no object")
    return Parts(rest, source, held_out, "a random fifth, because no validation split is declared")
