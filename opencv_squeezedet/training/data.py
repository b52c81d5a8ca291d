"""The batches of a training run, in an order that depends only on the seed, so that it can be resumed anywhere."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from opencv_squeezedet.preprocess import Picture
from opencv_squeezedet.training.augment import Augmentation, augmented
from opencv_squeezedet.training.example import Example
from opencv_squeezedet.training.losses import Targets
from opencv_squeezedet.training.parallel import own


class Batch(NamedTuple):
    """Pictures (N, H, W, 3) uint8, BGR, their objects, and a line about each file that cannot be read."""

    images: Tensor
    targets: Targets
    problems: list[str]

    def blob(self, mean: tuple[float, float, float], device: torch.device) -> Tensor:
        """Return the pictures as the network's input, (N, 3, H, W) float32 with channels last in memory, mean subtracted."""
        return (self.images.to(device).float() - torch.tensor(mean, device=device)).permute(0, 3, 1, 2)


class Request(NamedTuple):
    """The number of a picture in the training run, its input size, and whether it may be a mosaic."""

    number: int
    size: tuple[int, int]
    mosaic: bool


class _Pictures(Dataset[tuple[Picture, Example, list[str]]]):
    """The k-th picture of the training run, which depends only on the seed and k."""

    def __init__(self, stream: BatchStream) -> None:
        self._stream, self._order = stream, stream.order()

    def __getitem__(self, request: Request) -> tuple[Picture, Example, list[str]]:
        stream, (number, size, mosaic) = self._stream, request
        rng = np.random.default_rng((stream.seed, number))
        chosen = [self._order[number]]
        if mosaic and rng.random() < stream.augmentation.mosaic:
            chosen += rng.choice(self._order, 3).tolist()
        images, examples, problems = zip(*(stream.examples[i].read(stream.mean) for i in chosen), strict=True)
        image, example = augmented(images, examples, size, stream.mean, stream.augmentation, rng)
        return image, example, [line for lines in problems for line in lines]


class _Requests(Sampler[list[Request]]):
    """The requests of each batch, or this process's part of them."""

    def __init__(self, stream: BatchStream, first: int) -> None:
        self._stream, self._starts = stream, range(first, stream.pictures, stream.batch)

    def __iter__(self) -> Iterator[list[Request]]:
        return (own(self._stream.requests(first)) for first in self._starts)

    def __len__(self) -> int:
        return len(self._starts)


@dataclass(frozen=True, kw_only=True)
class BatchStream:
    """The batches of a training run, from any of its pictures on."""

    examples: Sequence[Example]
    pictures: int  # that the training run sees
    batch: int
    sizes: Sequence[tuple[Sequence[tuple[int, int]], float]]  # input sizes, and the fraction of the training from which they
    # are used; width and height are drawn for each batch
    mean: tuple[float, float, float]  # that the network's preprocessing subtracts
    augmentation: Augmentation
    plain_end: float = 0.15  # fraction of the training, at its end, without mosaics
    repeat_below: float = 0.1  # pictures with a class that is in less than this fraction of the pictures are seen up to
    # sqrt(repeat_below / fraction) times as often (repeat factor sampling: Gupta et al., arXiv:1908.03195)
    unlabelled: float | None = None  # fraction of pictures without annotations; default: their fraction of all pictures
    workers: int = 2
    seed: int = 0

    def batches(self, first: int = 0) -> Iterator[Batch]:
        """Yield the batches, or this process's part of each, starting at picture ``first``.

        ChildProcessError if a data-loading worker is killed.
        """
        loader: DataLoader[tuple[Picture, Example, list[str]]] = DataLoader(
            _Pictures(self),
            batch_sampler=_Requests(self, first),
            num_workers=self.workers,
            collate_fn=_collate,
            worker_init_fn=init_worker,
            prefetch_factor=4 if self.workers else None,
        )
        with worker_errors():
            try:
                yield from loader
            except (ConnectionError, EOFError) as error:  # a worker died while it sent a batch
                time.sleep(5)  # torch's signal handler interrupts this; otherwise torch raises at an arbitrary later point
                raise _worker_killed(error) from error

    def requests(self, first: int) -> list[Request]:
        """Return the requests of the batch whose first picture has this number."""
        done = first / self.pictures
        sizes = [sizes for sizes, begin in self.sizes if begin <= done][-1]
        size = sizes[int(np.random.default_rng((self.seed, first, 1)).integers(len(sizes)))] if len(sizes) > 1 else sizes[0]
        mosaic = done < 1 - self.plain_end
        return [Request(number, size, mosaic) for number in range(first, min(first + self.batch, self.pictures))]

    def order(self) -> NDArray[np.int32]:
        """Return the index of each picture of the training run among the examples."""
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
def worker_errors() -> Iterator[None]:
    """Raise ChildProcessError for the RuntimeError that torch raises in a signal handler when a worker is killed."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise _worker_killed(error) from error


def _worker_killed(error: Exception) -> ChildProcessError:
    return ChildProcessError(
        f"a data-loading worker was killed, possibly because memory ran out: try fewer workers, or none ({error})"
    )


def _repeat_factors(examples: Sequence[Example], below: float) -> NDArray[np.float64]:
    classes = max((example.classes.shape[1] for example in examples), default=0)
    has = np.zeros((len(examples), classes), bool)
    for row, example in zip(has, examples, strict=True):
        row[example.classes[example.quality > 0].argmax(1)] = True
    share = np.maximum(has.mean(0), 1 / len(examples))
    most: NDArray[np.float64] = np.where(has, np.sqrt(below / share), 1.0).max(1, initial=1.0)
    return most


def _collate(items: list[tuple[Picture, Example, list[str]]]) -> Batch:
    images, examples, problems = zip(*items, strict=True)
    picture = np.repeat(np.arange(len(examples), dtype=np.int64), [len(example.xyxy) for example in examples])
    rows = (np.concatenate([getattr(example, name) for example in examples]) for name in ("xyxy", "classes", "quality"))
    targets = Targets(*map(torch.from_numpy, (picture, *rows)))
    return Batch(torch.from_numpy(np.stack(images)), targets, [line for lines in problems for line in lines])


def init_worker(_: int) -> None:
    """Leave Ctrl-C to the main process, and run at a low priority on one core: the training's threads wait for each other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _print_traceback
    cv2.setNumThreads(0)
    if hasattr(os, "nice"):
        os.nice(10)


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback, unless the connection was lost because the training ended."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)
