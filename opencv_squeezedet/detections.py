"""The detections in a picture."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opencv_squeezedet import export

_set = object.__setattr__


def _float32(name: str, values: ArrayLike) -> NDArray[np.float32]:
    array = np.array(values)
    if array.size and array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must contain real numbers, got {array.dtype}")
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


class Detection(NamedTuple):
    """One object: its box in pixels, its score, and the index and name of its class."""

    xyxy: tuple[float, float, float, float]
    confidence: float
    class_id: int
    label: str


class Detections:
    """The detections in one picture, highest confidence first. Immutable, including its arrays.

    ``detections[3]`` is one `Detection`; a slice, a boolean mask, an array of indices, a label or a list of labels selects
    `Detections`. Iteration yields each `Detection`; ``len`` is their number.

    Parameters
    ----------
    xyxy : array_like, (N, 4)
        Corners x1, y1, x2, y2 in pixels; converted to float32.
    confidence : array_like, (N,)
        Scores: confidence x class score, calibrated by the head's ``score_calibration``; converted to float32.
    class_id : array_like, (N,)
        Indices into ``label_table``; converted to int32.
    names : sequence of str
        The class names by id; the attributes ``label_table`` and ``names``.

    Raises
    ------
    ValueError
        If the shapes do not match, or a class id is outside the label table.
    """

    __slots__ = ("class_id", "confidence", "label_table", "xyxy")

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]
    label_table: tuple[str, ...]

    def __init__(self, xyxy: ArrayLike, confidence: ArrayLike, class_id: ArrayLike, names: Sequence[str]) -> None:
        boxes, scores = _float32("xyxy", xyxy), _float32("confidence", confidence)
        classes = np.array(class_id)
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"names must be a sequence of strings, got {names!r}")
        if boxes.shape == (0,):
            boxes = boxes.reshape(0, 4)
        count = scores.size
        if boxes.shape != (count, 4) or scores.shape != (count,) or classes.shape != (count,):
            raise ValueError(
                "xyxy (N, 4), confidence (N,) and class_id (N,) were expected, "
                f"got {boxes.shape}, {scores.shape} and {classes.shape}"
            )
        if count and classes.dtype.kind not in "iu":
            raise TypeError(f"class_id must contain integers, got {classes.dtype}")
        if count and not 0 <= classes.min() <= classes.max() < len(names):
            raise ValueError(f"class ids must lie in [0, {len(names)}), got {classes.min()} to {classes.max()}")
        self._fill(boxes, scores, classes.astype(np.int32), tuple(names))

    def _fill(
        self, xyxy: NDArray[np.float32], confidence: NDArray[np.float32], class_id: NDArray[np.int32], names: tuple[str, ...]
    ) -> None:
        xyxy.setflags(write=False)
        confidence.setflags(write=False)
        class_id.setflags(write=False)
        _set(self, "xyxy", xyxy)
        _set(self, "confidence", confidence)
        _set(self, "class_id", class_id)
        _set(self, "label_table", names)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Detections are immutable: {name!r} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Detections are immutable: {name!r} cannot be deleted")

    def __reduce__(self) -> tuple[Any, ...]:
        return Detections, (self.xyxy, self.confidence, self.class_id, self.label_table)

    @property
    def names(self) -> tuple[str, ...]:
        """The class names, ``label_table``."""
        return self.label_table

    @property
    def labels(self) -> list[str]:
        """The class name of each detection."""
        return [self.label_table[i] for i in self.class_id.tolist()]

    def __len__(self) -> int:
        return len(self.confidence)

    def __iter__(self) -> Iterator[Detection]:
        rows = zip(self.xyxy.tolist(), self.confidence.tolist(), self.class_id.tolist(), strict=True)
        for (x1, y1, x2, y2), confidence, class_id in rows:
            yield Detection((x1, y1, x2, y2), confidence, class_id, self.label_table[class_id])

    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> Detection: ...
    @overload
    def __getitem__(self, key: slice | str | list[str] | list[int] | NDArray[Any]) -> Detections: ...
    def __getitem__(self, key: Any) -> Detection | Detections:
        if isinstance(key, str):
            key = self._with_labels([key])
        elif isinstance(key, list):
            strings = bool(key) and isinstance(key[0], str)
            key = self._with_labels(key) if strings else np.array(key, None if key else np.intp)
        if isinstance(key, np.ndarray) and key.ndim > 1:
            raise IndexError(f"a one-dimensional index was expected, got the shape {key.shape}")
        if isinstance(key, slice) or (isinstance(key, np.ndarray) and key.ndim):
            return wrap(self.xyxy[key].copy(), self.confidence[key].copy(), self.class_id[key].copy(), self.label_table)
        if isinstance(key, np.bool_):  # older NumPy would treat it as 0 or 1
            raise TypeError("a numpy.bool_ cannot be interpreted as an integer")
        i = operator.index(key)
        x1, y1, x2, y2 = self.xyxy[i].tolist()
        class_id = int(self.class_id[i])
        return Detection((x1, y1, x2, y2), float(self.confidence[i]), class_id, self.label_table[class_id])

    def _with_labels(self, labels: Sequence[str]) -> NDArray[np.bool_]:
        for label in labels:
            if label not in self.label_table:
                raise KeyError(f"no label {label!r} among {', '.join(self.label_table)}")
        return np.isin(self.class_id, [i for i, name in enumerate(self.label_table) if name in labels])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("xyxy", "confidence", "class_id"))
        return self.label_table == other.label_table and all(np.array_equal(*pair) for pair in pairs)

    __hash__ = None  # type: ignore[assignment]
    __array_ufunc__ = None  # NumPy defers == to this class

    def __repr__(self) -> str:
        shown = ", ".join(f"{d.label} {d.confidence:.3f} ({', '.join(f'{v:.0f}' for v in d.xyxy)})" for d in self[:8])
        return f"Detections({len(self)}: {shown}{', ...' if len(self) > 8 else ''})"

    _repr_html_ = export.to_html

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Return JSON types: ``{"detections": [{"label", "class_id", "confidence", "xyxy"}, ...]}``.

        Numbers have just enough digits to restore the same float32.
        """
        boxes = [[float(str(v)) for v in box] for box in self.xyxy]
        scores = [float(str(v)) for v in self.confidence]
        rows = zip(self.labels, self.class_id.tolist(), scores, boxes, strict=True)
        return {"detections": [dict(zip(("label", "class_id", "confidence", "xyxy"), row, strict=True)) for row in rows]}

    def to_json(self, indent: int | None = None) -> str:
        """Return `to_dict` as JSON."""
        import json  # keeps import fast

        return json.dumps(self.to_dict(), indent=indent)

    to_coco = export.to_coco
    to_yolo = export.to_yolo
    to_voc_xml = export.to_voc_xml
    to_supervision = export.to_supervision
    to_dataframe = export.to_dataframe

    @staticmethod
    def from_supervision(detections: Any, names: Sequence[str] | None = None) -> Detections:
        """Return Detections from ``supervision.Detections``, highest confidence first.

        Missing confidences become 1, missing class ids 0. The label table is by default that stored by `to_supervision`, or
        the class names in ``data``.
        """
        return Detections(*export.from_supervision(detections, None if names is None else tuple(names)))


def wrap(
    xyxy: NDArray[np.float32], confidence: NDArray[np.float32], class_id: NDArray[np.int32], names: tuple[str, ...]
) -> Detections:
    """Create Detections without checks or copies, from valid arrays that nothing else writes to."""
    detections = Detections.__new__(Detections)
    detections._fill(xyxy, confidence, class_id, names)
    return detections
