"""One array of weights as bytes and back: plain floats, or shared values whose codes and gaps are Huffman-coded.

After Han, Mao and Dally, "Deep Compression" (arXiv:1510.00149): the nonzero weights share few values, the centroids. For each
of them the file stores the index of its centroid, the code, and the number of zeros before it, the gap. A gap that exceeds a
byte is bridged by fillers: zeros that are stored like weights. models/README.md specifies the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.formats._deflate import MOST_PER_BYTE, huffman_coded, inflated

FLOAT32, FLOAT16, SHARED, SPARSE = range(4)
MOST_CENTROIDS = 256
REACH = 256
"""Values from one entry to the next, at most: a gap is a byte."""
_SHARED_HEADER = struct.Struct("<BBB")
_SPARSE_HEADER = struct.Struct("<BBBII")
_FLOATS: dict[int, np.dtype[Any]] = {FLOAT32: np.dtype("<f4"), FLOAT16: np.dtype("<f2")}
_CHUNK = 1 << 15
_BLOCK, _BLOCK_BITS, _SYMBOL_BITS = 1 << 15, 80, 3.0  # symbols in a deflate block, and about what its code tables take

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Layout:
    """How an array is stored: the fields of its header, and the sizes of its parts.

    Parameters
    ----------
    form : int
        `FLOAT32` or `FLOAT16`: plain values. `SHARED`: a code for each value. `SPARSE`: a code and a gap for each entry.
    centroids : int
        Number of centroids; 0 for plain floats.
    entries : int
        Stored values, including fillers.
    tables, codes, gaps : int
        Bytes of the header and the centroids, of the codes, and of the gaps.
    """

    form: int
    centroids: int
    entries: int
    tables: int
    codes: int
    gaps: int


# ---- reading -----------------------------------------------------------------------------------------------------------


def layout_of(content: bytes, values: int) -> Layout:
    """Return how an array of this many values is stored.

    Raises
    ------
    ModelError
        If the header is inconsistent with the number of bytes, or so few bytes cannot hold so many values.
    """
    form = content[0] if content else -1
    if form in _FLOATS:
        if len(content) != 1 + values * (size := _FLOATS[form].itemsize):
            raise ModelError(f"{values} values of {size} bytes were expected, got {len(content) - 1} bytes")
        return Layout(form, 0, values, 1, len(content) - 1, 0)
    header = {SHARED: _SHARED_HEADER, SPARSE: _SPARSE_HEADER}.get(form)
    if header is None or len(content) < header.size:
        raise ModelError(f"weights of form {FLOAT32} to {SPARSE} were expected, got {content[:1].hex() or 'nothing'}")
    _, float_form, last, *sizes = header.unpack_from(content)
    if float_form not in _FLOATS:
        raise ModelError(f"centroids of form {FLOAT32} or {FLOAT16} were expected, got {float_form}")
    tables = header.size + (last + 1) * _FLOATS[float_form].itemsize
    entries, codes = sizes or (values, len(content) - tables)
    gaps = len(content) - tables - codes
    if codes < 0 or gaps < 0:
        raise ModelError(f"tables of {tables} bytes and codes of {codes} were expected, got {len(content)} bytes")
    shortest = min(codes, gaps) if form == SPARSE else codes
    if not (0 < entries <= values <= (entries + 1) * REACH and entries <= MOST_PER_BYTE * shortest):
        raise ModelError(f"{entries} entries in {codes} bytes of codes and {gaps} of gaps cannot be {values} values")
    return Layout(form, last + 1, entries, tables, codes, gaps)


def read_values(content: bytes, values: int, *, as_stored: bool = False) -> NDArray[Any]:
    """Return the flat array: float32, or float16 if it is stored so and `as_stored`; ModelError if it is damaged."""
    layout = layout_of(content, values)
    if layout.form in _FLOATS:
        stored = np.frombuffer(content, _FLOATS[layout.form], values, 1)
        return stored if as_stored else stored.astype(np.float32)
    kind = _FLOATS[content[1]]
    centroids = np.frombuffer(content, kind, layout.centroids, layout.tables - layout.centroids * kind.itemsize)
    if not as_stored:
        centroids = centroids.astype(np.float32)
    streams = memoryview(content)[layout.tables :]
    codes = np.frombuffer(inflated(streams[: layout.codes], layout.entries), np.uint8)
    if codes.max() >= layout.centroids:
        raise ModelError(f"codes below {layout.centroids} were expected, got {codes.max()}")
    if layout.form == SHARED:
        return _looked_up(centroids, codes)
    gaps = np.frombuffer(inflated(streams[layout.codes :], layout.entries), np.uint8)
    indices = np.cumsum(gaps, dtype=np.int64) + np.arange(layout.entries)
    if indices[-1] >= values:
        raise ModelError(f"entries within {values} values were expected, one is at index {indices[-1]}")
    found = np.zeros(values, centroids.dtype)
    found[indices] = _looked_up(centroids, codes)
    return found


def _looked_up(centroids: NDArray[Any], codes: NDArray[np.uint8]) -> NDArray[Any]:
    """The centroid of each code; in parts, because NumPy widens indices to eight bytes: half the time."""
    found = np.empty(len(codes), centroids.dtype)
    for start in range(0, len(codes), _CHUNK):
        part = slice(start, start + _CHUNK)
        np.take(centroids, codes[part], out=found[part], mode="clip")
    return found


# ---- writing -----------------------------------------------------------------------------------------------------------


def values_bytes(values: Values) -> bytes:
    """Return the shortest bytes from which `read_values` restores the array, bit for bit."""
    form, kind = _float_form(values)
    plain = bytes([form]) + values.astype(kind).tobytes()
    return min((plain, *_shared_forms(np.ascontiguousarray(values).ravel().view(np.uint32))), key=len)


def _float_form(values: Values) -> tuple[int, np.dtype[Any]]:
    """The smallest type that holds these values bit for bit."""
    with np.errstate(over="ignore", invalid="ignore"):
        half = values.astype("<f2").astype(np.float32)
    form = FLOAT16 if np.array_equal(half.view(np.uint32), values.view(np.uint32)) else FLOAT32
    return form, _FLOATS[form]


def _shared_forms(flat: NDArray[np.uint32]) -> Iterable[bytes]:
    """The array of these bit patterns as `SHARED` and as `SPARSE`, where it has few enough values."""
    if len(np.unique(flat[:: max(1, flat.size // 2048)])) > MOST_CENTROIDS + 1:  # a sample first, for speed
        return
    patterns, numbers = np.unique(flat, return_inverse=True)
    numbers = numbers.ravel()
    if len(patterns) <= MOST_CENTROIDS:
        form, centroids = _centroid_bytes(patterns)
        yield _SHARED_HEADER.pack(SHARED, form, len(patterns) - 1) + centroids + _coded(numbers)
    if patterns[0] != 0:  # there is no zero, whose bits sort first
        return
    codes, gaps = _entries(numbers)
    if len(codes) and codes.min() > 0:  # without fillers, zero needs no code
        codes, patterns = codes - 1, patterns[1:]
    if len(codes) and len(patterns) <= MOST_CENTROIDS:
        form, centroids = _centroid_bytes(patterns)
        stream = _coded(codes)
        header = _SPARSE_HEADER.pack(SPARSE, form, len(patterns) - 1, len(codes), len(stream))
        yield header + centroids + stream + _coded(gaps)


def _centroid_bytes(patterns: NDArray[np.uint32]) -> tuple[int, bytes]:
    centroids = patterns.view(np.float32)
    form, kind = _float_form(centroids)
    return form, centroids.astype(kind).tobytes()


def _entries(numbers: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The codes and gaps of all entries; number 0 is that of zero."""
    indices = np.flatnonzero(numbers)
    runs = np.diff(indices, prepend=-1, append=len(numbers)) - 1  # of zeros, before each and behind the last
    fillers = runs // REACH
    stored = np.arange(len(indices)) + np.cumsum(fillers[:-1])
    count = len(indices) + int(fillers.sum())
    codes, gaps = np.zeros(count, np.intp), np.full(count, REACH - 1, np.intp)
    codes[stored], gaps[stored] = numbers[indices], runs[:-1] % REACH
    return codes, gaps


