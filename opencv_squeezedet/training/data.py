"""The pictures of a training run, in an order that depends only on the seed, so that it can be resumed anywhere."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from opencv_squeezedet.pictures import read_picture
from opencv_squeezedet.preprocess import Picture
from opencv_squeezedet.training.augment import Augmentation, Sample, augmented
from opencv_squeezedet.training.losses import Targets
from opencv_squeezedet.training.parallel import own


@dataclass(frozen=True)
class Example:
    """A picture file and its objects, annotated by people or seen by a teacher; see `Sample` for the arrays."""

    path: Path
    xyxy: NDArray[np.float32]
    classes: NDArray[np.float32]
    quality: NDArray[np.float32]
    annotated: bool = True

    def read(self, mean: tuple[float, float, float]) -> tuple[Sample, list[str]]:
        """Read the picture; if that fails, return one without objects, of one colour, and a line that says why."""
        image, problems = read_or_empty(self.path, mean)
        count = 0 if problems else len(self.xyxy)
        return Sample(image, self.xyxy[:count], self.classes[:count], self.quality[:count]), problems


def read_or_empty(path: Path, mean: tuple[float, float, float]) -> tuple[Picture, list[str]]:
    """Read a picture; if that fails, return one of one colour, and a line that says why."""
    try:
        return read_picture(path), []
    except (OSError, ValueError) as error:
        return np.full((8, 8, 3), np.rint(mean), np.uint8), [f"{path}: {getattr(error, 'strerror', None) or error}"]


class Batch(NamedTuple):
    """Pictures (N, H, W, 3) uint8, BGR, their objects, and a line about each file that cannot be read."""

    images: Tensor
    targets: Targets
    problems: list[str]


class _Pictures(Dataset[tuple[Sample, list[str]]]):
    """The k-th picture of the training run, which depends only on the seed and k."""

    def __init__(
        self,
        examples: Sequence[Example],
        order: NDArray[np.int32],
        mean: tuple[float, float, float],
        how: Augmentation,
        seed: int,
    ) -> None:
        self._examples, self._order, self._mean, self._how, self._seed = examples, order, mean, how, seed

    def __getitem__(self, place: tuple[int, tuple[int, int], bool]) -> tuple[Sample, list[str]]:
        k, size, mosaic = place
        rng = np.random.default_rng((self._seed, k))
        chosen = [self._order[k]]
        if mosaic and rng.random() < self._how.mosaic:
            chosen += rng.choice(self._order, 3).tolist()
        read = [self._examples[i].read(self._mean) for i in chosen]
        sample = augmented([sample for sample, _ in read], size, self._mean, self._how, rng)
        return sample, [problem for _, problems in read for problem in problems]


class _Places(Sampler[list[tuple[int, tuple[int, int], bool]]]):
    """For each batch, the number and size of its pictures, and whether they may be mosaics."""

    def __init__(self, feed: Feed, first: int) -> None:
        self._feed, self._starts = feed, range(first, feed.pictures, feed.batch)

    def __iter__(self) -> Iterator[list[tuple[int, tuple[int, int], bool]]]:
        return (own(self._feed.places(first)) for first in self._starts)

    def __len__(self) -> int:
        return len(self._starts)


@dataclass(frozen=True, kw_only=True)
class Feed:
    """The batches of a training run, starting at any of its pictures.

    Parameters
    ----------
    examples : sequence of Example
        The data set.
    pictures : int
        How many pictures the training run sees.
    batch : int
        Pictures in a batch.
    sizes : sequence of (sequence of (int, int), float)
        Input sizes, width and height, of which each batch has one by chance, and after which fraction of the training these
        begin.
    mean : (float, float, float)
        What the network's preprocessing subtracts.
    augmentation : Augmentation
        How pictures are changed.
    plain_end : float
        Fraction of the training, at its end, without mosaics.
    repeat_below : float
        Pictures with a class that is in less than this share of the pictures are seen up to sqrt(repeat_below / share) times
        as often (repeat factor sampling: Gupta et al., arXiv:1908.03195).
    unlabelled : float, optional
        Share of the pictures without annotations, if there are any. Default: as many as there are.
    workers : int
        Processes that read and change pictures.
    seed : int
        Seed of the order and the changes.
    """

    examples: Sequence[Example]
    pictures: int
    batch: int
    sizes: Sequence[tuple[Sequence[tuple[int, int]], float]]
    mean: tuple[float, float, float]
    augmentation: Augmentation
    plain_end: float = 0.15
    repeat_below: float = 0.1
    unlabelled: float | None = None
    workers: int = 2
    seed: int = 0

    def batches(self, first: int = 0) -> Iterator[Batch]:
        """Yield the batches, or this process's part of each, starting at picture ``first``.

        Raises
        ------
        ChildProcessError
            If a process that reads pictures is killed.
        """
        pictures = _Pictures(self.examples, self._order(), self.mean, self.augmentation, self.seed)
        loader: DataLoader[tuple[Sample, list[str]]] = DataLoader(
            pictures,
            batch_sampler=_Places(self, first),
            num_workers=self.workers,
            collate_fn=_collate,
            worker_init_fn=_serve,
            persistent_workers=False,
            prefetch_factor=4 if self.workers else None,
        )
        with reader_errors():
            try:
                yield from loader
            except (ConnectionError, EOFError) as error:  # a reader died while it handed over a batch
                time.sleep(5)  # torch's signal handler ends this wait; without it, it would raise later, wherever that is
                raise _reader_ended(error) from error

    def places(self, first: int) -> list[tuple[int, tuple[int, int], bool]]:
        """Return the number and input size of each picture of the batch that begins here, and whether it may be a mosaic."""
        share = first / self.pictures
        sizes = [sizes for sizes, begin in self.sizes if begin <= share][-1]
        size = sizes[int(np.random.default_rng((self.seed, first, 1)).integers(len(sizes)))] if len(sizes) > 1 else sizes[0]
        mosaic = share < 1 - self.plain_end
        return [(k, size, mosaic) for k in range(first, min(first + self.batch, self.pictures))]

    def _order(self) -> NDArray[np.int32]:
        rng = np.random.default_rng(self.seed)
        factors = _repeat_factors(self.examples, self.repeat_below)
        annotated = np.array([example.annotated for example in self.examples])
        if self.unlabelled is not None and annotated.any() and not annotated.all():
            wanted = factors[annotated].sum() * self.unlabelled / max(1 - self.unlabelled, 1e-6)
            factors = np.where(annotated, factors, factors * wanted / factors[~annotated].sum())
        rounds: list[NDArray[np.int32]] = []
        while sum(map(len, rounds)) < self.pictures:
            counts = np.floor(factors + rng.random(len(factors))).astype(int)
            rounds.append(rng.permutation(np.repeat(np.arange(len(factors), dtype=np.int32), counts)))
        return np.concatenate(rounds)[: self.pictures]


@contextmanager
def reader_errors() -> Iterator[None]:
    """Raise ChildProcessError for torch's RuntimeError about the death of a process that reads pictures.

    Torch raises it from a signal handler, so anywhere in the main thread.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise _reader_ended(error) from error


def _reader_ended(error: Exception) -> ChildProcessError:
    return ChildProcessError(
        f"a process that reads pictures was ended, perhaps for want of memory: try fewer workers, or none ({error})"
    )


def _repeat_factors(examples: Sequence[Example], below: float) -> NDArray[np.float64]:
    classes = max((example.classes.shape[1] for example in examples), default=0)
    has = np.zeros((len(examples), classes), bool)
    for row, example in zip(has, examples, strict=True):
        row[example.classes[example.quality > 0].argmax(1)] = True
    share = np.maximum(has.mean(0), 1 / len(examples))
    factors = np.maximum(1.0, np.sqrt(below / share))
    most: NDArray[np.float64] = np.where(has, factors, 1.0).max(1, initial=1.0)
    return most


def _collate(items: list[tuple[Sample, list[str]]]) -> Batch:
    samples = [sample for sample, _ in items]
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
        [problem for _, problems in items for problem in problems],
    )


def _serve(_: int) -> None:
    """Leave Ctrl-C to the training, and the cores to its threads, which wait for each other: reading uses what they leave."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _told
    cv2.setNumThreads(0)
    if hasattr(os, "nice"):
        os.nice(10)


def _told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback, unless it says that the training has ended while its threads were handing it a picture."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)
