"""Pictures a second of ``squeezedet batch`` beside ``detect``, with one worker and with more, and the memory of a worker.

python benchmarks/batch.py FOLDER [--pictures N] [--blocks N] [--price P] [--model M] [--backend B]
python benchmarks/batch.py FOLDER --memory 1000 20000 [--model M] [--backend B]

All commands get the same list of pictures and are measured in turns; ratios are medians of the blocks' ratios. A second rate
is without the time that Ray takes to start, which a longer job does not notice. From the last one follows what a thousand
million such pictures would take, at a price per core-hour.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shutil
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
    """Seconds of ``squeezedet batch``, and without its start; leaves its output."""
    start = time.perf_counter()
    shutil.rmtree(out / "found.parquet", ignore_errors=True)
    command = [*COMMAND, "batch", sources, "-o", out / "found.parquet", "--workers", str(workers), *model]
    environment = {**os.environ, "RAY_worker_niceness": "0"}  # so that other programs slow ``detect`` down no less
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
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
    rate = options.pictures / statistics.median(values) / options.workers[-1]  # the last one, without its start
    plan(rate, sources, out / "found.parquet", options)


def plan(rate: float, sources: Path, found: Path, options: argparse.Namespace) -> None:
    """Print what a thousand million pictures would take, if a core does ``rate`` in a second."""
    read = statistics.mean(Path(line).stat().st_size for line in sources.read_text().splitlines())
    written = sum(path.stat().st_size for path in found.glob("part-*")) / options.pictures
    hours = 1e9 / rate / 3600
    print(f"\n10^9 pictures at {3600 * rate:,.0f} a core-hour: {hours:,.0f} core-hours, {options.price * hours:,.0f} at")
    print(f"{options.price} each; {read / 1e3:.0f} TB to read ({read:,.0f} bytes each), {written:,.0f} GB of Parquet to write")


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
    parser.add_argument("--price", type=float, default=0.04)
    parser.add_argument("--model")
    parser.add_argument("--backend")
    options = parser.parse_args()
    print(machine())
    given = {"--model": options.model, "--backend": options.backend}
    model = [text for option, value in given.items() if value is not None for text in (option, value)]
    with tempfile.TemporaryDirectory() as name:
        (rates if options.memory is None else memory)(options, model, Path(name))


if __name__ == "__main__":
    main()
