"""``squeezedet quantize``: a network of 8-bit numbers, for onnxruntime."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from opencv_squeezedet.cli.arguments import MODEL_HELP, add_calibration_images, add_quiet, add_weights
from opencv_squeezedet.cli.calibration_images import calibration_images
from opencv_squeezedet.cli.convert import keep_description
from opencv_squeezedet.cli.errors import CommandError, usage_errors, write_errors
from opencv_squeezedet.cli.parser import CommandParser
from opencv_squeezedet.cli.progress import step_progress
from opencv_squeezedet.cli.targets import OF_MODEL, check_targets
from opencv_squeezedet.cli.terminal import shown
from opencv_squeezedet.compression.quantize import quantize
from opencv_squeezedet.files import write_together
from opencv_squeezedet.model import Model
from opencv_squeezedet.preprocess import Preprocess

DESCRIPTION = (
    "Quantize a network: onnxruntime computes faster with weights and activations as 8-bit integers. The convolutions that "
    "lose most accuracy stay in float. The model's JSON description is copied too."
)
USAGE = "[options] MODEL --pictures DIR -o FILE.onnx"
EXAMPLE = "pyramid-voc --pictures photos/ -o fast.int8.onnx"
_COMPARED = 16


def add_arguments(parser: CommandParser) -> None:
    add = parser.add_argument_group("files").add_argument
    add("model", metavar="MODEL", help=MODEL_HELP)
    add("-o", "--output", required=True, type=Path, metavar="FILE", help="file for the quantized model, NAME.int8.onnx")
    add_weights(add)
    add = parser.add_argument_group("calibration").add_argument
    add_calibration_images(add, count=64, required=True, purpose="which show the range of each layer's activations")
    add(
        "--float",
        type=int,
        default=1,
        metavar="N",
        dest="floats",
        help="number of convolutions that stay in float (default: %(default)s)",
    )
    add = parser.add_argument_group("output").add_argument
    add("--json", type=Path, metavar="FILE", help="write the error of each convolution as JSON")
    add_quiet(add)


def run(args: argparse.Namespace) -> int:
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
        blobs = [preprocess.blob(picture) for picture in calibration_images(args.pictures, args.count)]
    with usage_errors(), step_progress(hidden=args.quiet) as report:
        quantized = quantize(model, blobs, floats=args.floats, judged=_COMPARED, report=report)
        contents = keep_description(quantized.model.encode(args.output))
        if args.json is not None:
            contents[args.json] = f"{json.dumps(quantized.to_dict(), indent=1)}\n".encode()
    with write_errors():
        write_together(contents)
    if not args.quiet:
        print(f"{shown(args.output)}: {quantized.size:,} bytes")
        if quantized.floats:
            print(f"float: {', '.join(map(shown, quantized.floats))}")
        print(f"output error: {100 * quantized.error:.2f} % of the outputs' power")
    return 0
