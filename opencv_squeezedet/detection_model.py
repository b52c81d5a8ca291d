"""`DetectionModel`: the counterpart of ``cv2.dnn.DetectionModel``, which rejects SqueezeDet's networks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet import _checks
from opencv_squeezedet._opencv import silent_opencv
from opencv_squeezedet.backends import BackendName
from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.detector import SqueezeDet
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.model import Model
from opencv_squeezedet.preprocess import Picture
from opencv_squeezedet.presets import VOC

_Result = tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]
_Empty = tuple[tuple[()], tuple[()], tuple[()]]


class ArgumentError(cv2.error, ValueError):
    """An argument of `DetectionModel` is wrong: both a ``cv2.error``, as OpenCV raises, and a ValueError."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.msg = self.err = message  # else those of OpenCV's last error
        self.code = -5  # StsBadArg
        self.func = ""


class ModelArgumentError(ArgumentError, ModelError):
    """The network does not accept a setting of `DetectionModel`: both a ``cv2.error`` and a ModelError."""


class DetectionModel:
    """Used like ``cv2.dnn.DetectionModel``: an application changes only the constructor.

    Preprocessing starts from the model's own description, not from OpenCV's zeros, so values that you do not set are right.
    Setters return the object itself. Wrong arguments raise a ``cv2.error``, as in OpenCV, that is also a ValueError.

    Parameters
    ----------
    model, config : path
        The caffemodel and the prototxt, in either order; or only one path, as for `SqueezeDet`. The description is
        searched for beside the prototxt; without a description the head is `opencv_squeezedet.VOC`.
    network : cv2.dnn.Net, optional
        Instead of the two files (also as the first argument): a network with the same outputs as opencv_contrib's.
    head : HeadConfig, optional
        The head, instead of the description's.
    backend, target : str, optional
        The library that runs the network, and the device; as for `SqueezeDet`.

    Raises
    ------
    FileNotFoundError, ModelError, ValueError, ImportError
        As for `SqueezeDet`.
    """

    def __init__(
        self,
        model: StrPath | cv2.dnn.Net | None = None,
        config: StrPath = "",
        *,
        network: cv2.dnn.Net | None = None,
        head: HeadConfig | None = None,
        backend: BackendName = "opencv",
        target: str | None = None,
    ) -> None:
        source = model if network is None else network
        if source is None:
            raise ArgumentError("DetectionModel needs the files of a model, or a network")
        self._model: Model | None = None
        if isinstance(source, cv2.dnn.Net):
            self._detector = SqueezeDet(source, config=head, backend=backend, target=target)
        elif not isinstance(source, (str, os.PathLike)):
            raise ArgumentError(f"model must be a path or a cv2.dnn.Net, got {source!r}")
        else:
            loaded = Model.load(*_sorted_files(source, config), task="detector")
            if head is None and str(config) and loaded.description is None:
                head = VOC
            self._model = loaded.as_detector(head)
            self._detector = SqueezeDet(self._model, backend=backend, target=target)
        self._backend, self._target = backend, target
        self._net_settings: dict[str, Any] = {}
        self._output_names: Sequence[str] = ()

    def setInputParams(
        self,
        scale: float | None = None,
        size: Sequence[int] | None = None,
        mean: float | Sequence[float] | None = None,
        swapRB: bool | None = None,
        crop: bool | None = None,
    ) -> None:
        """Set any of the input's parameters; those left out keep the model's own values (in OpenCV they become zero)."""
        changes: dict[str, Any] = {}
        with _as_cv2_error():
            if scale is not None:
                changes["scale"] = _one_scale(scale)
            if mean is not None:
                changes["mean"] = _mean(mean)
            if swapRB is not None:
                changes["swap_rb"] = _checks.flag("swapRB", swapRB)
            if crop is not None:
                changes["resize"] = "crop" if _checks.flag("crop", crop) else "stretch"
            if size is not None:
                changes["size"] = _checks.size("size", size)
            preprocess = replace(self._detector.preprocess, **changes)
            if preprocess.size != self._detector.config.input_size:
                self._resize(preprocess.size)
            self._detector.preprocess = preprocess

    def setInputSize(
        self, size: int | Sequence[int] | None = None, height: int | None = None, *, width: int | None = None
    ) -> DetectionModel:
        """Set the input's size, a pair (width, height) or two numbers; the head's grid follows, its anchors stay in pixels.

        A model from files is resized as by `Model.resized`, and opened again. Raises a ``cv2.error`` that is also a ModelError
        if the network does not accept the size.
        """
        first = size if width is None else width
        self.setInputParams(size=first if height is None else (first, height))  # type: ignore[arg-type]
        return self

    def setInputMean(self, mean: float | Sequence[float]) -> DetectionModel:
        """Set the mean to subtract from the channels; one number applies to the first channel only, like a cv::Scalar."""
        self.setInputParams(mean=mean)
        return self

    def setInputScale(self, scale: float | Sequence[float]) -> DetectionModel:
        """Set the factor after the mean is subtracted: one number, or the same for each channel."""
        self.setInputParams(scale=scale)  # type: ignore[arg-type]
        return self

    def setInputSwapRB(self, swapRB: bool) -> DetectionModel:
        """Set whether the network expects RGB."""
        self.setInputParams(swapRB=swapRB)
        return self

    def setInputCrop(self, crop: bool) -> DetectionModel:
        """Set whether the picture's middle is cropped to the input's aspect ratio, instead of stretching the whole picture."""
        self.setInputParams(crop=crop)
        return self

    def setPreferableBackend(self, backendId: int) -> DetectionModel:
        """Set the ``cv2.dnn.DNN_BACKEND_...`` that runs the network."""
        return self._set_net("setPreferableBackend", backendId)

    def setPreferableTarget(self, targetId: int) -> DetectionModel:
        """Set the ``cv2.dnn.DNN_TARGET_...`` that the network runs on."""
        return self._set_net("setPreferableTarget", targetId)

    def enableWinograd(self, useWinograd: bool) -> DetectionModel:
        """Set whether convolutions may use the Winograd algorithm."""
        return self._set_net("enableWinograd", useWinograd)

    def enableTF32(self, useTF32: bool) -> DetectionModel:
        """Set whether CUDA may compute in TF32; OpenCV has this from 5.1 on."""
        return self._set_net("enableTF32", useTF32)

    def setNmsAcrossClasses(self, value: bool) -> DetectionModel:
        """Set whether boxes of different classes suppress each other."""
        with _as_cv2_error():
            self._detector.config = replace(self._detector.config, class_agnostic=value)
        return self

    def getNmsAcrossClasses(self) -> bool:
        """Return whether boxes of different classes suppress each other."""
        return self._detector.config.class_agnostic

    def setOutputNames(self, outNames: Sequence[str] | None) -> DetectionModel:
        """Set the layers whose outputs `predict` returns; `detect` always uses the three that it needs."""
        self._output_names = tuple(outNames or ())
        return self

    def predict(self, frame: Picture | cv2.UMat, outs: object = None) -> tuple[NDArray[Any], ...]:
        """Run the network on a picture, and return its outputs, or those of `setOutputNames`; ``outs`` is ignored."""
        with _as_cv2_error():
            blob = self._detector.preprocess.blob(_array(frame))
        return self._detector.backend.predict(blob, self._output_names)

    def detect(self, frame: Picture | cv2.UMat, confThreshold: float = 0.5, nmsThreshold: float = 0.0) -> _Result | _Empty:
        """Find the objects in a picture, any that `SqueezeDet.detect` accepts.

        Parameters
        ----------
        confThreshold : float
            Objects with a score above it are returned; above 1 none, below 0 all.
        nmsThreshold : float
            In [0, 1]; 0 means the model's own.

        Returns
        -------
        classIds, confidences, boxes : (N,) int32, (N,) float32, (N, 4) int32
            Boxes are x, y, width, height in whole picture pixels, rounded as in OpenCV: the pixels on both edges belong to the
            box. ``((), (), ())`` if nothing is detected.
        """
        with _as_cv2_error():
            threshold = min(max(_checks.finite("confThreshold", confThreshold), 0.0), 1.0)
            nms = _checks.fraction("nmsThreshold", nmsThreshold) or None
            image = _array(frame)
            detections = self._detector.detect(image, score_threshold=threshold, nms_threshold=nms)
        if not len(detections):
            return (), (), ()
        boxes = _whole_xywh(detections, image.shape[1], image.shape[0])
        return detections.class_id.copy(), detections.confidence.copy(), boxes

    def _set_net(self, setter: str, value: Any) -> DetectionModel:
        net = self._detector.net
        if not isinstance(net, cv2.dnn.Net):
            raise ArgumentError(f"{setter} is for a network in OpenCV; this one runs in onnxruntime")
        with silent_opencv():  # OpenCV 5 has only one backend and one target
            getattr(net, setter)(value)
        self._net_settings[setter] = value
        return self

    def _resize(self, size: tuple[int, int]) -> None:
        """Open the model for another input size; without its layers, only the head's grid changes."""
        detector = self._detector
        if self._model is None:
            head = replace(detector.config, input_size=size, grid=detector.config.scaled(size).grid)
            detector.backend.check_head(head)
            detector.config = head
            return
        self._detector = SqueezeDet(self._model.resized(size), backend=self._backend, target=self._target)
        self._detector.config = replace(self._detector.config, class_agnostic=detector.config.class_agnostic)
        for setter, value in self._net_settings.items():
            self._set_net(setter, value)


