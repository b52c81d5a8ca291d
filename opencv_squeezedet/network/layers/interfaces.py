"""The interfaces between layers and the modules that read, write and train them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from opencv_squeezedet.errors import ModelError, UnknownLayerError

Shape = tuple[int, ...]
Pair = tuple[int, int]
"""(vertical, horizontal)."""
Options = dict[str, Any]


class OptionError(ValueError):
    """An option in a Caffe file that the layer does not have here."""


@dataclass(frozen=True)
class CaffeParameter:
    """The message that holds a layer's options in Caffe's files, in the notation of `formats._schema.Schema`."""

    field: str  # its field in a LayerParameter: number, name and kind
    content: str  # its own fields
    v1: int | None = None  # the field's number in a V1LayerParameter
    enums: tuple[tuple[str, str], ...] = ()  # that only this message uses, each with its names in the order of their numbers
    messages: tuple[tuple[str, str], ...] = ()  # that only this message uses, each with its fields

    @property
    def name(self) -> str:
        """The field's name."""
        return self.field.split()[1]


class OnnxOperator(NamedTuple):
    """What a node of an operator may have."""

    attributes: str = ""  # that are understood; a node with others is refused
    optional: int | None = None  # the first input that may be left out; None: no input may
    outputs: int = 1  # number of outputs that are read, at most
    more_outputs: bool = False  # whether further outputs are ignored; otherwise they are refused


class OnnxWriter(Protocol):
    """Collects the nodes of one layer."""

    opset: int  # version of the operators
    opencv: bool  # whether only OpenCV 5 is to read the file, which accepts its own layers as operators
    bottoms: list[str]  # the values that the layer reads

    def weights(self) -> list[str]:
        """Store the layer's weights in Caffe's shapes, and return their names."""

    def weight(self, index: int, shape: Shape) -> str:
        """Store one blob of the weights in another shape, and return its name."""

    def values(self, index: int) -> NDArray[Any]:
        """Return one blob of the weights, of which the layer makes a constant."""

    def constant(self, name: str, values: Any) -> str:
        """Store floats or integers, as float32 or int64, and return their name, which must begin with the layer's."""

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        part: str = "",
        *,
        top: int | None = None,
        more_outputs: int = 0,
        **attributes: Any,
    ) -> str:
        """Add the node whose outputs are the layer's tops, or only the top of this index, and return its first output's name.

        With ``part`` it is an inner node, named after the layer and the part; ``more_outputs`` have the name of its output, a
        slash, and a number from 1 up.
        """


class OnnxNode(Protocol):
    """A node to be read. Errors of its methods are ModelErrors that name the node."""

    op: str
    opset: int
    name: str
    inputs: list[str]
    outputs: list[str]

    def error(self, message: str) -> UnknownLayerError:
        """Return an error for a sound node that is not supported here."""

    def damage(self, message: str) -> ModelError:
        """Return an error for a damaged node."""

    def has(self, name: str) -> bool:
        """Whether it has this attribute."""

    def integer(self, name: str, default: int) -> int:
        """Return an attribute; so do `number`, `text`, `integers` and `pair`."""

    def number(self, name: str, default: float) -> float: ...

    def text(self, name: str, default: str) -> str: ...

    def integers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]: ...

    def pair(self, name: str, default: Pair | None) -> Pair:
        """Return an attribute of two integers of at least 1."""

    def pads(self) -> Pair:
        """Return its pads, which must be the same on both sides."""

    def take_pad(self) -> Pair:
        """Replace its first input by the input of the Pad node that makes it, if any, and return the pads."""

    def axis(self, default: int) -> int:
        """Return its attribute ``axis``, from 0 up."""

    @property
    def shape(self) -> Shape:
        """The shape of its first input."""

    def shape_of(self, name: str) -> Shape:
        """Return the shape of a value that is not a constant."""

    def bottoms(self, most: int = 1, constants: int = 0) -> tuple[str, ...]:
        """Return the inputs that earlier nodes give, up to ``most``; no more constants than ``constants`` may follow."""

    def blobs(self, most: int = 1, constants: int = 0) -> Options:
        """Return the name, the bottoms and the one top of its layer."""

    def constant_integers(self, index: int) -> tuple[int, ...]:
        """Return the input of this number: a constant list of at most 64 integers."""

    def constant_floats(self, index: int) -> NDArray[Any]:
        """Return the input of this number: a constant, as float32 if it has floats."""

    def keep_weights(self, blobs: Sequence[NDArray[Any]]) -> None:
        """Note its layer's weights, in Caffe's order and shapes."""


class TorchRun(NamedTuple):
    """The context in which a layer runs in torch."""

    module: nn.Module  # the layer's own, with its weights; an identity for a layer without trained weights
    dropout: Callable[[Tensor, float], Tensor]  # from a blob and a ratio
