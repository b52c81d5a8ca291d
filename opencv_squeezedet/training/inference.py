"""A network in training, run on whole pictures: its detections, its logits and its input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opencv_squeezedet.blobs import BLOBS
from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.datasets import Annotated, Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.draw import contact_sheet, thumbnail
from opencv_squeezedet.evaluation.gallery import draw_matches
from opencv_squeezedet.pictures import encode_picture
from opencv_squeezedet.pipeline import chunks
from opencv_squeezedet.postprocess import postprocess_batch
from opencv_squeezedet.preprocess import Picture, Preprocess
from opencv_squeezedet.training.calibration import MEASURED_FROM, Logits
from opencv_squeezedet.training.example import read_or_blank
from opencv_squeezedet.training.loop import LOGITS
from opencv_squeezedet.training.module import TorchNetwork
from opencv_squeezedet.training.parallel import gathered, own

_BATCH = 16  # pictures per forward pass
_SHEET_PICTURES = 12


class Inference:
    """Runs networks of one head on pictures."""

    def __init__(self, preprocess: Preprocess, config: HeadConfig) -> None:
        self._preprocess, self._config = preprocess, config
        self.problems: dict[str, None] = {}  # the keys are lines about files that cannot be read, in order

    def blob(self, paths: Sequence[Path]) -> Tensor:
        """Return the network's input (N, 3, H, W) for some files."""
        return self._blob([self._read(path) for path in paths])

    def detections(self, model: TorchNetwork, dataset: Dataset) -> list[Detections]:
        """Return the detections in a data set's pictures, down to low scores; the processes share the work."""
        detections: list[Detections] = []
        for (delta_bbox, class_scores, conf_scores), sizes in self._passes(model, own(list(dataset.pictures)), BLOBS):
            detections += postprocess_batch(
                delta_bbox, class_scores, conf_scores, self._config, score_threshold=MEASURED_FROM, image_size=sizes
            )
        self.problems.update(dict.fromkeys(gathered(list(self.problems))))
        return gathered(detections)

    def logits(self, model: TorchNetwork, dataset: Dataset) -> Logits:
        """Return the logits for a data set's pictures."""
        passes = list(self._passes(model, dataset.pictures, LOGITS))
        delta_bbox, classes, confidence = map(np.concatenate, zip(*(blobs for blobs, _ in passes), strict=True))
        return Logits(delta_bbox, classes, confidence, [size for _, sizes in passes for size in sizes])

    def contact_sheet(self, dataset: Dataset, detections: Sequence[Detections]) -> bytes:
        """Return some pictures, chosen at even intervals, with their objects and detections; see `draw_matches`."""
        last = len(dataset.pictures) - 1
        chosen = sorted({*np.linspace(0, last, _SHEET_PICTURES).round().astype(int).tolist()})
        pictures = []
        for i in chosen:
            truth = dataset.pictures[i]
            image, scale = thumbnail(self._read(truth.path))
            pictures.append(draw_matches(image, scale, truth, detections[i], self._config.score_threshold, 0.5))
        return encode_picture(contact_sheet(pictures), ".jpg")

    def _passes(
        self, model: TorchNetwork, pictures: Sequence[Annotated], names: Sequence[str]
    ) -> Iterator[tuple[list[NDArray[np.float32]], list[tuple[int, int]]]]:
        """Run a network on pictures, and yield the named blobs and the pictures' widths and heights."""
        device = next(model.parameters()).device
        for part in chunks(pictures, _BATCH):
            images = [self._read(picture.path) for picture in part]
            with torch.inference_mode():
                blobs = model(self._blob(images).to(device), names)
            yield [blob.cpu().numpy() for blob in blobs], [(image.shape[1], image.shape[0]) for image in images]

    def _blob(self, images: Sequence[Picture]) -> Tensor:
        return torch.from_numpy(np.concatenate([self._preprocess.blob(image) for image in images]))

    def _read(self, path: Path) -> Picture:
        image, problems = read_or_blank(path, self._preprocess.mean)
        self.problems.update(dict.fromkeys(problems))
        return image
