"""The command ``detect``."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from itertools import chain, takewhile
from pathlib import Path

import cv2

from opencv_squeezedet import registry
from opencv_squeezedet.cli import arguments, outputs
from opencv_squeezedet.cli.detectors import MOST_WORKERS, load_detectors
from opencv_squeezedet.cli.errors import EXIT_INTERRUPTED, EXIT_SOME_FAILED, CommandError, write_errors
from opencv_squeezedet.cli.parser import CommandParser
from opencv_squeezedet.cli.results import Output, RunInfo, Seen, UniqueStems, picture_suffix
from opencv_squeezedet.cli.sources import Frame, Source, VideoError, count_frames, find_sources
from opencv_squeezedet.cli.terminal import complain, did_you_mean, print_table, shown
from opencv_squeezedet.detector import SqueezeDet
from opencv_squeezedet.errors import reason
from opencv_squeezedet.pipeline import chunks, ordered_map
from opencv_squeezedet.progress import progress_bar
from opencv_squeezedet.timing import StageTimes

_NO_MORE_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}  # every further frame would fail too
_STAGES = ("read", "preprocess", "network", "post-process", "annotate", "write")


# ---- arguments ---------------------------------------------------------------------------------------------------------

DESCRIPTION = "Find objects in pictures and videos: print a line per object, and write annotated copies."
USAGE = "[options] SOURCE ..."
EXAMPLE = "holiday/ 'more/*.jpg' film.mp4 -o found --threshold 0.4 --json found.json"


def add_arguments(parser: CommandParser) -> None:
    parser.add_sources(metavar="SOURCE", help=arguments.SOURCE_HELP)
    add = parser.add_argument_group("detection").add_argument
    arguments.add_model(add)
    arguments.add_backend(add)
    arguments.add_postprocessing(add)
    arguments.add_letterbox(add)
    add("--size", type=arguments.input_size, metavar="WxH", help=f"{arguments.SIZE_HELP} (default: the model's)")
    arguments.add_batch(add)
    add("--classes", metavar="A,B", help="show only objects of these classes (default: all classes)")
    add = parser.add_argument_group("input").add_argument
    arguments.add_recursive(add)
    arguments.add_every(add)
    add = parser.add_argument_group("output").add_argument
    outputs.add_arguments(add)
    add("--lines", action="store_true", help="print a line per object of a video on a terminal too")
    add("--timing", action="store_true", help="print the time of each stage")
    arguments.add_quiet(add)


# ---- the run -----------------------------------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> int:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # the command reports errors itself
    sources = find_sources(
        args.sources,
        recursive=args.recursive,
        without=outputs.folders(args),
        complain=lambda message: complain(args.program, message),
    )
    total = count_frames(sources.frames, args.every)
    detectors = _load(args, 1 if total is not None and total <= args.batch else MOST_WORKERS)
    times = StageTimes(*_STAGES)
    for detector in detectors:
        detector.on_stage = times.add
    names = UniqueStems(None if args.no_image else args.output, sources.files, alone=len(sources.frames) == 1)
    written = outputs.make_outputs(args, RunInfo(sources, names, detectors[0].config.labels, args.every, args.video_out))
    lines = not args.quiet and not outputs.to_stdout(args)
    progress = _Console(total, lines=lines, of_videos=args.lines, bar=not args.quiet, program=args.program)
    try:
        with write_errors(), ExitStack() as stack, progress, _stop_asked() as stopped:
            for output in written:
                stack.enter_context(output)
            frames = takewhile(lambda _: not stopped, _frames(sources.frames, args.every, progress, times))
            named = ((frame, names.stem(frame, picture_suffix(frame.suffix))) for frame in frames)
            items = chunks(named, args.batch)
            look = partial(_look, args, written, times, stopped)
            for result in chain.from_iterable(ordered_map(look, items, detectors)):
                if isinstance(result, str):
                    progress.complain(result)
                else:
                    with times.stage("write"):
                        for output in written:
                            output.add(result)
                    progress.say(result)
        progress.summary(None if args.no_image else args.output)
        status = EXIT_SOME_FAILED if sources.failures or progress.complaints else 0
        if stopped:
            status = 128 + stopped[0]
    except KeyboardInterrupt:  # a second Ctrl-C, or the window was closed
        status = EXIT_INTERRUPTED
    if args.timing:
        rows = [[stage, f"{ms['p50']:.3f}", f"{ms['p95']:.3f}"] for stage, ms in times.milliseconds().items()]
        print_table(["ms per picture", "p50", "p95"], rows, numbers=2, file=sys.stderr)
    return status


@contextmanager
def _stop_asked() -> Iterator[list[int]]:
    """Record the first Ctrl-C or SIGTERM, so that frames in progress are finished; a second signal acts as usual."""
    stopped: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only the main thread can handle signals
        yield stopped
        return

    def stop(number: int, _: object) -> None:
        stopped.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _frames(sources: list[Source], every: int, progress: _Console, times: StageTimes) -> Iterator[Frame]:
    for source in sources:
        if isinstance(source, Frame):
            yield source
            continue
        try:
            frames = source.frames(every)
            while True:
                with times.stage("read"):
                    frame = next(frames, None)
                if frame is None:
                    break
                yield frame
        except VideoError as error:
            progress.complain(shown(str(error)))


def _look(
    args: argparse.Namespace,
    written: list[Output],
    times: StageTimes,
    stopped: list[int],
    detector: SqueezeDet,
    chunk: list[tuple[Frame, str]],
) -> list[Seen | str]:
    """Read, detect, draw and write a chunk of frames; an error message replaces a frame that fails."""
    results: list[Seen | str] = []
    pictures = []
    if stopped:
        return results
    for frame, stem in chunk:
        try:
            with times.stage("read") if frame.video is None else nullcontext():  # the frames of a video have been timed
                pictures.append((frame, stem, frame.load()))
        except (OSError, ValueError, MemoryError, cv2.error) as error:
            results.append(f"{shown(frame.name)}: {reason(error)}")
    try:
        detections_of = detector.detect_batch((image for _, _, image in pictures), **arguments.postprocessing(args))
    except (MemoryError, RuntimeError, cv2.error) as error:
        return results + [f"{shown(frame.name)}: {reason(error)}" for frame, _, _ in pictures]
    for (frame, stem, image), detections in zip(pictures, detections_of, strict=True):
        kept = detections if args.classes is None else detections[args.classes]
        seen = Seen(frame, stem, image, kept, line_width=args.line_width, labels=args.labels)
        try:
            with times.stage("annotate"):
                for output in written:
                    output.write(seen)
        except (OSError, ValueError, MemoryError, cv2.error) as error:
            if isinstance(error, OSError) and error.errno in _NO_MORE_ROOM:
                raise
            results.append(f"{shown(frame.name)}: {reason(error)}")
        results.append(seen)
    return results


def _load(args: argparse.Namespace, most: int) -> list[SqueezeDet]:
    try:
        detectors = load_detectors(args, size=args.size, most=most)
    except CommandError as error:
        suggestion = did_you_mean(args.model or "", registry.names()) if isinstance(error.__cause__, FileNotFoundError) else ""
        raise CommandError(f"{error}{suggestion}", error.status) from error.__cause__
    if args.classes is not None:
        args.classes = _known_labels([name.strip() for name in args.classes.split(",")], detectors[0].config.labels)
    return detectors


def _known_labels(names: list[str], labels: Sequence[str]) -> list[str]:
    """Return the model's spelling of class names; CommandError if the model lacks a class."""
    spelled = {label.casefold(): label for label in labels}
    for name in names:
        if name not in labels and name.casefold() not in spelled:
            suggestion = did_you_mean(name, labels) or f"; its classes are {', '.join(labels)}"
            raise CommandError(f"--classes: the model has no class {name!r}{suggestion}")
    return [name if name in labels else spelled[name.casefold()] for name in names]


