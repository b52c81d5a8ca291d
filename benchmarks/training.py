"""Pictures per second of training, files and augmentation included, compared with bare forward and backward passes.

python benchmarks/training.py DATASET [--network N] [--size WxH] [--batch N] [--steps N] [--blocks N]

Both use the same network, input size, batch and precision. A bare pass is the forward and backward pass of one batch in
memory, with the sum of the outputs as the loss and without an optimizer. They are measured in turn, the training after its
data-loading workers have started; the result is the median of the blocks' ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from _timing import machine, table

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command does

import torch

from opencv_squeezedet.cli.arguments import input_size
from opencv_squeezedet.cli.memory import keep_memory
from opencv_squeezedet.datasets import load_dataset
from opencv_squeezedet.network.architectures import TRAINABLE
from opencv_squeezedet.training import Recipe, Training

_BLOBS = ("delta_bbox", "soft_class_reg", "sig_conf_reg")


def training_rate(training: Training, steps: int) -> float:
    """Pictures per second over some steps, after the first two."""
    batches = training.trainer.run()
    for _ in range(2):
        next(batches)
    start = time.perf_counter()
    pictures = sum(len(next(batches).images) for _ in range(steps))
    return pictures / (time.perf_counter() - start)


def bare_rate(training: Training, blob: torch.Tensor, steps: int) -> float:
    """Pictures per second of forward and backward passes, after the first."""
    trainer = training.trainer
    trainer.model.train()
    for step in range(steps + 1):
        if step == 1:
            start = time.perf_counter()
        with torch.autocast(trainer.device.type, torch.bfloat16, enabled=trainer.bfloat16):
            outputs = trainer.model(blob, _BLOBS)
        torch.stack([output.float().sum() for output in outputs]).sum().backward()
        trainer.optimizer.zero_grad(set_to_none=True)
    if trainer.device.type == "cuda":
        torch.cuda.synchronize()
    return steps * len(blob) / (time.perf_counter() - start)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--split")
    parser.add_argument("--network", choices=tuple(TRAINABLE), default=next(iter(TRAINABLE)))
    parser.add_argument("--size", type=input_size)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--blocks", type=int, default=3)
    options = parser.parse_args()
    keep_memory()  # as the command does
    recipe = Recipe(network=options.network, input_size=options.size, batch=options.batch, small=0, pictures=10**6)
    with tempfile.TemporaryDirectory() as folder:
        training = Training(recipe, load_dataset(options.dataset, split=options.split), Path(folder))
        width, height = recipe.input_size
        blob = torch.randn(options.batch, height, width, 3, device=training.trainer.device).permute(0, 3, 1, 2) * 50
        print(machine(), f"torch {torch.__version__}, {torch.get_num_threads()} threads", sep=", ")
        rates = [
            (training_rate(training, options.steps), bare_rate(training, blob, options.steps)) for _ in range(options.blocks)
        ]
    ours, bare = (statistics.median(column) for column in zip(*rates, strict=True))
    ratio = statistics.median(a / b for a, b in rates)
    kind = "bfloat16" if training.trainer.bfloat16 else "float32"
    name = f"{options.network}, {width}x{height}, batch {options.batch}, {kind}"
    print(
        table(
            ["", "training, pictures/s", "bare passes, pictures/s", "ratio"],
            [[name, f"{ours:.1f}", f"{bare:.1f}", f"{ratio:.2f}"]],
        )
    )


if __name__ == "__main__":
    main()
