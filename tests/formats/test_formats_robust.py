"""Files that nobody vouches for: mutations of real ones, and some made to hurt. `fuzz_formats.py` runs far more of both."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from embedded import needs_onnx
from examples import examples
from format_seeds import READERS, mutated, read_it, sealed, seeds
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from opencv_squeezedet.formats.shared_weights import values_bytes

pytestmark = needs_onnx


@pytest.mark.parametrize("kind", READERS)
@examples(100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), which=st.integers(0, 1))
def test_mutated_files_are_read_or_refused(kind: str, seed: int, which: int, tmp_path: Path) -> None:
    files = seeds()[kind]
    read_it(kind, mutated(files[which % len(files)], random.Random(seed)), tmp_path / f"mutated.{kind}")


@pytest.mark.parametrize("kind", READERS)
@examples(50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_any_bytes_are_refused(kind: str, content: bytes, tmp_path: Path) -> None:
    read_it(kind, content, tmp_path / f"any.{kind}")


@pytest.mark.parametrize("kind", READERS)
def test_files_cut_anywhere_are_refused(kind: str, tmp_path: Path) -> None:
    content = seeds()[kind][0]
    for length in range(0, len(content), max(1, len(content) // 60)):
        read_it(kind, content[:length], tmp_path / f"cut.{kind}")


def field(number: int, content: bytes) -> bytes:
    key, length = number << 3 | 2, len(content)
    parts = []
    for value in (key, length):
        while value > 0x7F:
            parts.append(value & 0x7F | 0x80)
            value >>= 7
        parts.append(value)
    return bytes(parts) + content


def nested(depth: int) -> bytes:
    """Graphs in attributes of nodes in graphs."""
    content = b""
    for _ in range(depth):
        content = field(1, field(5, field(6, content)))
    return field(7, content)


MILLION = 1_000_000
SMALLEST = 'input: "data" input_dim: [1, 3, 9, 9] layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'
FEW = values_bytes(np.zeros(1 << 12, np.float32))
CLAIM = b'{"description":null,"definition":"","blobs":[["conv",[268435456],%d]]}' % len(FEW)
SPARSE = np.zeros(1 << 22, np.float32)
SPARSE[255::256] = 1  # a quarter of a byte for each
MANY = values_bytes(SPARSE)
NO_LAYER = json.dumps({"description": None, "definition": SMALLEST, "blobs": [["none", SPARSE.shape, len(MANY)]]}).encode()
BOMBS = {
    "empty layers": ("caffemodel", field(100, b"") * MILLION),
    "empty V1 layers": ("caffemodel", field(2, b"") * MILLION),
    "empty blobs": ("caffemodel", field(100, field(1, b"a") + field(7, b"") * MILLION)),
    "small layers": ("caffemodel", field(100, field(1, b"a") + field(2, b"b")) * (MILLION // 4)),
    "many sizes": (
        "caffemodel",
        field(100, field(1, b"a") + field(7, field(7, field(1, b"\x01" * MILLION)) + field(5, bytes(4)))),
    ),
    "fields of two bytes": ("caffemodel", b"\x20\x01" * MILLION),
    "runs of one": ("caffemodel", field(100, field(7, (b"\x2d" + bytes(4) + b"\x20\x01") * (MILLION // 4)))),
    "deep messages": ("onnx", nested(300)),
    "empty nodes": ("onnx", field(7, field(1, b"") * MILLION)),
    "empty initializers": ("onnx", field(7, field(5, b"") * MILLION)),
    "empty attributes": ("onnx", field(7, field(1, field(4, b"Conv") + field(5, b"") * MILLION))),
    "empty metadata": ("onnx", field(14, b"") * MILLION),
    "many layers of text": ("prototxt", b"layer{}" * (MILLION // 28)),
    "deep text": ("prototxt", b"layer{" * (MILLION // 24)),
    "long numbers": ("prototxt", b"input_dim:" + b"9" * (MILLION // 4)),
    "claimed weights": ("sdz", sealed(CLAIM, FEW)),
    "weights of no layer": ("sdz", sealed(NO_LAYER, MANY)),
    "empty rows": ("sdz", sealed(b'{"description":null,"definition":"","blobs":[' + b"[]," * (MILLION // 3) + b"[]]}", b"")),
    "empty head": ("sdz", sealed(bytes(MILLION), b"")),
    "many tops": (
        "prototxt",
        b'input:"x" input_dim:[1,3,9,9] layer{name:"s" type:"Slice" bottom:"x"' + b' top:"t"' * 30_000 + b"}",
    ),
}

MEASURE = """
import re, sys
from pathlib import Path
from format_seeds import refusal
for path in map(Path, sys.argv[1:]):
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    refused = refusal(path.suffix[1:], path)
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    print(path.stem, refused is not None and len(refused) < 4000, (peak - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured by Linux' /proc")
def test_memory_stays_a_small_multiple_of_the_file(tmp_path: Path) -> None:
    """In a process of its own, where nothing else fills the memory; 12 MiB are what an allocator may take at a time."""
    paths = [tmp_path / f"good.{kind}" for kind in ("caffemodel", "onnx", "prototxt")]
    for path in paths:
        path.write_bytes(seeds()[path.suffix[1:]][0])
    for name, (kind, content) in BOMBS.items():
        paths.append(tmp_path / f"{name.replace(' ', '-')}.{kind}")
        paths[-1].write_bytes(content)
    command, here = [sys.executable, "-c", MEASURE, *map(str, paths)], Path(__file__).parents[1] / "helpers"
    environment = {**os.environ, "PYTHONPATH": str(here.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=here, env=environment)
    results = {name: (refused, int(grown)) for name, refused, grown in map(str.split, done.stdout.splitlines())}
    assert len(results) == 1 + len(BOMBS)
    for path in paths[3:]:
        refused, grown = results[path.stem]
        assert refused == "True", path.stem
        assert grown < 12 * 2**20 + 20 * path.stat().st_size, (path.stem, grown, path.stat().st_size)
