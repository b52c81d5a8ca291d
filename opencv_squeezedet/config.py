"""The description of a SqueezeDet head: grid, anchors, classes and conventions, in one frozen object."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, SupportsFloat, SupportsIndex, TypedDict, TypeVar, get_args

from opencv_squeezedet import _checks
from opencv_squeezedet._kernel import HeadKernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import DataclassInstance

FirstAxis = Literal["x", "y"]
Centers = Literal["inner", "cell"]
DeltaOrder = Literal["xyhw", "xywh"]
Corners = Literal["plain", "plus_one_after_clip", "minus_one_before_clip"]
Layout = Literal["hwc", "chw"]
NmsKind = Literal["reference", "greedy", "soft"]

NMS_KINDS: tuple[str, ...] = get_args(NmsKind)
_MOST_POINTS = 100  # of a map of scores
_TRUNK_STRIDE = 16  # SqueezeNet halves its input four times


class Limits(NamedTuple):
    """Which candidates there are, and which of them are reported: that part of `HeadConfig`, in the kernel's form.

    The fields are those of the kernel's struct ``Limits``, in its order. ``nms_kind`` indexes `NMS_KINDS`; an infinite
    ``vote_threshold`` or ``cross_class_threshold`` is None in `HeadConfig`.
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


class Options(TypedDict, total=False):
    """Keyword options that override a config's own values; see `HeadConfig`. None keeps the config's own value."""

    score_threshold: SupportsFloat | None
    nms_threshold: SupportsFloat | None
    nms_kind: NmsKind | None
    soft_sigma: SupportsFloat | None
    vote_threshold: SupportsFloat | None
    cross_class_threshold: SupportsFloat | None
    top_n: SupportsIndex | None
    class_agnostic: bool | None
    multi_label: bool | None


def _nms_kind(name: str, value: Any) -> Any:
    _checks.choice(name, value, NMS_KINDS)
    return value


def _fraction_or_none(name: str, value: Any) -> float | None:
    return None if value is None else _checks.fraction(name, value)


def _infinite_for_none(value: float | None) -> float:
    return math.inf if value is None else value


