"""One array of weights as bytes and back: plain floats, or centroids with Huffman-coded codes and gaps, whichever is shorter.

After Han, Mao and Dally, "Deep Compression" (arXiv:1510.00149): the weights that are not zero share few values, the centroids;
for each of them its centroid's number, the code, is stored, and how many zeros lie before it, the gap. A gap too long for its
bits is bridged by fillers, which are zeros that are stored like weights. models/README.md has the bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet import _coding
from opencv_squeezedet.errors import ModelError

FLOAT32, FLOAT16, SHARED = range(3)
GAP_BITS = (0, 3, 4, 5, 6, 7, 8)
"""Bits of a gap before it is Huffman-coded; 0: every weight is stored, and there are no gaps."""
MOST_CENTROIDS = 256
_HEADER = struct.Struct("<BBBBII")
_FLOATS: dict[int, np.dtype[Any]] = {FLOAT32: np.dtype("<f4"), FLOAT16: np.dtype("<f2")}

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Layout:
    """How an array is stored: what its header says, and how long its parts are.

    Parameters
    ----------
    form : int
        `FLOAT32` or `FLOAT16`, the values one after the other, or `SHARED`.
    gap_bits : int
        One of `GAP_BITS`.
    centroids : int
        How many there are; 0 for plain floats.
    entries : int
        Stored weights, with fillers.
    tables, codes, gaps : int
        Bytes of the header, the centroids and the code lengths together, of the codes, and of the gaps.
    """

    form: int
    gap_bits: int
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
        If there are more or fewer bytes than that takes, or more values than so few bytes may have.
    """
    form = content[0] if content else -1
    if form in _FLOATS:
        if len(content) != 1 + values * (size := _FLOATS[form].itemsize):
            raise ModelError(f"{values} values of {size} bytes were expected, got {len(content) - 1} bytes")
        return Layout(form, 0, 0, values, 1, len(content) - 1, 0)
    if form != SHARED or len(content) < _HEADER.size:
        raise ModelError(
            f"weights of form {FLOAT32}, {FLOAT16} or {SHARED} were expected, got {content[:1].hex() or 'nothing'}"
        )
    _, gap_bits, float_form, last, entries, codes = _HEADER.unpack_from(content)
    if gap_bits not in GAP_BITS or float_form not in _FLOATS:
        raise ModelError(
            f"gaps of {GAP_BITS} bits and centroids of form 0 or 1 were expected, got {gap_bits} and {float_form}"
        )
    tables = table_bytes(last + 1, _FLOATS[float_form].itemsize, gap_bits)
    gaps = len(content) - tables - codes
    if gaps < 0 or (gaps and not gap_bits):
        raise ModelError(f"tables of {tables} bytes and codes of {codes} were expected, got {len(content)} bytes")
    if not (entries <= values <= (entries + 1) << gap_bits and entries <= 8 * codes):
        raise ModelError(f"{entries} entries in {codes} bytes, with gaps of {gap_bits} bits, cannot be {values} values")
    return Layout(SHARED, gap_bits, last + 1, entries, tables, codes, gaps)


