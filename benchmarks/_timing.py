"""What the benchmarks share: one core, alternating measurements, a line about the machine, and tables."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from statistics import median
from time import perf_counter

import cv2
import numpy as np

Call = Callable[[], object]
Sampler = Callable[[], float]


def pin_to_one_core() -> str:
    """Keep this process, and those it starts, on one core if the system can; return a remark about it."""
    if not hasattr(os, "sched_setaffinity"):
        return "not bound to a core, because this system cannot"
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return "all on one core"


def machine() -> str:
    """One line: processor, cores, operating system, versions."""
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, OpenCV {cv2.__version__}"
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}; {versions}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return named[1].strip() if named else platform.processor() or "unknown processor"


def seconds(call: Call, count: int = 1) -> float:
    """Seconds for one call, the mean of ``count``."""
    start = perf_counter()
    for _ in repeat(None, count):
        call()
    return (perf_counter() - start) / count


def sampler(call: Call, duration: float = 0.01) -> Sampler:
    """Return a sampler that times a call, after a warm-up: the mean of as many calls as fit into ``duration`` seconds."""
    seconds(call, 3)
    count = max(1, round(duration / seconds(call, 3)))
    return lambda: seconds(call, count)


def block(samplers: Mapping[str, Sampler], samples: int = 5, *, backwards: bool = False) -> dict[str, float]:
    """Measure each once, one after the other; a measurement is the median of ``samples``."""
    names = list(samplers)
    if backwards:
        names.reverse()
    return {name: median(samplers[name]() for _ in range(samples)) for name in names}


def alternate(samplers: Mapping[str, Sampler], blocks: int, samples: int = 5) -> list[dict[str, float]]:
    """Return one `block` after the other, every second one in reverse order."""
    return [block(samplers, samples, backwards=i % 2 == 1) for i in range(blocks)]


def typical(blocks: Sequence[Mapping[str, float]], name: str) -> float:
    """Return the median of the blocks' measurements of ``name``."""
    return median(block[name] for block in blocks)


def ratio(blocks: Sequence[Mapping[str, float]], above: str, below: str) -> float:
    """Return the median of the blocks' ratios ``above`` / ``below``: what slows down a whole block cancels out."""
    return median(block[above] / block[below] for block in blocks)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in (header, rule, *rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
