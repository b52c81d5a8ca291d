"""Shared checks of arguments; each returns the value in its final form."""

from __future__ import annotations

import math
import operator
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np

MOST = 2**31 - 1  # the largest int32, the type of OpenCV's sizes and class ids


def finite(name: str, value: SupportsFloat) -> float:
    """A finite float; TypeError for anything but a number, ValueError for NaN and infinities."""
    number = value if type(value) is float else _float(name, value)  # the usual type is fast
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}")
    return number


def _float(name: str, value: SupportsFloat) -> float:
    not_numbers = (str, bytes, bool, np.bool_, complex, np.complexfloating)
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError(f"{name} must be a number, got an array of shape {value.shape}")
    if isinstance(value, not_numbers) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        return float(value)
    except OverflowError:  # a large int
        return math.inf
    except (TypeError, ValueError, RuntimeError) as error:  # an array of another library, such as torch
        raise TypeError(f"{name} must be a number, got {value!r}") from error


def fraction(name: str, value: SupportsFloat) -> float:
    """A float in [0, 1]."""
    number = finite(name, value)
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1], got {number}")
    return number


def positive(name: str, value: SupportsFloat) -> float:
    """A finite float above 0."""
    number = finite(name, value)
    if not number > 0.0:
        raise ValueError(f"{name} must be above 0, got {number}")
    return number


def count(name: str, value: SupportsIndex, least: int = 1) -> int:
    """An int of at least ``least``."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def size(name: str, value: Any) -> tuple[int, int]:
    """A pair (width, height), or (first, second), of positive ints."""
    try:
        first, second = value
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be two integers, got {value!r}") from None
    pair = count(name, first), count(name, second)
    if max(pair) > MOST:
        raise ValueError(f"{name} must be at most {MOST}, got {max(pair)}")
    return pair


def flag(name: str, value: object) -> bool:
    """A bool; NumPy's bool, 0 and 1 are accepted too."""
    if isinstance(value, (bool, int, np.bool_, np.integer)) and value in (0, 1):
        return bool(value)
    raise TypeError(f"{name} must be True or False, got {value!r}")


def choice(name: str, value: Any, choices: tuple[str, ...]) -> Any:
    """The value; ValueError if it is not among ``choices``."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value