def read_values(content: bytes, values: int, *, as_stored: bool = False) -> NDArray[Any]:
    """Return the array, flat: float32, or float16 where it is stored so and wanted so; ModelError if it is damaged."""
    layout = layout_of(content, values)
    if layout.form != SHARED:
        stored = np.frombuffer(content, _FLOATS[layout.form], values, 1)
        return stored if as_stored else stored.astype(np.float32)
    kind = _FLOATS[content[2]]
    place = _HEADER.size + layout.centroids * kind.itemsize
    centroids = np.frombuffer(content, kind, layout.centroids, _HEADER.size)
    if not as_stored:
        centroids = centroids.astype(np.float32)
    lengths = _nibbles(content, place, layout.centroids)
    gap_lengths = _nibbles(content, place + (layout.centroids + 1) // 2, 1 << layout.gap_bits if layout.gap_bits else 0)
    found = np.zeros(values, centroids.dtype)
    as_bits = found.dtype if found.dtype == np.float32 else np.uint16
    streams = memoryview(content)[layout.tables :]
    codes, gaps = streams[: layout.codes], streams[layout.codes :]
    try:
        _coding.decode(codes, gaps, lengths, gap_lengths, centroids.view(as_bits), layout.entries, found.view(as_bits))
    except ValueError as error:
        raise ModelError(str(error)) from None
    return found


def _nibbles(content: bytes, place: int, count: int) -> NDArray[np.uint8]:
    """Numbers of four bits, the lower half of a byte first."""
    packed = np.frombuffer(content, np.uint8, (count + 1) // 2, place)
    return np.stack([packed & 15, packed >> 4], axis=1).ravel()[:count]


# ---- writing -----------------------------------------------------------------------------------------------------------


def values_bytes(values: Values) -> bytes:
    """Return the shortest bytes that `read_values` makes the same array of, bit for bit."""
    plain = _plain(values)
    entries = _best_entries(values, len(plain))
    coded = None if entries is None else _coded(entries)
    return plain if coded is None or len(coded) >= len(plain) else coded


def estimated_bytes(values: Values) -> float:
    """Return how long `values_bytes` would be, to a fraction of a percent, in less time."""
    plain = 1.0 + values.size * _float_form(values)[1].itemsize
    entries = _best_entries(values, plain)
    return plain if entries is None else min(plain, entries.estimate)


def _plain(values: Values) -> bytes:
    form, kind = _float_form(values)
    return bytes([form]) + values.astype(kind).tobytes()


def _float_form(values: Values) -> tuple[int, np.dtype[Any]]:
    """What holds these values bit for bit."""
    with np.errstate(over="ignore", invalid="ignore"):
        half = values.astype("<f2").astype(np.float32)
    form = FLOAT16 if np.array_equal(half.view(np.uint32), values.view(np.uint32)) else FLOAT32
    return form, _FLOATS[form]


@dataclass(frozen=True)
class _Entries:
    """What is stored of an array with gaps of so many bits."""

    gap_bits: int
    centroids: Values
    codes: NDArray[np.uint8]
    gaps: NDArray[np.uint8]
    estimate: float


def _best_entries(values: Values, most: float) -> _Entries | None:
    """The entries with the gaps that take the fewest bytes; None if there are too many values, or it cannot be shorter."""
    flat = np.ascontiguousarray(values).ravel().view(np.uint32)
    if flat.size < 2 or len(np.unique(flat[:: max(1, flat.size // 2048)])) > MOST_CENTROIDS + 1:  # a look at some, for speed
        return None
    patterns, numbers = np.unique(flat, return_inverse=True)
    if len(patterns) > MOST_CENTROIDS + 1:
        return None
    found = [_entries(patterns, numbers.ravel(), bits) for bits in GAP_BITS]
    best = min((one for one in found if one is not None), key=lambda one: one.estimate, default=None)
    return None if best is None or best.estimate >= most else best


def _entries(patterns: NDArray[np.uint32], numbers: NDArray[np.intp], gap_bits: int) -> _Entries | None:
    """The entries of an array of these bit patterns, sorted; the zero of the patterns, the first, has the bits 0."""
    if gap_bits == 0:
        codes, gaps, used = numbers, np.zeros(0, np.uint8), patterns
    else:
        if patterns[0] != 0:  # there is no zero to leave out
            return None
        reach = 1 << gap_bits
        places = np.flatnonzero(numbers)
        runs = np.diff(places, prepend=-1, append=len(numbers)) - 1  # of zeros, before each and behind the last
        fillers = runs // reach
        stored = np.arange(len(places)) + np.cumsum(fillers[:-1])
        count = len(places) + int(fillers.sum())
        if count == 0:
            return None
        codes, gaps = np.zeros(count, np.intp), np.full(count, reach - 1, np.uint8)
        codes[stored], gaps[stored] = numbers[places], runs[:-1] % reach
        used = patterns
        if not fillers.any():  # so that the zero needs no code
            codes, used = codes - 1, patterns[1:]
    if len(used) > MOST_CENTROIDS:
        return None
    centroids = used.view(np.float32)
    if len(centroids) == 1:  # a code has two words at least
        centroids = np.repeat(centroids, 2)
    _, kind = _float_form(centroids)
    estimate = (
        table_bytes(len(centroids), kind.itemsize, gap_bits)
        + (huffman_bits(np.bincount(codes)) + huffman_bits(np.bincount(gaps))) / 8
    )
    return _Entries(gap_bits, centroids, codes.astype(np.uint8), gaps, estimate)


def huffman_bits(counts: NDArray[Any]) -> int:
    """Return the bits that Huffman's code takes for so many of each symbol, without a limit of the longest word."""
    heap: list[int] = counts[counts > 0].tolist()
    if len(heap) < 2:
        return sum(heap)
    heapify(heap)
    bits = 0
    while len(heap) > 1:
        pair = heappop(heap) + heap[0]
        bits += pair
        heapreplace(heap, pair)
    return bits


def _coded(entries: _Entries) -> bytes:
    lengths = code_lengths(np.bincount(entries.codes, minlength=len(entries.centroids)))
    gap_lengths = code_lengths(np.bincount(entries.gaps, minlength=1 << entries.gap_bits)) if entries.gap_bits else None
    form, kind = _float_form(entries.centroids)
    codes = _stream(entries.codes, lengths)
    header = _HEADER.pack(SHARED, entries.gap_bits, form, len(entries.centroids) - 1, len(entries.codes), len(codes))
    parts = [header, entries.centroids.astype(kind).tobytes(), _packed(lengths)]
    if gap_lengths is not None:
        return b"".join((*parts, _packed(gap_lengths), codes, _stream(entries.gaps, gap_lengths)))
    return b"".join((*parts, codes))


def table_bytes(centroids: int, size: int, gap_bits: int) -> int:
    """Return the bytes of the header, of centroids of so many bytes each, and of the lengths of all words."""
    return _HEADER.size + centroids * size + (centroids + 1) // 2 + (1 << gap_bits) // 2


def _packed(lengths: NDArray[np.uint8]) -> bytes:
    even = np.append(lengths, np.uint8(0))[: len(lengths) + len(lengths) % 2]
    return (even[::2] | even[1::2] << 4).astype(np.uint8).tobytes()


def _stream(symbols: NDArray[np.uint8], lengths: NDArray[np.uint8]) -> bytes:
    """The code words of symbols, one behind the other, the lowest bit of a byte first."""
    words = np.zeros(len(lengths), np.uint32)
    _coding.words(lengths, words)
    of_each, word_of_each = lengths[symbols].astype(np.int64), words[symbols]
    ends = np.cumsum(of_each)
    bits = np.zeros(int(ends[-1]), np.uint8)
    starts = ends - of_each
    for place in range(int(lengths.max())):
        long = of_each > place
        bits[starts[long] + place] = word_of_each[long] >> place & 1
    return np.packbits(bits, bitorder="little").tobytes()


def code_lengths(counts: NDArray[np.int64], longest: int = _coding.LONGEST_CODE) -> NDArray[np.uint8]:
    """Return the lengths of the prefix code that is shortest for these counts among those of words of so many bits at most.

    By the package-merge algorithm (Larmore and Hirschberg, 1990). Symbols that do not occur have no word, length 0, except
    where there would be fewer than two words.
    """
    used: list[int] = np.flatnonzero(counts).tolist()
    used += [symbol for symbol in range(2) if symbol not in used][: max(0, 2 - len(used))]
    leaves: list[tuple[int, tuple[int, ...]]] = sorted((int(counts[symbol]), (symbol,)) for symbol in used)
    packages = leaves
    for _ in range(longest - 1):
        pairs = [
            (one + other, symbols + others)
            for (one, symbols), (other, others) in zip(packages[::2], packages[1::2], strict=False)
        ]
        packages = sorted(leaves + pairs, key=lambda package: package[0])
    lengths = np.zeros(len(counts), np.uint8)
    for _, symbols in packages[: 2 * len(leaves) - 2]:
        for symbol in symbols:
            lengths[symbol] += 1
    return lengths
