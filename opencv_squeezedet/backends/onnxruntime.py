"""Networks in onnxruntime, the extra ``[onnxruntime]``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.backends.base import Inputs, OnnxBackend, check_target, library_message, readable
from opencv_squeezedet.extras import needs


class OnnxSession(OnnxBackend):
    """A network from ONNX in onnxruntime, on as many threads as ``cv2.getNumThreads`` returns when it is made."""

    def __init__(self, content: bytes, name: str, outputs: Mapping[str, str] | None, target: str) -> None:
        session = _session(content, name, target)
        super().__init__(session, name, [output.name for output in session.get_outputs()], outputs)
        inputs = session.get_inputs()
        batch = inputs[0].shape[0] if len(inputs) == 1 and inputs[0].shape else None
        self._inputs, self._batch = [each.name for each in inputs], batch if isinstance(batch, int) else None

    def predict(self, blob: Inputs, names: Sequence[str] = ()) -> tuple[NDArray[Any], ...]:
        """Run the network as `Backend.predict`: more than once if its file fixes the number of pictures per pass."""
        names = list(names or self._all)
        if isinstance(blob, Mapping):
            with self.lock:
                return tuple(self._run(blob, names))
        if len(self._inputs) != 1:
            raise ValueError(
                f"{self.name} has {len(self._inputs)} inputs, a mapping with {', '.join(self._inputs)} was expected"
            )
        step = self._batch or len(blob)
        with self.lock:
            passes = [self._run({self._inputs[0]: blob[i : i + step]}, names) for i in range(0, len(blob), step)]
        return tuple(map(np.concatenate, zip(*passes, strict=True))) if len(passes) > 1 else tuple(passes[0])

    def _run(self, blobs: Mapping[str, NDArray[np.float32]], names: Sequence[str]) -> list[NDArray[Any]]:
        try:
            outputs: list[NDArray[Any]] = self.net.run(names, dict(blobs))
        except Exception as error:  # onnxruntime's errors have no class in common
            raise RuntimeError(f"onnxruntime: {library_message(error)}") from error
        return outputs


def onnxruntime_targets() -> dict[str, str]:
    """Return the targets that this onnxruntime has, with its names for them; ImportError where it is not installed."""
    end = "ExecutionProvider"
    names = _onnxruntime().get_available_providers()
    return {name.removesuffix(end).lower(): name for name in names if name != f"Azure{end}"}  # Azure is a service


def _session(content: bytes, name: str, target: str) -> Any:
    runtime, providers = _onnxruntime(), onnxruntime_targets()
    check_target(target, list(providers))
    options = runtime.SessionOptions()
    options.intra_op_num_threads = max(1, cv2.getNumThreads())
    options.log_severity_level = 4  # errors come as exceptions
    with readable(name, "onnxruntime"):
        session = runtime.InferenceSession(
            content, options, providers=list(dict.fromkeys((providers[target], providers["cpu"])))
        )
    if providers[target] not in session.get_providers():
        raise ValueError(f"target {target!r} cannot be used: onnxruntime has it, but not the libraries that it needs")
    return session


def _onnxruntime() -> Any:
    with needs("onnxruntime", what="backend 'onnxruntime'"):
        return importlib.import_module("onnxruntime")
