"""The table of a compressed network, as in "Learning both Weights and Connections" and "Deep Compression"."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from opencv_squeezedet.formats.sdz import Stored
from opencv_squeezedet.network import Network

HEADER = (
    *("layer", "weights", "MACs", "inputs %", "kept %", "MACs %", "bits", "codes", "gaps", "tables", "bytes", "ratio"),
    "textbook",
)
FLOAT_BITS = 32


@dataclass(frozen=True)
class LayerRow:
    """The row of a layer, or the total of all layers."""

    layer: str
    weights: int  # their number, including the bias
    macs: int  # number of multiplications in one pass
    active: float | None  # fraction of its inputs that is not zero; None without pictures
    kept: float  # fraction of its kernel's weights that is not zero
    macs_left: float  # fraction of multiplications whose factors are both nonzero
    bits: float  # of a code before Huffman coding; in the total the mean over the kept weights
    codes: int  # bytes of the codes, of the gaps, of the rest of the kernel, and of the whole layer with its bias
    gaps: int
    tables: int
    size: int
    textbook: float | None  # ratio by `textbook_ratio`, without pruning and Huffman coding; None for plain floats

    @property
    def ratio(self) -> float:
        """The bytes as float32 divided by the bytes stored."""
        return self.weights * FLOAT_BITS / 8 / self.size

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return {**asdict(self), "ratio": self.ratio}

    def cells(self) -> list[str]:
        """Return the cells of the columns in `HEADER`."""
        active = "" if self.active is None else f"{100 * self.active:.0f}"
        textbook = "" if self.textbook is None else f"{self.textbook:.2f}"
        counts = [f"{self.codes:,}", f"{self.gaps:,}", f"{self.tables:,}", f"{self.size:,}"]
        shares = [active, f"{100 * self.kept:.0f}", f"{100 * self.macs_left:.0f}", f"{self.bits:.3g}"]
        return [self.layer, f"{self.weights:,}", f"{self.macs:,}", *shares, *counts, f"{self.ratio:.2f}", textbook]


def textbook_ratio(weights: int, clusters: int, bits: int = FLOAT_BITS) -> float:
    """Return n b / (k b + n log2 k), the compression ratio of n weights of b bits that share k values."""
    return weights * bits / (clusters * bits + weights * math.log2(clusters))


def layer_rows(network: Network, stored: Mapping[str, Stored], active: Mapping[str, float] | None = None) -> list[LayerRow]:
    """Return the row of each layer with weights, given the fraction of each layer's inputs that is not zero."""
    rows = []
    for step in network.weighted():
        layer, kernel = stored[step.layer.name], math.prod(step.weights[0])
        nonzero = None if active is None else active[step.layer.name]
        macs_left = layer.kept * (1.0 if nonzero is None else nonzero)
        bits = math.ceil(math.log2(layer.centroids)) if layer.centroids else 8 * layer.codes / kernel
        textbook = textbook_ratio(kernel, layer.centroids) if layer.centroids > 1 else None
        counts = step.parameters, step.macs // network.input_shape[0]
        sizes = layer.codes, layer.gaps, layer.tables, layer.size
        rows.append(LayerRow(step.layer.name, *counts, nonzero, layer.kept, macs_left, bits, *sizes, textbook))
    return rows


def total_row(rows: Sequence[LayerRow], size: int) -> LayerRow:
    """Return the total; ``size`` is the size of the whole file, with its definition and description."""
    weights, macs = sum(row.weights for row in rows), sum(row.macs for row in rows)
    kept = [row.weights * row.kept for row in rows]
    known = [row for row in rows if row.active is not None]
    active = sum(row.macs * float(row.active or 0) for row in known) / macs if known and macs else None
    left = sum(row.macs * row.macs_left for row in rows) / macs if macs else 0.0
    textbook = weights / sum(row.weights / (row.textbook or 1.0) for row in rows)
    bits = sum(row.bits * weights_kept for row, weights_kept in zip(rows, kept, strict=True)) / (sum(kept) or 1)
    codes, gaps, tables = (sum(parts) for parts in zip(*((row.codes, row.gaps, row.tables) for row in rows), strict=True))
    return LayerRow("total", weights, macs, active, sum(kept) / weights, left, bits, codes, gaps, tables, size, textbook)
