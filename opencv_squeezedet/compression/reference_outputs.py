"""The outputs of a network for some pictures, with which those of changed weights are compared; the inputs of its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.backends.network_bytes import NetworkBytes, open_bytes
from opencv_squeezedet.compression.hessian import InputHessian, convolutions_with_hessian
from opencv_squeezedet.compression.pruning import Floats
from opencv_squeezedet.model import Model
from opencv_squeezedet.network import Weights

Blob = NDArray[np.float32]


class ReferenceOutputs:
    """The outputs of a model for some pictures, each (1, C, H, W), to compare those of other weights with."""

    def __init__(self, model: Model, blobs: Sequence[Blob]) -> None:
        self._network, self._blobs = model.network, list(blobs)
        self._expected = self._outputs(self._passes(model.weights, model.network.output_names))
        self._powers = [float((whole.astype(np.float64) ** 2).sum()) or 1.0 for whole in self._expected]

    @property
    def fingerprint(self) -> str:
        """A SHA-256 of the pictures."""
        digest = sha256()
        for blob in self._blobs:
            digest.update(str(blob.shape).encode() + np.ascontiguousarray(blob).tobytes())
        return digest.hexdigest()

    def error(self, weights: Weights) -> float:
        """Return the squared difference of the outputs, relative to their power: the mean over all output blobs."""
        return self._error(self._passes(weights, self._network.output_names))

    def _error(self, passes: Sequence[tuple[Blob, ...]]) -> float:
        differences = (changed - whole for changed, whole in zip(self._outputs(passes), self._expected, strict=True))
        squares = (float((difference.astype(np.float64) ** 2).sum()) for difference in differences)
        return sum(square / power for square, power in zip(squares, self._powers, strict=True)) / len(self._powers)

    def error_of(self, content: bytes) -> float:
        """Return the same for another network with the same outputs, given as the content of an ONNX file."""
        names = self._network.output_names
        session = open_bytes(NetworkBytes((content,), self._network.name, {name: name for name in names}), "onnxruntime")
        return self._error([session.forward(blob) for blob in self._blobs])

    def agreement(self, weights: Weights) -> float:
        """Return the fraction of the pictures for which the maximum of the first output has the same index."""
        changed = self._outputs(self._passes(weights, self._network.output_names))[0]
        first, expected = (output.reshape(len(self._blobs), -1).argmax(1) for output in (changed, self._expected[0]))
        return float((first == expected).mean())

    def active_inputs(self, weights: Weights) -> dict[str, float]:
        """Return for each layer with weights the fraction of its inputs that is not zero."""
        read = {step.layer.name: step.layer.bottoms[0] for step in self._network.weighted()}
        made = {top for layer in self._network.layers for top in layer.tops}
        names = sorted(set(read.values()) & made)
        counts = np.zeros(len(names))
        for outputs in self._passes(weights, names):
            counts += [np.count_nonzero(output) / output.size for output in outputs]
        shares = dict(zip(names, (counts / len(self._blobs)).tolist(), strict=True))
        return {layer: shares.get(blob, 1.0) for layer, blob in read.items()}

    @staticmethod
    def _outputs(passes: Sequence[tuple[Blob, ...]]) -> list[Blob]:
        return [np.concatenate(blobs) for blobs in zip(*passes, strict=True)]

    def _passes(self, weights: Weights, names: Sequence[str]) -> list[tuple[Blob, ...]]:
        session = Model(self._network, weights).open("auto", tops=names)
        return [tuple(map(np.asarray, session.forward(blob))) for blob in self._blobs]


def input_hessians(
    model: Model, blobs: Sequence[Blob], report: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Floats]:
    """Return each convolution's input Hessian, (n, n) float64 for n = I * h * w weights per output, summed over pictures.

    Convolutions in several groups or with dilation have none. Each blob is (1, C, H, W), one picture; ``report`` is called
    with the number of pictures done, and their total.
    """
    network = model.network
    layers = convolutions_with_hessian(network)
    hessians = {layer.name: InputHessian(layer) for layer in layers}
    names = sorted({layer.bottoms[0] for layer in layers} - {network.input_name})
    session = model.open("auto", tops=names)
    for done, blob in enumerate(blobs):
        report(done, len(blobs))
        inputs = dict(zip(names, session.forward(blob), strict=True)) | {network.input_name: blob}
        for layer in layers:
            hessians[layer.name].add(inputs[layer.bottoms[0]])
    return {name: hessian.matrix for name, hessian in hessians.items()}
