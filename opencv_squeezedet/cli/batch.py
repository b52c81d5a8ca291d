"""The command ``squeezedet batch``."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from opencv_squeezedet.cli.common import (
    EXIT_INTERRUPTED,
    EXIT_SOME_FAILED,
    CommandError,
    Parser,
    add_backend,
    add_postprocessing,
    complain,
    positive,
    positive_number,
    postprocessing,
    reason,
    shown,
    usage_errors,
)
from opencv_squeezedet.cli.progress import Lines, duration
from opencv_squeezedet.extras import needs
from opencv_squeezedet.model import Model

if TYPE_CHECKING:
    from opencv_squeezedet.batch import Detect, Done, Job

DESCRIPTION = (
    "Find objects in many pictures, on all cores or on a Ray cluster: one row of Parquet or JSON Lines per picture, with its "
    "objects or its error. If it is interrupted, run it again with --resume."
)
USAGE = "[options] SOURCE ... -o OUT"
EXAMPLE = "photos/ s3://bucket/more/ -r -o found.parquet --resume"


def add_arguments(parser: Parser) -> None:
    """Add the arguments of the command."""
    parser.add_sources(metavar="SOURCE", help="picture, folder, 'pattern', list (.txt), Parquet; here, s3://, gs://, ...")
    add = parser.add_argument_group("detection").add_argument
    add("--model", metavar="M", help="a model's files, or its name")
    add("--weights", metavar="W", help="its caffemodel, if apart")
    add_backend(add)
    add_postprocessing(add)
    add("--letterbox", action="store_true", help="keep the aspect ratio")
    add = parser.add_argument_group("input and output").add_argument
    add("-r", "--recursive", action="store_true", help="folders of folders too")
    add("--column", metavar="C", help="Parquet: bytes or paths")
    add("-o", "--output", required=True, metavar="OUT", help="folder for part files")
    add("--format", choices=("parquet", "jsonl"), metavar="F", help="parquet or jsonl")
    add("--part", type=positive, default=0, metavar="N", help="pictures per part file")
    add("--resume", action="store_true", help="do what is missing")
    add = parser.add_argument_group("run").add_argument
    add("--address", metavar="A", help="Ray cluster to use")
    add("--workers", type=positive, metavar="N", help="networks (one per core)")
    add("--cpus", type=positive, default=1, metavar="N", help="cores per worker (1)")
    add("--gpus", type=positive_number, default=0.0, metavar="G", help="GPUs per worker, may be 0.25")
    add("--batch", type=positive, default=1, metavar="N", help="pictures per pass (1)")
    add("--verbose", action="store_true", help="show Ray's log")
    add("--quiet", action="store_true", help="no progress, no summary")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    with needs("ray", what="squeezedet batch"):
        import ray
    from opencv_squeezedet import batch

    with usage_errors():
        options = _options(args)
        model = Model.load(args.model, args.weights, task="detector")
        maker = batch.Detect(model, target=args.target, column="content", readers=args.cpus + 1, threads=args.cpus, **options)
        reading = batch.Reading(
            model=model.fingerprint, options=options, column=args.column, format=_format(args), part=args.part
        )
        entries = batch.find_entries(args.sources, recursive=args.recursive, column=args.column, without=args.output)
        job = batch.begin(args.output, entries, reading, resume=args.resume)
    try:
        return _work(args, job, maker)
    except ConnectionError as error:
        raise CommandError(f"--address: {reason(error)}") from error
    except (batch.WorkerError, ray.exceptions.RayError) as error:
        raise CommandError(shown(reason(error)), EXIT_SOME_FAILED) from error


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """What decides the detections in a picture."""
    given = {name: value for name, value in postprocessing(args).items() if value is not None}
    resize = {"resize": "letterbox"} if args.letterbox else {}
    return {"backend": args.backend, "batch": args.batch, **resize, **given}


def _format(args: argparse.Namespace) -> Any:
    if args.format is not None:
        return args.format
    return "jsonl" if args.output.rstrip("/").lower().endswith(".jsonl") else "parquet"


def _work(args: argparse.Namespace, job: Job, maker: Detect) -> int:
    """Do what is missing of the job; returns the exit status."""
    from opencv_squeezedet import batch

    missing = job.missing()
    progress = _Progress(args, job, sum(map(job.pictures_in, missing)))
    try:
        with ExitStack() as stack:
            if missing:
                stack.enter_context(batch.cluster(args.address, verbose=args.verbose))
            stack.enter_context(progress)
            for part in batch.run(job, maker, workers=args.workers, cpus=args.cpus, gpus=args.gpus):
                progress.add(part)
    except KeyboardInterrupt:
        complain(args.program, "interrupted; the same command with --resume does what is missing")
        return EXIT_INTERRUPTED
    if missing := job.missing():
        raise CommandError(f"{len(missing)} of {job.parts} parts are missing in {shown(job.folder)}", EXIT_SOME_FAILED)
    progress.summary()
    return 0


class _Progress:
    """A bar on a terminal, elsewhere a line a minute; in the end a summary."""

    def __init__(self, args: argparse.Namespace, job: Job, missing: int) -> None:
        self._args, self._job = args, job
        self._before = self._seen = job.pictures - missing
        self._failed = self._objects = 0
        self._bar: Any = None

    def __enter__(self) -> _Progress:
        self._start = time.monotonic()
        self._lines = Lines(self._args.program, self._job.pictures, self._before, quiet=self._args.quiet)
        if sys.stderr.isatty() and not self._args.quiet:
            from tqdm import tqdm

            total = self._job.pictures
            self._bar = tqdm(total=total, initial=self._seen, unit=" pictures", dynamic_ncols=True, leave=False, smoothing=0)
        return self

    def __exit__(self, *exception: object) -> None:
        self._seconds = time.monotonic() - self._start
        if self._bar is not None:
            self._bar.close()

    def add(self, done: Done) -> None:
        """Count a part."""
        self._seen += done.pictures
        self._failed += done.failed
        self._objects += done.objects
        self._lines.at(self._seen)
        if self._bar is not None:
            self._bar.update(done.pictures)

    def summary(self) -> None:
        """Print what was done."""
        if self._args.quiet:
            return
        new = self._seen - self._before
        before = f", {self._before} of them before" if self._before else ""
        print(f"{shown(self._job.folder)}: {self._job.pictures} pictures in {self._job.parts} parts{before}")
        if new:
            rate, time_taken = new / self._seconds, duration(self._seconds)
            print(f"{new} pictures in {time_taken}, {rate:.1f} per second: {self._objects} objects, {self._failed} unreadable")
