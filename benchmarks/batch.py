"""Pictures a second of ``squeezedet batch`` beside ``detect``, with one worker and with more, and the memory of a worker.

python benchmarks/batch.py FOLDER [--pictures N] [--blocks N] [--model M]
python benchmarks/batch.py FOLDER --memory 1000 20000 [--model M]

All commands get the same list of pictures and are measured in turns; ratios are medians of the blocks' ratios. A second rate
is without the time that Ray takes to start, which a longer job does not notice.
"""

from __future__ import annotations

import argparse
import itertools
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _processes import below, resident_mebibytes
from _timing import machine, table

COMMAND = [sys.executable, "-c", "import sys; from opencv_squeezedet.cli import main; sys.exit(main())"]


def write_list(folder: Path, count: int, path: Path) -> Path:
    """Write a list of so many pictures of a folder, from the beginning again where there are not enough."""
    pictures = sorted(one.absolute() for one in folder.iterdir())
    path.write_text("\n".join(str(one) for one in itertools.islice(itertools.cycle(pictures), count)))
    return path


def detect_seconds(sources: Path, model: list[str], out: Path) -> float:
    """Seconds of ``detect``."""
    start = time.perf_counter()
    subprocess.run([*COMMAND, "detect", sources, "--no-image", "--json", out / "all.json", "--quiet", *model], check=True)
    return time.perf_counter() - start


def batch_seconds(sources: Path, model: list[str], out: Path, workers: int) -> tuple[float, float]:
    """Seconds of ``squeezedet batch``, and without its start."""
    start = time.perf_counter()
    command = [*COMMAND, "batch", sources, "-o", out / f"{time.time_ns()}.parquet", "--workers", str(workers), *model]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rate = re.search(r"(\d+) pictures in .*, ([\d.]+) per second", done.stdout)
    assert rate is not None, done.stdout
    return time.perf_counter() - start, int(rate[1]) / float(rate[2])


def rates(options: argparse.Namespace, model: list[str], out: Path) -> None:
    """Print the table of rates."""
    sources = write_list(options.folder, options.pictures, out / "list.txt")
    seconds: dict[str, list[float]] = {}
    for _ in range(options.blocks):
        block = {"detect": detect_seconds(sources, model, out)}
        for workers in options.workers:
            name = f"batch, {workers} worker{'s' * (workers > 1)}"
            block[name], block[f"{name}, without its start"] = batch_seconds(sources, model, out, workers)
        for name, value in block.items():
            seconds.setdefault(name, []).append(value)
    least = f"batch, {options.workers[0]} worker{'s' * (options.workers[0] > 1)}"
    rows = []
    for name, values in seconds.items():
        suffix = ", without its start"
        first = least + suffix if name.endswith(suffix) else least
        beside = [statistics.median(a / b for a, b in zip(seconds[other], values, strict=True)) for other in ("detect", first)]
        rate = options.pictures / statistics.median(values)
        rows.append([name, f"{rate:.1f}", f"{beside[0]:.2f}", "" if name == "detect" else f"{beside[1]:.2f}"])
    print(table([f"{options.pictures} pictures", "pictures/s", "beside detect", f"beside {least}"], rows))


def memory(options: argparse.Namespace, model: list[str], out: Path) -> None:
    """Print the table of a worker's memory."""
    rows = []
    for count in options.memory:
        sources = write_list(options.folder, count, out / "list.txt")
        command = [*COMMAND, "batch", sources, "-o", out / f"{count}.parquet", "--quiet", *model]
        process = subprocess.Popen(command)
        samples: dict[int, list[float]] = {}
        while process.poll() is None:
            for number in below(process.pid, "ray::MapWorker"):
                if size := resident_mebibytes(number):
                    samples.setdefault(number, []).append(size)
            time.sleep(0.5)
        assert process.returncode == 0
        for sizes in samples.values():
            quarter = max(1, len(sizes) // 4)
            figures = statistics.median(sizes[quarter : 2 * quarter]), statistics.median(sizes[-quarter:]), max(sizes)
            rows.append([f"{count} pictures, {len(samples)} workers", *(f"{figure:.0f}" for figure in figures)])
    print(table(["MiB of a worker", "second quarter", "last quarter", "most"], rows))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--memory", type=int, nargs="+")
    parser.add_argument("--model")
    options = parser.parse_args()
    print(machine())
    model = [] if options.model is None else ["--model", options.model]
    with tempfile.TemporaryDirectory() as name:
        (rates if options.memory is None else memory)(options, model, Path(name))


if __name__ == "__main__":
    main()
