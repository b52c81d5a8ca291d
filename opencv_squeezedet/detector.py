"""`SqueezeDet`: the whole way from a picture to its objects."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.backends import BackendName
from opencv_squeezedet.blobs import Blobs
from opencv_squeezedet.config import VOC, HeadConfig, Options
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.model import Model, bare_model, find_model, open_model
from opencv_squeezedet.postprocess import postprocess_batch_checked, postprocess_checked
from opencv_squeezedet.preprocess import Picture, Placement, Preprocess, Resize, placement
from opencv_squeezedet.timing import OnStage, timed

if TYPE_CHECKING:
    from typing_extensions import Unpack


class SqueezeDet:
    """A detector: a network, with the preprocessing and the head that belong to it.

    One detector may be used by several threads at once. Its network runs under a lock, one forward pass at a time, for
    ``cv2.dnn.Net`` keeps state; preprocessing and post-processing of other pictures go on meanwhile, and the GIL is free
    during all three. For several forward passes at a time make several detectors. All backends keep this rule, and take as
    many threads for a pass as ``cv2.setNumThreads`` has set (onnxruntime: when the detector is made).

    Parameters
    ----------
    model : path, Model or cv2.dnn.Net, optional
        A model's files ``NAME.prototxt`` and ``NAME.caffemodel``, or ``NAME.onnx``, with ``NAME.json``: their common stem, or
        one of them; or the name of a published model, see `registry`. Or a `Model` that `find_model` found, so that several
        detectors read it once. Or a network that ends as opencv_contrib's does. Default: the embedded model, PASCAL VOC's 20
        classes.
    weights : path, optional
        The caffemodel, where its stem is another.
    config : HeadConfig, optional
        The head, instead of the one in the JSON file, which may then be missing. Default for a ``cv2.dnn.Net``: `VOC`.
    preprocess : Preprocess, optional
        The preprocessing, instead of the one in the JSON file.
    resize : {"stretch", "letterbox", "crop"}, optional
        How pictures are brought to the input's size, instead of the preprocessing's own way; see `Preprocess`.
    backend : {"opencv", "onnxruntime"}
        What runs the network. OpenCV 4 takes Caffe's files where they are there; OpenCV 5, which cannot, and onnxruntime take
        ONNX, and Caffe's files where the extra ``[onnx]`` is installed, which converts them. onnxruntime is an extra.
    target : str, optional
        On what the network runs. Default: "cpu". With OpenCV also "cpu_fp16", "opencl", "opencl_fp16", "vulkan", "cuda",
        "cuda_fp16", "openvino", "cann" and "timvx", with onnxruntime "cuda", "tensorrt", "dml", "coreml" and others: those
        that are built in. OpenCV 5 has the processor alone.

    Attributes
    ----------
    backend : Backend
        The network, ready to run.
    config : HeadConfig
        Its head, with the thresholds that apply where `detect` gets no others.
    preprocess : Preprocess
        How its input is made.
    on_stage : function or None
        Called with "preprocess", "network" and "post-process", the seconds that this stage took, and the number of pictures
        in the pass.

    Raises
    ------
    FileNotFoundError
        That names the file that is missing.
    ModelError
        If the files cannot be read, or do not fit each other.
    ValueError
        For a backend that does not exist, or a target that cannot be had here.
    ImportError
        If an extra is needed that is not installed; it names the extra.

    Examples
    --------
    >>> detector = SqueezeDet()
    >>> for d in detector.detect(cv2.imread("photo.jpg"), score_threshold=0.4):
    ...     print(d.label, d.confidence, d.xyxy)
    """

    def __init__(
        self,
        model: StrPath | Model | cv2.dnn.Net | None = None,
        weights: StrPath | None = None,
        *,
        config: HeadConfig | None = None,
        preprocess: Preprocess | None = None,
        resize: Resize | None = None,
        backend: BackendName = "opencv",
        target: str | None = None,
    ) -> None:
        if isinstance(model, (cv2.dnn.Net, Model)) and weights is not None:
            raise TypeError(
                f"weights belong to a model's files, not to a {'Model' if isinstance(model, Model) else 'cv2.dnn.Net'}"
            )
        if isinstance(model, cv2.dnn.Net):
            found = bare_model(model, VOC if config is None else config, preprocess)
        elif isinstance(model, Model):
            found = model.with_parts(config, preprocess)
        else:
            found = find_model(model, weights, config=config, preprocess=preprocess)
        self.backend = open_model(found, backend, target)
        self.config = found.config
        self.preprocess = found.preprocess if resize is None else replace(found.preprocess, resize=resize)
        self.on_stage: OnStage | None = None

    @property
    def net(self) -> Any:
        """What runs the network: a ``cv2.dnn.Net``, or with onnxruntime an ``InferenceSession``."""
        return self.backend.net

    @property
    def lock(self) -> threading.Lock:
        """Held while the network runs; to be held by whoever else uses ``net``."""
        return self.backend.lock

    def detect(self, image: Picture, **options: Unpack[Options]) -> Detections:
        """Find the objects in one picture.

        Parameters
        ----------
        image : (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) array
            Grey, BGR or BGRA, of any size from 1x1 up: uint8, uint16 (counting to 65535) or floats (to 1, or to 255 where
            some value is above 1.5).
        score_threshold, nms_threshold, nms_kind, soft_sigma, vote_threshold, top_n, class_agnostic, multi_label : optional
            Instead of the model's own; see `HeadConfig`. None is the model's own too; ``vote_threshold=1``
            turns voting off.

        Returns
        -------
        Detections
            In picture pixels, clipped to the picture, highest confidence first.

        Raises
        ------
        TypeError, ValueError
            For what is no picture, an option outside its range, or one that does not exist.
        """
        limits = self.config.limits_with(options)
        with self._stage("preprocess"):
            blob = self.preprocess.blob(image)
        with self._stage("network"):
            blobs = self._forward(blob)
        with self._stage("post-process"):
            return postprocess_checked(
                *blobs, self.config, limits, self._placement(image)
            )  # shapes were checked with the network's files

    def detect_batch(self, images: Iterable[Picture], **options: Unpack[Options]) -> list[Detections]:
        """Find the objects in several pictures with one forward pass for all.

        Parameters
        ----------
        images : iterable of arrays
            Pictures as `detect` takes them, of any sizes.
        score_threshold, nms_threshold, nms_kind, soft_sigma, vote_threshold, top_n, class_agnostic, multi_label : optional
            As in `detect`.

        Returns
        -------
        list of Detections
            One for each picture.

        Raises
        ------
        TypeError, ValueError
            As `detect`; TypeError for a single picture too.
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
            return postprocess_batch_checked(*blobs, self.config, limits, [self._placement(picture) for picture in pictures])

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
