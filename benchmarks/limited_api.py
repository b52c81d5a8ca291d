"""Measures what Python's limited API would cost: one wheel for all versions from 3.11 on, instead of one for each.

Builds the kernel twice, each in a folder of its own, and lets two processes on one core measure in turns of a few
milliseconds: the frames of the first row of ``benchmarks/postprocess.py``, in three ways. The last column is the median of
the turns' ratios, so that what slows the machine down for a while cancels out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

from _timing import machine, pin_to_one_core, seconds, table

ROOT = Path(__file__).resolve().parents[1]
FLAGS = {"full API": "", "limited API": "-DPy_LIMITED_API=0x030b0000"}
WAYS = ("sd.postprocess", "arrays only", "arrays only, class_bound=1")
FRAMES = 8


def build(folder: Path, flags: str) -> int:
    """Build the package in a folder; returns the bytes of the stripped extension."""
    for name in ("benchmarks", "cython", "models", "opencv_squeezedet", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("LICENSE", "README.md", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=folder, check=True, env={**os.environ, "CFLAGS": flags}, stdout=subprocess.DEVNULL)
    (extension,) = (folder / "opencv_squeezedet").glob("_kernel*.so")
    subprocess.run(["strip", str(extension)], check=True)
    return extension.stat().st_size


def serve(folder: str) -> None:
    """Import the package of a folder, and print the microseconds a frame of each way for each line that comes in."""
    sys.path[:0] = [folder, f"{folder}/benchmarks", f"{folder}/tests/helpers"]
    import cv2
    import postprocess as bench

    cv2.setNumThreads(1)
    frames = [bench.make("quiet", seed) for seed in range(FRAMES)]
    calls = [[bench.calls(frame, 0.5)[way] for frame in frames] for way in WAYS]

    def go(way: list[object]) -> None:
        for call in way:
            call()  # type: ignore[operator]

    for _ in sys.stdin:
        print(*(min(seconds(partial(go, way), 40) / FRAMES for _ in range(3)) * 1e6 for way in calls), flush=True)


def ask(process: subprocess.Popen[str]) -> list[float]:
    """One turn."""
    print(file=process.stdin, flush=True)
    return [float(word) for word in process.stdout.readline().split()]  # type: ignore[union-attr]


def main() -> None:
    """Build, measure in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=200, help="of each (default 200)")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    print(f"{machine()}; {pin_to_one_core()}")
    with tempfile.TemporaryDirectory() as work:
        sizes = {name: build(Path(work, str(i)), flags) for i, (name, flags) in enumerate(FLAGS.items())}
        command = [sys.executable, __file__, "--serve"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        processes = {
            name: subprocess.Popen([*command, str(Path(work, str(i)))], **pipes)  # type: ignore[call-overload]
            for i, name in enumerate(FLAGS)
        }
        names = list(FLAGS)
        turns = [{name: ask(processes[name]) for name in (names[::-1] if i % 2 else names)} for i in range(options.turns + 1)]
        for process in processes.values():
            process.communicate()
    rows = []
    for i, way in enumerate(WAYS):
        full, limited = ([turn[name][i] for turn in turns[1:]] for name in names)
        more = median(b / a for a, b in zip(full, limited, strict=True)) - 1
        rows.append((way, f"{min(full):.2f}", f"{min(limited):.2f}", f"{100 * more:+.1f} %"))
    rows.append(("bytes of the extension, stripped", *(str(size) for size in sizes.values()), ""))
    print(table(("microseconds a frame, the fastest turn", *names, "median of the turns"), rows))


if __name__ == "__main__":
    main()
