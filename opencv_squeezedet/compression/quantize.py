"""8-bit networks for speed: ONNX with QuantizeLinear and DequantizeLinear, by onnxruntime's tools."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
"""The first opset whose DequantizeLinear has a scale for each channel."""


@dataclass(frozen=True)
class Quantized:
    """A network of 8-bit numbers."""

    model: Model  # whose network is ONNX
    floats: tuple[str, ...]  # the convolutions that stayed float
    error: float  # squared difference of its outputs from the float network's, relative to their power
    losses: dict[str, float]  # error when a convolution alone stays float; empty if none was to

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

    The network must consist of layers that this package describes. Each blob is a picture, (1, C, H, W); some tens are enough.
    As many convolutions as ``floats`` stay float: those whose quantisation changes the outputs most, as measured on the first
    ``judged`` pictures. ImportError without the extra ``[quantize]``, ValueError without pictures.
    """
    if not len(blobs):
        raise ValueError("pictures to calibrate by were expected, got none")
    _checks.count("floats", floats, least=0)
    with needs("quantize", what="quantisation"):
        onnx, quantization = importlib.import_module("onnx"), importlib.import_module("onnxruntime.quantization")
    source = onnx.load_model_from_string(onnx_bytes(model.network, model.weights, opset=OPSET))
    ranges = _calibrated(onnx, quantization, source, _Pictures(model.network.input_name, blobs, report))
    outputs = ReferenceOutputs(model, blobs[:judged])
    layers = [layer.name for layer in model.network.layers if isinstance(layer, Convolution)]

    def quantized(kept: Sequence[str]) -> bytes:
        copy = onnx.ModelProto()
        copy.CopyFrom(source)
        kinds = quantization.QuantType
        per_channel, reduce_range = True, False
        quantizer = quantization.qdq_quantizer.QDQQuantizer(
            copy, per_channel, reduce_range, kinds.QInt8, kinds.QUInt8, ranges, [], list(kept), _OPERATORS, {}
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        return bytes(quantizer.model.model.SerializeToString())

    losses = {}
    for number, name in enumerate(layers if floats else ()):
        report("layers", number, len(layers))
        losses[name] = outputs.error_of(quantized([name]))
    kept = sorted(losses, key=lambda name: losses[name])[:floats]
    content = quantized(kept)
    quantized_model = model.with_network(OnnxNetwork(content, model.network.name))
    return Quantized(quantized_model, tuple(kept), outputs.error_of(content), losses)


class _Pictures:
    """The inputs for calibration, one after the other."""

    def __init__(self, name: str, blobs: Sequence[Blob], report: OnProgress) -> None:
        self._name, self._blobs, self._report, self._done = name, blobs, report, 0

    def get_next(self) -> dict[str, Blob] | None:
        if self._done == len(self._blobs):
            return None
        self._report("calibration", self._done, len(self._blobs))
        self._done += 1
        return {self._name: self._blobs[self._done - 1]}


def _calibrated(onnx: Any, quantization: Any, source: Any, pictures: _Pictures) -> Any:
    """The smallest and the largest value of each activation."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "source.onnx"
        onnx.save(source, path)
        calibrator = quantization.create_calibrator(path, augmented_model_path=str(Path(folder) / "augmented.onnx"))
        calibrator.collect_data(pictures)
        ranges = calibrator.compute_data()
        del calibrator  # which holds the file open
    return ranges