_OPTION_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "score_threshold": _checks.fraction,
    "nms_threshold": _checks.fraction,
    "nms_kind": _nms_kind,
    "soft_sigma": _checks.positive,
    "vote_threshold": _fraction_or_none,
    "cross_class_threshold": _fraction_or_none,
    "top_n": _checks.count,
    "class_agnostic": _checks.flag,
    "multi_label": _checks.flag,
}
_LIMIT_FORMS: dict[str, Callable[[Any], Any]] = {  # for what `Limits` has in another form than `HeadConfig`
    "nms_kind": NMS_KINDS.index,
    "vote_threshold": _infinite_for_none,
    "cross_class_threshold": _infinite_for_none,
    "top_n": lambda value: min(value, _checks.MOST),  # no head has more anchors and classes
}
_OPTIONS = {
    name: (place, _OPTION_CHECKS[name], _LIMIT_FORMS.get(name))
    for place, name in enumerate(Limits._fields)
    if name in _OPTION_CHECKS
}


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """A SqueezeDet head: what its three blobs mean, and how boxes are chosen from them.

    Anchor ``a = (i * n1 + j) * len(anchors) + k`` belongs to position ``i`` of the first grid axis, ``j`` of the second, and
    to the k-th anchor shape. Values are checked when the object is made; sequences become tuples.

    Parameters
    ----------
    input_size : (int, int)
        Width and height of the network's input, pixels.
    grid : (int, int)
        Lengths ``(n0, n1)`` of the blobs' first and second grid axis.
    anchors : sequence of (float, float)
        Width and height of each anchor shape, input pixels.
    labels : sequence of str
        Class names, in the order of the class scores.
    first_axis : {"x", "y"}
        Which picture axis the first grid axis runs along. opencv_contrib's network: ``"x"``.
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
        Added to the union. 0 / 0 is 0.
    layout : {"hwc", "chw"}
        Blobs as ``(n0, n1, channels)`` or ``(channels, n0, n1)``; channels are anchor-major in both.
    activated : bool
        False: class and confidence blobs are logits, and softmax and sigmoid have yet to be applied.
    drop_empty : bool
        Remove boxes with x2 <= x1 or y2 <= y1, after NMS and before any +1 of ``corners``.
    score_threshold : float
        In [0, 1]. A box is reported when its score, confidence x class score, is above it.
    nms_threshold : float
        In [0, 1]. A box is dropped when its IoU with a higher one is above it.
    nms_kind : {"reference", "greedy", "soft"}
        "reference": a dropped box still drops others, as in InferBbox and the SqueezeDet original. "greedy": it does not.
        "soft": Gaussian soft-NMS (Bodla et al. 2017, arXiv:1704.04503). The box with the highest score is taken, and the
        scores of the remaining boxes of its class are multiplied by ``exp(-IoU^2 / soft_sigma)``. This repeats while a score
        is above the score threshold. The confidences are these lowered scores, and ``nms_threshold`` has no effect.
    soft_sigma : float
        Above 0, for soft NMS: the smaller it is, the more score a box loses by an overlap.
    vote_threshold : float or None
        None: boxes are reported as they were decoded. T in [0, 1]: box voting (Gidaris and Komodakis 2015, arXiv:1505.01749).
        The corners of a kept box become the weighted mean over the candidates of its class whose IoU with it is above T,
        ``sum(w_i * xyxy_i) / sum(w_i)`` with ``w_i = score_i * IoU_i^2`` (in the paper, the score alone); its score stays. The
        candidates are all boxes that entered NMS, dropped or not, with the scores they had then. 1 has no effect.
    cross_class_threshold : float or None
        None: an object may be reported under several classes. T in [0, 1]: a box whose IoU with a higher one of another class
        is above T is probably the same object, so its score is multiplied by ``1 - score * IoU`` of that one (the lowest such
        factor; scores as NMS left them, boxes as voting left them). 1 has no effect.
    top_n : int
        How many candidates enter NMS: those with the highest scores of all classes. At least 1.
    class_agnostic : bool
        NMS across classes instead of within each.
    multi_label : bool
        Every class of an anchor whose score is above the threshold is a candidate, not only its best one. Equal scores are
        ranked by anchor, then by class.
    score_map : sequence of (float, float)
        Pairs (score, reported score), both rising, strictly between 0 and 1. The scores of the boxes that are left follow the
        line from (0, 0) through these to (1, 1), so that they can say how often such boxes are right; their order stays. The
        score threshold is one of reported scores. Without pairs a score is reported as it is.

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
    layout: Layout = "hwc"
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
    score_map: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        """Check every field and convert it to its final form."""
        for name, literal in _CHOICES.items():
            _checks.choice(name, getattr(self, name), get_args(literal))
        for name, check in _OPTION_CHECKS.items():
            self._set(name, check(name, getattr(self, name)))
        for name in ("activated", "drop_empty"):
            self._set(name, _checks.flag(name, getattr(self, name)))
        for name in ("input_size", "grid"):
            self._set(name, _checks.size(name, getattr(self, name)))
        self._set("anchors", checked_anchors(self.anchors))
        self._set("score_map", _score_map(self.score_map))
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
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # without what is cached

    @cached_property
    def kernel(self) -> HeadKernel:
        """The head in the form that the compiled functions take."""
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
            score_map=self.score_map,
        )

    @cached_property
    def limits(self) -> Limits:
        """Which candidates there are and which of them are reported, in the form that the compiled functions take."""
        limits = {name: getattr(self, name) for name in Limits._fields}
        limits.update((name, form(limits[name])) for name, form in _LIMIT_FORMS.items())
        return Limits(**limits)

    def limits_with(self, options: Options) -> Limits:
        """Return `limits` with the given options that are not None.

        Raises
        ------
        TypeError
            If an option does not exist or has the wrong type.
        ValueError
            If an option is outside its range.
        """
        if not options:
            return self.limits
        limits: list[Any] = list(self.limits)
        for name, value in options.items():
            if name not in _OPTIONS:
                raise TypeError(f"there is no option {name!r}; the options are {', '.join(_OPTIONS)}")
            if value is not None:
                place, check, form = _OPTIONS[name]
                checked = check(name, value)
                limits[place] = checked if form is None else form(checked)
        return Limits(*limits)

    @cached_property
    def blob_shapes(self) -> dict[str, tuple[tuple[int, ...], ...]]:
        """The accepted shapes for each blob of one picture, all of the same data, the usual one first.

        Keys are ``delta_bbox``, ``class_scores`` and ``conf_scores``. A leading axis of 1 may come before each shape.
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
            New ``(n0, n1)``. By default one cell is added for each 16 pixels, the stride of SqueezeNet's trunk, rounded:
            23 at 416 becomes 17 at 320.

        Raises
        ------
        ValueError
            If no cell is left.
        """
        new, old = _checks.size("input_size", input_size), self.input_size
        if grid is None:
            more = [round((n - o) / _TRUNK_STRIDE) for n, o in zip(new, old, strict=True)]
            if self.first_axis == "y":
                more.reverse()
            grid = (self.grid[0] + more[0], self.grid[1] + more[1])
            if min(grid) < 1:
                raise ValueError(f"input_size {new} leaves no cell of the {self.grid} grid at {old}")
        anchors = tuple((w * new[0] / old[0], h * new[1] / old[1]) for w, h in self.anchors)
        return dataclasses.replace(self, input_size=new, grid=grid, anchors=anchors)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, sequences as tuples, as `from_dict` takes them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> HeadConfig:
        """Make the head from the result of `to_dict`; ValueError for an unknown or a missing field."""
        return from_fields(cls, fields)

    def to_json(self) -> str:
        """Return the fields as a JSON object, one line each."""
        import json  # keeps import fast

        members = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in self.to_dict().items())
        return "{\n" + ",\n".join(members) + "\n}"

    @classmethod
    def from_json(cls, text: str) -> HeadConfig:
        """Make the head from the result of `to_json`; ValueError for anything else, TypeError for a value's wrong type."""
        import json

        try:
            return cls.from_dict(json.loads(text))
        except RecursionError as error:
            raise ValueError(f"a JSON object was expected: {error}") from None


