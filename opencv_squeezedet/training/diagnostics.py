"""What one looks at while a network learns: its layers in numbers, and the pictures as it is fed them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opencv_squeezedet.files import encode_picture
from opencv_squeezedet.network import Network, ReLU
from opencv_squeezedet.preprocess import Picture
from opencv_squeezedet.training.data import Batch
from opencv_squeezedet.training.losses import Assigned
from opencv_squeezedet.training.module import TorchNetwork
from opencv_squeezedet.training.predictions import Anchors

_BINS = 40
_MANY_DEAD = 0.5
_GREEN, _ORANGE, _GREY, _BLUE = (60, 200, 60), (0, 140, 255), (150, 150, 150), (170, 105, 23)  # BGR


class Histogram(NamedTuple):
    """How often values lie between edges: counts (N,), edges (N + 1,), and the values' mean and standard deviation."""

    counts: NDArray[np.int64]
    edges: NDArray[np.float64]
    mean: float
    deviation: float


class LayerState(NamedTuple):
    """A layer with weights, and what it does with some pictures.

    Parameters
    ----------
    name : str
        The layer.
    weights, activations : Histogram
        Of its kernel, without batch normalisation, and of what it puts out, after its ReLU.
    dead : float
        Share of its channels that are 0 everywhere in all pictures; NaN without a ReLU.
    """

    name: str
    weights: Histogram
    activations: Histogram
    dead: float


def layer_states(model: TorchNetwork, blob: Tensor) -> list[LayerState]:
    """Return the state of each layer with weights.

    Parameters
    ----------
    model : TorchNetwork
        The network, in evaluation mode.
    blob : (N, C, H, W) tensor
        Some pictures.
    """
    steps = list(model.network.trained())
    names = [step.layer.tops[0] for step in steps]
    rectified = _rectified(model.network)
    with torch.inference_mode():
        outputs = model(blob, names)
    states = []
    for step, name, output in zip(steps, names, outputs, strict=True):
        dead = float((output == 0).all(3).all(2).all(0).float().mean()) if name in rectified else math.nan
        kernel = model.kernel(step.layer.name)
        states.append(LayerState(step.layer.name, _histogram(kernel), _histogram(output), dead))
    return states


def _rectified(network: Network) -> set[str]:
    """Blobs that a ReLU, whose negative side is 0, writes in place."""
    found = (layer for layer in network.layers if isinstance(layer, ReLU) and not layer.slope)
    return {layer.tops[0] for layer in found if layer.tops == layer.bottoms}


def _histogram(values: Tensor) -> Histogram:
    values = values.detach().float().flatten()
    low, high = float(values.min()), float(values.max())
    high = high if high > low else low + 1e-6
    counts = torch.histc(values, _BINS, low, high).cpu().numpy().astype(np.int64)
    return Histogram(counts, np.linspace(low, high, _BINS + 1), float(values.mean()), float(values.std(correction=0)))


def mostly_dead(state: LayerState) -> bool:
    """Whether more than a half of a layer's ReLUs are dead."""
    return state.dead > _MANY_DEAD


