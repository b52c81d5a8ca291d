"""The command ``squeezedet eval``."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from opencv_squeezedet._version import __version__
from opencv_squeezedet.cli import dataset_options
from opencv_squeezedet.cli.arguments import (
    add_backend,
    add_letterbox,
    add_model,
    add_postprocessing,
    add_quiet,
    postprocessing,
    unit_fraction,
)
from opencv_squeezedet.cli.detectors import load_detectors
from opencv_squeezedet.cli.errors import EXIT_SOME_FAILED, CommandError, usage_errors, write_errors
from opencv_squeezedet.cli.parser import CommandParser
from opencv_squeezedet.cli.targets import OF_MODEL, check_targets, write_target
from opencv_squeezedet.cli.terminal import complain, print_table
from opencv_squeezedet.datasets import Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.evaluation import Diagnosis, Evaluation, Run, detect_dataset, diagnose, evaluate
from opencv_squeezedet.evaluation.evaluate import ClassResult
from opencv_squeezedet.evaluation.report import to_html
from opencv_squeezedet.evaluation.results import read_categories, read_results, write_results
from opencv_squeezedet.evaluation.run import LOWEST_SCORE
from opencv_squeezedet.evaluation.tables import means, percent, share, to_csv, to_json
from opencv_squeezedet.extras import needs
from opencv_squeezedet.model_files import reserved_by
from opencv_squeezedet.progress import progress_bar

DESCRIPTION = "Evaluate a detector on a data set: VOC's and COCO's metrics, curves, the best score threshold, speed."
USAGE = "[options] DATASET"
EXAMPLE = "VOCdevkit/VOC2007 --split test --model runs/best --html report.html"


def add_arguments(parser: CommandParser) -> None:
    dataset_options.add_dataset_arguments(
        parser,
        split="split of the data set; a fraction such as 0.2 selects the pictures that squeezedet train --split 0.2 holds "
        "out, which are also those that it holds out of a data set without a val split (default: all pictures)",
    )
    add = parser.add_argument_group("detection").add_argument
    add_model(add)
    add_backend(add)
    add_postprocessing(add, threshold=LOWEST_SCORE)
    add_letterbox(add)
    add = parser.add_argument_group("evaluation").add_argument
    add(
        "--iou",
        type=unit_fraction,
        default=0.5,
        metavar="IOU",
        help="minimum IoU of a true positive, for VOC's metrics (default: %(default)s)",
    )
    add("--results", metavar="FILE", help="evaluate the detections in this COCO file instead of running a model")
    add("--categories", metavar="FILE", help="COCO file with the class names of the category ids in --results")
    add = parser.add_argument_group("output").add_argument
    add("--html", metavar="FILE", help="write a report as one HTML file")
    add("--json", metavar="FILE", help="write all numbers as JSON")
    add("--csv", metavar="FILE", help="write a row per class as CSV")
    add("--save-results", metavar="FILE", help="write the detections as COCO results")
    add_quiet(add)


def run(args: argparse.Namespace) -> int:
    targets = {"--html": args.html, "--json": args.json, "--csv": args.csv, "--save-results": args.save_results}
    inputs = {
        "the data set": [args.dataset],
        "what --results names": [args.results],
        "what --categories names": [args.categories],
        OF_MODEL: reserved_by(args.model, args.weights),
    }
    check_targets(targets, inputs)
    if args.categories is not None and args.results is None:
        raise CommandError("--categories names the classes of --results, which is missing")
    if args.results is not None and (args.model is not None or args.weights is not None):
        raise CommandError("--results evaluates another program's detections; --model and --weights do not apply")
    with needs("eval"):  # fail early, not after minutes of work
        import faster_coco_eval  # noqa: F401
        import matplotlib  # noqa: F401
    done: Run | None = None
    if args.results is None:
        dataset, done = _detect(args)
        detections = list(done.detections)
        for problem in done.problems:
            complain(args.program, problem)
    else:
        dataset, detections = _read(args)
    evaluation = evaluate(dataset, detections, iou_threshold=args.iou)
    diagnosis = diagnose(dataset, detections, evaluation.pooled.best.threshold, iou_threshold=args.iou)
    if args.html is not None:
        title, subtitle = _headline(args, dataset)
        html = to_html(evaluation, dataset, detections, title=title, subtitle=subtitle, run=done, diagnosis=diagnosis)
        write_target(args.html, html.encode())
    if args.json is not None:
        write_target(args.json, to_json(evaluation, done, diagnosis).encode())
    if args.csv is not None:
        write_target(args.csv, to_csv(evaluation).encode())
    if args.save_results is not None:
        with usage_errors():
            categories = _categories(args)
        with write_errors():
            write_results(Path(args.save_results), dataset, detections, categories)
    if not args.quiet:
        _print(evaluation, diagnosis, done)
    return EXIT_SOME_FAILED if done is not None and done.problems else 0


def _detect(args: argparse.Namespace) -> tuple[Dataset, Run]:
    detectors = load_detectors(args)
    dataset = dataset_options.load_measured(args, detectors[0].config.labels)
    if not dataset.box_count:
        raise CommandError(f"the data set has no objects of the model's classes, {', '.join(dataset.labels)}")
    with progress_bar(len(dataset.pictures), quiet=args.quiet, extra="eval", unit=" pictures") as bar:
        return dataset, detect_dataset(dataset, detectors, on_picture=bar.update, **postprocessing(args))


def _read(args: argparse.Namespace) -> tuple[Dataset, list[Detections]]:
    dataset = dataset_options.load_measured(args)
    with usage_errors():
        detections, problems = read_results(Path(args.results), dataset, _categories(args))
    dataset_options.print_problems(args.program, problems)
    return replace(dataset, problems=(*dataset.problems, *problems)), detections


def _categories(args: argparse.Namespace) -> dict[int | str, str] | None:
    """The names of category ids: from --categories, else from the data set itself if it is COCO's."""
    source = args.categories or (args.dataset if args.dataset.lower().endswith(".json") else None)
    return None if source is None else read_categories(Path(source))


