"""The pictures of a training, in an order that depends on the seed alone, and so can be resumed anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from opencv_squeezedet.files import read_picture
from opencv_squeezedet.training.augment import Augmentation, Sample, augmented
from opencv_squeezedet.training.losses import Targets


@dataclass(frozen=True)
class Source:
    """A picture file and its objects; see `Sample` for the arrays."""

    path: Path
    xyxy: NDArray[np.float32]
    classes: NDArray[np.float32]
    quality: NDArray[np.float32]

    def read(self) -> Sample:
        """Read the picture."""
        return Sample(read_picture(self.path), self.xyxy, self.classes, self.quality)


class Batch(NamedTuple):
    """Pictures (N, H, W, 3) uint8, BGR, and their objects."""

    images: Tensor
    targets: Targets


class _Pictures(Dataset[Sample]):
    """The k-th picture of the training; what it is depends on the seed and k alone."""

    def __init__(
        self,
        sources: Sequence[Source],
        order: NDArray[np.int32],
        mean: tuple[float, float, float],
        how: Augmentation,
        seed: int,
    ) -> None:
        self._sources, self._order, self._mean, self._how, self._seed = sources, order, mean, how, seed

    def __getitem__(self, place: tuple[int, tuple[int, int], bool]) -> Sample:
        k, size, mosaic = place
        rng = np.random.default_rng((self._seed, k))
        chosen = [self._order[k]]
        if mosaic and rng.random() < self._how.mosaic:
            chosen += rng.choice(self._order, 3).tolist()
        samples = [self._sources[i].read() for i in chosen]
        return augmented(samples, size, self._mean, self._how, rng)


@dataclass(frozen=True, kw_only=True)
class Feed:
    """Batches of a training from any of its pictures on.

    Parameters
    ----------
    sources : sequence of Source
        The data set.
    pictures : int
        How many pictures the training sees.
    batch : int
        Pictures in a batch.
    sizes : sequence of ((int, int), float)
        Input sizes, width and height, and at which share of the training each begins.
    mean : (float, float, float)
        What the network's preprocessing subtracts.
    augmentation : Augmentation
        How pictures are changed.
    plain_end : float
        Share of the training, at its end, without mosaics.
    repeat_below : float
        Pictures with a class that fewer than this share of the pictures have come up to sqrt(repeat_below / share) times as
        often (repeat factor sampling: Gupta et al., arXiv:1908.03195).
    workers : int
        Processes that read and change pictures.
    seed : int
        Of the order and the changes.
    """

    sources: Sequence[Source]
    pictures: int
    batch: int
    sizes: Sequence[tuple[tuple[int, int], float]]
    mean: tuple[float, float, float]
    augmentation: Augmentation
    plain_end: float = 0.15
    repeat_below: float = 0.1
    workers: int = 2
    seed: int = 0

    def batches(self, first: int = 0) -> Iterator[Batch]:
        """Yield the batches from picture ``first`` on."""
        pictures = _Pictures(self.sources, self._order(), self.mean, self.augmentation, self.seed)
        loader: DataLoader[Sample] = DataLoader(
            pictures,
            batch_sampler=[self._places(k) for k in range(first, self.pictures, self.batch)],
            num_workers=self.workers,
            collate_fn=_collate,
            worker_init_fn=_one_thread,
            persistent_workers=False,
            prefetch_factor=4 if self.workers else None,
        )
        yield from loader

    def _places(self, first: int) -> list[tuple[int, tuple[int, int], bool]]:
        share = first / self.pictures
        size = [size for size, begin in self.sizes if begin <= share][-1]
        mosaic = share < 1 - self.plain_end
        return [(k, size, mosaic) for k in range(first, min(first + self.batch, self.pictures))]

    def _order(self) -> NDArray[np.int32]:
        rng = np.random.default_rng(self.seed)
        factors = _repeat_factors(self.sources, self.repeat_below)
        rounds: list[NDArray[np.int32]] = []
        while sum(map(len, rounds)) < self.pictures:
            counts = np.floor(factors + rng.random(len(factors))).astype(int)
            rounds.append(rng.permutation(np.repeat(np.arange(len(factors), dtype=np.int32), counts)))
        return np.concatenate(rounds)[: self.pictures]


def _repeat_factors(sources: Sequence[Source], below: float) -> NDArray[np.float64]:
    classes = max((source.classes.shape[1] for source in sources), default=0)
    has = np.zeros((len(sources), classes), bool)
    for row, source in zip(has, sources, strict=True):
        row[source.classes[source.quality > 0].argmax(1) if len(source.classes) else []] = True
    share = np.maximum(has.mean(0), 1 / len(sources))
    factors = np.maximum(1.0, np.sqrt(below / share))
    return np.where(has, factors, 1.0).max(1, initial=1.0)


def _collate(samples: list[Sample]) -> Batch:
    counts = [len(sample.xyxy) for sample in samples]
    return Batch(
        torch.from_numpy(np.stack([sample.image for sample in samples])),
        Targets(
            torch.repeat_interleave(torch.arange(len(samples)), torch.tensor(counts)),
            *(
                torch.from_numpy(np.concatenate([getattr(sample, name) for sample in samples]))
                for name in ("xyxy", "classes", "quality")
            ),
        ),
    )


def _one_thread(_: int) -> None:
    cv2.setNumThreads(0)
