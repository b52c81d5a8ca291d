"""Raw deflate streams (RFC 1951) of the standard library's zlib, with a bound for what inflating them takes."""

from __future__ import annotations

import zlib

from opencv_squeezedet.errors import ModelError

MOST_PER_BYTE = 8
"""Symbols in a byte of a Huffman-coded stream, at most: a code has at least one bit."""
_MEMORY_LEVELS = (5, 7, 9)  # a Huffman code for each 2, 8 or 32 thousand symbols


def deflated(content: bytes, level: int = 9) -> bytes:
    """Return the stream of any content."""
    deflate = zlib.compressobj(level, wbits=-zlib.MAX_WBITS)
    return deflate.compress(content) + deflate.flush()


def huffman_coded(symbols: bytes) -> bytes:
    """Return the shortest stream of Huffman codes alone, without references to earlier symbols."""
    streams = []
    for level in _MEMORY_LEVELS:
        deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, level, zlib.Z_HUFFMAN_ONLY)
        streams.append(deflate.compress(symbols) + deflate.flush())
    return min(streams, key=len)


def inflated(stream: bytes | memoryview, size: int) -> bytes:
    """Return the content of a stream; at most one byte more than expected is ever inflated.

    Raises
    ------
    ModelError
        If it is damaged, cut, or followed by other bytes, or its content has another size.
    """
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        found = inflate.decompress(stream, size + 1)
    except zlib.error as error:
        raise ModelError(f"a deflate stream was expected: {error}") from None
    if len(found) != size or not inflate.eof or inflate.unused_data:
        got = "more" if len(found) > size or inflate.unused_data else f"{len(found)}, and no end"
        raise ModelError(f"a deflate stream of {size} bytes was expected, got {got}")
    return found
