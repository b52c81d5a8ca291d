"""What a network says about its head: where the three blobs are made, and their numbers of cells, anchors and classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opencv_squeezedet.blobs import BLOBS, OutputRefs
from opencv_squeezedet.config import BlobLayout, FirstAxis, HeadConfig
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.network.graph import Network, Step
from opencv_squeezedet.network.layers import Permute, Reshape, Shape, Sigmoid, Softmax

__all__ = ["Head", "check_config", "derive_config", "head_of"]

_MOST_CLASSES = 100_000
_PICTURE_AXES: dict[int, FirstAxis] = {2: "y", 3: "x"}  # of (N, C, H, W)


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a network's shapes determine; fields as in `HeadConfig`, but anchors and classes are counts.

    ``first_axis`` is the picture axis that the first grid axis runs along, given that the network's layers may swap rows and
    columns; None if they do not say. ``outputs`` has for each blob the layer that gives it, and which of the layer's tops
    it is.
    """

    input_size: tuple[int, int]
    grid: tuple[int, int]
    first_axis: FirstAxis | None
    anchors: int
    classes: int
    layout: BlobLayout
    activated: bool
    outputs: dict[str, tuple[str, int]]


def head_of(network: Network, outputs: OutputRefs | None = None) -> Head:
    """Derive the head from the shapes of the three blobs.

    Parameters
    ----------
    network : Network
        The network.
    outputs : mapping, optional
        For each of `BLOBS`, (layer, index of its top), or a top's name. Default: the tops that have the blobs' names.

    Raises
    ------
    ModelError
        If a blob is missing, or two do not fit each other; the message names the layer, what it gives, and what was expected.
    """
    tops = {blob: _blob_top(network, blob, outputs) for blob in BLOBS}
    shapes = {blob: step.tops[top] for blob, (step, top) in tops.items()}
    layout, grid, anchors = _cells(tops["conf_scores"][0], shapes["conf_scores"], shapes["delta_bbox"])
    step, top = tops["conf_scores"]
    first_axis = _first_axis(network, step.layer.tops[top], 1 if layout == "hwc" else 2)
    cells = math.prod(grid) * anchors
    if (deltas := math.prod(shapes["delta_bbox"][1:])) != cells * 4:
        problem = f"delta_bbox of {shapes['delta_bbox']} has {deltas} values"
        raise tops["delta_bbox"][0].layer.error(f"{problem}; {cells * 4}, 4 deltas for each of {cells} anchors, were expected")
    values = math.prod(shapes["class_scores"][1:])
    if values % cells:
        step = tops["class_scores"][0]
        raise step.layer.error(
            f"class_scores of {shapes['class_scores']} have {values} values, which cannot be split evenly among "
            f"{cells} anchors, a grid of {grid[0]}x{grid[1]} with {anchors} per cell"
        )
    kinds = isinstance(tops["class_scores"][0].layer, Softmax), isinstance(tops["conf_scores"][0].layer, Sigmoid)
    if kinds[0] != kinds[1]:
        step = tops["class_scores" if kinds[1] else "conf_scores"][0]
        raise step.layer.error("class scores from a Softmax and confidences from a Sigmoid were expected, or neither")
    return Head(
        input_size=network.input_size,
        grid=grid,
        first_axis=first_axis,
        anchors=anchors,
        classes=values // cells,
        layout=layout,
        activated=kinds[0],
        outputs={blob: (step.layer.name, top) for blob, (step, top) in tops.items()},
    )


