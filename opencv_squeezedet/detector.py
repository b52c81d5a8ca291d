"""`SqueezeDet`: the whole way from a picture to its objects."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, SupportsFloat, SupportsIndex

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.backends import BackendName
from opencv_squeezedet.blobs import Blobs
from opencv_squeezedet.config import VOC, HeadConfig, NmsKind
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.model import Model, bare_model, find_model, open_model
from opencv_squeezedet.postprocess import postprocess_batch, postprocess_checked, resolve_options
from opencv_squeezedet.preprocess import Picture, Preprocess, Resize, placement


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
        Called with "preprocess", "network" and "post-process" and the seconds that this stage of a detection took.

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
    >>> for d in detector.detect(cv2.imread("samples/chelsea.jpg"), score_threshold=0.4):
    ...     print(d.label, round(d.confidence, 2), [round(v) for v in d.xyxy])
    cat 0.66 [24, 0, 442, 299]
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
        self.on_stage: Callable[[str, float], None] | None = None

    @property
    def net(self) -> Any:
        """What runs the network: a ``cv2.dnn.Net``, or with onnxruntime an ``InferenceSession``."""
        return self.backend.net

    @property
    def lock(self) -> threading.Lock:
        """Held while the network runs; to be held by whoever else uses ``net``."""
        return self.backend.lock

    def detect(
        self,
        image: Picture,
        *,
        score_threshold: SupportsFloat | None = None,
        nms_threshold: SupportsFloat | None = None,
        nms_kind: NmsKind | None = None,
        top_n: SupportsIndex | None = None,
        class_agnostic: bool | None = None,
    ) -> Detections:
        """Find the objects in one picture.

        Parameters
        ----------
        image : (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) array
            Grey, BGR or BGRA, of any size from 1x1 up: uint8, uint16 (counting to 65535) or floats (to 1, or to 255 where
            some value is above 1.5).
        score_threshold, nms_threshold, nms_kind, top_n, class_agnostic : optional
            Instead of the model's own; see `HeadConfig`.

        Returns
        -------
        Detections
            In picture pixels, clipped to the picture, highest confidence first.

        Raises
        ------
        TypeError, ValueError
            For what is no picture, or an option outside its range.
        """
        options = resolve_options(self.config, score_threshold, nms_threshold, nms_kind, top_n, class_agnostic)
        with self._stage("preprocess"):
            blob = self.preprocess.blob(image)
        with self._stage("network"):
            blobs = self._forward(blob)
        with self._stage("post-process"):
            size = image.shape[1], image.shape[0]
            place = placement(size, self.config.input_size, self.preprocess.resize)
            return postprocess_checked(*blobs, self.config, options, place)  # shapes were checked with the network's files

    def detect_batch(
        self,
        images: Iterable[Picture],
        *,
        score_threshold: SupportsFloat | None = None,
        nms_threshold: SupportsFloat | None = None,
        nms_kind: NmsKind | None = None,
        top_n: SupportsIndex | None = None,
        class_agnostic: bool | None = None,
    ) -> list[Detections]:
        """Find the objects in several pictures with one forward pass for all.

        Parameters
        ----------
        images : iterable of arrays
            Pictures as `detect` takes them, of any sizes.
        score_threshold, nms_threshold, nms_kind, top_n, class_agnostic : optional
            As in `detect`.

        Returns
        -------
        list of Detections
            One for each picture.

        Raises
        ------
        TypeError, ValueError
            As `detect`.
        """
        pictures = list(images)
        if not pictures:
            return []
        with self._stage("preprocess"):
            blob = np.concatenate([self.preprocess.blob(picture) for picture in pictures])
        with self._stage("network"):
            blobs = self._forward(blob)
        with self._stage("post-process"):
            return postprocess_batch(
                *blobs,
                self.config,
                score_threshold=score_threshold,
                nms_threshold=nms_threshold,
                nms_kind=nms_kind,
                top_n=top_n,
                class_agnostic=class_agnostic,
                image_size=[(picture.shape[1], picture.shape[0]) for picture in pictures],
                resize=self.preprocess.resize,
            )

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self.on_stage is not None:
            self.on_stage(name, time.perf_counter() - start)

    def forward(self, image: Picture) -> Blobs:
        """Run the network on one picture, and return its three blobs: float32, with a leading axis of 1."""
        return self._forward(self.preprocess.blob(image))

    def _forward(self, blob: NDArray[np.float32]) -> Blobs:
        return Blobs(*self.backend.forward(blob))
