"""Draws the site's figures with the package itself, before Sphinx reads its sources."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import opencv_squeezedet as sd

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "_generated"
PICTURE = ROOT / "samples" / "chelsea.jpg"
COLOURS = ["#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#17becf", "#e377c2", "#bcbd22", "#8c564b"]
STYLE = {"font.size": 10, "axes.titlesize": 11, "figure.dpi": 100, "savefig.dpi": 130, "svg.hashsalt": "site"}


# ---- drawing ------------------------------------------------------------------------------------------------------------


def save(figure: Figure, name: str) -> None:
    """Write a figure as PNG."""
    figure.savefig(FOLDER / f"{name}.png", facecolor="white", bbox_inches="tight")


def panels(count: int, width: float, height: float, rows: int = 1) -> tuple[Figure, Any]:
    """Return a figure with axes side by side."""
    figure = Figure((width, height), layout="constrained")
    return figure, figure.subplots(rows, count, squeeze=False)


def show(axes: Axes, picture: np.ndarray, title: str) -> None:
    """Show a BGR picture without axes."""
    axes.imshow(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    axes.set_title(title)
    axes.set_axis_off()


def box(axes: Axes, xyxy: Any, colour: str, text: str = "", corner: int = 0, **line: Any) -> None:
    """Draw a box, with text inside a corner: upper left, upper right, lower right or lower left."""
    x1, y1, x2, y2 = (float(value) for value in xyxy)
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, **{"linewidth": 2, **line}))
    left, top = corner in (0, 3), corner in (0, 1)
    if text:
        place = {"ha": "left" if left else "right", "va": "top" if top else "bottom"}
        words = {"color": "white", "fontsize": 8, "bbox": {"facecolor": colour, "pad": 1.5, "lw": 0}}
        axes.text(x1 + 3 if left else x2 - 3, y1 + 3 if top else y2 - 3, text, **place, **words)


def centres(head: sd.HeadConfig) -> tuple[np.ndarray, np.ndarray]:
    """The x of all columns and the y of all rows of the grid, input pixels."""
    width, height = head.input_size
    columns, rows = head.grid if head.first_axis == "x" else head.grid[::-1]
    return (np.arange(columns) + 1) * width / (columns + 1), (np.arange(rows) + 1) * height / (rows + 1)


# ---- the steps of a detection ----------------------------------------------------------------------------------------------


def grid(detector: sd.SqueezeDet, picture: np.ndarray) -> None:
    """Draw all anchor centres on the network's input, and the nine shapes at one of them."""
    head = detector.config
    shrunk = cv2.resize(picture, head.input_size)
    figure, ((left, right),) = panels(2, 9, 4.8)
    xs, ys = centres(head)
    show(left, shrunk, f"{len(xs)}x{len(ys)} anchor centres on the {head.input_size[0]}x{head.input_size[1]} input")
    left.plot(*(axis.ravel() for axis in np.meshgrid(xs, ys)), ".", color="#ffe14d", markersize=4)
    for edge in head.input_size[0] * np.arange(1, 24) / 24:
        left.axvline(edge, color="white", linewidth=0.3, alpha=0.5)
        left.axhline(edge, color="white", linewidth=0.3, alpha=0.5)
    middle = float(xs[len(xs) // 2]), float(ys[len(ys) // 2])
    show(right, shrunk, f"the {len(head.anchors)} anchor shapes at the centre of the grid")
    for (width, height), colour in zip(head.anchors, COLOURS, strict=False):
        corner = middle[0] - width / 2, middle[1] - height / 2
        box(right, (*corner, corner[0] + width, corner[1] + height), colour, f"{width:.0f}x{height:.0f}")
    right.plot(*middle, "o", color="#ffe14d")
    save(figure, "grid")


def way(detector: sd.SqueezeDet, picture: np.ndarray) -> None:
    """Draw the input, the confidences, all candidates, and the boxes that NMS keeps."""
    head = detector.config
    blobs = detector.forward(picture)
    shrunk = cv2.resize(picture, head.input_size)
    figure, grid_of_axes = panels(2, 7.5, 7.2, rows=2)
    axes = grid_of_axes.ravel()
    show(axes[0], shrunk, "the network's input")
    confidence = np.reshape(blobs.conf_scores, (*head.grid, -1)).max(2)
    show(axes[1], shrunk, "confidence of each cell's best anchor")
    extent, strength = (0, *head.input_size, 0), np.sqrt(confidence.T).clip(0.15, 0.9)
    heat = axes[1].imshow(confidence.T, cmap="inferno", extent=extent, alpha=strength, vmin=0, vmax=1)
    figure.colorbar(heat, ax=axes[1], shrink=0.8)
    scores, class_ids = sd.score(blobs.class_scores, blobs.conf_scores, head)
    boxes = sd.decode(blobs.delta_bbox, head)
    strong = np.flatnonzero(scores > head.score_threshold)
    show(axes[2], shrunk, f"{len(strong)} anchors above {head.score_threshold:g}, decoded")
    for anchor in strong:
        box(axes[2], boxes[anchor], COLOURS[class_ids[anchor] % len(COLOURS)], linewidth=0.6)
    found = sd.postprocess(*blobs, head)
    show(axes[3], shrunk, f"after NMS at {head.nms_threshold:g}: {len(found)}")
    for one in found:
        box(axes[3], one.xyxy, COLOURS[one.class_id % len(COLOURS)], f"{one.label} {one.confidence:.2f}")
    save(figure, "way")


def axes_exchanged(detector: sd.SqueezeDet, picture: np.ndarray) -> None:
    """Draw the same blobs decoded with the first axis as x (correct) and as y (wrong)."""
    head = detector.config
    blobs = detector.forward(picture)
    shrunk = cv2.resize(picture, head.input_size)
    figure, (axes,) = panels(2, 8, 4.2)
    for axis, name in zip(axes, ("x", "y"), strict=True):
        other = dataclasses.replace(head, first_axis=name)
        best = sd.postprocess(*blobs, other, score_threshold=0.2)
        show(axis, shrunk, f'first_axis="{name}"' + ("" if name == head.first_axis else ": wrong for this network"))
        for one in best:
            box(axis, one.xyxy, COLOURS[2] if name == head.first_axis else COLOURS[1], f"{one.label} {one.confidence:.2f}")
    save(figure, "first_axis")


# ---- NMS ----------------------------------------------------------------------------------------------------------------

SCENES = {
    "a chain": [
        ("cat", 0.9, (20, 40, 140, 160)),
        ("cat", 0.8, (75, 50, 195, 170)),
        ("cat", 0.7, (130, 60, 250, 180)),
    ],
    "one object, detected four times": [
        ("cat", 0.9, (60, 30, 200, 170)),
        ("cat", 0.6, (80, 45, 225, 175)),
        ("cat", 0.4, (45, 20, 180, 150)),
        ("dog", 0.5, (66, 34, 208, 168)),
    ],
}
LABELS = ("cat", "dog")
SIZE = (270, 200)
SIDE = 100.0


def head_of(count: int, **options: Any) -> sd.HeadConfig:
    """Return a head with one row of anchors of one shape."""
    return sd.HeadConfig(
        input_size=SIZE,
        grid=(1, count),
        first_axis="y",
        anchors=[(SIDE, SIDE)],
        labels=LABELS,
        delta_order="xywh",
        **{"score_threshold": 0.05, "nms_threshold": 0.3, "nms_kind": "greedy", **options},
    )


def candidates(scene: list[tuple[str, float, tuple[int, ...]]], **options: Any) -> sd.Detections:
    """Return the result of post-processing for blobs that decode to exactly these boxes."""
    head = head_of(len(scene), **options)
    xs, ys = centres(head)
    deltas, classes, confidences = np.zeros((1, len(scene), 4)), np.zeros((len(scene), 2)), np.zeros((1, len(scene), 1))
    for i, (label, score, (x1, y1, x2, y2)) in enumerate(scene):
        middle = (x1 + x2) / 2 - xs[i], (y1 + y2) / 2 - ys[0]
        deltas[0, i] = [middle[0] / SIDE, middle[1] / SIDE, np.log((x2 - x1) / SIDE), np.log((y2 - y1) / SIDE)]
        classes[i, LABELS.index(label)] = 1
        confidences[0, i] = score
    return sd.postprocess(deltas, classes, confidences, head)


RULES: dict[str, dict[str, Any]] = {
    "candidates": {"nms_threshold": 1.0},
    '"reference"': {"nms_kind": "reference"},
    '"greedy"': {},
    '"soft"': {"nms_kind": "soft"},
    '"greedy",\nvote_threshold=0.5': {"vote_threshold": 0.5},
    '"greedy", cross_\nclass_threshold=0.8': {"cross_class_threshold": 0.8},
    '"greedy",\nclass_agnostic=True': {"class_agnostic": True},
}


def nms() -> None:
    """Draw the result of every rule for the same candidates."""
    figure, grid_of_axes = panels(len(SCENES), 6, 2.1 * len(RULES), rows=len(RULES))
    for column, (axes, (name, scene)) in enumerate(zip(grid_of_axes.T, SCENES.items(), strict=True)):
        axes[0].set_title(name)
        places = np.array([place for _, _, place in scene])
        for axis, (rule, options) in zip(axes, RULES.items(), strict=True):
            axis.set(xlim=(0, SIZE[0]), ylim=(SIZE[1], 0), xticks=[], yticks=[], aspect="equal", facecolor="#f4f4f0")
            if column == 0:
                axis.set_ylabel(rule)
            for one in list(candidates(scene, **options))[::-1]:
                corner = int(np.abs(places - one.xyxy).sum(axis=1).argmin())
                colour = COLOURS[0] if one.label == "cat" else COLOURS[3]
                box(axis, one.xyxy, colour, f"{one.label} {one.confidence:.2f}", corner)
    save(figure, "nms")


# ---- measured -----------------------------------------------------------------------------------------------------------


def zoo() -> None:
    """Plot the numbers of ``benchmarks/zoo.py``: mAP over size and over time."""
    rows = json.loads((ROOT / "docs" / "measured" / "zoo.json").read_text())["detectors"]
    figure, ((left,), (right,)) = panels(1, 6.5, 7.5, rows=2)
    names = list(dict.fromkeys(row["name"] for row in rows))
    for axis, key, label in ((left, "megabytes", "file, MB"), (right, "milliseconds", "picture to boxes on one core, ms")):
        seen = set()
        for row in rows:
            words = row["name"] if key == "megabytes" else f"{row['name']}, {row['engine']}"
            if words not in seen:
                seen.add(words)
                colour, ours = COLOURS[names.index(row["name"])], row["name"].startswith("SqueezeDet")
                shape = {"marker": "*" if ours else "o", "markersize": 14 if ours else 8, "linestyle": ""}
                axis.plot(row[key], row["voc07"], color=colour, label=words, **shape)
        most = max(row[key] for row in rows)
        axis.set(xlim=(0, 1.1 * most), xlabel=label, ylabel="VOC07 mAP, %", ylim=(40, 90))
        axis.legend(fontsize=8, loc="upper left", ncols=2, frameon=False)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    save(figure, "zoo")


def draw(app: Sphinx) -> None:
    """Draw all figures."""
    FOLDER.mkdir(exist_ok=True)
    detector, picture = sd.SqueezeDet(), cv2.imread(str(PICTURE))
    with mpl.rc_context(STYLE):
        for one in (grid, way, axes_exchanged):
            one(detector, picture)
        nms()
        zoo()


def setup(app: Sphinx) -> dict[str, bool]:
    """Register."""
    app.connect("builder-inited", draw)
    return {"parallel_read_safe": True}
