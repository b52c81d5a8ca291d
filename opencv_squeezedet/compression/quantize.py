"""8-bit networks for speed: ONNX with QuantizeLinear and DequantizeLinear, by onnxruntime's tools."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet import _checks
from opencv_squeezedet.compression.reference_outputs import Blob, ReferenceOutputs
from opencv_squeezedet.extras import needs
from opencv_squeezedet.formats import onnx_bytes
from opencv_squeezedet.formats.load import OnnxNetwork
from opencv_squeezedet.model import Model
from opencv_squeezedet.network import Convolution
from opencv_squeezedet.progress import OnProgress

_OPERATORS = ["Conv", "Relu", "LeakyRelu", "MaxPool", "Concat", "Pad", "Sum", "Add"]
OPSET = 13
"""The first one whose DequantizeLinear has a scale for each channel."""


@dataclass(frozen=True)
class Quantized:
    """A network of 8-bit numbers.

    Parameters
    ----------
    model : Model
        The model, whose network is ONNX.
    floats : tuple of str
        The convolutions that stayed float.
    error : float
        The squared difference of its outputs from the float network's, relative to their power.
    losses : dict
        For each convolution that was tried the error when it alone stays float; empty if none was to.
    """

    model: Model
    floats: tuple[str, ...]
    error: float
    losses: dict[str, float]

    @property
    def size(self) -> int:
        """Bytes of the ONNX file."""
        return len(self.model.source.onnx() or b"")

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return {"bytes": self.size, "floats": self.floats, "error": self.error, "with_one_float": self.losses}


def quantize(
    model: Model,
    blobs: Sequence[Blob],
    *,
    floats: int = 1,
    judged: int = 16,
    report: OnProgress = lambda what, done, total: None,
) -> Quantized:
    """Quantise a network's weights, with a scale for each channel, and its activations, by their ranges for some pictures.

    Parameters
    ----------
    model : Model
        The model; its network must be of layers that this package describes.
    blobs : sequence of array
        Each (1, C, H, W), one picture; some tens are enough.
    floats : int
        Number of convolutions that stay float: those whose quantisation changes the outputs most, as measured.
    judged : int
        Number of pictures whose outputs are compared.
    report : function, optional
        Called with the progress.

    Raises
    ------
    ImportError
        Without the extra ``[quantize]``.
    ValueError
        If there are no pictures.
    """
    if not len(blobs):
        raise ValueError("pictures to calibrate by were expected, got none")
    _checks.count("floats", floats, least=0)
    tools = _tools()
    source = tools.onnx.load_model_from_string(onnx_bytes(model.network, model.weights, opset=OPSET))
    ranges = _calibrated(tools, source, model.network.input_name, blobs, report)
    outputs = ReferenceOutputs(model, blobs[:judged])
    layers = [layer.name for layer in model.network.layers if isinstance(layer, Convolution)]

    def quantized(kept: Sequence[str]) -> bytes:
        return _quantized(tools, source, ranges, kept)

    losses = {}
    for number, name in enumerate(layers if floats else ()):
        report("layers", number, len(layers))
        losses[name] = outputs.error_of(quantized([name]))
    kept = sorted(losses, key=lambda name: losses[name])[:floats]
    content = quantized(kept)
    quantized_model = model.with_network(OnnxNetwork(content, model.network.name))
    return Quantized(quantized_model, tuple(kept), outputs.error_of(content), losses)


class _Tools:
    """The libraries."""

    def __init__(self) -> None:
        self.onnx: Any = importlib.import_module("onnx")
        self.quantization: Any = importlib.import_module("onnxruntime.quantization")
        self.quantizer: Any = importlib.import_module("onnxruntime.quantization.qdq_quantizer")


def _tools() -> _Tools:
    with needs("quantize", what="quantisation"):
        return _Tools()


class _Pictures:
    """What calibration reads: one input after the other."""

    def __init__(self, name: str, blobs: Sequence[Blob], report: OnProgress) -> None:
        self._inputs = self._each(name, blobs, report)

    @staticmethod
    def _each(name: str, blobs: Sequence[Blob], report: OnProgress) -> Iterator[dict[str, NDArray[np.float32]]]:
        for number, blob in enumerate(blobs):
            report("calibration", number, len(blobs))
            yield {name: blob}

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._inputs, None)


def _calibrated(tools: _Tools, source: Any, name: str, blobs: Sequence[Blob], report: OnProgress) -> Any:
    """The smallest and the largest value of each activation."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "source.onnx"
        tools.onnx.save(source, path)
        calibrator = tools.quantization.create_calibrator(path, augmented_model_path=str(Path(folder) / "augmented.onnx"))
        calibrator.collect_data(_Pictures(name, blobs, report))
        ranges = calibrator.compute_data()
        del calibrator  # which holds the file open
    return ranges


def _quantized(tools: _Tools, source: Any, ranges: Any, floats: Sequence[str]) -> bytes:
    model = tools.onnx.ModelProto()
    model.CopyFrom(source)
    kinds = tools.quantization.QuantType
    quantizer = tools.quantizer.QDQQuantizer(
        model,
        True,  # a scale for each channel
        False,
        kinds.QInt8,
        kinds.QUInt8,
        ranges,
        [],
        list(floats),
        _OPERATORS,
        {},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    return bytes(quantizer.model.model.SerializeToString())
