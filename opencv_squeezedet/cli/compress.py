"""``squeezedet compress``: a network pruned, its weights shared and Huffman-coded, in one file."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

from opencv_squeezedet.cli import arguments, dataset_options
from opencv_squeezedet.cli.calibration_images import calibration_images
from opencv_squeezedet.cli.errors import CommandError, needs_training, usage_errors, write_errors
from opencv_squeezedet.cli.parser import CommandParser
from opencv_squeezedet.cli.progress import step_progress
from opencv_squeezedet.cli.targets import OF_MODEL, check_targets
from opencv_squeezedet.cli.terminal import print_table, shown
from opencv_squeezedet.compression import Compressed, ReferenceOutputs, Settings, compress, input_hessians, measure_sensitivity
from opencv_squeezedet.compression.table import HEADER
from opencv_squeezedet.datasets import Dataset
from opencv_squeezedet.detector import SqueezeDet
from opencv_squeezedet.draw import draw
from opencv_squeezedet.files import write_together
from opencv_squeezedet.model import Model
from opencv_squeezedet.preprocess import Picture, Preprocess
from opencv_squeezedet.progress import OnProgress

DESCRIPTION = (
    "Compress a network into one .sdz file, as in 'Deep Compression': its weights are pruned, shared by k-means and "
    "Huffman-coded. With calibration images the layers that affect the outputs most keep more weights."
)
USAGE = "[options] MODEL -o FILE.sdz"
EXAMPLE = "models/squeezedet_shuffle_voc -o small.sdz --size 900K --pictures photos/ --html report.html"
_OF_STAGES = {"lock", "compression.json", "sensitivity.json"}
_SHOWN = 6
_COMPARED = 12  # pictures whose outputs are compared; the Hessians are those of all pictures


def size(text: str) -> int:
    """Read a number of bytes: 900000, 900K or 1M."""
    match = re.fullmatch(r"(\d+)([KM]?)", text, re.IGNORECASE)
    number = 0 if match is None else int(match[1]) * {"": 1, "K": 1000, "M": 1_000_000}[match[2].upper()]
    if not 0 < number < 1 << 31:
        raise argparse.ArgumentTypeError(f"bytes, as in 900000, 900K or 1M, were expected, got {text!r}")
    return number


def add_arguments(parser: CommandParser) -> None:
    add = parser.add_argument_group("files").add_argument
    add("model", metavar="MODEL", help=arguments.MODEL_HELP)
    add("-o", "--output", required=True, type=Path, metavar="FILE", help="file for the compressed model, NAME.sdz")
    arguments.add_weights(add)
    add = parser.add_argument_group("compression").add_argument
    add(
        "--size",
        type=size,
        metavar="BYTES",
        help="maximum size of the file, such as 900K or 1M (default: an eighth of the float32 weights)",
    )
    add("--density", type=arguments.unit_fraction, metavar="FRACTION", help="fraction of weights to keep (default: automatic)")
    add("--bits", type=arguments.positive, metavar="N", help="bits per weight index, 2 to 8 (default: automatic)")
    add = parser.add_argument_group("calibration").add_argument
    arguments.add_calibration_images(add, count=32, purpose="which show how much each layer affects the outputs")
    add = parser.add_argument_group("fine-tuning").add_argument
    add("--train", metavar="DATASET", help="fine-tune on this data set between stages")
    add("--val", metavar="DATASET", help="validation data set, on which each stage is evaluated")
    add("--split", metavar="SPLIT", help="split of --train (default: all pictures)")
    add("--val-split", metavar="SPLIT", help="split of --val, or of --train if there is no --val")
    add("--images", metavar="DIR", help=dataset_options.IMAGES_HELP)
    add("--teacher", metavar="FILE", help=arguments.TEACHER_HELP)
    add(
        "--seen",
        type=arguments.positive,
        default=20_000,
        metavar="N",
        help="number of pictures per stage (default: %(default)s)",
    )
    add("--steps", type=arguments.positive, default=2, metavar="N", help="number of pruning steps (default: %(default)s)")
    add = parser.add_argument_group("output").add_argument
    add("--json", type=Path, metavar="FILE", help="write the table and all other numbers as JSON")
    add("--html", type=Path, metavar="FILE", help="write a report as one HTML file")
    arguments.add_quiet(add)


def run(args: argparse.Namespace) -> int:
    if args.output.suffix != ".sdz":
        raise CommandError(f"--output: a name that ends in .sdz was expected, got {shown(args.output)}")
    with usage_errors():
        settings = Settings(args.size, args.density, args.bits)
        model = Model.load(args.model, args.weights)
        inputs = {OF_MODEL: model.files.reserved, "the data set": [args.train, args.val]}
        inputs["what --teacher names"] = [args.teacher]
        check_targets({"--output": args.output, "--json": args.json, "--html": args.html}, inputs)
        is_detector = model.head is not None  # and the description is right
        pictures = [] if args.pictures is None else calibration_images(args.pictures, args.count)
        if args.train is not None and pictures:
            raise CommandError("--pictures: with --train the pictures are those of the data set")
    stage = _stage(args.output) if pictures or args.train is not None else None
    with usage_errors(), step_progress(hidden=args.quiet) as report:
        if args.train is None or stage is None:
            measured = {} if stage is None else _measured(model, pictures, stage, report)
            compressed = compress(model, settings, report=report, **measured)
        else:
            compressed = _trained(args, model, settings, stage, report)
        contents = {args.output: compressed.content}
        if args.json is not None:
            contents[args.json] = f"{json.dumps(compressed.to_dict(), indent=1)}\n".encode()
        if args.html is not None:
            contents[args.html] = _html(compressed, pictures[:_SHOWN] if is_detector else []).encode()
    with write_errors():
        write_together(contents)
        if stage is not None:
            rmtree(stage, ignore_errors=True)
    if not args.quiet:
        _print(compressed)
    return 0


def _stage(output: Path) -> Path:
    """The folder of finished stages, new or from an interrupted run; CommandError if it has other files."""
    stage = output.with_suffix(".stages")
    with write_errors():
        stage.mkdir(exist_ok=True)
        names = {path.name for path in stage.iterdir() if not path.name.startswith(".")}
    if names and names.isdisjoint(_OF_STAGES):
        raise CommandError(f"--output: the finished stages would be kept in {shown(stage)}, which has other files")
    return stage


def _measured(model: Model, pictures: list[Picture], stage: Path, report: OnProgress) -> dict[str, Any]:
    """Measurements on pictures, as arguments of `compress`."""
    preprocess = model.preprocess or Preprocess(model.network.input_size)
    blobs = [preprocess.blob(picture) for picture in pictures]
    outputs = ReferenceOutputs(model, blobs[:: -(-len(blobs) // _COMPARED)])
    curves = measure_sensitivity(model, outputs, stage=stage / "sensitivity.json", report=report)
    hessians = input_hessians(model, blobs, lambda done, total: report("inputs", done, total))
    return {"outputs": outputs, "curves": curves, "hessians": hessians}


def _trained(args: argparse.Namespace, model: Model, settings: Settings, stage: Path, report: OnProgress) -> Compressed:
    """Compress with fine-tuning between the stages."""
    with needs_training():
        from opencv_squeezedet.compression.retraining import Retraining, compress_trained
        from opencv_squeezedet.training import PseudoLabels

    def load(path: str, split: str | None, labels: Sequence[str] | None = None) -> Dataset:
        return dataset_options.load(
            argparse.Namespace(dataset=path, split=split, images=args.images, program=args.program), labels
        )

    measured_on = args.val or (args.train if args.val_split else None)
    dataset = load(args.train, args.split)
    return compress_trained(
        model,
        settings,
        dataset,
        stage,
        validation=None if measured_on is None else load(measured_on, args.val_split, dataset.labels),
        teacher=None if args.teacher is None else PseudoLabels.read(Path(args.teacher), dataset.labels),
        retraining=Retraining(pictures=args.seen, steps=args.steps),
        report=report,
    )


def _html(compressed: Compressed, pictures: list[Picture]) -> str:
    """The report; of a detector with its detections in the pictures, before and after."""
    from opencv_squeezedet.compression.report import to_html  # an extra

    drawn: list[tuple[Picture, Picture]] = []
    if pictures:
        before, after = SqueezeDet(compressed.original), SqueezeDet(compressed.model)
        drawn = [(draw(picture, before.detect(picture)), draw(picture, after.detect(picture))) for picture in pictures]
    total = compressed.rows[-1]
    subtitle = f"{total.size:,} bytes, 1/{total.ratio:.1f} of float32's; {100 * total.kept:.0f} % of the weights kept"
    return to_html(compressed, title=f"{compressed.model.network.name}, compressed", subtitle=subtitle, pictures=drawn)


def _print(compressed: Compressed) -> None:
    print_table(HEADER, [row.cells() for row in compressed.rows], numbers=len(HEADER) - 1)
    for stage, accuracy in compressed.accuracies.items():
        print(f"VOC07 mAP, {stage}: {100 * accuracy:.1f}")
    if compressed.agreement is not None:
        print(f"the same first class: {100 * compressed.agreement:.1f} % of the pictures")
    for stage, error in compressed.errors.items():
        print(f"output error, {stage}: {100 * error:.2f} % of the outputs' power")
