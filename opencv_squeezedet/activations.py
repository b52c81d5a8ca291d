"""The output of a network's layer for a picture, as a picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.model import Model
from opencv_squeezedet.network import ReLU
from opencv_squeezedet.preprocess import Picture, Preprocess

_LEAST_SIDE = 48  # pixels of a map in the picture
_MOST_WIDTH = 1600
_GAP = 2


def layer_maps(model: Model, image: Picture, layer: str | None = None) -> tuple[str, NDArray[np.float32]]:
    """Return a layer's name and its output (C, H, W) float32 for a picture, after its ReLU if it has one.

    The picture (H, W, 3) uint8, BGR, is preprocessed as the model says, or as for opencv_contrib's networks. The default layer
    is the last one with a ReLU. ModelError if the model is damaged, there is no such layer, or its output is not maps.
    FileNotFoundError if the weights are missing.
    """
    network = model.network
    if layer is None:
        rectified = {name for relu in network.layers if isinstance(relu, ReLU) for name in relu.tops}
        named = [step.layer.name for step in network.weighted() if step.layer.tops[0] in rectified]
        if not named:
            raise ModelError(f"{model.name}: no layer has a ReLU: name one")
        layer = named[-1]
    known = {each.name: each for each in network.layers}
    if layer not in known:
        raise ModelError(f"{model.name}: no layer {layer!r}; it has {', '.join(known)}")
    top = known[layer].tops[0]
    shape = network.shape_of(top)
    if len(shape) != 4:
        raise ModelError(f"{model.name}: layer {layer!r} puts out {'x'.join(map(str, shape))}, not maps")
    preprocess = model.preprocess or Preprocess(network.input_size)
    (maps,) = model.open(tops=[top]).forward(preprocess.blob(image))
    return layer, np.asarray(maps[0], np.float32)


def draw_maps(maps: NDArray[np.float32]) -> Picture:
    """Return maps (C, H, W) beside each other, each in colours from its own 0 (or least value) to its maximum."""
    count, height, width = maps.shape
    scale = max(1, -(-_LEAST_SIDE // max(height, width)))
    cell = height * scale + _GAP, width * scale + _GAP
    columns = max(1, min(count, _MOST_WIDTH // cell[1], int(np.ceil(np.sqrt(count * cell[0] / cell[1])))))
    canvas = np.full((-(-count // columns) * cell[0], columns * cell[1], 3), 255, np.uint8)
    for i, plane in enumerate(maps):
        low, high = min(0.0, float(plane.min())), float(plane.max())
        grey = np.clip((plane - low) / max(high - low, 1e-12) * 255, 0, 255).astype(np.uint8)
        coloured = cv2.applyColorMap(grey.repeat(scale, 0).repeat(scale, 1), cv2.COLORMAP_VIRIDIS)
        row, column = divmod(i, columns)
        y, x = row * cell[0], column * cell[1]
        canvas[y : y + height * scale, x : x + width * scale] = coloured
    return canvas