def _headline(args: argparse.Namespace, dataset: Dataset) -> tuple[str, str]:
    what = args.results or args.model or "embedded"
    title = f"{os.path.basename(os.path.normpath(what))} on {os.path.basename(os.path.normpath(args.dataset))}"
    split = f", split {args.split}" if args.split else ""
    lowest = "" if args.results else f", scores above {args.threshold:g}"
    source = f"detections of {args.results}" if args.results else f"model {args.model or 'embedded'}"
    counts = f"{len(dataset.pictures)} pictures, {dataset.box_count} objects{split}{lowest}"
    return title, f"{counts}; {source}; opencv-squeezedet {__version__}"


def _print(evaluation: Evaluation, diagnosis: Diagnosis, done: Run | None) -> None:
    """Print the table, in percent, and the results of all classes together."""
    header = ["", "objects", "VOC07", "VOC10", "AP", "AP50", "AP75", "recall", "best F1", "at score"]
    mean = ["mean", "", *map(percent, means(evaluation)), "", "", ""]
    print_table(header, [*map(_row, evaluation.classes), mean], numbers=len(header) - 1)
    if coco := evaluation.coco:
        sizes = ", ".join(f"{size} {percent(coco[f'AP_{size}'])}" for size in ("small", "medium", "large"))
        print(f"COCO AP by size: {sizes}; AR with 100 boxes {percent(coco['AR_100'])}")
    best = evaluation.pooled.best
    print(
        f"best score threshold for all classes, {best.threshold:.3f}: precision {percent(best.precision)}, "
        f"recall {percent(best.recall)}, F1 {percent(best.f1)}"
    )
    costs = ", ".join(f"{error.name} {percent(error.cost)}" for error in diagnosis.errors)
    print(f"mAP (VOC10) lost to each type of error: {costs}")
    recalls = ", ".join(f"{size.name} {percent(share(size.found_at_best, size.objects))}" for size in diagnosis.sizes)
    error = percent(diagnosis.calibration_error)
    print(f"recall at that threshold by object size: {recalls}; expected calibration error: {error}")
    if done is not None and (milliseconds := done.stages.milliseconds()):  # none if no picture could be read
        stages = ", ".join(f"{stage} {times['p50']:.1f}" for stage, times in milliseconds.items())
        print(f"{done.pictures_per_second:.1f} pictures/s with {done.workers} workers; median ms: {stages}")


def _row(result: ClassResult) -> list[str]:
    numbers = (result.voc07, result.voc10, result.coco, result.coco50, result.coco75, result.recall)
    best = [percent(result.best.f1), f"{result.best.threshold:.2f}"] if result.objects else ["-", "-"]
    return [result.label, str(result.objects), *map(percent, numbers), *best]
