"""SSD's layers (Liu et al., arXiv:1512.02325): PriorBox and DetectionOutput."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.network.layers.base import SLOWER, Layer, shortest
from opencv_squeezedet.network.layers.interfaces import CaffeParameter, OnnxWriter, OptionError, Options, Shape

__all__ = ["DetectionOutput", "PriorBox"]

_SAME_RATIO = 1e-6
_MOST_BOXES = 1 << 10
"""In a cell."""


@dataclass(frozen=True, kw_only=True)
class PriorBox(Layer):
    """The prior boxes of each cell of a map, relative to the size of a picture, and their variances: (1, 2, 4 * boxes).

    Boxes are (xmin, ymin, xmax, ymax). A cell has for each smallest size a square, a square of the geometric mean with its
    largest size, and a box for each aspect ratio; or the boxes of ``sides``. As in OpenCV 4 boxes are clipped unless the file
    says otherwise, and an image size in the file is ignored.
    """

    smallest: tuple[float, ...] = ()  # sizes in pixels
    largest: tuple[float, ...] = ()  # as many, or none
    ratios: tuple[float, ...] = ()  # of width to height; 1 and repetitions are left out
    flip: bool = True  # whether the inverse of each ratio is added
    clip: bool = True
    variance: tuple[float, ...]  # one for all values, or four
    step: tuple[float, float] | None = None  # height and width of a cell, pixels; None: those of the picture / the map's
    offsets: tuple[tuple[float, float], ...] = ((0.5, 0.5),)  # positions (vertical, horizontal) of each box in its cell
    sides: tuple[tuple[float, float], ...] = ()  # widths and heights in pixels

    arity = (2, 1)
    batchless = True
    caffe = CaffeParameter(
        "203 prior_box_param PriorBoxParameter",
        """1 min_size float*; 2 max_size float*; 3 aspect_ratio float*; 4 flip bool=true; 5 clip bool=true; 6 variance float*;
        7 img_size uint32; 8 img_h uint32; 9 img_w uint32; 10 step float; 11 step_h float; 12 step_w float;
        13 offset float=0.5; 14 width float*; 15 height float*; 16 offset_h float*; 17 offset_w float*""",
    )

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        _, _, height, width = self._four_axes(bottoms[0])
        self._four_axes(bottoms[1])
        return [(1, 2, 4 * height * width * self._count())]

    def _all_ratios(self) -> list[float]:
        """Those of a cell besides 1."""
        ratios: list[float] = []
        for ratio in self.ratios:
            if all(abs(ratio - other) >= _SAME_RATIO for other in (1.0, *ratios)):
                ratios += [ratio, 1 / ratio] if self.flip else [ratio]
        return ratios

    def _count(self) -> int:
        each = 1 + bool(self.largest) + len(self._all_ratios())
        return (len(self.sides) or len(self.smallest) * each) * len(self.offsets)

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        """Return all fields; OptionError where OpenCV 4 refuses them."""
        lists = {
            name: tuple(map(shortest, getattr(param, name))) for name in ("min_size", "max_size", "aspect_ratio", "variance")
        }
        sides = tuple(zip(map(shortest, param.width), map(shortest, param.height), strict=False))
        sizes = (*lists["min_size"], *lists["max_size"], *lists["aspect_ratio"], *(side for pair in sides for side in pair))
        if (
            len(param.width) != len(param.height)
            or not (sides or lists["min_size"])
            or not all(0 < size < math.inf for size in sizes)
        ):
            raise OptionError("min_size, or as many widths as heights, all above 0, were expected in prior_box_param")
        if lists["max_size"] and len(lists["max_size"]) != len(lists["min_size"]):
            raise OptionError(f"as many max_size as min_size were expected, got {len(lists['max_size'])}")
        if len(lists["variance"]) not in (1, 4) or len(sizes) > _MOST_BOXES:
            raise OptionError(f"1 or 4 values of variance were expected, got {len(lists['variance'])}")
        offsets = tuple(zip(map(shortest, param.offset_h), map(shortest, param.offset_w), strict=False))
        if len(param.offset_h) != len(param.offset_w) or len(offsets) > _MOST_BOXES:
            raise OptionError(
                f"as many offset_h as offset_w were expected, got {len(param.offset_h)} and {len(param.offset_w)}"
            )
        step = (param.step, param.step) if param.has("step") else (param.step_h, param.step_w)
        return {
            "smallest": lists["min_size"],
            "largest": lists["max_size"],
            "ratios": lists["aspect_ratio"],
            "variance": lists["variance"],
            "flip": param.flip,
            "clip": param.clip,
            "step": (shortest(step[0]), shortest(step[1])) if min(step) > 0 else None,
            "offsets": offsets or ((shortest(param.offset),) * 2,),
            "sides": sides,
        }

    def write_caffe(self) -> Options:
        options: Options = {
            "min_size": self.smallest,
            "max_size": self.largest,
            "aspect_ratio": self.ratios,
            "flip": self.flip,
            "clip": self.clip,
            "variance": self.variance,
            "width": [width for width, _ in self.sides],
            "height": [height for _, height in self.sides],
            "offset_h": [vertical for vertical, _ in self.offsets],
            "offset_w": [horizontal for _, horizontal in self.offsets],
        }
        return options if self.step is None else options | {"step_h": self.step[0], "step_w": self.step[1]}

    def boxes(self, bottoms: Sequence[Shape]) -> NDArray[np.float32]:
        """Return the top: boxes and variances (1, 2, 4 * boxes)."""
        (rows, columns), (height, width) = bottoms[0][2:], bottoms[1][2:]
        step = self.step or (height / rows, width / columns)
        sides = list(self.sides)
        for i, size in () if self.sides else enumerate(self.smallest):
            means = [math.sqrt(size * self.largest[i])] if self.largest else []
            sides += [(side, side) for side in (size, *means)]
            sides += [(size * math.sqrt(ratio), size / math.sqrt(ratio)) for ratio in self._all_ratios()]
        y, x = np.mgrid[:rows, :columns, :1, :1][:2].astype(np.float64) + np.array(self.offsets).T[:, None, None, None]
        centres = np.stack([x * step[1], y * step[0]], -1)
        half = np.array(sides)[:, None] / 2
        boxes = np.concatenate([centres - half, centres + half], -1) / np.array([width, height] * 2)
        values = boxes.clip(0, 1) if self.clip else boxes
        variances = np.broadcast_to(np.array(self.variance), (values.size // 4, 4))
        return np.stack([values.reshape(-1), variances.reshape(-1)])[None].astype(np.float32)

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write the boxes as a constant, or OpenCV's layer, which follows the size of the input."""
        if not writer.opencv:
            writer.node("Identity", [writer.constant(f"{self.name}.boxes", self.boxes(bottoms))])
            return
        lists = {"min_size": self.smallest, "max_size": self.largest, "aspect_ratio": self.ratios, "variance": self.variance}
        options: Options = {name: values for name, values in lists.items() if values}
        for names, pairs in ((("width", "height"), self.sides), (("offset_h", "offset_w"), self.offsets)):
            options |= dict(zip(names, (list(values) for values in zip(*pairs, strict=True)), strict=False))
        if self.step is not None:
            options |= {"step_h": self.step[0], "step_w": self.step[1]}
        writer.node("PriorBox", writer.bottoms, flip=int(self.flip), clip=int(self.clip), **options)