def _coded(symbols: NDArray[np.intp]) -> bytes:
    return huffman_coded(symbols.astype(np.uint8).tobytes())


# ---- estimates ---------------------------------------------------------------------------------------------------------


def estimated_bytes(centroids: int, codes: NDArray[Any], gaps: NDArray[Any] | None = None) -> float:
    """Return about how many bytes `values_bytes` takes, without writing them.

    Parameters
    ----------
    centroids : int
        Number of float16 centroids.
    codes, gaps : array of int
        How often each code and each gap occurs; no gaps: every value is stored.
    """
    header = _SHARED_HEADER if gaps is None else _SPARSE_HEADER
    return header.size + 2 * centroids + _stream_bytes(codes) + (0.0 if gaps is None else _stream_bytes(gaps))


def _stream_bytes(counts: NDArray[Any]) -> float:
    used: list[int] = counts[counts > 0].tolist()
    blocks = -(-sum(used) // _BLOCK)
    return (_huffman_bits([*used, blocks]) + blocks * (_BLOCK_BITS + _SYMBOL_BITS * len(used))) / 8


def _huffman_bits(heap: list[int]) -> int:
    """The bits of the Huffman codes of so many of each symbol, without their tables."""
    heapify(heap)
    bits = 0
    while len(heap) > 1:
        pair = heappop(heap) + heap[0]
        bits += pair
        heapreplace(heap, pair)
    return bits
