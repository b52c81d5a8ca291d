"""The interface of all backends: a network that is ready to run, behind one small object."""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet._opencv import silent_opencv
from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.errors import ModelError

BackendName = Literal["opencv", "onnxruntime", "auto"]
MOST_PIXELS = 1 << 24
"""Of an input, 4096x4096: eight times Full HD."""
Arrays = tuple[NDArray[np.float32], ...]
Inputs = NDArray[np.float32] | Mapping[str, NDArray[np.float32]]
"""The only input, or each input by name."""


class Backend(ABC):
    """A network that is ready to run; one forward pass at a time, under a lock.

    Parameters
    ----------
    net : cv2.dnn.Net or onnxruntime.InferenceSession
        What runs it.
    name : str
        What errors call the network.
    blobs : sequence of str
        What `forward` returns, by name.

    Attributes
    ----------
    check_input : function or None
        Returns the problem with an input of (width, height), or None, before anything runs.
    lock : threading.Lock
        Held while the network runs; to be held by whoever else uses ``net``.
    """

    check_input: Callable[[tuple[int, int] | None], str | None] | None = None

    def __init__(self, net: Any, name: str, blobs: Sequence[str]) -> None:
        self.net, self.name, self.blobs = net, name, tuple(blobs)
        self.lock = threading.Lock()
        _backends.add(self)

    @abstractmethod
    def forward(self, blob: Inputs) -> Arrays:
        """Run the network once, as `predict`, and return its blobs in the order of ``blobs``, float32."""

    @abstractmethod
    def predict(self, blob: Inputs, names: Sequence[str] = ()) -> tuple[NDArray[Any], ...]:
        """Run the network once, and return the outputs with these names, by default all of them.

        ``blob`` is an array (N, C, H, W) for a network with one input, or a mapping from input names to arrays.
        """

    @abstractmethod
    def origin(self, index: int) -> str:
        """Return the source of the blob of this index, in words."""

    def shapes(self, size: tuple[int, int]) -> list[tuple[int, ...]]:
        """Return the blobs' shapes for one input of (width, height).

        Raises
        ------
        ModelError
            If the network does not take this input.
        """
        check_size(self.name, size)
        cause = None if self.check_input is None else self.check_input(size)
        if cause is None:
            try:
                with silent_opencv():
                    return self._shapes(size)
            except (cv2.error, RuntimeError, MemoryError) as error:
                cause = self._failing_layer(size) or library_message(error)
        raise inconsistent(self.name, size, cause)

    def check_head(self, head: HeadConfig) -> None:
        """Check that the network accepts the input and gives the three blobs that a head expects.

        Raises
        ------
        ModelError
            If it does not accept the input, or a shape is not the head's.
        """
        for i, (blob, got) in enumerate(zip(self.blobs, self.shapes(head.input_size), strict=True)):
            if got not in head.single_shapes[blob]:
                raise ModelError(
                    f"{self.origin(i)} gives {blob} in the shape {got}; the head's {head.grid} grid, {len(head.anchors)} "
                    f"anchors a cell and {len(head.labels)} classes need {(1, *head.blob_shapes[blob][0])}"
                )

    def _shapes(self, size: tuple[int, int]) -> list[tuple[int, ...]]:
        """The shapes, from a pass over an input of zeros."""
        return [blob.shape for blob in self.forward(np.zeros((1, 3, size[1], size[0]), np.float32))]

    def _failing_layer(self, size: tuple[int, int]) -> str | None:
        """The layer that fails for an input of this size; None if that is not known."""
        return None


_backends: weakref.WeakSet[Backend] = weakref.WeakSet()


def _renew_locks() -> None:
    """Replace locks after fork so that a child cannot deadlock."""
    for backend in _backends:
        backend.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


class OnnxBackend(Backend):
    """A network from ONNX, whose outputs have names: ``known`` are all outputs of the graph.

    ``outputs`` has for each blob the name of the output that gives it; None means the graph's only output.
    """

    def __init__(self, net: Any, name: str, known: Sequence[str], outputs: Mapping[str, str] | None) -> None:
        if outputs is None:
            only = only_output(known, name)
            outputs = {only: only}
        for blob, output in outputs.items():
            if output not in known:
                raise ModelError(
                    f"{name} has no output {output!r}, which should give {blob}, but {', '.join(map(repr, known))}"
                )
        super().__init__(net, name, tuple(outputs))
        self._all, self._outputs = list(known), list(outputs.values())

    def forward(self, blob: Inputs) -> Arrays:
        """Run the network once, as `Backend.forward`."""
        return tuple(np.asarray(output, np.float32) for output in self.predict(blob, self._outputs))

    def origin(self, index: int) -> str:
        """Return the source of the blob of this index, in words."""
        return f"output {self._outputs[index]!r}"


def only_output(known: Sequence[str], name: str) -> str:
    """Return the only output that a network has; ModelError if it has more."""
    if len(known) != 1:
        raise ModelError(f"{name} has {len(known)} outputs, one was expected: {', '.join(map(repr, known))}")
    return known[0]


def check_size(name: str, size: tuple[int, int]) -> None:
    """Raise a ModelError if an input of (width, height) has more than `MOST_PIXELS`."""
    if size[0] * size[1] > MOST_PIXELS:
        raise inconsistent(name, size, f"inputs of at most {MOST_PIXELS} pixels are possible")


def inconsistent(name: str, size: tuple[int, int] | None, cause: str) -> ModelError:
    """Return the error of a network that cannot be run, or not with an input of this size."""
    return ModelError(
        f"{name} is inconsistent: {cause}"
        if size is None
        else f"{name} is inconsistent with itself, or with the input of {size[0]}x{size[1]}: {cause}"
    )


def no_layer(name: str, layer: str, blob: str) -> ModelError:
    """Return the error of a network without the layer that should give a blob."""
    return ModelError(f"{name} has no layer {layer!r}, which should give {blob}")


def no_top(layer: str, tops: int, top: int, blob: str) -> ModelError:
    """Return the error of a layer without the top that should be a blob."""
    return ModelError(f"layer {layer!r} has {tops} tops; number {top} should give {blob}")


def check_target(target: str, available: Sequence[str]) -> None:
    """Raise a ValueError if a target is not available in a backend on this machine."""
    if target not in available:
        raise ValueError(f"target must be one that is available here: {', '.join(map(repr, available))}; got {target!r}")


@contextmanager
def readable(name: str, reader: str) -> Iterator[None]:
    """Convert any error of a library that reads a network to a ModelError."""
    try:
        yield
    except Exception as error:  # onnxruntime's errors have no class in common
        raise ModelError(f"{reader} cannot read {name}: {library_message(error)}") from error


def library_message(error: Exception) -> str:
    """Return the last part of a library's message, which has the cause."""
    return " ".join(str(error).split("error: ", 1)[-1].split()).removeprefix("[ONNXRuntimeError] : ")
