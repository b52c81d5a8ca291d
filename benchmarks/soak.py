"""Whether memory and open files stay as they are: `detect` on a looped video, and eight threads on one detector (Linux).

python benchmarks/soak.py [--minutes 60] [--pause 0.04]

Both run at the same time, each in a process of its own, with a pause after each frame. A table shows the resident memory and
the open descriptors at the start (after twenty frames), after a sixth of the time and at the end, the most there was, and the
slope of the memory over the last five sixths.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from _processes import resident_mebibytes
from _timing import machine
from throughput import make_video

import opencv_squeezedet as sd
from opencv_squeezedet.cli import detect_main
from opencv_squeezedet.pictures import read_picture

PHOTO = Path(__file__).parents[1] / "samples" / "chelsea.jpg"
BEGUN_AFTER = 20
THREADS = 8
COLUMNS = (
    *("MiB: start", "a sixth", "end", "most", "MiB an hour"),
    *("descriptors: start", "a sixth", "end", "most", "frames", "status"),
)


class Clock:
    """Ends a run, and tells how many frames it had: their number is the size of a file, which another process can ask for."""

    def __init__(self, folder: Path, name: str, minutes: float, pause: float) -> None:
        self._file = (folder / name).open("wb", buffering=0)
        self._end, self._pause = time.monotonic() + 60 * minutes, pause

    def tick(self) -> bool:
        """Count a frame, and wait a little; returns whether there is time for another."""
        self._file.write(b"\0")
        time.sleep(self._pause)
        return time.monotonic() < self._end


# ---- what is run -------------------------------------------------------------------------------------------------------


def looped_video(folder: Path, clock: Clock) -> int:
    """Run the command on a video that begins again at its end, until the time is over; returns its exit status."""
    video, real = make_video(folder / "video.mp4", 50), cv2.VideoCapture

    class Looped:
        """Opens the file again whenever it is through."""

        def __init__(self, name: str) -> None:
            self._name, self._capture = name, real(name)

        def grab(self) -> bool:
            if not self._capture.grab():
                self._capture.release()
                self._capture = real(self._name)
                self._capture.grab()
            return clock.tick()

        def get(self, what: int) -> float:
            return 0.0 if what == cv2.CAP_PROP_FRAME_COUNT else float(self._capture.get(what))

        def __getattr__(self, name: str) -> object:
            return getattr(self._capture, name)

    cv2.VideoCapture = Looped  # type: ignore[assignment,misc]
    return detect_main([str(video), "--no-image", "--json", str(folder / "found.json"), "--quiet"])


def threads_on_one_detector(folder: Path, clock: Clock) -> int:
    """Detect and draw in pictures of many sizes, in all threads with one detector; returns 0."""
    detector, photo = sd.SqueezeDet(), read_picture(PHOTO)
    sizes = [(300 + 37 * i % 400, 200 + 53 * i % 300) for i in range(24)]
    pictures = [cv2.resize(photo, size) for size in sizes]

    def work(first: int) -> None:
        for i in count(first):
            image = pictures[i % len(pictures)]
            sd.draw(image, detector.detect(image, score_threshold=0.1))
            if not clock.tick():
                return

    threads = [threading.Thread(target=work, args=(3 * i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0


RUNS: dict[str, Callable[[Path, Clock], int]] = {"detect": looped_video, "threads": threads_on_one_detector}


# ---- what is watched ---------------------------------------------------------------------------------------------------


class Watched:
    """A run in a process of its own, and the samples of it."""

    def __init__(self, name: str, folder: Path, minutes: float, pause: float) -> None:
        folder.mkdir()
        self.name, self._frames = name, folder / name
        command = [sys.executable, __file__, "--run", name, "--folder", str(folder)]
        self.process = subprocess.Popen([*command, "--minutes", str(minutes), "--pause", str(pause)])
        self.samples: list[tuple[float, float, int]] = []
        """Seconds, MiB, descriptors; from the moment on when it has begun."""

    @property
    def frames(self) -> int:
        """How many there were up to now."""
        return self._frames.stat().st_size if self._frames.exists() else 0

    def sample(self) -> bool:
        """Look once; returns whether the process goes on."""
        folder = f"/proc/{self.process.pid}/fd"
        if self.frames >= BEGUN_AFTER and self.process.poll() is None:
            memory, descriptors = resident_mebibytes(self.process.pid), len(os.listdir(folder))
            if memory:
                self.samples.append((time.monotonic(), memory, descriptors))
        return self.process.poll() is None

    def row(self, minutes: float) -> str:
        """What was seen, as a row of the table."""
        seconds, memory, descriptors = (np.array(column) for column in zip(*self.samples, strict=True))
        seconds -= seconds[0]
        sixth = min(int(np.searchsorted(seconds, 10 * minutes)), len(seconds) - 2)
        slope = 3600 * np.polyfit(seconds[sixth:], memory[sixth:], 1)[0]
        places = (0, sixth, -2)  # at -1 it may be about to end
        cells = [f"{memory[i]:.1f}" for i in places] + [f"{memory.max():.1f}", f"{slope:+.2f}"]
        cells += [str(descriptors[i]) for i in places] + [str(descriptors.max()), f"{self.frames:,}", str(self.process.poll())]
        return f"| {self.name} | " + " | ".join(cells) + " |"


def main() -> int:
    """Run both, or with ``--run`` one of them, in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--pause", type=float, default=0.04, help="seconds between frames, of all threads together")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run is not None:
        cv2.setNumThreads(1)
        pause = args.pause * (THREADS if args.run == "threads" else 1)
        return RUNS[args.run](args.folder, Clock(args.folder, args.run, args.minutes, pause))
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        runs = [Watched(name, Path(folder, name), args.minutes, args.pause) for name in RUNS]
        try:
            while sum(run.sample() for run in runs):
                time.sleep(min(5.0, 2 * args.minutes))
        finally:
            for run in runs:
                run.process.kill()
        print(f"| | {' | '.join(COLUMNS)} |")
        print("|---" * (len(COLUMNS) + 1) + "|")
        for run in runs:
            print(run.row(args.minutes))
    return max(run.process.returncode for run in runs)


if __name__ == "__main__":
    sys.exit(main())
