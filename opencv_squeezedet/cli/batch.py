"""The command ``squeezedet batch``."""

from __future__ import annotations

import argparse
import sys
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
    """Add the arguments of the command."""
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
    """Run the command; returns the exit status."""
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
    """Run the missing parts of the job; returns the exit status."""
    from opencv_squeezedet import batch

    missing = job.missing()
    progress = _JobProgress(args, job, sum(map(job.pictures_in, missing)))
    try:
        with ExitStack() as stack:
            if missing:
                stack.enter_context(batch.cluster(args.address, verbose=args.verbose))
            stack.enter_context(progress)
            for part in batch.run(job, maker, workers=args.workers, cpus=args.cpus, gpus=args.gpus):
                progress.add(part)
    except KeyboardInterrupt:
        complain(args.program, "interrupted; run the same command with --resume to continue")
        return EXIT_INTERRUPTED
    if missing := job.missing():
        raise CommandError(f"{len(missing)} of {job.parts} parts are missing in {shown(job.folder)}", EXIT_SOME_FAILED)
    progress.summary()
    return 0


class _JobProgress:
    """A progress bar on a terminal, elsewhere a line a minute; at the end a summary."""

    def __init__(self, args: argparse.Namespace, job: Job, missing: int) -> None:
        self._args, self._job = args, job
        self._before = self._seen = job.pictures - missing
        self._failed = self._objects = 0
        self._bar: Any = None

    def __enter__(self) -> _JobProgress:
        self._start = time.monotonic()
        self._lines = ProgressLines(self._args.program, self._job.pictures, self._before, quiet=self._args.quiet)
        if sys.stderr.isatty() and not self._args.quiet:
            total = self._job.pictures
            self._bar = progress_bar(total, initial=self._seen, unit=" pictures", smoothing=0)
        return self

    def __exit__(self, *exception: object) -> None:
        self._seconds = time.monotonic() - self._start
        if self._bar is not None:
            self._bar.close()

    def add(self, done: PartResult) -> None:
        """Count a part."""
        self._seen += done.pictures
        self._failed += done.failed
        self._objects += done.objects
        self._lines.at(self._seen)
        if self._bar is not None:
            self._bar.update(done.pictures)

    def summary(self) -> None:
        """Print the summary."""
        if self._args.quiet:
            return
        new = self._seen - self._before
        before = f", {self._before} of them from earlier runs" if self._before else ""
        print(f"{shown(self._job.folder)}: {self._job.pictures} pictures in {self._job.parts} parts{before}")
        if new:
            rate, time_taken = new / self._seconds, duration(self._seconds)
            print(f"{new} pictures in {time_taken}, {rate:.1f} per second: {self._objects} objects, {self._failed} unreadable")
