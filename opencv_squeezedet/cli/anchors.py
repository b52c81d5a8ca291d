"""The command ``squeezedet anchors``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from opencv_squeezedet.anchor_shapes import (
    DISTANCES,
    AnchorShapes,
    anchor_config,
    box_shapes,
    find_shapes,
    matched_iou,
    plot,
    score_shapes,
)
from opencv_squeezedet.cli import datasets
from opencv_squeezedet.cli.common import Parser, check_targets, positive, print_table, usage_errors
from opencv_squeezedet.presets import VOC

DESCRIPTION = "Find anchor shapes for a data set: k-means over its box sizes, at the network's input size."
USAGE = "[options] DATASET"
EXAMPLE = "pictures/train.json --size 320 --json head.json --plot anchors.png"


def add_arguments(parser: Parser) -> None:
    """Add the arguments of the command."""
    datasets.add_dataset_arguments(parser)
    add = parser.add_argument_group("search").add_argument
    add("--count", type=positive, default=len(VOC.anchors), metavar="N", help="number of shapes (9)")
    add("--size", type=datasets.input_size, default=VOC.input_size, metavar="WxH", help="the network's input size (416x416)")
    add("--distance", choices=DISTANCES, default="iou", metavar="D", help="iou (the default) or euclidean, as in 2017")
    add("--seed", type=int, default=0, metavar="N", help="random seed of k-means (0)")
    add = parser.add_argument_group("output").add_argument
    add("--json", metavar="FILE", help="the head's config, ready for training")
    add("--plot", metavar="FILE", help="plot of the clusters (.png, .svg, .pdf)")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    check_targets({"--json": args.json, "--plot": args.plot}, {"the data set": [args.dataset]})
    dataset = datasets.load(args)
    with usage_errors():
        boxes = box_shapes(dataset, args.size)
        found = find_shapes(boxes, args.count, distance=args.distance, seed=args.seed)
        config = anchor_config(found.shapes, dataset.labels, args.size)
        picture = None if args.plot is None else plot(boxes, found, args.size, Path(args.plot).suffix)
    _print(boxes, found, args.size)
    if args.json is not None:
        datasets.write(args.json, f"{config.to_json()}\n".encode())
    if picture is not None:
        datasets.write(args.plot, picture)
    return 0


def _print(boxes: np.ndarray, found: AnchorShapes, size: tuple[int, int]) -> None:
    shapes = zip(found.shapes.tolist(), found.share.tolist(), found.mean_iou.tolist(), strict=True)
    rows = [[f"{w:.1f}", f"{h:.1f}", f"{100 * share:.1f}", f"{iou:.3f}"] for (w, h), share, iou in shapes]
    print_table(["width", "height", "boxes, %", "mean IoU"], rows, numbers=4)
    published = VOC.scaled(size).anchors
    print(f"mean best IoU of {len(boxes)} boxes: {found.mean_best_iou:.3f}")
    print(f"with the published shapes of VOC: {score_shapes(boxes, published).mean_best_iou:.3f}")
    if len(found.shapes) == len(published):
        near = matched_iou(found.shapes, published)
        print(f"mean IoU of each shape with its published partner: {near.mean():.3f} (lowest {near.min():.3f})")