def states_csv(states: Sequence[LayerState]) -> bytes:
    """Return a table with a row for each layer."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("layer", "weight_mean", "weight_std", "activation_mean", "activation_std", "dead"))
    for state in states:
        numbers = (*state.weights[2:], *state.activations[2:], state.dead)
        writer.writerow((state.name, *("" if math.isnan(number) else f"{number:.5g}" for number in numbers)))
    return table.getvalue().encode()


def states_png(before: Sequence[LayerState], now: Sequence[LayerState]) -> bytes:
    """Return histograms of each layer's weights (upper) and activations (lower) as a picture: at the start grey, now blue.

    Heights are logarithms of counts; below are the least and the largest value of both.
    """
    columns, width, height = 6, 220, 80
    rows = -(-len(now) // columns)
    cell = 2 * height + 62
    canvas = np.full((rows * cell, columns * width, 3), 255, np.uint8)
    for place, (old, new) in enumerate(zip(before, now, strict=True)):
        left, top = place % columns * width, place // columns * cell
        dead = f", {100 * new.dead:.0f} % dead" if new.dead > 0 else ""
        _write(canvas, f"{new.name}{dead}", left + 8, top + 14)
        for half, pair in enumerate(((old.weights, new.weights), (old.activations, new.activations))):
            y = top + 20 + half * (height + 20)
            low, high = (pick(one.edges[end] for one in pair) for pick, end in ((min, 0), (max, -1)))
            for histogram, colour in zip(pair, (_GREY, _BLUE), strict=True):
                _bars(canvas[y : y + height, left + 8 : left + width - 8], histogram, low, high, colour)
            _write(canvas, f"{low:.3g}", left + 8, y + height + 11)
            _write(canvas, f"{high:.3g}", left + width - 60, y + height + 11)
    return encode_picture(canvas, ".png")


def _write(canvas: Picture, text: str, x: int, y: int) -> None:
    cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (60, 60, 60), 1, cv2.LINE_AA)


def _bars(canvas: Picture, histogram: Histogram, low: float, high: float, colour: tuple[int, int, int]) -> None:
    """Mix a histogram of values between two limits into a part of a picture."""
    height, width = canvas.shape[:2]
    values = low + (np.arange(width) + 0.5) / width * (high - low)
    places = np.searchsorted(histogram.edges, values, side="right") - 1
    inside = (places >= 0) & (places < len(histogram.counts))
    counts = np.where(inside, histogram.counts[places.clip(0, len(histogram.counts) - 1)], 0)
    tall = np.log1p(counts) / np.log1p(histogram.counts.max()) * height
    filled = np.arange(height, 0, -1)[:, None] <= tall
    canvas[filled] = (canvas[filled].astype(int) + np.array(colour)) // 2


def assigned_sheet(batch: Batch, assigned: Assigned, anchors: Anchors) -> bytes:
    """Return some pictures as they were fed: objects green, ignored ones grey, and the anchors assigned to them orange."""
    pictures = []
    for i, fed in enumerate(batch.images[:12].numpy()):
        image = fed.copy()
        for row in torch.nonzero(assigned.picture == i).flatten().tolist():
            anchor = int(assigned.anchor[row])
            middle, half = anchors.centers[anchor], anchors.sizes[anchor] / 2
            _rectangle(image, (*(middle - half).tolist(), *(middle + half).tolist()), _ORANGE, 1)
            cv2.circle(image, (round(float(middle[0])), round(float(middle[1]))), 3, _ORANGE, -1)
        for row in torch.nonzero(batch.targets.picture == i).flatten().tolist():
            colour = _GREEN if batch.targets.quality[row] > 0 else _GREY
            _rectangle(image, batch.targets.xyxy[row].tolist(), colour, 2)
        pictures.append(image)
    return sheet(pictures)


def _rectangle(image: Picture, xyxy: Sequence[float], colour: tuple[int, int, int], width: int) -> None:
    x1, y1, x2, y2 = (round(value) for value in xyxy)
    cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), colour, width)


def sheet(pictures: Sequence[Picture]) -> bytes:
    """Return up to twelve pictures beside each other, as JPEG."""
    rows, columns, side = 3, 4, 256
    canvas = np.zeros((rows * side, columns * side, 3), np.uint8)
    for i, image in enumerate(pictures[: rows * columns]):
        scale = side / max(image.shape[:2])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:side, :side]
        row, column = i // columns * side, i % columns * side
        canvas[row : row + small.shape[0], column : column + small.shape[1]] = small
    return encode_picture(canvas, ".jpg")


def table_of(rows: Sequence[Mapping[str, float]], columns: Sequence[str]) -> bytes:
    """Return rows as CSV, with empty cells where a row has no number."""
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue().encode()
