"""The base of all layers: shape rule, weights and costs; Caffe's options, ONNX, and torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.network.layers.interfaces import (
    CaffeParameter,
    OnnxNode,
    OnnxOperator,
    OnnxWriter,
    Options,
    Shape,
    TorchRun,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

MOST_BLOB = 1 << 28
"""The most values in a blob: a GiB as float32."""
MOST_LENGTH = 1 << 15
"""The largest kernel, stride, pad or dilation."""
SLOWER = 30
"""The cost of one step of a layer that is not a convolution, in a convolution's multiplications."""


@dataclass(frozen=True, kw_only=True)
class Layer(ABC):
    """One layer, which reads its bottoms and writes its tops; both are named blobs.

    A subclass describes its layer completely. Files and training use only what is declared here, so that a new layer is a new
    class in one of this folder's modules, and nothing else.

    Parameters
    ----------
    name : str
        The name under which a caffemodel keeps the layer's weights.
    bottoms, tops : tuple of str
        The blobs that it reads and writes; a layer whose top is its bottom works in place.
    """

    name: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]

    arity: ClassVar[tuple[int, int]] = (1, 1)
    """The numbers of its bottoms and tops; 0 stands for any number from 1 up, -1 for any number at all."""
    in_place: ClassVar[bool] = False
    """Whether it overwrites its bottom if no other layer reads that, as Caffe's networks have it."""
    trained: ClassVar[bool] = True
    """Whether its weights, if it has any, are trained; otherwise they are ones."""

    batchless: ClassVar[bool] = False
    """Whether its tops are the same for a batch of any size."""

    # ---- shapes and costs ----------------------------------------------------------------------------------------------

    @abstractmethod
    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the tops' shapes for the bottoms' shapes; if they do not fit, ModelError names the layer."""

    def resized(self, old: Sequence[Shape], new: Sequence[Shape]) -> Layer:
        """Return the layer for bottoms of other heights and widths; ModelError if its options do not allow it."""
        return self

    def weight_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the shapes of the blobs that a caffemodel keeps for the layer."""
        return []

    def macs(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """Return the number of multiplications by a weight in one pass."""
        return 0

    def work(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """Return the cost of one pass, in a convolution's multiplications."""
        return self.macs(bottoms, tops)

    def keeps_batch(self, rank: int) -> bool:
        """Whether the first axis of its bottom, which has ``rank`` axes, stays the batch's, of any length.

        By default all layers do so, except those whose option ``axis`` is that axis.
        """
        axis: int | None = getattr(self, "axis", None)
        return axis is None or axis % rank != 0

    # ---- Caffe ---------------------------------------------------------------------------------------------------------

    caffe: ClassVar[CaffeParameter | None] = None
    """The message of its options, if it has any."""
    caffe_fields: ClassVar[Mapping[str, str]] = {}
    """The message's fields by the fields of this class that hold their values, unless others are read and written."""
    caffe_type: ClassVar[str | None] = None
    """The type that Caffe's files call it, if that is another layer's, whose `from_caffe` then reads it."""

    @classmethod
    def from_caffe(cls, message: Any) -> Layer:
        """Return the layer that a LayerParameter describes; OptionError where it has an option that is not supported."""
        options = cls.read_caffe(getattr(message, cls.caffe.name)) if cls.caffe is not None else {}
        return cls(name=message.name, bottoms=tuple(message.bottom), tops=tuple(message.top), **options)

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        """Return the fields of this class from the message of its options; OptionError as `from_caffe`."""
        values = {name: getattr(param, field) for name, field in cls.caffe_fields.items()}
        return {
            name: shortest(value) if isinstance(value, float) else tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }

    def write_caffe(self) -> Options:
        """Return the message of its options, by field; fields of default value may be left out."""
        return {field: getattr(self, name) for name, field in self.caffe_fields.items()}

    # ---- ONNX ----------------------------------------------------------------------------------------------------------

    onnx: ClassVar[Mapping[str, OnnxOperator]] = {}
    """The operators that are read as this layer."""
    onnx_parts: ClassVar[tuple[type[Layer], ...]] = ()
    """The layers that its nodes are read as, if it is written as several; `from_parts` puts them together."""

    def least_opset(self, bottoms: Sequence[Shape]) -> int:
        """Return the first version of the operators that has its equal, 11 or 13."""
        return 11

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write its nodes; ModelError if ONNX, or the readers of it, have no equal."""
        raise self.error("it has no equal in ONNX")

    @classmethod
    def from_onnx(cls, node: OnnxNode) -> Layer:
        """Return the layer of a node, whose operator is in `onnx`."""
        return cls(**node.blobs())

    @classmethod
    def from_parts(cls, parts: Sequence[Any], bottom: Shape) -> Layer | None:
        """Return the layer that a chain of its `onnx_parts` is together; None if the chain is anything else."""
        return None

    # ---- torch ---------------------------------------------------------------------------------------------------------

    def torch_module(self, bottoms: Sequence[Shape]) -> nn.Module:
        """Return a module whose parameters are the layer's weights, in Caffe's order."""
        raise self.error("it cannot be trained")

    def torch_initialize(self, module: Any) -> None:
        """Set the weights that training starts with, where they are not torch's own."""
        return

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        """Return its tops."""
        raise self.error("it cannot be trained")

    # ---- errors --------------------------------------------------------------------------------------------------------

    def error(self, message: str) -> ModelError:
        """Return an error that names the layer."""
        return ModelError(f"layer {self.name!r}: {message}")

    def _not_too_long(self, *lengths: int) -> None:
        if max(lengths) > MOST_LENGTH:
            raise self.error(
                f"kernels, strides, pads and dilations of at most {MOST_LENGTH} were expected, got {max(lengths)}"
            )

    def _four_axes(self, shape: Shape) -> Shape:
        if len(shape) != 4:
            raise self.error(f"a bottom of (N, C, H, W) was expected, got {shape}")
        return shape

    def _has_axis(self, axis: int, shape: Shape) -> None:
        if not -len(shape) <= axis < len(shape):
            raise self.error(f"a bottom of {shape} has no axis {axis}")

    def _axis(self, axis: int, shape: Shape) -> int:
        """The axis, which may count from the last, from 0 up."""
        self._has_axis(axis, shape)
        return axis % len(shape)

    # ---- ONNX's nodes --------------------------------------------------------------------------------------------------

    def _chain(self, writer: OnnxWriter, *steps: tuple[str, float | None, float]) -> None:
        """Write operators in a chain, each with its constant; an operator whose constant is the last number is left out."""
        value, left = writer.bottoms, [step for step in steps if step[1] != step[2]] or [("Identity", None, 0.0)]
        for op, constant, _ in left:
            part = op.lower()
            inputs = value if constant is None else [*value, writer.constant(f"{self.name}.{part}", constant)]
            value = [writer.node(op, inputs, part="" if op == left[-1][0] else part)]


class SameShape(Layer):
    """A layer whose top has its bottom's shape."""

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the bottom's shape."""
        return [bottoms[0]]


def shortest(value: float) -> float:
    """Return the number with the fewest digits that gives this float32: 0.01 instead of 0.009999999776."""
    return float(str(np.float32(value)))
