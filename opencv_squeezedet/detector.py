"""`SqueezeDet`: all the steps from a picture to the objects in it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.backends import BackendName, open_net
from opencv_squeezedet.blobs import CAFFE_OUTPUTS, Blobs
from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.detections import Detections, wrap
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.model import Model, detector_parts
from opencv_squeezedet.options import Options
from opencv_squeezedet.preprocess import Picture, Placement, Preprocess, Resize, placement
from opencv_squeezedet.presets import VOC
from opencv_squeezedet.timing import OnStage, timed

if TYPE_CHECKING:
    from typing_extensions import Unpack


class SqueezeDet:
    """A detector: a network with its preprocessing and its head.

    Several threads may use one detector at once. Its network runs under a lock, one forward pass at a time, because
    ``cv2.dnn.Net`` keeps state. Other pictures are preprocessed and post-processed meanwhile, and all three stages release the
    GIL. To run several forward passes at a time, make several detectors. All backends follow this rule, and use as many
    threads for a pass as ``cv2.setNumThreads`` has set (onnxruntime: as set when the detector is made).

    Parameters
    ----------
    model : path, Model or cv2.dnn.Net, optional
        A `Model`, which several detectors may share; or an argument of `Model.load`: files, or the name of a published model.
        Or a network with the same outputs as opencv_contrib's. Default: the embedded model, PASCAL VOC's 20 classes.
    weights : path, optional
        The caffemodel, if its stem is different.
    config : HeadConfig, optional
        The head, instead of the model's, which may then be missing. Default for a ``cv2.dnn.Net``: `VOC`.
    preprocess : Preprocess, optional
        The preprocessing, instead of the model's.
    resize : {"stretch", "letterbox", "crop"}, optional
        How pictures are brought to the input's size, instead of the preprocessing's own way; see `Preprocess`.
    size : (int, int), optional
        Width and height of the network's input, pixels, instead of the model's; see `Model.resized`. A smaller input is
        faster, and finds fewer small objects.
    backend : {"opencv", "onnxruntime", "auto"}
        The library that runs the network. OpenCV 4 reads Caffe's files and ONNX. OpenCV 5 and onnxruntime read ONNX; Caffe's
        networks are converted in memory. onnxruntime is an extra, and faster; "auto" is onnxruntime where it is installed.
    target : str, optional
        The device. Default: "cpu". With OpenCV also "cpu_fp16", "opencl", "opencl_fp16", "vulkan", "cuda",
        "cuda_fp16", "openvino", "cann" and "timvx", with onnxruntime "cuda", "tensorrt", "dml", "coreml" and others,
        if they are built in. OpenCV 5 has only the CPU.

    Attributes
    ----------
    backend : Backend
        The network, ready to run.
    config : HeadConfig
        Its head, with the thresholds that `detect` uses by default.
    preprocess : Preprocess
        How its input is made.
    on_stage : function or None
        Called with "preprocess", "network" or "post-process", the seconds that this stage took, and the number of pictures
        in the pass.

    Raises
    ------
    FileNotFoundError
        If a file is missing; the message names it.
    ModelError
        If the files cannot be read or do not fit each other, or the network does not accept the size.
    ValueError
        If the backend does not exist, or the target is not available here.
    ImportError
        If a required extra is not installed; the message names it.

    Examples
    --------
    >>> detector = SqueezeDet()
    >>> for d in detector.detect(cv2.imread("samples/chelsea.jpg"), score_threshold=0.4):
    ...     print(d.label, round(d.confidence, 2), [round(v) for v in d.xyxy])
    cat 0.93 [15, 11, 426, 295]
    """

    def __init__(
        self,
        model: StrPath | Model | cv2.dnn.Net | None = None,
        weights: StrPath | None = None,
        *,
        config: HeadConfig | None = None,
        preprocess: Preprocess | None = None,
        resize: Resize | None = None,
        size: tuple[int, int] | None = None,
        backend: BackendName = "opencv",
        target: str | None = None,
    ) -> None:
        if isinstance(model, (cv2.dnn.Net, Model)) and weights is not None:
            kind = "Model" if isinstance(model, Model) else "cv2.dnn.Net"
            raise TypeError(f"weights belong to a model's files, not to a {kind}")
        if isinstance(model, cv2.dnn.Net):
            if size is not None:
                raise TypeError("size needs a model's layers, which a cv2.dnn.Net does not give: set config and preprocess")
            self.config, makes = detector_parts(VOC if config is None else config, preprocess)
            self.backend = open_net(model, CAFFE_OUTPUTS, backend, target)
            self.backend.check_head(self.config)
        else:
            loaded = model if isinstance(model, Model) else Model.load(model, weights, task="detector")
            loaded = loaded.as_detector(config, preprocess)
            if size is not None:
                loaded = loaded.resized(size)
            self.config, makes = detector_parts(loaded.head, loaded.preprocess)
            self.backend = loaded.open(backend, target)
        self.preprocess = makes if resize is None else replace(makes, resize=resize)
        self.on_stage: OnStage | None = None

    @property
    def net(self) -> Any:
        """The library's network: a ``cv2.dnn.Net``, or with onnxruntime an ``InferenceSession``."""
        return self.backend.net

    @property
    def lock(self) -> threading.Lock:
        """Held while the network runs; hold it to use ``net`` yourself."""
        return self.backend.lock

    def detect(self, image: Picture, **options: Unpack[Options]) -> Detections:
        """Find the objects in one picture.

        Parameters
        ----------
        image : (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) array
            Grey, BGR or BGRA, of any size from 1x1 up: uint8, uint16 (0 to 65535) or floats (0 to 1, or 0 to 255 if
            any value is above 1.5).
        score_threshold, nms_threshold, nms_kind, soft_sigma, vote_threshold, top_n, class_agnostic, multi_label : optional
            Override the model's own; see `HeadConfig`. None keeps the model's own; ``vote_threshold=1`` turns voting off.

        Returns
        -------
        Detections
            In picture pixels, clipped to the picture, highest confidence first.

        Raises
        ------
        TypeError, ValueError
            If the image is not a picture, or an option is outside its range or does not exist.
        """
        limits = self.config.limits_with(options)
        with self._stage("preprocess"):
            blob = self.preprocess.blob(image)
        with self._stage("network"):
            blobs = self._forward(blob)
        with self._stage("post-process"):
            arrays = self.config.kernel.postprocess(*blobs, limits, self._placement(image))  # shapes were checked on opening
            return wrap(*arrays, self.config.labels)

    def detect_batch(self, images: Iterable[Picture], **options: Unpack[Options]) -> list[Detections]:
        """Find the objects in several pictures of any sizes with a single forward pass.

        Parameters
        ----------
        images : iterable of arrays
            Pictures as for `detect`; options and errors are those of `detect`, and a single picture is a TypeError.

        Returns
        -------
        list of Detections
            One for each picture.
        """
        if isinstance(images, np.ndarray) and (images.ndim == 2 or (images.ndim == 3 and images.shape[2] in (1, 3, 4))):
            raise TypeError(
                f"images must be several pictures, got one array of shape {images.shape}: "
                "call detect(image), or detect_batch([image])"
            )
        limits = self.config.limits_with(options)
        pictures = list(images)
        if not pictures:
            return []
        with self._stage("preprocess", len(pictures)):
            blob = np.concatenate([self.preprocess.blob(picture) for picture in pictures])
        with self._stage("network", len(pictures)):
            blobs = self._forward(blob)
        with self._stage("post-process", len(pictures)):
            placements = [self._placement(picture) for picture in pictures]
            results = self.config.kernel.postprocess_batch(*blobs, limits, placements)
            return [wrap(*arrays, self.config.labels) for arrays in results]

    def _placement(self, picture: Picture) -> Placement:
        """Where a picture lies in the network's input."""
        return placement((picture.shape[1], picture.shape[0]), self.config.input_size, self.preprocess.resize)

    def _stage(self, name: str, pictures: int = 1) -> AbstractContextManager[None]:
        return timed(self.on_stage, name, pictures)

    def forward(self, image: Picture) -> Blobs:
        """Run the network on one picture, and return its three blobs: float32, with a leading axis of 1."""
        return self._forward(self.preprocess.blob(image))

    def _forward(self, blob: NDArray[np.float32]) -> Blobs:
        return Blobs(*self.backend.forward(blob))
