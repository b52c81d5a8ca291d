"""The description of a SqueezeDet head: grid, anchors, classes, conventions and default options, in one frozen object."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from opencv_squeezedet import _checks
from opencv_squeezedet._kernel import HeadKernel
from opencv_squeezedet.options import OPTION_CHECKS, Limits, NmsKind, Options, kernel_limits, override

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FirstAxis = Literal["x", "y"]
Centers = Literal["inner", "cell"]
DeltaOrder = Literal["xyhw", "xywh"]
Corners = Literal["plain", "plus_one_after_clip", "minus_one_before_clip"]
BlobLayout = Literal["hwc", "chw"]

_MOST_POINTS = 100  # of a score calibration
_TRUNK_STRIDE = 16  # SqueezeNet halves its input four times


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """A SqueezeDet head: the meaning of its three blobs, and the default options of post-processing.

    Anchor ``a = (i * n1 + j) * len(anchors) + k`` has position ``i`` on the first grid axis, ``j`` on the second, and the
    k-th anchor shape. Values are checked on construction; sequences become tuples.

    Parameters
    ----------
    input_size : (int, int)
        Width and height of the network's input, pixels.
    grid : (int, int)
        Lengths ``(n0, n1)`` of the blobs' first and second grid axes.
    anchors : sequence of (float, float)
        Width and height of each anchor shape, input pixels.
    labels : sequence of str
        Class names, in the order of the class scores.
    first_axis : {"x", "y"}
        The picture axis of the first grid axis. opencv_contrib's network: ``"x"``.
    centers : {"inner", "cell"}
        Anchor centre of position i of n along an axis of L pixels: ``(i + 1) * L / (n + 1)`` or ``(i + 0.5) * L / n``.
    delta_order : {"xyhw", "xywh"}
        Order of the four deltas of an anchor.
    exp_threshold : float or None
        None: sizes are ``anchor * e^d``. T: the safe exponential, its tangent ``e^T * (d - T + 1)`` above T.
    corners : {"plain", "plus_one_after_clip", "minus_one_before_clip"}
        Corners are centre -+ size / 2, clipped to ``[0, width - 1] x [0, height - 1]``; then 1 is added to x2 and y2
        (TensorFlow original), or before it 1 is taken from the size (PyTorch port).
    iou_epsilon : float
        Added to the union. An IoU of 0 / 0 is 0.
    layout : {"hwc", "chw"}
        Blobs as ``(n0, n1, channels)`` or ``(channels, n0, n1)``; channels are anchor-major in both.
    activated : bool
        False: class and confidence blobs are logits, to which softmax and sigmoid are applied.
    drop_empty : bool
        Remove boxes with x2 <= x1 or y2 <= y1, after NMS and before any +1 of ``corners``.
    score_threshold : float
        In [0, 1]. A box is kept if its score is above: confidence x class score, calibrated by ``score_calibration``.
    nms_threshold : float
        In [0, 1]. A box is dropped if its IoU with a higher-scoring box is above.
    nms_kind : str
        The NMS rule: "reference", "greedy" or "soft"; ``opencv_squeezedet.options.NmsKind`` has their formulas.
    soft_sigma : float
        Above 0, for soft NMS: the smaller, the more an overlap lowers a score.
    vote_threshold : float or None
        None: no box voting. T in [0, 1]: box voting (Gidaris and Komodakis 2015, arXiv:1505.01749). The corners of a kept box
        become the weighted mean over the candidates of its class whose IoU with it is above T,
        ``sum(w_i * xyxy_i) / sum(w_i)`` with ``w_i = score_i * IoU_i^2`` (in the paper, the score alone); its score does not
        change. The candidates are all boxes that entered NMS, dropped or not, with their scores before NMS. 1 has no effect.
    cross_class_threshold : float or None
        None: an object may be reported under several classes. T in [0, 1]: a box whose IoU with a higher box of another class
        is above T is probably the same object, so its score is multiplied by ``1 - score * IoU``, with the other box's score
        (the lowest such factor; scores after NMS, boxes after voting). 1 has no effect.
    top_n : int
        The number of candidates that enter NMS, those with the highest scores of all classes; at least 1.
    class_agnostic : bool
        NMS across classes instead of within each.
    multi_label : bool
        Every class of an anchor whose score is above the threshold is a candidate, not only the best class. Equal scores rank
        by anchor, then by class.
    score_calibration : sequence of (float, float)
        Pairs (raw score, calibrated score), both rising, strictly between 0 and 1. The raw score is confidence x class score.
        Between the pairs, and from (0, 0) to (1, 1), the curve is linear. Calibrated scores estimate the probability that a
        detection is correct; the order of boxes does not change. All steps use raw scores; the final boxes have calibrated
        scores, and ``score_threshold`` is a calibrated score. Empty: scores are not calibrated.

    Raises
    ------
    ValueError, TypeError
        If a field is invalid; the message names it, what was expected and what was given.
    """

    input_size: tuple[int, int]
    grid: tuple[int, int]
    anchors: tuple[tuple[float, float], ...]
    labels: tuple[str, ...]
    first_axis: FirstAxis = "x"
    centers: Centers = "inner"
    delta_order: DeltaOrder = "xyhw"
    exp_threshold: float | None = None
    corners: Corners = "plain"
    iou_epsilon: float = 1e-7
    layout: BlobLayout = "hwc"
    activated: bool = True
    drop_empty: bool = True
    score_threshold: float = 0.7
    nms_threshold: float = 0.1
    nms_kind: NmsKind = "reference"
    soft_sigma: float = 0.5
    vote_threshold: float | None = None
    cross_class_threshold: float | None = None
    top_n: int = 64
    class_agnostic: bool = False
    multi_label: bool = False
    score_calibration: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        """Check every field, and convert it to its final form."""
        for name, literal in _CHOICES.items():
            _checks.choice(name, getattr(self, name), get_args(literal))
        for name, check in OPTION_CHECKS.items():
            self._set(name, check(name, getattr(self, name)))
        for name in ("activated", "drop_empty"):
            self._set(name, _checks.flag(name, getattr(self, name)))
        for name in ("input_size", "grid"):
            self._set(name, _checks.size(name, getattr(self, name)))
        self._set("anchors", checked_anchors(self.anchors))
        self._set("score_calibration", _score_calibration(self.score_calibration))
        self._set("labels", _labels(self.labels))
        epsilon = _checks.finite("iou_epsilon", self.iou_epsilon)
        if epsilon < 0:
            raise ValueError(f"iou_epsilon must be at least 0, got {epsilon}")
        self._set("iou_epsilon", epsilon)
        if self.exp_threshold is not None:
            self._set("exp_threshold", _checks.finite("exp_threshold", self.exp_threshold))
        values = math.prod(self.grid) * len(self.anchors) * max(4, len(self.labels))
        if values > _checks.MOST:
            raise ValueError(f"grid, anchors and labels make a blob of {values} values; at most {_checks.MOST} are possible")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # not the cache

    @cached_property
    def kernel(self) -> HeadKernel:
        """The head in the kernel's form."""
        return HeadKernel(
            input_size=self.input_size,
            grid=self.grid,
            anchors=self.anchors,
            classes=len(self.labels),
            first_axis_is_x=self.first_axis == "x",
            inner_centers=self.centers == "inner",
            height_first=self.delta_order == "xyhw",
            exp_threshold=math.inf if self.exp_threshold is None else self.exp_threshold,
            corners=get_args(Corners).index(self.corners),
            iou_epsilon=self.iou_epsilon,
            planes=self.layout == "chw",
            activated=self.activated,
            score_calibration=self.score_calibration,
        )

    @cached_property
    def limits(self) -> Limits:
        """The options in the kernel's form."""
        return kernel_limits({name: getattr(self, name) for name in Limits._fields})

    def limits_with(self, options: Options) -> Limits:
        """Return `limits`, overridden by the options that are not None; errors as for `options.override`."""
        return override(self.limits, options) if options else self.limits

    @cached_property
    def blob_shapes(self) -> dict[str, tuple[tuple[int, ...], ...]]:
        """The accepted shapes of each blob of one picture, for the same data, the usual shape first.

        Keys are ``delta_bbox``, ``class_scores`` and ``conf_scores``. Each shape may have a leading axis of 1.
        """
        n0, n1 = self.grid
        k, c = len(self.anchors), len(self.labels)
        if self.layout == "chw":
            return {
                "delta_bbox": ((k * 4, n0, n1), (k, 4, n0, n1)),
                "class_scores": ((k * c, n0, n1), (k, c, n0, n1)),
                "conf_scores": ((k, n0, n1),),
            }
        total = n0 * n1 * k
        return {
            "delta_bbox": ((n0, n1, k * 4), (n0, n1, k, 4), (total, 4)),
            "class_scores": ((total, c), (n0, n1, k * c), (n0, n1, k, c)),
            "conf_scores": ((n0, n1, k), (total,), (total, 1)),
        }

    @cached_property
    def single_shapes(self) -> dict[str, frozenset[tuple[int, ...]]]:
        """`blob_shapes` with and without the leading 1."""
        return {
            name: frozenset(lead + shape for lead, shape in product([(), (1,)], shapes))
            for name, shapes in self.blob_shapes.items()
        }

    def scaled(self, input_size: tuple[int, int], grid: tuple[int, int] | None = None) -> HeadConfig:
        """Return the same head for another input size: anchors scale with the input's sides, the grid with the trunk's stride.

        Parameters
        ----------
        input_size : (int, int)
            New width and height, pixels.
        grid : (int, int), optional
            New ``(n0, n1)``. Default: one cell more for each 16 pixels, the stride of SqueezeNet's trunk, rounded: 23 at 416
            becomes 17 at 320. ValueError if that leaves no cells.
        """
        new, old = _checks.size("input_size", input_size), self.input_size
        if grid is None:
            more = [round((n - o) / _TRUNK_STRIDE) for n, o in zip(new, old, strict=True)]
            if self.first_axis == "y":
                more.reverse()
            grid = (self.grid[0] + more[0], self.grid[1] + more[1])
            if min(grid) < 1:
                raise ValueError(f"input_size {new} is too small: the {self.grid} grid at {old} would have no cells")
        anchors = tuple((w * new[0] / old[0], h * new[1] / old[1]) for w, h in self.anchors)
        return dataclasses.replace(self, input_size=new, grid=grid, anchors=anchors)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, sequences as tuples, as `from_dict` accepts."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> HeadConfig:
        """Create a head from the result of `to_dict`; ValueError for an unknown or a missing field."""
        return from_fields(cls, fields)

    def to_json(self) -> str:
        """Return the fields as a JSON object, one line each."""
        import json  # keeps import fast

        members = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in self.to_dict().items())
        return "{\n" + ",\n".join(members) + "\n}"

    @classmethod
    def from_json(cls, text: str) -> HeadConfig:
        """Create a head from the result of `to_json`; ValueError for anything else, TypeError for a wrong type."""
        import json

        try:
            return cls.from_dict(json.loads(text))
        except RecursionError as error:
            raise ValueError(f"a JSON object was expected: {error}") from None


