"""The command ``squeezedet anchors``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from opencv_squeezedet.anchor_shapes import DISTANCES, AnchorShapes, anchor_config, box_shapes, find_shapes, plot, score_shapes
from opencv_squeezedet.cli import dataset_options
from opencv_squeezedet.cli.arguments import SEED_HELP, SIZE_HELP, input_size, positive
from opencv_squeezedet.cli.errors import usage_errors
from opencv_squeezedet.cli.parser import CommandParser
from opencv_squeezedet.cli.targets import check_targets, write_target
from opencv_squeezedet.cli.terminal import print_table
from opencv_squeezedet.presets import VOC

DESCRIPTION = "Fit anchor shapes to a data set: k-means over its box sizes, at the network's input size."
USAGE = "[options] DATASET"
EXAMPLE = "pictures/train.json --size 320 --json head.json --plot anchors.png"


def add_arguments(parser: CommandParser) -> None:
    dataset_options.add_dataset_arguments(parser)
    add = parser.add_argument_group("search").add_argument
    add("--count", type=positive, default=len(VOC.anchors), metavar="N", help="number of shapes (default: %(default)s)")
    add("--size", type=input_size, default=VOC.input_size, metavar="WxH", help=f"{SIZE_HELP} (default: 416x416)")
    add(
        "--distance",
        choices=DISTANCES,
        default="iou",
        help="distance of k-means: 1 - IoU, or Euclidean as in 2017 (default: %(default)s)",
    )
    add("--seed", type=int, default=0, metavar="N", help=f"{SEED_HELP} (default: %(default)s)")
    add = parser.add_argument_group("output").add_argument
    add("--json", metavar="FILE", help="write a head's config with the shapes, for squeezedet train --anchors")
    add("--plot", metavar="FILE", help="draw the boxes and the shapes (.png, .svg, .pdf)")


def run(args: argparse.Namespace) -> int:
    check_targets({"--json": args.json, "--plot": args.plot}, {"the data set": [args.dataset]})
    dataset = dataset_options.load(args)
    with usage_errors():
        boxes = box_shapes(dataset, args.size)
        anchors = find_shapes(boxes, args.count, distance=args.distance, seed=args.seed)
        config = anchor_config(anchors.shapes, dataset.labels, args.size)
        picture = None if args.plot is None else plot(boxes, anchors, args.size, Path(args.plot).suffix)
    _print(boxes, anchors, args.size)
    if args.json is not None:
        write_target(args.json, f"{config.to_json()}\n".encode())
    if picture is not None:
        write_target(args.plot, picture)
    return 0


def _print(boxes: np.ndarray, anchors: AnchorShapes, size: tuple[int, int]) -> None:
    shapes = zip(anchors.shapes.tolist(), anchors.share.tolist(), anchors.mean_iou.tolist(), strict=True)
    rows = [[f"{w:.1f}", f"{h:.1f}", f"{100 * share:.1f}", f"{iou:.3f}"] for (w, h), share, iou in shapes]
    print_table(["width", "height", "boxes, %", "mean IoU"], rows, numbers=4)
    published = VOC.scaled(size).anchors
    print(f"mean best IoU of {len(boxes)} boxes: {anchors.mean_best_iou:.3f}")
    print(f"with the published shapes of VOC: {score_shapes(boxes, published).mean_best_iou:.3f}")
