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
    """What became of one time.

    The number of the call that failed, from 1, or 0 if none did, and the call's name; the process's exit status, negative for
    a signal; the folder where it worked; and what it wrote to standard error.
    """

    number: int
    call: str
    status: int
    folder: Path
    error: str


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
    """Run code that defines ``work``, which returns an exit status, in copies of the template folder.

    First without faults, then with a fault at its first write, at its second, ... ``mode`` is `KILL`, or the call's error.
    """
    command = [sys.executable, __file__, str(template), str(folder), str(mode), code]
    package = str(Path(__file__).parents[2])
    environment = {**os.environ, "LD_PRELOAD": str(preloaded), "PYTHONPATH": package, "OMP_NUM_THREADS": "1"}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            number, call, status, path, error = json.loads(line)
            yield Fault(number, call, status, Path(path), error)
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
        path = Path(folder, f"{'killed' if int(mode) == KILL else 'failed'}-{number}")
        shutil.copytree(template, path, symlinks=True)
        errors = Path(folder, f"errors-{number}")
        child = os.fork()
        if not child:
            descriptor = os.open(errors, os.O_RDWR | os.O_CREAT)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(descriptor, 2)
            os.chdir(path)
            lib.fault_arm(os.fsencode(f"{path}/"), number or MOST, int(mode))
            status = names["work"]()  # type: ignore[operator]
            sys.stdout.flush()
            os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        hit = not number or lib.fault_count() >= number
        if hit:
            print(json.dumps([number, lib.fault_what().decode(), status, str(path), errors.read_text()]), flush=True)
        errors.unlink()
        if not hit:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