_CHOICES = {"first_axis": FirstAxis, "centers": Centers, "delta_order": DeltaOrder, "corners": Corners, "layout": BlobLayout}


T = TypeVar("T", bound="DataclassInstance")


def from_fields(cls: type[T], fields: dict[str, Any]) -> T:
    """Create a dataclass instance from a JSON object; ValueError names unknown or missing fields."""
    if not isinstance(fields, dict):
        raise ValueError(f"{cls.__name__}: a JSON object was expected, got {type(fields).__name__}")
    known = dataclasses.fields(cls)
    if unknown := sorted(fields.keys() - {field.name for field in known}):
        raise ValueError(f"{cls.__name__} has no field {', '.join(map(repr, unknown))}")
    needed = {field.name for field in known if field.default is field.default_factory is dataclasses.MISSING}
    if missing := sorted(needed - fields.keys()):
        raise ValueError(f"{cls.__name__} lacks {', '.join(map(repr, missing))}")
    return cls(**fields)


def checked_anchors(value: Any) -> tuple[tuple[float, float], ...]:
    """Return anchor shapes as `HeadConfig` keeps them; ValueError or TypeError if they are invalid."""
    anchors = _pairs("anchors", value, "(width, height)")
    if not anchors:
        raise ValueError("anchors must have at least one pair (width, height), got none")
    for width, height in anchors:
        if min(width, height) <= 0:
            raise ValueError(f"anchors must have positive sides, got {(width, height)}")
    return anchors


