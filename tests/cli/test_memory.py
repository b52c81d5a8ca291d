"""A training keeps the memory that each step frees."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import sys

import numpy as np

from opencv_squeezedet.cli.memory import keep_memory

if "kept" in sys.argv:
    assert keep_memory()
for _ in range(2):  # the second array takes what the first one left
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    array = np.empty(200_000_000, np.uint8)
    array[::512] = 1
    del array
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
def test_memory_that_was_freed_is_not_cleared_again() -> None:
    command = [sys.executable, "-c", FAULTS]
    freed, kept = (int(subprocess.check_output([*command, *arguments])) for arguments in ([], ["kept"]))
    assert freed > 50  # of 2 MB at most, with huge pages
    assert kept < freed / 10
