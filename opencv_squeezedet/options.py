"""The options of post-processing: score threshold, NMS, and everything else that decides which boxes are kept."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, SupportsFloat, SupportsIndex, TypedDict, get_args

from opencv_squeezedet import _checks

if TYPE_CHECKING:
    from collections.abc import Callable

NmsKind = Literal["reference", "greedy", "soft"]
"""The NMS rules.

- "reference": a dropped box still drops others, as in InferBbox and the SqueezeDet original.
- "greedy": a dropped box drops no others.
- "soft": Gaussian soft-NMS (Bodla et al. 2017, arXiv:1704.04503). The box with the highest score is kept, and the scores of
  the remaining boxes of its class are multiplied by ``exp(-IoU^2 / soft_sigma)``. This repeats while a score is above the
  score threshold. Boxes get these lowered scores; ``nms_threshold`` has no effect.
"""
NMS_KINDS: tuple[str, ...] = get_args(NmsKind)


class Options(TypedDict, total=False):
    """Keyword options that override a head's own values; see `HeadConfig`. None keeps the head's value."""

    score_threshold: SupportsFloat | None
    nms_threshold: SupportsFloat | None
    nms_kind: NmsKind | None
    soft_sigma: SupportsFloat | None
    vote_threshold: SupportsFloat | None
    cross_class_threshold: SupportsFloat | None
    top_n: SupportsIndex | None
    class_agnostic: bool | None
    multi_label: bool | None


class Limits(NamedTuple):
    """All options in the kernel's form; the fields are those of its struct ``Limits``, in the same order.

    ``nms_kind`` is an index into `NMS_KINDS`. A ``vote_threshold`` or ``cross_class_threshold`` of None is an infinity here.
    """

    score_threshold: float
    nms_threshold: float
    nms_kind: int
    soft_sigma: float
    vote_threshold: float
    cross_class_threshold: float
    top_n: int
    class_agnostic: bool
    multi_label: bool
    drop_empty: bool


def _fraction_or_none(name: str, value: Any) -> float | None:
    return None if value is None else _checks.fraction(name, value)


OPTION_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "score_threshold": _checks.fraction,
    "nms_threshold": _checks.fraction,
    "nms_kind": partial(_checks.choice, choices=NMS_KINDS),
    "soft_sigma": _checks.positive,
    "vote_threshold": _fraction_or_none,
    "cross_class_threshold": _fraction_or_none,
    "top_n": _checks.count,
    "class_agnostic": _checks.flag,
    "multi_label": _checks.flag,
}
"""The check of each option: it takes the option's name and value, and returns the value in its final form."""

_KERNEL_FORMS: dict[str, Callable[[Any], Any]] = {  # conversions from `HeadConfig`'s values to the kernel's
    "nms_kind": NMS_KINDS.index,
    "vote_threshold": lambda value: math.inf if value is None else value,
    "cross_class_threshold": lambda value: math.inf if value is None else value,
    "top_n": lambda value: min(value, _checks.MOST),  # no head has more anchors and classes
}
_OPTIONS = {
    name: (index, OPTION_CHECKS[name], _KERNEL_FORMS.get(name, lambda value: value))
    for index, name in enumerate(Limits._fields)
    if name in OPTION_CHECKS
}


def kernel_limits(values: dict[str, Any]) -> Limits:
    """Convert checked values, as `HeadConfig` keeps them, to the kernel's form."""
    return Limits(**values | {name: convert(values[name]) for name, convert in _KERNEL_FORMS.items()})


def override(limits: Limits, options: Options) -> Limits:
    """Return the limits with those options replaced that are not None.

    TypeError if an option does not exist or has the wrong type, ValueError if it is outside its range.
    """
    values: list[Any] = list(limits)
    for name, value in options.items():
        if name not in _OPTIONS:
            raise TypeError(f"there is no option {name!r}; the options are {', '.join(_OPTIONS)}")
        if value is not None:
            index, check, convert = _OPTIONS[name]
            values[index] = convert(check(name, value))
    return Limits(*values)
