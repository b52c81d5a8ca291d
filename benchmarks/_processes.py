"""Fresh Python processes whose processor time is measured."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_TELL = "import time; print(time.process_time())"
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Processes:
    """Starts fresh processes of a Python in a folder that keeps their bytecode, compiled once as in an installed package."""

    def __init__(self, folder: str, python: str = sys.executable) -> None:
        self._folder, self._python = folder, python
        self._environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        self._environment["PYTHONPYCACHEPREFIX"] = str(Path(folder, "bytecode"))
        if "PYTHONPATH" in os.environ:  # relative paths are still relative to this folder
            paths = os.environ["PYTHONPATH"].split(os.pathsep)
            self._environment["PYTHONPATH"] = os.pathsep.join(str(Path(path).absolute()) for path in paths)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the folder."""
        command, environment = [self._python, *arguments], self._environment
        return subprocess.run(command, cwd=self._folder, env=environment, check=True, capture_output=True, text=True)

    def with_one_thread(self) -> None:
        """Keep NumPy's linear algebra from starting threads from now on."""
        self._environment |= _ONE_THREAD

    def seconds(self, statement: str) -> float:
        """Return the processor time that a process has used after the statement."""
        return float(self.run("-c", f"{statement}; {_TELL}").stdout)


def below(root: int, name: str) -> list[int]:
    """Return the processes that one has started, or theirs, whose command begins with a name (Linux)."""
    parents, found = {}, []
    for entry in Path("/proc").iterdir():
        try:
            number = int(entry.name)
            parents[number] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if (entry / "cmdline").read_bytes().startswith(name.encode()):
                found.append(number)
        except (OSError, ValueError):
            continue  # not a process, or one that has just ended

    def is_below(number: int) -> bool:
        while number not in (root, 0):
            number = parents.get(number, 0)
        return number == root

    return [number for number in found if is_below(number)]


def resident_mebibytes(number: int) -> float:
    """Return the memory that a process has, in MiB; 0 for one that has ended (Linux)."""
    try:
        pages = int(Path(f"/proc/{number}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