def derive_config(
    network: Network,
    *,
    anchors: Sequence[tuple[float, float]],
    labels: Sequence[str] | None = None,
    outputs: OutputRefs | None = None,
    **others: Any,
) -> HeadConfig:
    """Make the config of a network's head; input size, grid, first axis, layout and activation come from the network.

    Parameters
    ----------
    network : Network
        The network.
    anchors : sequence of (float, float)
        Width and height of each anchor shape, input pixels.
    labels : sequence of str, optional
        Class names. Default: "class 0" and so on.
    outputs : mapping, optional
        As in `head_of`.
    **others
        Further fields of `HeadConfig`. A ``first_axis`` given here overrides the network's own: weights may have been trained
        with either, and those of opencv_contrib's network were trained with "x".

    Raises
    ------
    ModelError
        As for `head_of`; if a field is not the network's; if there are more or fewer anchors or labels than it has; or if
        the network does not say which picture axis is first and ``first_axis`` is not given.
    ValueError, TypeError
        As for `HeadConfig`.
    """
    head = head_of(network, outputs)
    if head.classes > _MOST_CLASSES:
        raise ModelError(f"{network.name!r} has {head.classes} classes, at most {_MOST_CLASSES} are possible")
    names = [f"class {i}" for i in range(head.classes)] if labels is None else labels
    known = {name: getattr(head, name) for name in ("input_size", "grid", "first_axis", "layout", "activated")}
    if head.first_axis is None and "first_axis" not in others:
        raise ModelError(
            f"{network.name!r} does not say which picture axis its first grid axis is: give first_axis, 'x' or 'y'"
        )
    config = HeadConfig.from_dict({**known, "anchors": anchors, "labels": names, **others})
    check_config(head, config)
    return config


def check_config(head: Head, config: HeadConfig) -> None:
    """Check that a config matches a network's head.

    Raises
    ------
    ModelError
        If it does not; the message names the layer, what it gives, and what the config expects.
    """
    fields = {
        "input_size": ("delta_bbox", head.input_size, config.input_size),
        "grid": ("delta_bbox", head.grid, config.grid),
        "layout": ("delta_bbox", head.layout, config.layout),
        "anchors in a cell": ("conf_scores", head.anchors, len(config.anchors)),
        "classes": ("class_scores", head.classes, len(config.labels)),
        "activated": ("class_scores", head.activated, config.activated),
    }
    for name, (blob, got, expected) in fields.items():
        if got != expected:
            raise ModelError(
                f"layer {head.outputs[blob][0]!r}: it gives {blob} of a head with {name} {got}, the config has {expected}"
            )


def _blob_top(network: Network, blob: str, outputs: OutputRefs | None) -> tuple[Step, int]:
    """The step that makes the blob, and which of its tops it is."""
    output = blob if outputs is None else outputs[blob]
    if isinstance(output, str):
        for step in reversed(network.steps):
            if output in step.layer.tops:
                return step, step.layer.tops.index(output)
        raise ModelError(
            f"{network.name!r} has no blob {output!r}, a SqueezeDet head's; its outputs are {', '.join(network.output_names)}"
        )
    name, top = output
    step = network.step(name)
    if top >= len(step.tops):
        raise step.layer.error(f"it has {len(step.tops)} tops; number {top} should give {blob}")
    return step, top


def _cells(step: Step, confidences: Shape, deltas: Shape) -> tuple[BlobLayout, tuple[int, int], int]:
    """Layout, grid and anchors in a cell."""
    if len(confidences) == len(deltas) == 4:
        _, *hwc = confidences
        if tuple(deltas[1:3]) == tuple(hwc[:2]):
            return "hwc", (hwc[0], hwc[1]), hwc[2]
        if tuple(deltas[2:]) == tuple(hwc[1:]):
            return "chw", (hwc[1], hwc[2]), hwc[0]
    raise step.layer.error(
        f"conf_scores of {confidences} and delta_bbox of {deltas} do not determine the grid; "
        "(N, n0, n1, channels) or (N, channels, n0, n1) with the same n0 and n1 were expected"
    )


def _first_axis(network: Network, blob: str, axis: int) -> FirstAxis | None:
    """Follow a grid axis of a blob up through the layers that permute it, to the feature map (N, C, H, W)."""
    for step in reversed(network.steps):
        if blob not in step.layer.tops:
            continue
        if step.weights:
            break
        if isinstance(step.layer, Reshape):
            return None
        if isinstance(step.layer, Permute):
            axis = step.layer.order[axis]
        blob = step.layer.bottoms[0]
    return _PICTURE_AXES.get(axis)
