"""Training in several processes, as ``torchrun`` starts them.

Each process has a part of every batch. The normalisers of the loss, the statistics of batch normalisation and the gradients
are summed over all processes, so a training run does not depend on their number, apart from rounding, and may be resumed with
another number. With one process these functions have no effect.
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
    """Join the processes that torchrun has started, for the duration of the ``with`` block.

    GPUs communicate by NCCL, CPUs by Gloo.

    Yields
    ------
    int
        The rank of this process; 0 without torchrun. Only rank 0 should print, and keep what it writes.

    Raises
    ------
    ValueError
        If there are GPUs, but fewer GPUs than processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0
        return
    backend = "gloo"
    if torch.cuda.is_available():
        backend, gpu = "nccl", int(os.environ["LOCAL_RANK"])
        if gpu >= torch.cuda.device_count():
            raise ValueError(f"torchrun: at most one process per GPU was expected; there are {torch.cuda.device_count()} GPUs")
        torch.cuda.set_device(gpu)
    distributed.init_process_group(backend)
    yield distributed.get_rank()
    distributed.destroy_process_group()  # not after an error: it would wait for the other processes, which torchrun ends


def _are_several() -> bool:
    return distributed.is_available() and distributed.is_initialized()


@contextmanager
def _loss_of_a_process() -> Iterator[None]:
    """Raise ChildProcessError, after which a training is saved, if Gloo reports that a process has ended."""
    try:
        yield
    except RuntimeError as error:
        raise ChildProcessError(f"another process of this training has ended, or cannot be reached ({error})") from error


def count() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if _are_several() else 1


def own(items: Sliceable) -> Sliceable:
    """Return this process's part of a sequence; the parts are consecutive."""
    if not _are_several():
        return items
    rank, ranks = distributed.get_rank(), count()
    return items[len(items) * rank // ranks : len(items) * (rank + 1) // ranks]


def summed(tensor: Tensor) -> Tensor:
    """Return the sum over all processes, without a gradient."""
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


def from_first(compute: Callable[[], Value]) -> Value:
    """Compute a value in the first process, and return it in all."""
    if not _are_several():
        return compute()
    values = [compute() if distributed.get_rank() == 0 else None]
    with _loss_of_a_process():
        distributed.broadcast_object_list(values)
    return cast(Value, values[0])


def gathered(items: list[Value]) -> list[Value]:
    """Return the concatenated lists of all processes."""
    if not _are_several():
        return items
    lists: list[Any] = [None] * count()
    with _loss_of_a_process():
        distributed.all_gather_object(lists, items)
    return [item for part in lists for item in part]


def dropout(x: Tensor, ratio: float, training: bool) -> Tensor:
    """`functional.dropout` with the random numbers that one process would draw for the whole batch."""
    if not (training and _are_several()):
        return functional.dropout(x, ratio, training)
    pictures = int(summed(torch.tensor(len(x), device=x.device)))
    layout = torch.contiguous_format if x.is_contiguous() else torch.channels_last  # numbers are drawn in the order of memory
    ones = torch.empty((pictures, *x.shape[1:]), dtype=x.dtype, device=x.device, memory_format=layout).fill_(1)
    return x * own(functional.dropout(ones, ratio))


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the pictures of all processes."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a blob (N, C, H, W)."""
        if not (self.training and _are_several()):
            return super().forward(x)
        number, mean, variance = _statistics(x, self.weight)
        momentum = cast(float, self.momentum)
        cast(Tensor, self.num_batches_tracked).add_(1)
        cast(Tensor, self.running_mean).lerp_(mean, momentum)
        cast(Tensor, self.running_var).lerp_(variance * number / (number - 1), momentum)
        return cast(Tensor, _Normalized.apply(x, self.weight, self.bias, number, mean, variance, self.eps))  # type: ignore[no-untyped-call]


def _statistics(x: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The number of values of each channel of a blob in all processes, their mean and variance, of the dtype of ``like``."""
    before = torch.zeros_like(like), torch.zeros_like(like)  # without these the statistics would have the blob's dtype
    mean, variance = (part.double() for part in torch.batch_norm_update_stats(x.detach(), *before, 0.0))
    number = mean.new_full((1,), x.numel() / x.shape[1])
    total = summed(torch.cat([number, number * mean, number * (variance + mean.square())]))
    count, means, squares = total[:1], *torch.tensor_split(total[1:] / total[0], 2)
    return count.to(like.dtype), means.to(like.dtype), (squares - means.square()).clamp(min=0).to(like.dtype)


class _Normalized(torch.autograd.Function):
    """Batch normalisation with statistics of all processes, and its gradient through these statistics.

    Torch's own operations are used, each a single pass: they are many times as fast as sums and products of whole blobs.
    """

    @staticmethod
    def forward(
        context: Any, x: Tensor, weight: Tensor, bias: Tensor, number: Tensor, mean: Tensor, variance: Tensor, eps: float
    ) -> Tensor:
        context.save_for_backward(x, weight, number, mean, variance)
        context.eps = eps
        return functional.batch_norm(x, mean, variance, weight, bias, eps=eps)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, number, mean, variance = context.saved_tensors
        eps, steps = context.eps, torch.rsqrt(variance + context.eps)

        def passed(training: bool, wanted: list[bool]) -> list[Tensor]:
            native = torch.ops.aten.native_batch_norm_backward
            return list(native(gradient, x, weight, mean, variance, mean, steps, training, eps, wanted))

        _, of_weight, of_bias = passed(True, [False, True, True])
        of_weights, of_biases = torch.tensor_split(summed(torch.cat([of_weight, of_bias])) / number, 2)
        through, *_ = passed(False, [True, False, False])
        slope = -weight * steps.square() * of_weights
        return (
            through + functional.batch_norm(x, mean, torch.ones_like(mean), slope, -weight * steps * of_biases, eps=0.0),
            of_weight,
            of_bias,
            *[None] * 4,
        )
