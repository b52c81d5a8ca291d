"""The command ``squeezedet check``."""

from __future__ import annotations

import argparse
import os

import numpy as np

from opencv_squeezedet.cli import dataset_options
from opencv_squeezedet.cli.errors import EXIT_SOME_FAILED, usage_errors
from opencv_squeezedet.cli.parser import CommandParser
from opencv_squeezedet.cli.targets import check_targets, write_target
from opencv_squeezedet.cli.terminal import complain, print_table, shown
from opencv_squeezedet.datasets import Dataset, load_dataset
from opencv_squeezedet.datasets.duplicates import find_duplicates
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.draw import class_colour, contact_sheet, draw, thumbnail
from opencv_squeezedet.pictures import encode_picture, read_picture
from opencv_squeezedet.preprocess import Picture

DESCRIPTION = (
    "Show how a data set is understood: its layout, splits, classes and objects, and each kind of doubtful annotation.\n"
    "The exit status is 1 if something was left out, so that the command can run in continuous integration."
)
USAGE = "[options] DATASET"
EXAMPLE = "bolts/ --sheet bolts.jpg"
_SHEET_PICTURES = 24
_MOST_GROUPS = 3  # of equal pictures that are named
_GREY = (150, 150, 150)


def add_arguments(parser: CommandParser) -> None:
    dataset_options.add_dataset_arguments(parser)
    add = parser.add_argument_group("output").add_argument
    add("--sheet", metavar="FILE", help=f"write a contact sheet of up to {_SHEET_PICTURES} pictures with their boxes")


def run(args: argparse.Namespace) -> int:
    check_targets({"--sheet": args.sheet}, {"the data set": [args.dataset]})
    with usage_errors():
        dataset = load_dataset(args.dataset, images=args.images, split=args.split)
        splits = dataset.splits if args.split is None and args.images is None else ()
        parts = {split: load_dataset(args.dataset, split=split, labels=dataset.labels) for split in splits}
    print(f"layout: {shown(dataset.layout)}")
    _print_splits({**parts, args.split or "all": dataset})
    _print_classes(dataset)
    _print_duplicates(dataset, parts)
    for problem in sorted(dataset.problems, key=lambda problem: not problem.left_out):
        print(shown(str(problem)))
    unread = [] if args.sheet is None else _write_sheet(args.sheet, dataset)
    for line in unread:
        complain(args.program, line)
    return EXIT_SOME_FAILED if unread or any(problem.left_out for problem in dataset.problems) else 0


def _print_splits(parts: dict[str, Dataset]) -> None:
    rows = []
    for name, part in parts.items():
        empty = sum(not len(picture.class_id) for picture in part.pictures)
        objects, difficult = part.objects()[:, :2].sum(0).tolist()
        rows.append([name, *(f"{number:,}" for number in (len(part.pictures), empty, objects, difficult))])
    print_table(["split", "pictures", "empty", "objects", "difficult"], rows, numbers=4)


def _print_classes(dataset: Dataset) -> None:
    rows = [[label, *(f"{n:,}" for n in row)] for label, row in zip(dataset.labels, dataset.objects().tolist(), strict=True)]
    print()
    print_table(["class", "objects", "difficult", "small", "medium", "large"], rows, numbers=5)
    print("small: below 32x32 pixels of the picture; large: from 96x96\n")


def _print_duplicates(dataset: Dataset, parts: dict[str, Dataset]) -> None:
    groups = find_duplicates([picture.path for picture in dataset.pictures])
    if groups:
        root = os.path.commonpath([path.parent for group in groups for path in group])
        named = "; ".join(" = ".join(os.path.relpath(path, root) for path in group) for group in groups[:_MOST_GROUPS])
        more = "; ..." if len(groups) > _MOST_GROUPS else ""
        print(shown(f"pictures with the same content: {sum(map(len, groups)) - len(groups)} ({named}{more})"))
    same = {path: group[0] for group in groups for path in group}
    contents = {name: {same.get(picture.path, picture.path) for picture in part.pictures} for name, part in parts.items()}
    train = contents.get("train", set())
    for name, of_split in contents.items():
        if name not in ("train", "trainval") and (shared := len(train & of_split)):
            print(f"pictures both in train and in {shown(name)}: {shared}")


def _write_sheet(target: str, dataset: Dataset) -> list[str]:
    """Write the contact sheet; returns a line for each picture that cannot be read."""
    with_objects = [picture for picture in dataset.pictures if len(picture.class_id)] or list(dataset.pictures)
    chosen = sorted({*np.linspace(0, len(with_objects) - 1, _SHEET_PICTURES).round().astype(int).tolist()})
    names = [*dataset.labels, *(f"{label} (difficult)" for label in dataset.labels)]
    ignored = len(names)
    colours = {name: class_colour(i % len(dataset.labels)) for i, name in enumerate(names)} | {"ignored": _GREY}
    sheet: list[Picture] = []
    unread = []
    for picture in (with_objects[i] for i in chosen):
        try:
            image, scale = thumbnail(read_picture(picture.path))
        except (OSError, ValueError) as error:
            unread.append(f"{picture.path}: {error}")
            continue
        boxes = np.concatenate([picture.xyxy, picture.ignored]) * scale
        class_id = (picture.class_id + len(dataset.labels) * picture.difficult).tolist() + [ignored] * len(picture.ignored)
        marks = Detections(boxes, [1.0] * len(boxes), class_id, [*names, "ignored"])
        sheet.append(draw(image, marks, confidence=False, colours=colours))
    if sheet:
        write_target(target, encode_picture(contact_sheet(sheet), ".jpg"))
    return unread