@dataclass(frozen=True, kw_only=True)
class DetectionOutput(Layer):
    """Boxes from deltas, confidences and priors: the best of all classes after NMS, (1, 1, batch * keep, 7), as in OpenCV 4.

    A row is (image, class, score, xmin, ymin, xmax, ymax). The rows of an image have falling scores and follow those of the
    image before; rows of zeros follow the last.
    """

    classes: int  # their number, with the background
    background: int  # the class without boxes
    nms_threshold: float  # a box is kept if its IoU with each better box of its class is at most this
    keep: int  # number of boxes kept of each image
    top_k: int = -1  # number of boxes of each class that enter NMS; -1: all
    score_threshold: float = 0.0  # boxes with a score above it enter NMS
    centred: bool = False  # whether deltas are of center and size (CENTER_SIZE), or of the corners (CORNER)
    shared: bool = True  # whether the classes share their deltas
    encoded: bool = False  # whether the deltas contain the variances already
    clip: bool = False  # whether boxes are clipped to the picture before NMS
    normalized: bool = True  # whether coordinates are relative to the picture; a box in pixels ends with its last pixel

    arity = (3, 1)
    caffe = CaffeParameter(
        "204 detection_output_param DetectionOutputParameter",
        """1 num_classes uint32; 2 share_location bool; 3 background_label_id int32;
        4 nms_param NonMaximumSuppressionParameter;
        5 save_output_param SaveOutputParameter; 6 code_type CodeType; 8 variance_encoded_in_target bool; 7 keep_top_k int32;
        9 confidence_threshold float; 1000 clip bool; 1001 normalized_bbox bool=true""",
        enums=(("CodeType", "NONE CORNER CENTER_SIZE CORNER_SIZE"),),
        messages=(
            ("NonMaximumSuppressionParameter", "1 nms_threshold float; 2 top_k int32=-1; 3 eta float"),
            ("SaveOutputParameter", "1 output_directory string"),
        ),
    )
    caffe_fields: ClassVar = {
        "classes": "num_classes",
        "background": "background_label_id",
        "keep": "keep_top_k",
        "score_threshold": "confidence_threshold",
        "shared": "share_location",
        "encoded": "variance_encoded_in_target",
        "clip": "clip",
        "normalized": "normalized_bbox",
    }

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        deltas, scores, priors = bottoms
        images = deltas[0]
        if (
            len(priors) < 3
            or priors[1] != (1 if self.encoded else 2)
            or math.prod(priors) != priors[1] * priors[2]
            or priors[2] % 4
        ):
            raise self.error(f"priors of (1, {1 if self.encoded else 2}, 4 * boxes) were expected, got {priors}")
        boxes = priors[2] // 4
        for blob, shape, values in (
            ("deltas", deltas, 4 * boxes * (1 if self.shared else self.classes)),
            ("scores", scores, boxes * self.classes),
        ):
            if math.prod(shape) != images * values:
                raise self.error(f"{blob} of ({images}, {values}) were expected for {boxes} priors, got {shape}")
        return [(1, 1, images * self.keep, 7)]

    def work(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """Return the number of scores, and of pairs that NMS may compare."""
        boxes = bottoms[2][2] // 4
        most = boxes if self.top_k < 1 else min(boxes, self.top_k)
        return SLOWER * (math.prod(bottoms[1]) + bottoms[0][0] * self.classes * most**2)

    def keeps_batch(self, rank: int) -> bool:
        return False

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        """Return all fields; OptionError where OpenCV 4 refuses or crashes."""
        needed = ("num_classes", "share_location", "background_label_id", "keep_top_k", "code_type", "nms_param")
        if missing := [name for name in needed if not param.has(name)]:
            raise OptionError(f"detection_output_param must have {missing[0]}")
        if not param.nms_param.has("nms_threshold"):
            raise OptionError("detection_output_param must have an nms_threshold")
        if param.code_type not in (1, 2):
            raise OptionError("code_type must be CORNER or CENTER_SIZE")
        if param.keep_top_k < 1 or param.num_classes < 1:
            raise OptionError(f"keep_top_k and num_classes must be at least 1, got {param.keep_top_k} and {param.num_classes}")
        if param.share_location and param.background_label_id < 0:
            raise OptionError("background_label_id must be a class if locations are shared")
        return super().read_caffe(param) | {
            "nms_threshold": shortest(param.nms_param.nms_threshold),
            "top_k": param.nms_param.top_k,
            "centred": param.code_type == 2,
        }

    def write_caffe(self) -> Options:
        defaults = {"variance_encoded_in_target": False, "clip": False, "normalized_bbox": True}
        options = {field: value for field, value in super().write_caffe().items() if defaults.get(field) != value}
        nms = {"nms_threshold": self.nms_threshold, "top_k": self.top_k}
        return options | {"nms_param": nms, "code_type": 2 if self.centred else 1}

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write the boxes, and OpenCV's layer or NonMaxSuppression.

        ModelError for standard ONNX with a batch, deltas of each class, or boxes in pixels, which it has no simple equal of.
        """
        node, constant = writer.node, partial(self._constant, writer)
        priors = node("Gather", [writer.bottoms[2], constant("first", 0)], part="priors", axis=1)
        boxes = self._boxes(writer, node("Reshape", [priors, constant("priors", [1, -1, 1, 4])], part="corners"))
        if writer.opencv:  # its code_type is ignored there, but not whether the deltas are encoded: from priors of 0
            deltas = node("Reshape", [boxes, constant("flat", [0, -1])], part="deltas")
            row = node("Reshape", [priors, constant("row", [1, 1, -1])], part="row")
            zeros = node("Mul", [row, constant("zero", 0.0)], part="zeros")
            options: Options = {field: getattr(self, name) for name, field in self.caffe_fields.items()}
            options |= {"share_location": int(self.shared), "normalized_bbox": int(self.normalized), "clip": 0}
            options |= {"nms_threshold": self.nms_threshold, "top_k": self.top_k, "variance_encoded_in_target": 1}
            node("DetectionOutput", [deltas, writer.bottoms[1], zeros], code_type="CORNER", **options)
        elif bottoms[0][0] != 1 or not self.shared or not self.normalized:
            raise self.error(
                "standard ONNX has its equal for one picture, shared and normalized locations only: convert with --raw"
            )
        else:
            self._suppress(writer, boxes, bottoms[2][2] // 4)

    def _constant(self, writer: OnnxWriter, part: str, values: Any) -> str:
        return writer.constant(f"{self.name}.{part}", values)

    def _boxes(self, writer: OnnxWriter, priors: str) -> str:
        """Write the boxes, (N, boxes, 1 or classes, 4), for priors of (1, boxes, 1, 4)."""
        node, constant = writer.node, partial(self._constant, writer)

        def half(value: str, start: int, part: str) -> str:
            ends = [
                constant(f"{part}.{name}", [number]) for name, number in (("start", start), ("end", start + 2), ("axis", 3))
            ]
            return node("Slice", [value, *ends], part=part)

        each = 1 if self.shared else self.classes
        deltas = node("Reshape", [writer.bottoms[0], constant("split", [0, -1, each, 4])], part="split")
        if not self.encoded:
            variances = node("Gather", [writer.bottoms[2], constant("second", 1)], part="row_of_variances", axis=1)
            variances = node("Reshape", [variances, constant("variances", [1, -1, 1, 4])], part="variances")
            deltas = node("Mul", [deltas, variances], part="scaled")
        if self.centred:
            least, end = half(priors, 0, "least"), half(priors, 2, "end")
            size = node("Sub", [end, least], part="size")
            if not self.normalized:
                size = node("Add", [size, constant("pixel", 1.0)], part="pixels")
            two = constant("half", 0.5)
            centre = node("Add", [least, node("Mul", [size, two], part="to_centre")], part="centre")
            moved = node("Add", [centre, node("Mul", [half(deltas, 0, "shift"), size], part="moves")], part="moved")
            new = node("Mul", [node("Exp", [half(deltas, 2, "growth")], part="factors"), size], part="new_size")
            new = node("Mul", [new, two], part="new_half")
            boxes = node(
                "Concat", [node("Sub", [moved, new], part="low"), node("Add", [moved, new], part="high")], part="boxes", axis=3
            )
        else:
            boxes = node("Add", [priors, deltas], part="boxes")
        if self.clip:
            boxes = node("Clip", [boxes, constant("edge", 0.0), constant("far_edge", 1.0)], part="clipped")
        return boxes

    def _suppress(self, writer: OnnxWriter, boxes: str, count: int) -> None:
        """Write NMS for one picture, and its rows: as in OpenCV 4, with rows of zeros up to the last."""
        node, constant = writer.node, partial(self._constant, writer)

        def column(value: str, index: int, part: str) -> str:
            return node("Gather", [value, constant(f"{part}.index", index)], part=part, axis=1)

        foreground = [label for label in range(self.classes) if label != self.background]
        scores = node("Reshape", [writer.bottoms[1], constant("scores", [1, count, self.classes])], part="rows_of_scores")
        scores = node("Transpose", [scores], part="columns_of_scores", perm=(0, 2, 1))
        scores = node("Gather", [scores, constant("classes", foreground)], part="scores", axis=1)
        seen = scores
        if 0 < self.top_k < count:
            best = node("TopK", [scores, constant("top_k", [self.top_k])], part="best", more_outputs=1, axis=2)
            least = node("Gather", [best, constant("last", [self.top_k - 1])], part="least_score", axis=2)
            worse = node("Less", [scores, least], part="worse")
            seen = node("Where", [worse, constant("none", -1.0), scores], part="seen")
        flat = node("Reshape", [boxes, constant("boxes", [1, count, 4])], part="flat_boxes")
        values = {"most": count, "iou": self.nms_threshold, "threshold": self.score_threshold}
        limits = [constant(part, [value]) for part, value in values.items()]
        kept = node("NonMaxSuppression", [flat, seen, *limits], part="kept")
        row, box = column(kept, 1, "row"), column(kept, 2, "box")
        index = node("Add", [node("Mul", [row, constant("count", count)], part="offset"), box], part="index")
        score = node("Gather", [node("Reshape", [scores, constant("all", [-1])], part="all_scores"), index], part="score")
        label = node("Gather", [constant("labels", list(map(float, foreground))), row], part="label")
        corners = node(
            "Gather", [node("Reshape", [flat, constant("pairs", [count, 4])], part="all_boxes"), box], part="corners_kept"
        )
        image = node("Mul", [score, constant("image", 0.0)], part="images")
        parts = [
            node("Reshape", [value, constant(f"{part}_shape", [-1, 1])], part=f"{part}_column")
            for part, value in (("image", image), ("label", label), ("score", score))
        ]
        rows = node("Concat", [*parts, corners], part="detections", axis=1)
        rows = node("Concat", [rows, constant("zeros", np.zeros((self.keep, 7)))], part="padded", axis=0)
        order = node(
            "TopK", [column(rows, 2, "order_by"), constant("keep", [self.keep])], part="order", more_outputs=1, axis=0
        )
        rows = node("Gather", [rows, f"{order}/1"], part="ordered", axis=0)
        node("Reshape", [rows, constant("shape", [1, 1, self.keep, 7])])
