"""Do a piece of work again and again, each time with another of its writes to files failing, or ending the process (Linux).

`run_with_faults` is what tests call. This file is also what runs, with the library of ``faults.c`` preloaded: one process that
imports what is needed, and forks for each time.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

KILL = 0
MOST = 1000
"""Calls of one piece of work; no test comes near."""


class Fault(NamedTuple):
    """The outcome of a time."""

    number: int  # of the call that failed, from 1; 0 for the time in which none did
    call: str
    status: int  # of the process; negative for a signal
    folder: Path
    error: str  # on standard error


@cache
def library(folder: Path) -> Path | None:
    """Compile ``faults.c``; None where that is not possible."""
    compiler, target = shutil.which("cc") or shutil.which("gcc"), folder / "faults.so"
    if sys.platform != "linux" or compiler is None:
        return None
    source = Path(__file__).with_name("faults.c")
    subprocess.run([compiler, "-O1", "-Wall", "-shared", "-fPIC", "-o", str(target), str(source), "-ldl"], check=True)
    return target


def run_with_faults(preloaded: Path, code: str, template: Path, folder: Path, mode: int) -> Iterator[Fault]:
    """Run the code in copies of the template, in ``folder``: once as it is, then with a fault at its first write, ...

    The code defines ``work``, a function that returns an exit status; ``mode`` is `KILL`, or the error of the faulty call.
    """
    command = [sys.executable, __file__, str(template), str(folder), str(mode), code]
    package = str(Path(__file__).parents[2])
    environment = {**os.environ, "LD_PRELOAD": str(preloaded), "PYTHONPATH": package, "OMP_NUM_THREADS": "1"}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            number, call, status, copy, error = json.loads(line)
            yield Fault(number, call, status, Path(copy), error)
    assert process.returncode == 0


def main(template: str, folder: str, mode: str, code: str) -> None:
    """Do the work; prints a line of JSON for each time."""
    lib = ctypes.CDLL(None)
    lib.fault_what.restype = ctypes.c_char_p
    import cv2

    cv2.setNumThreads(1)
    names: dict[str, object] = {"__name__": "work"}
    exec(compile(code, "work", "exec"), names)
    for number in itertools.count():
        copy = Path(folder, f"{'killed' if int(mode) == KILL else 'failed'}-{number}")
        shutil.copytree(template, copy, symlinks=True)
        printed = Path(folder, f"printed-{number}")
        child = os.fork()
        if not child:
            descriptor = os.open(printed, os.O_RDWR | os.O_CREAT)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(descriptor, 2)
            os.chdir(copy)
            lib.fault_arm(os.fsencode(f"{copy}/"), number or MOST, int(mode))
            status = names["work"]()  # type: ignore[operator]
            sys.stdout.flush()
            os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        hit = not number or lib.fault_count() >= number
        if hit:
            print(json.dumps([number, lib.fault_what().decode(), status, str(copy), printed.read_text()]), flush=True)
        printed.unlink()
        if not hit:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
