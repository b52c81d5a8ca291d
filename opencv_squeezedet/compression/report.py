"""The report on a compression as one self-contained HTML file (extra ``[eval]``, for its plots)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.compression.compress import REMOVED, Compressed
from opencv_squeezedet.compression.table import HEADER
from opencv_squeezedet.pictures import encode_picture
from opencv_squeezedet.preprocess import Picture
from opencv_squeezedet.report_page import BLUE, GREY, ORANGE, page, photo, plot, section, svg, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 5
_BINS = 80
_MOST_CENTROIDS_SHOWN = 64


def to_html(
    compressed: Compressed, *, title: str, subtitle: str = "", pictures: Sequence[tuple[Picture, Picture]] = ()
) -> str:
    """Return the report: table, size of each layer, histograms, sensitivity, and pictures with detections before and after.

    ImportError if matplotlib is not installed.
    """
    sections = [
        section("Layers", table(HEADER, [row.cells() for row in compressed.rows[:-1]], compressed.rows[-1].cells())),
        section("Bytes of each layer", plot(_sizes(compressed), "bytes of codes, gaps, tables and biases of each layer")),
        section(
            "Weights before and after",
            "<p>Grey: before. Blue: the weights kept. Orange: the centroids, unless there are too many to tell apart.</p>"
            + plot(_histograms(compressed), "histograms of each layer's weights before and after, with centroids"),
        ),
    ]
    if compressed.curves:
        sections.append(
            section("Sensitivity", plot(_sensitivity(compressed), "output error against the fraction of weights removed"))
        )
    if pictures:
        photos = [photo(encode_picture(picture, ".jpg")) for pair in pictures for picture in pair]
        figures = "".join(f"<figure>{image}</figure>" for image in photos)
        sections.append(section("Detections before and after", f'<div class="gallery">{figures}</div>'))
    return page(title, subtitle, sections)


def _sizes(compressed: Compressed) -> str:
    rows = compressed.rows[-2::-1]
    parts = {
        "codes": [row.codes for row in rows],
        "gaps": [row.gaps for row in rows],
        "tables and biases": [row.size - row.codes - row.gaps for row in rows],
    }

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        positions, start = np.arange(len(rows)), np.zeros(len(rows))
        for (name, sizes), colour in zip(parts.items(), (BLUE, ORANGE, GREY), strict=True):
            axes.barh(positions, np.array(sizes) / 1000, left=start / 1000, label=name, color=colour, height=0.7)
            start += sizes
        axes.set(yticks=positions, xlabel="kB", ylim=(-0.6, len(rows) - 0.4))
        axes.set_yticklabels([row.layer for row in rows])
        axes.legend(frameon=False)

    return svg((9.5, 0.9 + 0.2 * len(rows)), draw)


def _histograms(compressed: Compressed) -> str:
    names = list(compressed.choices)
    lines = -(-len(names) // _COLUMNS)

    def draw(figure: Figure) -> None:
        for number, name in enumerate(names, 1):
            axes = figure.add_subplot(lines, _COLUMNS, number)
            before, after = compressed.original.weights[name][0].ravel(), compressed.model.weights[name][0].ravel()
            reach = float(np.quantile(np.abs(before), 0.999)) or 1.0
            bins = np.linspace(-reach, reach, _BINS).tolist()
            left = before[after != 0]
            axes.hist(np.clip(before, -reach, reach), bins, color=GREY, alpha=0.5)
            axes.hist(np.clip(left, -reach, reach), bins, color=BLUE, alpha=0.8)
            centroids: NDArray[np.float32] = np.unique(after[after != 0])
            if len(centroids) <= _MOST_CENTROIDS_SHOWN:
                axes.vlines(centroids[np.abs(centroids) <= reach], 0, 0.06 * axes.get_ylim()[1], color=ORANGE, linewidth=0.8)
            axes.set_title(name, fontsize=7)
            axes.tick_params(labelsize=5, labelleft=False, length=2)

    return svg((9.5, 0.4 + 1.3 * lines), draw)


def _sensitivity(compressed: Compressed) -> str:
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, (name, errors) in enumerate(compressed.curves.items()):
            shade = number / max(1, len(compressed.curves) - 1)
            colour = 0.05 + 0.8 * shade, 0.35, 0.75 - 0.6 * shade
            axes.plot(REMOVED, np.maximum(errors, 1e-9), "o-", color=colour, lw=1, ms=2)
            axes.annotate(name, (REMOVED[-1], max(errors[-1], 1e-9)), fontsize=5, xytext=(3, 0), textcoords="offset points")
        axes.set(xlabel="fraction of the layer's weights removed", ylabel="relative output error", yscale="log")

    return svg((9.5, 6.0), draw)
