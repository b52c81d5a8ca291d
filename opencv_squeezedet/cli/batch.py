"""The command ``squeezedet batch``."""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from opencv_squeezedet.cli import arguments
from opencv_squeezedet.cli.errors import EXIT_INTERRUPTED, EXIT_SOME_FAILED, CommandError, usage_errors
from opencv_squeezedet.cli.parser import CommandParser
from opencv_squeezedet.cli.progress import ProgressLines, duration
from opencv_squeezedet.cli.terminal import complain, shown
from opencv_squeezedet.errors import reason
from opencv_squeezedet.extras import needs
from opencv_squeezedet.model import Model
from opencv_squeezedet.progress import progress_bar

if TYPE_CHECKING:
    from opencv_squeezedet.batch import Detect, Job, PartResult

DESCRIPTION = (
    "Find objects in many pictures, on all cores or on a Ray cluster: one row of Parquet or JSON Lines per picture, with its "
    "objects or its error. Run an interrupted job again with --resume to continue it."
)
USAGE = "[options] SOURCE ... -o FOLDER"
EXAMPLE = "photos/ s3://bucket/more/ -r -o found.parquet --resume"


def add_arguments(parser: CommandParser) -> None:
    parser.add_sources(
        metavar="SOURCE",
        help="a picture, a folder, a quoted pattern, a text file that lists sources (.txt), or a Parquet file; local, or an "
        "address such as s3://... or gs://...",
    )
    add = parser.add_argument_group("detection").add_argument
    arguments.add_model(add)
    arguments.add_backend(add)
    arguments.add_postprocessing(add)
    arguments.add_letterbox(add)
    arguments.add_batch(add)
    add = parser.add_argument_group("input and output").add_argument
    arguments.add_recursive(add)
    add(
        "--column",
        metavar="NAME",
        help="column of the Parquet files with the pictures' bytes or paths (default: the only one)",
    )
    add("-o", "--output", required=True, metavar="FOLDER", help="folder for the part files")
    add(
        "--format",
        choices=("parquet", "jsonl"),
        help="format of the part files (default: jsonl if FOLDER ends in .jsonl, else parquet)",
    )
    add(
        "--part", type=arguments.positive, default=0, metavar="N", help="number of pictures per part file (default: automatic)"
    )
    add("--resume", action="store_true", help="continue an interrupted job in FOLDER")
    add = parser.add_argument_group("run").add_argument
    add("--address", metavar="HOST:PORT", help="Ray cluster to use (default: one started on this machine)")
    add(
        "--workers",
        type=arguments.positive,
        metavar="N",
        help="number of workers, each with a network (default: one per core)",
    )
    add("--cpus", type=arguments.positive, default=1, metavar="N", help="number of cores per worker (default: %(default)s)")
    add(
        "--gpus",
        type=arguments.positive_number,
        default=0.0,
        metavar="N",
        help="number of GPUs per worker; a fraction such as 0.25 shares one (default: 0)",
    )
    add("--verbose", action="store_true", help="show Ray's log")
    arguments.add_quiet(add)


def run(args: argparse.Namespace) -> int:
    with needs("ray", what="squeezedet batch"):
        import ray
    from opencv_squeezedet import batch

    with usage_errors():
        options: dict[str, Any] = {name: value for name, value in arguments.postprocessing(args).items() if value is not None}
        options |= {"backend": args.backend, "batch": args.batch} | ({"resize": "letterbox"} if args.letterbox else {})
        model = Model.load(args.model, args.weights, task="detector")
        maker = batch.Detect(model, target=args.target, column="content", readers=args.cpus + 1, threads=args.cpus, **options)
        kind: Any = args.format or ("jsonl" if args.output.rstrip("/").lower().endswith(".jsonl") else "parquet")
        settings = batch.JobSettings(model=model.fingerprint, options=options, column=args.column, format=kind, part=args.part)
        entries = batch.find_inputs(args.sources, recursive=args.recursive, column=args.column, without=args.output)
        job = batch.begin(args.output, entries, settings, resume=args.resume)
    try:
        return _work(args, job, maker)
    except ConnectionError as error:
        raise CommandError(f"--address: {reason(error)}") from error
    except (batch.WorkerError, ray.exceptions.RayError) as error:
        raise CommandError(shown(reason(error)), EXIT_SOME_FAILED) from error


def _work(args: argparse.Namespace, job: Job, maker: Detect) -> int:
    """Run the missing parts of the job, with a progress bar or lines, and print a summary; returns the exit status."""
    from opencv_squeezedet import batch

    missing = job.missing()
    new = sum(map(job.pictures_in, missing))
    before = job.pictures - new
    done: list[PartResult] = []
    try:
        with ExitStack() as stack:
            if missing:
                stack.enter_context(batch.cluster(args.address, verbose=args.verbose))
            start = time.monotonic()
            lines = ProgressLines(args.program, job.pictures, before, quiet=args.quiet)
            bar = stack.enter_context(
                progress_bar(job.pictures, initial=before, quiet=args.quiet, extra="ray", unit=" pictures", smoothing=0)
            )
            for part in batch.run(job, maker, workers=args.workers, cpus=args.cpus, gpus=args.gpus):
                done.append(part)
                bar.update(part.pictures)
                lines.at(before + sum(part.pictures for part in done))
            seconds = time.monotonic() - start
    except KeyboardInterrupt:
        complain(args.program, "interrupted; run the same command with --resume to continue")
        return EXIT_INTERRUPTED
    if missing := job.missing():
        raise CommandError(f"{len(missing)} of {job.parts} parts are missing in {shown(job.folder)}", EXIT_SOME_FAILED)
    if not args.quiet:
        earlier = f", {before} of them from earlier runs" if before else ""
        print(f"{shown(job.folder)}: {job.pictures} pictures in {job.parts} parts{earlier}")
    if new and not args.quiet:
        objects, failed = sum(part.objects for part in done), sum(part.failed for part in done)
        rate = f"{duration(seconds)}, {new / seconds:.1f} per second"
        print(f"{new} pictures in {rate}: {objects} objects, {failed} unreadable")
    return 0