def _score_calibration(value: Any) -> tuple[tuple[float, float], ...]:
    points = _pairs("score_calibration", value, "(raw score, calibrated score)")
    if len(points) > _MOST_POINTS:
        raise ValueError(f"score_calibration must have at most {_MOST_POINTS} pairs, got {len(points)}")
    for (x, y), (right, above) in pairwise([(0.0, 0.0), *points, (1.0, 1.0)]):
        if not (x < right and y < above):
            got = f"{(right, above)} after {(x, y)}"
            raise ValueError(f"score_calibration must rise strictly from (0, 0) to (1, 1), got {got}")
    return points


def _pairs(name: str, value: Any, meaning: str) -> tuple[tuple[float, float], ...]:
    try:
        pairs = [(first, second) for first, second in value]
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be pairs {meaning}, got {value!r}") from None
    return tuple((_checks.finite(name, first), _checks.finite(name, second)) for first, second in pairs)


def _labels(value: Any) -> tuple[str, ...]:
    try:
        labels = () if isinstance(value, str) else tuple(value)
    except TypeError:
        labels = ()
    if not labels:
        raise ValueError(f"labels must have at least one class name, got {value!r}")
    for label in labels:
        if not isinstance(label, str):
            raise TypeError(f"labels must be strings, got {label!r}")
    return labels
