"""Measures the processor time that ``import opencv_squeezedet`` adds to ``import cv2``, in fresh processes.

A process imports cv2 alone, the next one both, and so on; each prints its processor time (user and system, all threads) at the
end. They run in an empty folder, so that the installed package is imported, or the one that PYTHONPATH points to.
Bytecode is compiled beforehand, as it is when a package is installed.

Threads that NumPy's OpenBLAS starts spin for a while before they sleep, and whatever is imported meanwhile seems to cost their
time too. The second figure is without such threads, and shows what the import itself takes.
"""

from __future__ import annotations

import argparse
import platform
import re
import tempfile
from statistics import median

from _processes import Processes

STATEMENTS = {"cv2": "import cv2", "both": "import cv2; import opencv_squeezedet"}
WHERE = "import opencv_squeezedet as sd; print(sd.__version__, 'in', sd.__path__[0])"
SELF_TIME = re.compile(r"import time:\s*(\d+) \|\s*\d+ \|\s*(\S+)")


def self_times(processes: Processes) -> list[tuple[int, str]]:
    """Microseconds, excluding nested imports, and name of each module that the package adds, longest first."""
    lines = processes.run("-X", "importtime", "-c", STATEMENTS["both"]).stderr.splitlines()
    found = [(int(match[1]), match[2]) for match in map(SELF_TIME.match, lines) if match]
    after_cv2 = [name for _, name in found].index("cv2") + 1
    return sorted(found[after_cv2:], reverse=True)


def measure(processes: Processes, count: int) -> str:
    """Start ``count`` processes with cv2 alone, and as many with both, in turn; return a line with the median times."""
    measured: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(count):
        for name, statement in STATEMENTS.items():
            measured[name].append(processes.seconds(statement))
    alone, both = (median(measured[name]) * 1e3 for name in ("cv2", "both"))
    return f"opencv_squeezedet adds {both - alone:.1f} ms: cv2 {alone:.1f} ms, both {both:.1f} ms, medians of {count}"


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=20, help="fresh processes of each kind (default 20)")
    parser.add_argument("--verbose", action="store_true", help="also show which modules take the most time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        processes = Processes(folder)
        where = processes.run("-c", WHERE).stdout.strip()  # this compiles the bytecode, too
        print(f"Python {platform.python_version()}, opencv_squeezedet {where}; processor time")
        print(f"as it is:        {measure(processes, options.processes)}")
        processes.with_one_thread()
        print(f"one BLAS thread: {measure(processes, options.processes)}")
        if options.verbose:
            print("\nself time of modules imported after cv2, us (one process, with the overhead of -X importtime):")
            print("\n".join(f"{spent:8d}  {name}" for spent, name in self_times(processes)[:15]))


if __name__ == "__main__":
    main()
