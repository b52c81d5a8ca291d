"""How fast a compressed model's weights are decoded, on one core: whole files, and layers of several densities and bits.

    python benchmarks/decoding.py small.sdz

Millions of weights a second, zeros included, and of entries, which is what a file stores. "memory" copies the same weights.
"""

from __future__ import annotations

import argparse
import math
from functools import partial

import numpy as np
from _timing import Call, alternate, machine, pin_to_one_core, sampler, table, typical

from opencv_squeezedet.compression import prune, share
from opencv_squeezedet.formats import read_sdz
from opencv_squeezedet.formats.shared_weights import layout_of, read_values, values_bytes

COUNT = 1 << 19
MADE = ((1.0, 8), (1.0, 4), (0.5, 6), (0.33, 8), (0.2, 5), (0.05, 5))


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE", help="compressed models to decode as well")
    parser.add_argument("--blocks", type=int, default=9, help="alternating blocks (default 9)")
    options = parser.parse_args()
    print(f"{machine()}; {pin_to_one_core()}")
    weights = np.random.default_rng(0).standard_normal(COUNT).astype(np.float32)
    calls: dict[str, Call] = {"memory": weights.copy}
    counts = {"memory": (COUNT, COUNT, 4 * COUNT)}
    for density, bits in MADE:
        name, content = f"density {density:g}, {bits} bits", values_bytes(share(prune(weights, density), bits))
        calls[name] = partial(read_values, content, COUNT)
        counts[name] = COUNT, layout_of(content, COUNT).entries, len(content)
    for path in options.files:
        model = read_sdz(path)
        calls[path] = model.weights
        entries, size = (
            sum(values) for values in zip(*((b.layout.entries, len(b.content)) for b in model.blobs), strict=True)
        )
        counts[path] = sum(math.prod(blob.shape) for blob in model.blobs), entries, size
    blocks = alternate({name: sampler(call) for name, call in calls.items()}, options.blocks)
    rows = []
    for name, (values, entries, size) in counts.items():
        seconds = typical(blocks, name)
        speeds = [f"{count / seconds / 1e6:.0f}" for count in (values, entries)]
        rows.append((name, f"{values:,}", f"{size:,}", f"{1e3 * seconds:.2f}", *speeds))
    print(table(("", "weights", "bytes", "ms", "M weights/s", "M entries/s"), rows))


if __name__ == "__main__":
    main()
