"""A head's arithmetic in torch, with the formulas of the compiled decoder: anchors, boxes from deltas, IoU."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor

from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.network import Network, Slice

_MOST_LOG = 5.0  # keeps boxes finite early in training


class Predictions(NamedTuple):
    """A network's outputs for each anchor, as logits: deltas (N, A, 4), classes (N, A, C), confidence (N, A)."""

    deltas: Tensor
    classes: Tensor
    confidence: Tensor


class Anchors(NamedTuple):
    """Centres and sizes of all anchors, input pixels, and the grid's strides; each (A, 2), the strides (2,)."""

    centers: Tensor
    sizes: Tensor
    strides: Tensor


class LogitChannels(NamedTuple):
    """The last layer with weights, and its output channels with class logits and with confidence logits."""

    layer: str
    classes: slice
    confidence: slice


def logit_channels(network: Network) -> LogitChannels:
    """Return the layer and the channels of a network's logits."""
    classes, confidence = cast(Slice, network.step("slice").layer).points
    *_, last = network.trained()
    return LogitChannels(last.layer.name, slice(0, classes), slice(classes, confidence))


def anchors_of(config: HeadConfig) -> Anchors:
    """Return the anchors of a head in the order of its blobs."""
    x_first, inner = config.first_axis == "x", config.centers == "inner"
    grid = config.grid if x_first else config.grid[::-1]  # columns, rows
    strides = [side / (count + inner) for side, count in zip(config.input_size, grid, strict=True)]
    axes = [(torch.arange(count) + (1.0 if inner else 0.5)) * stride for count, stride in zip(grid, strides, strict=True)]
    x, y = torch.meshgrid(*axes, indexing="ij" if x_first else "xy")
    shapes = torch.tensor(config.anchors)
    cells = torch.stack([x, y], dim=-1).reshape(-1, 2)
    return Anchors(cells.repeat_interleave(len(shapes), dim=0), shapes.repeat(len(cells), 1).float(), torch.tensor(strides))


def predictions(delta_bbox: Tensor, class_logits: Tensor, confidence_logits: Tensor, config: HeadConfig) -> Predictions:
    """Reshape a network's last blobs, (N, n0, n1, channels) each, to one row per anchor, in float32."""
    n = len(delta_bbox)
    return Predictions(
        delta_bbox.reshape(n, -1, 4).float(),
        class_logits.reshape(n, -1, len(config.labels)).float(),
        confidence_logits.reshape(n, -1).float(),
    )


def decode_xyxy(deltas: Tensor, centers: Tensor, sizes: Tensor, config: HeadConfig) -> Tensor:
    """Return boxes (..., 4) for deltas (..., 4), not clipped, so that every box has a gradient."""
    middle = centers + sizes * deltas[..., :2]
    logs = deltas[..., 2:].flip(-1) if config.delta_order == "xyhw" else deltas[..., 2:]
    if config.exp_threshold is None:
        factors = logs.clamp(max=_MOST_LOG).exp()
    else:
        t = config.exp_threshold
        factors = torch.where(logs > t, math.exp(t) * (logs - t + 1), logs.clamp(max=t).exp())
    half = sizes * factors / 2
    return torch.cat([middle - half, middle + half], dim=-1)


def iou_xyxy(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU of boxes (..., 4), with broadcasting."""
    inside = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inside
    return inside / union.clamp(min=1e-7)


def ciou_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return 1 - CIoU (Zheng et al., arXiv:1911.08287) of pairs of boxes (P, 4)."""
    iou = iou_xyxy(predicted, truth)
    low, high = torch.minimum(predicted[:, :2], truth[:, :2]), torch.maximum(predicted[:, 2:], truth[:, 2:])
    diagonal = (high - low).square().sum(-1).clamp(min=1e-7)
    apart = (predicted[:, :2] + predicted[:, 2:] - truth[:, :2] - truth[:, 2:]).square().sum(-1) / 4
    (w, h), (true_w, true_h) = ((box[:, 2:] - box[:, :2]).clamp(min=1e-3).unbind(-1) for box in (predicted, truth))
    shape = (4 / math.pi**2) * (torch.atan(true_w / true_h) - torch.atan(w / h)).square()
    with torch.no_grad():
        weight = shape / (1 - iou + shape).clamp(min=1e-7)
    return 1 - iou + apart / diagonal + weight * shape
