"""The precision that a network is trained in: bfloat16 where the processor supports it and is faster with it, or float32."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch

from opencv_squeezedet.training.module import TorchNetwork


class StepTimes(NamedTuple):
    """Seconds per step in each precision."""

    bfloat16: float
    float32: float


def supports_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16: GPUs that torch says so of, and CPUs with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    tests = (getattr(torch.cpu, f"_is_{name}_supported", bool) for name in ("avx512_bf16", "amx_tile"))  # not in every torch
    return any(bool(test()) for test in tests)


def set_layout(model: TorchNetwork) -> None:
    """Store a network's kernels in the memory format that is fastest: on CPUs, channels last."""
    if next(model.parameters()).device.type == "cpu":
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def time_steps(model: TorchNetwork, outputs: Sequence[str], shape: tuple[int, int, int]) -> StepTimes:
    """Time a step in each precision; see `step_seconds`."""
    return StepTimes(*(step_seconds(model, outputs, shape, bfloat16=bfloat16) for bfloat16 in (True, False)))


def step_seconds(model: TorchNetwork, outputs: Sequence[str], shape: tuple[int, int, int], *, bfloat16: bool) -> float:
    """Time the second of two steps of a copy of the network; in the first, memory is allocated.

    ``outputs`` names the blobs that the loss is computed from; ``shape`` is pictures in a batch, height and width.
    """
    device = next(model.parameters()).device
    blob = torch.randn(*shape, 3, device=device).permute(0, 3, 1, 2)  # in the memory format of a batch
    timed, start = copy.deepcopy(model).train(), 0.0
    set_layout(timed)
    for _ in range(2):
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            tops = timed(blob, outputs)
        torch.stack([top.float().mean() for top in tops]).sum().backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - start
