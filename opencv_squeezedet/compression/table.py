"""The table of a compressed network, as in "Learning both Weights and Connections" and "Deep Compression"."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from opencv_squeezedet.formats.sdz import Stored
from opencv_squeezedet.network import Network

HEADER = (
    "layer",
    "weights",
    "MACs",
    "inputs %",
    "kept %",
    "MACs %",
    "bits",
    "codes",
    "gaps",
    "tables",
    "bytes",
    "ratio",
    "textbook",
)
FLOAT_BITS = 32


@dataclass(frozen=True)
class LayerRow:
    """The row of a layer, or the total of all layers.

    Parameters
    ----------
    layer : str
        Its name.
    weights, macs : int
        The number of weights, including the bias, and of multiplications in one pass.
    active : float or None
        The fraction of its inputs that is not zero; None without pictures.
    kept : float
        The fraction of its kernel's weights that is not zero.
    macs_left : float
        The fraction of multiplications whose factors are both nonzero.
    bits : float
        The bits of a code before Huffman coding; in the total the mean over the kept weights.
    codes, gaps, tables, size : int
        Bytes of the codes, of the gaps, of the rest of the kernel, and of the whole layer with its bias.
    textbook : float or None
        The ratio by `textbook_ratio`, without pruning and Huffman coding; None for plain floats.
    """

    layer: str
    weights: int
    macs: int
    active: float | None
    kept: float
    macs_left: float
    bits: float
    codes: int
    gaps: int
    tables: int
    size: int
    textbook: float | None

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
    """Return the row of each layer with weights.

    Parameters
    ----------
    network : Network
        The network.
    stored : dict
        The stored sizes of each layer.
    active : dict, optional
        The fraction of each layer's inputs that is not zero.
    """
    rows = []
    for step in network.weighted():
        one = stored[step.layer.name]
        kernel = math.prod(step.weights[0])
        share = None if active is None else active[step.layer.name]
        rows.append(
            LayerRow(
                step.layer.name,
                step.parameters,
                step.macs // network.input_shape[0],
                share,
                one.kept,
                one.kept * (1.0 if share is None else share),
                math.ceil(math.log2(one.centroids)) if one.centroids else 8 * one.codes / kernel,
                one.codes,
                one.gaps,
                one.tables,
                one.size,
                textbook_ratio(kernel, one.centroids) if one.centroids > 1 else None,
            )
        )
    return rows


def total_row(rows: Sequence[LayerRow], size: int) -> LayerRow:
    """Return the total; ``size`` is the size of the whole file, with its definition and description."""
    weights, macs = sum(row.weights for row in rows), sum(row.macs for row in rows)
    kept = [row.weights * row.kept for row in rows]
    known = [row for row in rows if row.active is not None]
    active = sum(row.macs * float(row.active or 0) for row in known) / macs if known and macs else None
    left = sum(row.macs * row.macs_left for row in rows) / macs if macs else 0.0
    textbook = weights * FLOAT_BITS / 8 / sum(row.weights * FLOAT_BITS / 8 / (row.textbook or 1.0) for row in rows)
    return LayerRow(
        "total",
        weights,
        macs,
        active,
        sum(kept) / weights,
        left,
        sum(row.bits * some for row, some in zip(rows, kept, strict=True)) / (sum(kept) or 1),
        sum(row.codes for row in rows),
        sum(row.gaps for row in rows),
        sum(row.tables for row in rows),
        size,
        textbook,
    )
