"""Diagnostics of a training: statistics of the layers, and the augmented pictures with their assigned anchors."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opencv_squeezedet.draw import contact_sheet
from opencv_squeezedet.extras import needs
from opencv_squeezedet.network import ReLU
from opencv_squeezedet.pictures import encode_picture
from opencv_squeezedet.preprocess import Picture
from opencv_squeezedet.training.data import Batch
from opencv_squeezedet.training.losses import Assigned
from opencv_squeezedet.training.module import TorchNetwork
from opencv_squeezedet.training.predictions import Anchors

_PICTURES = 12
_BINS = 40
_COLUMNS = 6  # layers in a row of the histograms
_GREEN, _ORANGE, _GREY = (60, 200, 60), (0, 140, 255), (150, 150, 150)  # BGR


class Histogram(NamedTuple):
    """A histogram with counts (N,) and edges (N + 1,), and the values' mean and standard deviation."""

    counts: NDArray[np.int64]
    edges: NDArray[np.float64]
    mean: float
    deviation: float


class LayerState(NamedTuple):
    """Statistics of a layer with weights, and of its activations for some pictures."""

    name: str
    weights: Histogram  # of its kernel, without batch normalisation
    activations: Histogram  # of its output, after the ReLU
    dead: float  # fraction of channels that are 0 everywhere in all pictures; NaN without a ReLU

    @property
    def is_mostly_dead(self) -> bool:
        """Whether more than half of the layer's ReLUs are dead."""
        return self.dead > 0.5


def layer_states(model: TorchNetwork, blob: Tensor) -> list[LayerState]:
    """Compute the statistics of each trained layer of a network in evaluation mode, given its input (N, C, H, W)."""
    layers = [step.layer for step in model.network.trained()]
    relus = (layer for layer in model.network.layers if isinstance(layer, ReLU) and not layer.slope)
    rectified = {layer.tops for layer in relus if layer.tops == layer.bottoms}
    with torch.inference_mode():
        outputs = model(blob.to(next(model.parameters())), [layer.tops[0] for layer in layers])
    states = []
    for layer, output in zip(layers, outputs, strict=True):
        dead = float((output == 0).all(3).all(2).all(0).float().mean()) if layer.tops in rectified else math.nan
        states.append(LayerState(layer.name, _histogram(model.kernel(layer.name)), _histogram(output), dead))
    return states


def _histogram(values: Tensor) -> Histogram:
    values = values.detach().float().flatten()
    low, high = float(values.min()), float(values.max())
    high = high if high > low else low + 1e-6
    counts = torch.histc(values, _BINS, low, high).cpu().numpy().astype(np.int64)
    return Histogram(counts, np.linspace(low, high, _BINS + 1), float(values.mean()), float(values.std(correction=0)))


def states_csv(states: Sequence[LayerState]) -> bytes:
    """Return a table with a row for each layer."""
    lines = ["layer,weight_mean,weight_std,activation_mean,activation_std,dead"]
    for state in states:
        numbers = (*state.weights[2:], *state.activations[2:], state.dead)
        lines.append(",".join([state.name, *("" if math.isnan(number) else f"{number:.5g}" for number in numbers)]))
    return "".join(f"{line}\n" for line in lines).encode()


def states_png(before: Sequence[LayerState], now: Sequence[LayerState]) -> bytes:
    """Plot histograms of each layer's weights (upper) and activations (lower) as PNG: grey at the start, blue now.

    Heights are logarithms of counts.
    """
    with needs("train"):
        from matplotlib.figure import Figure
    rows = -(-len(now) // _COLUMNS)
    figure = Figure(figsize=(2.2 * _COLUMNS, 2.4 * rows))
    spaces = {"left": 0.01, "right": 0.99, "bottom": 0.02, "top": 0.98, "hspace": 0.7, "wspace": 0.15}
    axes = figure.subplots(2 * rows, _COLUMNS, squeeze=False, gridspec_kw=spaces)
    for axis in axes.flat:
        axis.set_axis_off()
    for number, (old, new) in enumerate(zip(before, now, strict=True)):
        row, column = divmod(number, _COLUMNS)
        for half, pair in enumerate(((old.weights, new.weights), (old.activations, new.activations))):
            axis = axes[2 * row + half, column]
            axis.set_axis_on()
            for histogram, colour in zip(pair, ("0.6", "tab:blue"), strict=True):
                axis.stairs(np.log1p(histogram.counts), histogram.edges, fill=True, color=colour, alpha=0.5)
            axis.tick_params(left=False, labelleft=False, labelsize=6)
        dead = f", {100 * new.dead:.0f} % dead" if new.dead > 0 else ""
        axes[2 * row, column].set_title(f"{new.name}{dead}", fontsize=7, loc="left", pad=3)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def assigned_sheet(batch: Batch, assigned: Assigned, anchors: Anchors) -> bytes:
    """Return some augmented pictures as JPEG: objects green, ignored objects grey, and the anchors assigned to them orange."""
    pictures = []
    for i, augmented in enumerate(batch.images[:_PICTURES].numpy()):
        image = augmented.copy()
        for row in torch.nonzero(assigned.picture == i).flatten().tolist():
            anchor = int(assigned.anchor[row])
            middle, half = anchors.centers[anchor], anchors.sizes[anchor] / 2
            _rectangle(image, (*(middle - half).tolist(), *(middle + half).tolist()), _ORANGE, 1)
            cv2.circle(image, (round(float(middle[0])), round(float(middle[1]))), 3, _ORANGE, -1)
        for row in torch.nonzero(batch.targets.picture == i).flatten().tolist():
            colour = _GREEN if batch.targets.quality[row] > 0 else _GREY
            _rectangle(image, batch.targets.xyxy[row].tolist(), colour, 2)
        pictures.append(image)
    return encode_picture(contact_sheet(pictures), ".jpg")


def _rectangle(image: Picture, xyxy: Sequence[float], colour: tuple[int, int, int], width: int) -> None:
    x1, y1, x2, y2 = (round(value) for value in xyxy)
    cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), colour, width)