# ---- messages and progress ------------------------------------------------------------------------------------------------


class _Console:
    """Result lines, a progress bar if there is a terminal, tqdm and more than one frame, and a summary on a terminal.

    Frames of videos have lines if ``of_videos``, or if standard output is no terminal.
    """

    def __init__(self, total: int | None, *, lines: bool, of_videos: bool, bar: bool, program: str) -> None:
        self.complaints = 0
        self._pictures = self._frames = self._objects = 0
        self._program = program
        self._lines = lines
        self._of_videos = of_videos or not sys.stdout.isatty()
        self._bar = None
        if bar and total != 1 and sys.stderr.isatty():
            with suppress(ImportError):
                self._bar = progress_bar(total, unit=" frames")

    def __enter__(self) -> _Console:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def say(self, seen: Seen) -> None:
        """Print the detections of a frame."""
        self._objects += len(seen.detections)
        if seen.frame.video is None:
            self._pictures += 1
        else:
            self._frames += 1
        if self._lines and (seen.frame.video is None or self._of_videos):
            (print if self._bar is None else self._bar.write)(_line(seen))
        if self._bar is not None:
            self._bar.update()

    def complain(self, message: str) -> None:
        """Print an error on standard error."""
        self.complaints += 1
        if self._bar is not None:
            self._bar.update()
            self._bar.clear()
        complain(self._program, message)

    def summary(self, copies: Path | None) -> None:
        """Print the number of pictures, frames and objects, and the folder of the copies, on a terminal."""
        if not self._lines or not sys.stdout.isatty():
            return
        counts = {"picture": self._pictures, "frame": self._frames}
        parts = [f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items() if count]
        parts.append(f"{self._objects} object{'s' * (self._objects != 1)}")
        print(", ".join(parts) + ("" if copies is None else f"; copies in {shown(copies)}/"))


def _line(seen: Seen) -> str:
    """A line per object: file, label, score, box."""
    number = "" if seen.frame.number is None else f" frame {seen.frame.number}"
    name = shown(seen.frame.name) + number
    lines = [f"{name}: {shown(d.label)} {d.confidence:.2f} ({', '.join(f'{v:.0f}' for v in d.xyxy)})" for d in seen.detections]
    return "\n".join(lines) or f"{name}: nothing found"