_CHOICES = {
    "first_axis": FirstAxis,
    "centers": Centers,
    "delta_order": DeltaOrder,
    "corners": Corners,
    "layout": Layout,
}


T = TypeVar("T", bound="DataclassInstance")


def from_fields(cls: type[T], fields: dict[str, Any]) -> T:
    """Make a dataclass object from a JSON object; ValueError that names its unknown or missing fields."""
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
    """Anchor shapes as `HeadConfig` keeps them; ValueError or TypeError if they are not valid."""
    anchors = _pairs("anchors", value, "(width, height)")
    if not anchors:
        raise ValueError("anchors must hold at least one pair (width, height), got none")
    for width, height in anchors:
        if min(width, height) <= 0:
            raise ValueError(f"anchors must have positive sides, got {(width, height)}")
    return anchors


def _score_map(value: Any) -> tuple[tuple[float, float], ...]:
    points = _pairs("score_map", value, "(score, reported score)")
    if len(points) > _MOST_POINTS:
        raise ValueError(f"score_map must have at most {_MOST_POINTS} pairs, got {len(points)}")
    for (x, y), (right, above) in pairwise([(0.0, 0.0), *points, (1.0, 1.0)]):
        if not (x < right and y < above):
            raise ValueError(f"score_map must rise strictly from (0, 0) to (1, 1), got {(right, above)} after {(x, y)}")
    return points


def _pairs(name: str, value: Any, meaning: str) -> tuple[tuple[float, float], ...]:
    pairs = []
    try:
        for pair in value:
            first, second = pair
            pairs.append((first, second))
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be pairs {meaning}, got {value!r}") from None
    return tuple((_checks.finite(name, first), _checks.finite(name, second)) for first, second in pairs)


def _labels(value: Any) -> tuple[str, ...]:
    try:
        labels = () if isinstance(value, str) else tuple(value)
    except TypeError:
        labels = ()
    if not labels:
        raise ValueError(f"labels must hold at least one class name, got {value!r}")
    for label in labels:
        if not isinstance(label, str):
            raise TypeError(f"labels must be strings, got {label!r}")
    return labels


VOC = HeadConfig(
    input_size=(416, 416),
    grid=(23, 23),
    anchors=((377, 371), (64, 118), (129, 326), (172, 126), (34, 46), (353, 204), (89, 214), (249, 361), (209, 239)),
    labels=(
        *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
        *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
    ),
)
"""opencv_contrib's head for PASCAL VOC (2017), with the thresholds of its sample."""

KITTI = HeadConfig(
    input_size=(1248, 384),
    grid=(24, 78),
    anchors=((36, 37), (366, 174), (115, 59), (162, 87), (38, 90), (258, 173), (224, 108), (78, 170), (72, 43)),
    labels=("car", "pedestrian", "cyclist"),
    first_axis="y",
    centers="inner",
    delta_order="xywh",
    exp_threshold=1.0,
    corners="plus_one_after_clip",
    iou_epsilon=0.0,
    score_threshold=0.4,
    nms_threshold=0.4,
)
"""The TensorFlow original's head for KITTI (Wu et al., arXiv:1612.01051)."""