def _array(frame: Picture | cv2.UMat) -> Picture:
    return frame.get() if isinstance(frame, cv2.UMat) else frame


def _sorted_files(model: StrPath, config: StrPath) -> tuple[str, str | None]:
    """The model for `SqueezeDet` to find, and its caffemodel, from two paths that OpenCV accepts in either order."""
    weights, definition = str(model), str(config)
    if not definition:
        return weights, None
    if weights.endswith(".prototxt") or definition.endswith(".caffemodel"):
        weights, definition = definition, weights
    return definition, weights


def _whole_xywh(detections: Detections, frame_width: int, frame_height: int) -> NDArray[np.int32]:
    left, top, right, bottom = detections.xyxy.astype(np.int32).T
    x, y = left.clip(0, frame_width - 1), top.clip(0, frame_height - 1)
    width = (right - left + 1).clip(1, frame_width - x)
    height = (bottom - top + 1).clip(1, frame_height - y)
    return np.stack([x, y, width, height], axis=1)


def _mean(value: float | Sequence[float]) -> tuple[float, ...]:
    channels = [value] if np.ndim(value) == 0 else list(value)  # type: ignore[arg-type]
    if len(channels) > 4:
        raise ValueError(f"mean must be at most four numbers, got {value!r}")
    return tuple((*channels, 0.0, 0.0, 0.0)[:3])


def _one_scale(value: float | Sequence[float]) -> float:
    channels = np.ravel(np.asarray(value)).tolist()
    if not any(channels[1:]):
        channels = channels[:1]  # a cv::Scalar of one number applies to all channels
    factors = {_checks.finite("scale", factor) for factor in channels}
    if len(factors) != 1:
        raise ValueError(f"scale must be one number, or the same for each channel, got {value!r}")
    return factors.pop()


@contextmanager
def _as_cv2_error() -> Iterator[None]:
    """Report wrong arguments as OpenCV does."""
    try:
        yield
    except ModelError as error:
        raise ModelArgumentError(str(error)) from error
    except (TypeError, ValueError) as error:
        raise ArgumentError(str(error)) from error
