"""The command ``squeezedet train``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from opencv_squeezedet.cli import dataset_options
from opencv_squeezedet.cli.arguments import SEED_HELP, SIZE_HELP, TEACHER_HELP, add_quiet, input_size, positive
from opencv_squeezedet.cli.errors import CommandError, needs_training, usage_errors
from opencv_squeezedet.cli.parser import CommandParser
from opencv_squeezedet.cli.progress import ProgressLines, duration
from opencv_squeezedet.cli.terminal import complain, shown
from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.extras import needs
from opencv_squeezedet.files import has_content, read_whole, write_whole
from opencv_squeezedet.model_files import OF_TRAINING
from opencv_squeezedet.network.architectures import TRAINABLE
from opencv_squeezedet.pictures import read_picture
from opencv_squeezedet.progress import progress_bar

if TYPE_CHECKING:
    from opencv_squeezedet.datasets import Dataset
    from opencv_squeezedet.training import Calibration, Progress, Recipe, Training
    from opencv_squeezedet.training.diagnostics import Histogram

DESCRIPTION = "Train a detector on annotated pictures. An interrupted training resumes when the command is run again."
USAGE = "[options] DATASET"
EXAMPLE = "bolts.yaml -o runs/bolts --pictures 20000"
_ARGUMENTS = "arguments.json"
_MOST_EVERY = 20_000
_MOST_ADVICE = 3
_MOST_CLASSES = 20  # in a line
_MOST_JSON_BYTES = 1 << 24

Read = TypeVar("Read")


def add_arguments(parser: CommandParser) -> None:
    dataset_options.add_dataset_arguments(
        parser,
        split="split to train on; a fraction such as 0.2 holds out that share for validation "
        "(default: the data set's train split, or all its pictures)",
    )
    add = parser.add_argument_group("validation").add_argument
    add(
        "--val",
        metavar="DATASET",
        help="validation data set, or none (default: the data set's val split, or a random fifth of the pictures)",
    )
    add("--val-split", metavar="SPLIT", help="split of --val, or of DATASET if there is no --val (default: val)")
    add(
        "--every",
        type=positive,
        metavar="N",
        help=f"number of pictures between validations (default: a tenth of the training, at most {_MOST_EVERY})",
    )
    add("--patience", type=positive, metavar="N", help="stop after N validations without an improvement (default: never)")
    parser_group = parser.add_argument_group("training")
    add = parser_group.add_argument
    add("--recipe", metavar="FILE", help="all settings as JSON, as in recipe.json; options override them")
    add("--network", choices=tuple(TRAINABLE), help=f"architecture to train (default: {next(iter(TRAINABLE))})")
    add("--size", type=input_size, metavar="WxH", help=f"{SIZE_HELP} (default: the network's own)")
    add(
        "--anchors",
        metavar="FILE",
        help="anchor shapes from squeezedet anchors --json (default: the start model's, or fitted ones if much better)",
    )
    add("--loss", choices=("aligned", "published"), help="loss function (default: aligned)")
    length = parser_group.add_mutually_exclusive_group().add_argument
    length(
        "--pictures",
        type=positive,
        metavar="N",
        help="length of the training in pictures (default: 100 epochs, but at least 12000 and at most 240000 pictures)",
    )
    length("--epochs", type=positive, metavar="N", help="number of epochs, instead of --pictures")
    add("--batch", type=positive, metavar="N", help="number of pictures per step (default: 32)")
    add("--start", metavar="WEIGHTS", help="weights to start from: a model or a weights file (default: a published model)")
    add("--teacher", action="append", metavar="FILE", help=f"{TEACHER_HELP}; may be repeated")
    add("--seed", type=int, metavar="N", help=f"{SEED_HELP} (default: 0)")
    add = parser.add_argument_group("run").add_argument
    add(
        "-o",
        "--output",
        type=Path,
        metavar="FOLDER",
        help="folder for the checkpoint, the logs and the trained model; a training in it is resumed "
        "(default: runs/train, runs/train-2, and so on)",
    )
    add("--workers", type=_whole, default=2, metavar="N", help="number of data-loading processes (default: %(default)s)")
    add("--tensorboard", action="store_true", help="write logs for TensorBoard too")
    add_quiet(add)


def _whole(text: str) -> int:
    return 0 if text == "0" else positive(text)


def run(args: argparse.Namespace) -> int:
    with usage_errors():
        with needs_training():
            from opencv_squeezedet.training.parallel import processes
        with processes() as number, _isolated(args, number):
            return _train(args, first=number == 0)


@contextmanager
def _isolated(args: argparse.Namespace, number: int) -> Iterator[None]:
    """Let a process of torchrun other than the first write to a temporary folder and print nothing."""
    if number == 0:
        yield
        return
    with TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        args.output, args.quiet, args.tensorboard = Path(folder), True, False
        try:
            yield
        except CommandError as error:
            raise CommandError(f"process {number}: {error}", error.status) from error


def _train(args: argparse.Namespace, *, first: bool) -> int:
    from opencv_squeezedet.training import PseudoLabels, Training

    arguments = _arguments(args)
    args.output = args.output or _free_folder(arguments)
    parts = dataset_options.load_parts(args)
    dataset, validation = parts.train, parts.validation
    if not args.quiet:
        print("\n".join(shown(line) for line in _describe_data(args.dataset, parts)))
    with usage_errors():
        files = args.teacher or ()
        teacher = PseudoLabels.merged(PseudoLabels.read(Path(file), dataset.labels) for file in files) if files else None
        training = Training(
            _recipe(args, dataset), dataset, args.output, validation=validation, teacher=teacher, workers=args.workers
        )
        write_whole(args.output / _ARGUMENTS, arguments.encode())
        every = _every(args, training.recipe.pictures)
        if not args.quiet:
            print(_describe_length(training, every), flush=True)
        _watch(training, args, every)
        advice = [] if validation is None else training.advice()  # in all processes: it may measure
        if not first:
            return 0
        calibration = None if validation is None else training.calibrate()
        paths = training.write(args.output / OF_TRAINING, calibration=calibration)
    if not args.quiet:
        if calibration is not None:
            print(_describe_calibration(calibration))
        print("\n".join(f"wrote {shown(path)}" for path in paths))
        print("\n".join(f"next: {line}" for line in advice[:_MOST_ADVICE]), end="\n" if advice else "")
        print(f"try it: detect --model {shown(args.output)} PICTURE")
    return 0


def _arguments(args: argparse.Namespace) -> str:
    """Return the options that a training depends on, by which the same command finds its folder again."""
    others = {"program", "output", "workers", "tensorboard", "quiet"}
    return json.dumps({name: value for name, value in sorted(vars(args).items()) if name not in others}, indent=2)


def _free_folder(arguments: str) -> Path:
    """Return the first of runs/train, runs/train-2, ... that does not exist, or has an unfinished training of this command."""
    for number in count(1):
        folder = Path("runs") / ("train" if number == 1 else f"train-{number}")
        ended = (folder / f"{OF_TRAINING}.json").exists()
        if not folder.exists() or (not ended and has_content(folder / _ARGUMENTS, arguments.encode())):
            return folder
    raise AssertionError("unreachable: there are infinitely many folders")


def _describe_data(name: str, parts: dataset_options.Parts) -> list[str]:
    validation = "" if parts.validation is None else f"{_describe_objects(parts.validation)}, "
    return [
        f"{name}: {parts.train.layout}",
        f"train: {_describe_objects(parts.train)}, {parts.train_source}",
        f"validation: {validation}{parts.validation_source}",
    ]


def _describe_objects(dataset: Dataset) -> str:
    counts = [(label, counted) for label, (counted, *_) in zip(dataset.labels, dataset.objects().tolist(), strict=True)]
    names = ", ".join(f"{label} {number:,}" for label, number in counts[:_MOST_CLASSES])
    more = f" and {len(counts) - _MOST_CLASSES} more classes" if len(counts) > _MOST_CLASSES else ""
    total = sum(number for _, number in counts)
    return f"{len(dataset.pictures):,} pictures, {total:,} objects ({names}{more})"


def _describe_length(training: Training, every: int) -> str:
    trainer = training.trainer
    precision = "bfloat16" if trainer.bfloat16 else "float32"
    line = f"length: {training.recipe.pictures:,} pictures in {precision} on {trainer.device.type}"
    if (seconds := training.seconds_left(every)) is None:
        return line
    return f"{line}, about {duration(seconds)}{' left' if trainer.seen else ''}"


def _recipe(args: argparse.Namespace, dataset: Dataset) -> Recipe:
    from opencv_squeezedet.training import Recipe, default_pictures, fitted_anchors, start_anchors

    parse = partial(Recipe.from_json, network=args.network)
    recipe = parse("{}") if args.recipe is None else _read("--recipe", args.recipe, parse)
    options: dict[str, Any] = {
        name: getattr(args, name) for name in ("loss", "pictures", "batch", "start", "seed") if getattr(args, name) is not None
    }
    if args.epochs is not None:
        options["pictures"] = args.epochs * len(dataset.pictures)
    elif args.recipe is None:
        options.setdefault("pictures", default_pictures(len(dataset.pictures)))
    if args.size is not None:
        options["input_size"] = args.size
    if args.anchors is not None:
        config = _read("--anchors", args.anchors, HeadConfig.from_json)
        if args.size not in (None, config.input_size):
            raise ValueError("--anchors: they are for an input of {}x{}, not of {}x{}".format(*config.input_size, *args.size))
        options |= {"anchors": config.anchors, "input_size": config.input_size}
    recipe = replace(recipe, **options)
    if args.recipe is None and recipe.anchors is None and dataset.box_count:
        fitted = fitted_anchors(dataset, recipe.input_size, start_anchors(recipe))
        if fitted is not None:
            if not args.quiet:
                print(
                    f"anchors fitted to the data set: their mean IoU with its boxes is {fitted.mean_iou:.2f}, "
                    f"that of the default anchors {fitted.default_mean_iou:.2f}"
                )
            recipe = replace(recipe, anchors=fitted.shapes)
    return recipe


def _read(option: str, name: str, parse: Callable[[str], Read]) -> Read:
    with usage_errors(TypeError, RecursionError, about=f"{option}: "):  # for JSON with wrong types
        return parse(read_whole(Path(name), _MOST_JSON_BYTES).decode())


def _every(args: argparse.Namespace, pictures: int) -> int:
    return args.every or min(_MOST_EVERY, -(-pictures // 10))


def _watch(training: Training, args: argparse.Namespace, every: int) -> None:
    """Train, with a progress bar on a terminal and lines elsewhere."""
    from opencv_squeezedet.training.data import worker_errors

    total, seen = training.recipe.pictures, training.trainer.seen
    lines = ProgressLines(args.program, total, seen, quiet=args.quiet)
    with ExitStack() as stack:
        stack.enter_context(worker_errors())  # torch may also raise while a line is printed
        board = None
        if args.tensorboard:
            with needs("tensorboard"):
                from torch.utils.tensorboard import SummaryWriter
            board = stack.enter_context(SummaryWriter(str(args.output), purge_step=seen))
        bar = stack.enter_context(
            progress_bar(total, initial=seen, quiet=args.quiet, extra="train", unit=" pictures", leave=True)
        )
        stack.enter_context(_interrupts(training, args.program))
        progress = stack.enter_context(closing(training.run(every=every, patience=args.patience)))
        for step in progress:
            lines.at(step.seen)
            bar.update(step.seen - bar.n)
            bar.set_postfix_str(_losses(step))
            for problem in step.problems:
                bar.write(f"{args.program}: {shown(problem)}", file=sys.stderr)
            if step.evaluation is not None and not args.quiet:
                bar.write(f"{step.seen} pictures: mAP (VOC07) {100 * step.evaluation.map_voc07:.1f} ({_losses(step)})")
            if board is not None:
                _show(board, step, args.output)


@contextmanager
def _interrupts(training: Training, program: str) -> Iterator[None]:
    """Say on Ctrl-C how far the training is."""
    try:
        yield
    except KeyboardInterrupt:
        seen, total = training.trainer.seen, training.recipe.pictures
        complain(program, f"stopped at {seen:,} of {total:,} pictures; the same command resumes")
        raise


def _describe_calibration(calibration: Calibration) -> str:
    return (
        f"calibrated: class logits x{calibration.class_scale:.2f}, confidence logits "
        f"x{calibration.confidence_scale:.2f}, "
        f"NMS threshold {calibration.nms_threshold:.2f}, score threshold {calibration.score_threshold:.2f}: "
        f"mAP (VOC10) {100 * calibration.before:.1f} -> {100 * calibration.after:.1f}, "
        f"expected calibration error {100 * calibration.error_before:.1f} -> {100 * calibration.error_after:.1f}"
    )


def _losses(step: Progress) -> str:
    return ", ".join(f"{name} {float(value):.2f}" for name, value in step.losses._asdict().items())


def _show(board: Any, step: Progress, folder: Path) -> None:
    scalars = {f"loss/{name}": float(value) for name, value in step.losses._asdict().items()}
    scalars |= {"training/rate": step.rate, "training/gradient": step.gradient}
    if step.evaluation is not None:
        scalars["mAP/VOC07"] = step.evaluation.map_voc07
        scalars |= {f"AP of classes/{each.label}": each.voc07 for each in step.evaluation.classes if each.objects}
    scalars |= {f"dead ReLUs/{layer.name}": layer.dead for layer in step.layers if layer.dead == layer.dead}
    for name, value in scalars.items():
        board.add_scalar(name, value, step.seen)
    for layer in step.layers:
        for kind in ("weights", "activations"):
            _add_histogram(board, f"{kind}/{layer.name}", getattr(layer, kind), step.seen)
    pictures = {"assigned": folder / "assigned.jpg"} if step.layers else {}
    if step.evaluation is not None:
        pictures["predictions"] = folder / "predictions" / f"{step.seen:08d}.jpg"
    for name, file in pictures.items():
        board.add_image(name, read_picture(file)[..., ::-1].copy(), step.seen, dataformats="HWC")
    if pictures:
        board.flush()


def _add_histogram(board: Any, name: str, histogram: Histogram, seen: int) -> None:
    count = int(histogram.counts.sum())
    board.add_histogram_raw(
        name,
        min=histogram.edges[0],
        max=histogram.edges[-1],
        num=count,
        sum=histogram.mean * count,
        sum_squares=(histogram.deviation**2 + histogram.mean**2) * count,
        bucket_limits=histogram.edges[1:].tolist(),
        bucket_counts=histogram.counts.tolist(),
        global_step=seen,
    )
