"""Turn NanoDet-Plus's weights, in ncnn's format, into a caffemodel that `squeezedet train --start` takes.

python benchmarks/nanodet_weights.py nanodet_plus_m_416 start.caffemodel

The trunk, the neck and the towers of the network `shuffle` get the weights of NanoDet-Plus-m (RangiLyu/nanodet,
Apache-2.0), trained on COCO; the layers that turn the towers into classes and boxes are left out. The first convolution takes
over the scale and the mean of NanoDet's input. It has no padding here, so the features are those of the picture moved by one
pixel. They are sixteen times as large as NanoDet's, whose mean square is below 0.01: AdamW's steps have one size for all
parameters, and would change small biases too fast.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.files import write_whole
from opencv_squeezedet.formats.bare_weights import bare_caffemodel
from opencv_squeezedet.network import Weights
from opencv_squeezedet.network.architectures import squeezedet_shuffle

MEAN, SCALE = (103.53, 116.28, 123.675), (0.017429, 0.017507, 0.017125)
"""NanoDet's normalization, BGR."""
OURS = (104.0, 117.0, 123.0)
LARGER = 16
"""Factor on all features. A leaky ReLU keeps it, so it is one on the first kernel and on every bias."""
_HALF = 0x01306B47
"""ncnn's mark of weights in float16."""

Filters = list[tuple[NDArray[np.float32], NDArray[np.float32]]]


def read_ncnn(stem: Path) -> Filters:
    """Return the flat kernel and the bias of each convolution, in the order of the file."""
    content = stem.with_name(f"{stem.name}.bin").read_bytes()
    filters: Filters = []
    offset = 0
    for line in stem.with_name(f"{stem.name}.param").read_text().splitlines()[2:]:
        kind, _, bottoms, tops, *rest = line.split()
        if not kind.startswith("Convolution"):
            continue
        options = dict(option.split("=") for option in rest[int(bottoms) + int(tops) :])
        outputs, count = int(options["0"]), int(options["6"])
        if options.get("5") != "1":
            raise SystemExit(f"{stem}.param: a convolution with a bias was expected, got {line}")
        mark = int.from_bytes(content[offset : offset + 4], "little")
        if mark not in (0, _HALF):
            raise SystemExit(f"{stem}.bin: float32 or float16 was expected at byte {offset}, got the mark {mark:#x}")
        dtype = np.dtype("<f2" if mark else "<f4")
        kernel = np.frombuffer(content, dtype, count, offset + 4)
        offset += 4 + -(-kernel.nbytes // 4) * 4
        bias = np.frombuffer(content, "<f4", outputs, offset)
        offset += bias.nbytes
        filters.append((kernel.astype(np.float32), bias.copy()))
    return filters


def names() -> list[str]:
    """Return our names of NanoDet-Plus's convolutions, in its order; those of layers left out are empty."""
    found = ["conv1"]
    for stage, units in (("stage2", 4), ("stage3", 8), ("stage4", 4)):
        found += [f"{stage}_1_{part}" for part in ("left_dw", "in", "dw", "left", "out")]
        found += [f"{stage}_{unit}_{part}" for unit in range(2, units + 1) for part in ("in", "dw", "out")]
    ghost = ("expand", "expand_dw", "squeeze", "squeeze_dw", "bypass_dw", "bypass")
    found += ["reduce4", "reduce3", *(f"down3_{part}" for part in ghost)]
    found += ["reduce2", *(f"down2_{part}" for part in ghost)]
    for level in (3, 4):
        found += [f"halve{level - 1}_dw", f"halve{level - 1}", *(f"up_path{level}_{part}" for part in ghost)]
    found += ["halve_reduced4_dw", "halve_reduced4", "halve4_dw", "halve4"]
    blocks = ("", "tower3_1", "tower4_1", "tower5_1", "tower5_2", "tower4_2", "tower3_2")  # stride 8 has a head of its own
    for block in blocks:
        found += [f"{block}_dw", block] if block else ["", ""]
        found += [""] if block.endswith("_2") else []  # NanoDet's classes and distances
    return found


def started(filters: Filters, width: str) -> Weights:
    """Return the weights of all layers but the last three."""
    shapes = {step.layer.name: step.weights for step in squeezedet_shuffle(width=width).trained()}
    weights: Weights = {}
    for name, (kernel, bias) in zip(names(), filters, strict=False):  # the last ones are the head of stride 8
        if not name:
            continue
        shape, outputs = shapes[name]
        if kernel.size != np.prod(shape) or bias.shape != outputs:
            raise SystemExit(f"{name}: {shape} and {outputs} were expected, got {kernel.size} weights and {bias.size} biases")
        weights[name] = [kernel.reshape(shape), bias]
    kernel, bias = weights["conv1"]
    kernel = kernel * np.array(SCALE, np.float32)[:, None, None]
    shift = (kernel.sum((2, 3)) * (np.array(OURS) - MEAN)).sum(1)
    weights["conv1"] = [kernel * LARGER, bias + shift]
    return {name: [kernel, (bias * LARGER).astype(np.float32)] for name, (kernel, bias) in weights.items()}


def main() -> None:
    """Read the options, convert and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ncnn", type=Path, help="path of the .param and .bin files, without a suffix")
    parser.add_argument("output", type=Path, help="a .caffemodel")
    parser.add_argument("--width", default="1.0x", choices=("1.0x", "1.5x"), help="of the trunk (default: 1.0x)")
    options = parser.parse_args()
    weights = started(read_ncnn(options.ncnn), options.width)
    write_whole(options.output, bare_caffemodel(weights))
    print(f"{options.output}: {len(weights)} layers")


if __name__ == "__main__":
    main()
