"""`SqueezeDet`: the whole way from a picture to its objects."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import NamedTuple, SupportsFloat, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.config import HeadConfig, NmsKind
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.model import StrPath, find_model, read_net
from opencv_squeezedet.postprocess import postprocess, postprocess_batch
from opencv_squeezedet.preprocess import Picture, Preprocess


class Blobs(NamedTuple):
    """What the network gives, with a leading axis for the pictures, in the order that `postprocess` takes."""

    delta_bbox: NDArray[np.float32]
    class_scores: NDArray[np.float32]
    conf_scores: NDArray[np.float32]


class SqueezeDet:
    """A detector: a Caffe network in ``cv2.dnn``, with the preprocessing and the head that belong to it.

    One detector may be used by several threads at once. Its network runs under a lock, one forward pass at a time, for
    ``cv2.dnn.Net`` keeps state; preprocessing and post-processing of other pictures go on meanwhile, and the GIL is free
    during all three. For several forward passes at a time make several detectors.

    Parameters
    ----------
    model : path, optional
        A model's three files ``NAME.prototxt``, ``NAME.caffemodel`` and ``NAME.json``: their common stem, or one of them.
        Default: the embedded model, PASCAL VOC's 20 classes.
    weights : path, optional
        The caffemodel, where its stem is another.
    config : HeadConfig, optional
        The head, instead of the one in the JSON file, which may then be missing.
    preprocess : Preprocess, optional
        The preprocessing, instead of the one in the JSON file.

    Raises
    ------
    FileNotFoundError
        That names the file that is missing.
    ModelError
        If the files cannot be read, or do not fit each other.

    Examples
    --------
    >>> detector = SqueezeDet()
    >>> for d in detector.detect(cv2.imread("photo.jpg"), score_threshold=0.4):
    ...     print(d.label, d.confidence, d.xyxy)
    """

    def __init__(
        self,
        model: StrPath | None = None,
        weights: StrPath | None = None,
        *,
        config: HeadConfig | None = None,
        preprocess: Preprocess | None = None,
    ) -> None:
        found = find_model(model, weights, config=config, preprocess=preprocess)
        self.config = found.config
        self.preprocess = found.preprocess
        self._net = read_net(found)
        self._lock = threading.Lock()
        self._layers = [layer for layer, _ in found.outputs.values()]
        self._tops = [top for _, top in found.outputs.values()]

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
        blobs = self.forward(image)
        return postprocess(
            *blobs,
            self.config,
            score_threshold=score_threshold,
            nms_threshold=nms_threshold,
            nms_kind=nms_kind,
            top_n=top_n,
            class_agnostic=class_agnostic,
            image_size=(image.shape[1], image.shape[0]),
        )

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
        """Find the objects in several pictures, of any sizes, with one forward pass for all; options as in `detect`."""
        pictures = list(images)
        if not pictures:
            return []
        blobs = self._forward(np.concatenate([self.preprocess.blob(picture) for picture in pictures]))
        return postprocess_batch(
            *blobs,
            self.config,
            score_threshold=score_threshold,
            nms_threshold=nms_threshold,
            nms_kind=nms_kind,
            top_n=top_n,
            class_agnostic=class_agnostic,
            image_size=[(picture.shape[1], picture.shape[0]) for picture in pictures],
        )

    def forward(self, image: Picture) -> Blobs:
        """Run the network on one picture, and return its three blobs: float32, with a leading axis of 1."""
        return self._forward(self.preprocess.blob(image))

    def _forward(self, blob: NDArray[np.float32]) -> Blobs:
        # One pass for all three: forward("slice") would give that layer's first top only, and forward() once for each of
        # them would run the network three times.
        with self._lock:
            self._net.setInput(blob)
            layers = self._net.forwardAndRetrieve(self._layers)
        return Blobs(*(np.asarray(tops[i], np.float32) for tops, i in zip(layers, self._tops, strict=True)))
