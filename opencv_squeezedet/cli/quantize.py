"""``squeezedet quantize``: a network of 8-bit numbers, for onnxruntime."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from opencv_squeezedet.cli.calibration import pictures_of, progress
from opencv_squeezedet.cli.common import (
    OF_MODEL,
    CommandError,
    Parser,
    check_targets,
    positive,
    shown,
    usage_errors,
    write_errors,
)
from opencv_squeezedet.cli.convert import keep_description
from opencv_squeezedet.compression.quantize import Quantized, quantize
from opencv_squeezedet.files import write_together
from opencv_squeezedet.model import Model
from opencv_squeezedet.preprocess import Preprocess

DESCRIPTION = "\n".join(
    [
        "Quantise a network: weights and activations as 8-bit numbers, which onnxruntime computes with faster.",
        "The convolutions that lose most by it stay float; the model's JSON goes along.",
    ]
)
USAGE = "[options] MODEL --pictures DIR -o NAME.int8.onnx"
EXAMPLE = "models/squeezedet_pyramid_voc --pictures photos/ -o fast.int8.onnx"
_JUDGED = 16


def add_arguments(parser: Parser) -> None:
    """Add quantize's arguments."""
    add = parser.add_argument_group("files").add_argument
    add("model", metavar="MODEL", help="a model's stem, .prototxt, .onnx, .sdz or .net, or a published name")
    add("-o", "--output", required=True, type=Path, metavar="OUT", help="NAME.int8.onnx")
    add("--weights", metavar="W", help="the model's caffemodel, if its name differs")
    add = parser.add_argument_group("calibration").add_argument
    add(
        "--pictures",
        required=True,
        type=Path,
        metavar="DIR",
        help="pictures like those to come, for the activations' ranges",
    )
    add("--count", type=positive, default=64, metavar="N", help="how many of them (64)")
    add("--float", type=int, default=1, metavar="N", dest="floats", help="how many convolutions stay float (1)")
    add = parser.add_argument_group("output").add_argument
    add("--json", type=Path, metavar="FILE", help="what each convolution loses")
    add("--quiet", action="store_true", help="no words, no progress bar")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    if args.output.suffix != ".onnx":
        raise CommandError(f"--output: a name that ends in .onnx was expected, got {shown(args.output)}")
    with usage_errors():
        model = Model.load(args.model, args.weights)
        described = [] if model.description is None else [args.output.with_suffix(".json")]
        inputs = {OF_MODEL: model.files.reserved, "the new model's JSON": described}
        check_targets({"--output": args.output, "--json": args.json}, inputs)
        if (description := model.with_network(model.source).description) is not None:
            keep_description({args.output.with_suffix(".json"): description})  # fails before the work
        preprocess = model.preprocess or Preprocess(model.network.input_size)
        blobs = [preprocess.blob(picture) for picture in pictures_of(args.pictures, args.count)]
    with usage_errors(), progress(hidden=args.quiet) as report:
        found = quantize(model, blobs, floats=args.floats, judged=_JUDGED, report=report)
        contents = keep_description(found.model.encode(args.output))
        if args.json is not None:
            contents[args.json] = f"{json.dumps(found.to_dict(), indent=1)}\n".encode()
    with write_errors():
        write_together(contents)
    if not args.quiet:
        _print(args.output, found)
    return 0


def _print(output: Path, found: Quantized) -> None:
    print(f"{shown(output)}: {found.size:,} bytes")
    if found.floats:
        print(f"float: {', '.join(map(shown, found.floats))}")
    print(f"output error: {100 * found.error:.2f} % of the outputs' power")
