"""Kernels, strides, pads and dilations, as convolution and pooling have them in Caffe's files and in ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opencv_squeezedet.network.layers.interfaces import OptionError, Options, Pair

ONNX_WINDOW = "kernel_shape strides pads dilations auto_pad"
"""The attributes of each operator that has a window."""


def read_pair(name: str, values: Sequence[int], param: Any, stem: str | None, default: int | None, *, least: int) -> Pair:
    """Return (vertical, horizontal), from a value for both, a value for each, or the fields ``*_h`` and ``*_w``.

    OpenCV 4 ignores one of the two fields without the other, and so does this. OptionError if there are more values, or one is
    below ``least``.
    """
    if stem is not None and param.has(f"{stem}_h") and param.has(f"{stem}_w"):
        values = getattr(param, f"{stem}_h"), getattr(param, f"{stem}_w")
    pair = tuple(values) * 2 if len(values) == 1 else tuple(values)
    if not pair and default is not None:
        pair = default, default
    if len(pair) != 2 or min(pair) < least:
        raise OptionError(f"{name} must be one or two integers of at least {least}, got {list(values)}")
    return pair[0], pair[1]


def write_pair(name: str, stem: str, pair: Pair, default: int | None) -> Options:
    """Return the fields that give a pair; none if it is the default."""
    if pair == (default, default):
        return {}
    return {name: pair[0]} if pair[0] == pair[1] else {f"{stem}_h": pair[0], f"{stem}_w": pair[1]}
