"""``squeezedet convert``: a network's files in another format."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from opencv_squeezedet.cli.arguments import MODEL_HELP, add_weights
from opencv_squeezedet.cli.errors import usage_errors
from opencv_squeezedet.cli.parser import CommandParser
from opencv_squeezedet.cli.terminal import shown
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.files import has_content, real_path, write_together
from opencv_squeezedet.formats.load import DecodedNetwork
from opencv_squeezedet.model import Model
from opencv_squeezedet.network import DetectionOutput

DESCRIPTION = (
    "Convert a network between Caffe's prototxt and caffemodel, ONNX, .sdz and (as a source) Han's .net. The model's JSON "
    "description is copied too. The ONNX files run on OpenCV 4.8 to 5 and on onnxruntime. Any Caffe network may be the "
    "source; the ONNX file of an SSD ends with NonMaxSuppression, for onnxruntime."
)
USAGE = "[options] SOURCE TARGET"
EXAMPLE = "SqueezeDet.prototxt SqueezeDet.onnx --half"


def add_arguments(parser: CommandParser) -> None:
    add = parser.add_argument_group("files").add_argument
    add("source", metavar="SOURCE", help=MODEL_HELP)
    add(
        "target",
        metavar="TARGET",
        help="NAME.onnx, NAME.sdz, or NAME.caffemodel or NAME.prototxt, each of which writes both of Caffe's files",
    )
    add_weights(add)
    add = parser.add_argument_group("conversion").add_argument
    add("--raw", action="store_true", help="leave off SSD's DetectionOutput: the outputs are deltas, scores and priors")
    add("--half", action="store_true", help="write the weights as float16; Caffe itself cannot read such a caffemodel")


def run(args: argparse.Namespace) -> int:
    with usage_errors():
        written = convert(args.source, args.target, weights=args.weights, half=args.half, raw=args.raw)
    for path, size in written.items():
        print(f"{shown(path)}: {size:,} bytes")
    return 0


def convert(
    source: str, target: Path | str, *, weights: str | None = None, half: bool = False, raw: bool = False
) -> dict[Path, int]:
    """Write a model's files in another format, all or none; returns their sizes."""
    model = Model.load(source, weights)
    if raw:
        layers = tuple(layer for layer in model.network.layers if not isinstance(layer, DetectionOutput))
        if len(layers) == len(model.network.layers):
            raise ModelError(f"{source!r} has no DetectionOutput, which --raw leaves off")
        model = model.with_network(DecodedNetwork(replace(model.network, layers=layers), model.weights))
    contents = keep_description(model.encode(target, half=half))
    sources = {real_path(Path(path)) for path in model.files.paths}
    for path in contents:
        if real_path(path) in sources:
            raise ModelError(f"{str(path)!r} is the source itself, which is not overwritten")
    write_together(contents)
    return {path: len(content) for path, content in contents.items()}


def keep_description(contents: dict[Path, bytes]) -> dict[Path, bytes]:
    """Return a model's files without the JSON if that exists already.

    ModelError if another JSON exists, which may have the user's edits. OSError if that cannot be read.
    """
    kept = dict(contents)
    for path, content in contents.items():
        if path.suffix != ".json":
            continue
        if has_content(path, content):
            del kept[path]
        elif path.exists() and not path.is_dir():  # a directory fails when it is written to
            raise ModelError(f"{str(path)!r} already exists and describes another model; it is not overwritten")
    return kept
