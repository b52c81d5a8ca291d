"""Training in several processes, as ``torchrun`` starts them.

Each process has a part of every batch, and what a batch is summed over is summed over all processes: the normalisers of the
loss, the statistics of batch normalisation, the gradients. So a training run is the same, but for rounding, whatever the
number of processes, and may be resumed with another. With one process nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

Value = TypeVar("Value")
Sliceable = TypeVar("Sliceable", list[Any], Tensor)


@contextmanager
def processes() -> Iterator[int]:
    """Join the processes that torchrun has started, for as long as the ``with`` block lasts.

    GPUs talk to each other by NCCL, where there are any, and processors by Gloo.

    Yields
    ------
    int
        The number of this process, from 0 on: 0 if torchrun has not started it. Number 0 alone is to print, and to keep what
        it writes.

    Raises
    ------
    ValueError
        If there are GPUs, but fewer than processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0
        return
    backend = "gloo"
    if torch.cuda.is_available():
        backend, gpu = "nccl", int(os.environ["LOCAL_RANK"])
        if gpu >= torch.cuda.device_count():
            raise ValueError(
                f"torchrun: there are more processes than GPUs here, of which there are {torch.cuda.device_count()}"
            )
        torch.cuda.set_device(gpu)
    distributed.init_process_group(backend)
    yield distributed.get_rank()
    distributed.destroy_process_group()  # not after an error, when it would wait for the others: torchrun ends them


def _are_several() -> bool:
    return distributed.is_available() and distributed.is_initialized()


@contextmanager
def _loss_of_a_process() -> Iterator[None]:
    """ChildProcessError, after which a training is saved, where Gloo finds that a process has gone."""
    try:
        yield
    except RuntimeError as error:
        raise ChildProcessError(f"another process of this training has ended, or cannot be reached ({error})") from error


def count() -> int:
    """Return how many processes there are."""
    return distributed.get_world_size() if _are_several() else 1


def own(items: Sliceable) -> Sliceable:
    """Return this process' part of what all processes have: the parts follow each other."""
    if not _are_several():
        return items
    rank, ranks = distributed.get_rank(), count()
    return items[len(items) * rank // ranks : len(items) * (rank + 1) // ranks]


def summed(tensor: Tensor) -> Tensor:
    """Return the sum over all processes; gradients do not flow through it."""
    if not _are_several():
        return tensor
    total = tensor.detach().clone()
    with _loss_of_a_process():
        distributed.all_reduce(total)
    return total


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Add up the gradients of all processes."""
    if not _are_several():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    total = summed(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, torch.split(total, [gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def from_first(ask: Callable[[], Value]) -> Value:
    """Return what the first process finds, which alone looks."""
    if not _are_several():
        return ask()
    found = [ask() if distributed.get_rank() == 0 else None]
    with _loss_of_a_process():
        distributed.broadcast_object_list(found)
    return cast(Value, found[0])


def gathered(items: list[Value]) -> list[Value]:
    """Return what all processes have, one after the other."""
    if not _are_several():
        return items
    lists: list[Any] = [None] * count()
    with _loss_of_a_process():
        distributed.all_gather_object(lists, items)
    return [item for part in lists for item in part]


def dropout(x: Tensor, ratio: float, training: bool) -> Tensor:
    """`functional.dropout`, which leaves out of a picture what it would leave out if one process had the whole batch."""
    if not (training and _are_several()):
        return functional.dropout(x, ratio, training)
    pictures = int(summed(torch.tensor(len(x), device=x.device)))
    layout = torch.contiguous_format if x.is_contiguous() else torch.channels_last  # numbers are drawn in memory's order
    ones = torch.empty((pictures, *x.shape[1:]), dtype=x.dtype, device=x.device, memory_format=layout).fill_(1)
    return x * own(functional.dropout(ones, ratio))


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the pictures of all processes."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a blob (N, C, H, W)."""
        if not (self.training and _are_several()):
            return super().forward(x)
        values = x.float()
        number = summed(values.new_tensor(x.numel() / x.shape[1]))
        mean = _sum(values.sum((0, 2, 3))) / number
        centred = values - mean[:, None, None]
        variance = _sum(centred.square().sum((0, 2, 3))) / number
        self._follow(mean.detach(), variance.detach() * number / (number - 1))
        scale = self.weight / torch.sqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert isinstance(self.running_mean, Tensor)
        assert isinstance(self.running_var, Tensor)
        assert isinstance(self.num_batches_tracked, Tensor)
        assert isinstance(self.momentum, float)
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def _sum(x: Tensor) -> Tensor:
    return cast(Tensor, _Summed.apply(x))  # type: ignore[no-untyped-call]


class _Summed(torch.autograd.Function):
    """The sum over all processes, which all their losses depend on."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return summed(x)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return summed(gradient)
