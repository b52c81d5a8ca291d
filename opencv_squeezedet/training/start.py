"""The network to train: its layers, its head, and the weights and anchors that it starts with."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch

from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.datasets.names import class_table
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.formats import read_weights
from opencv_squeezedet.model import Model
from opencv_squeezedet.network import Convolution, Network, Weights
from opencv_squeezedet.network.architectures import TRAINABLE
from opencv_squeezedet.network.head import derive_config
from opencv_squeezedet.presets import VOC
from opencv_squeezedet.training.module import TorchNetwork
from opencv_squeezedet.training.predictions import logit_channels
from opencv_squeezedet.training.recipe import Recipe

_PRIOR = 0.01  # confidence of every anchor before training


def network_and_head(recipe: Recipe, labels: Sequence[str], size: tuple[int, int] | None = None) -> tuple[Network, HeadConfig]:
    """Return the network that a recipe trains for these classes, and its head.

    At an input ``size`` other than the recipe's, the anchors are the same in pixels: the network is fully convolutional, so an
    object of a given size in pixels must have the same deltas at any input size. ModelError if the input's sides do not suit
    the network. FileNotFoundError, ModelError, FetchError or ImportError as for `start_anchors`.
    """
    anchors = start_anchors(recipe)
    network = TRAINABLE[recipe.network].build(len(labels), len(anchors), recipe.input_size if size is None else size)
    return network, derive_config(
        network,
        anchors=anchors,
        labels=labels,
        score_threshold=0.3,
        nms_threshold=0.45,
        nms_kind="greedy",
        vote_threshold=0.5,
        cross_class_threshold=0.7,
        multi_label=True,
        top_n=512,
    )


def build_model(
    network: Network, recipe: Recipe, start: Weights | None = None, labels: Sequence[str] | None = None
) -> tuple[TorchNetwork, Weights]:
    """Return the network to train, and the weights that its layers start with, by layer: ``start``, or ``recipe.start``.

    If the start model has other classes than ``labels``, its last layer is not among them; see `keep_head_rows`. Convolutions
    without such weights, except the last layer, get batch normalisation, so that they learn as fast as the others. With
    ``recipe.normalized == "all"`` the others get it too; `TorchNetwork.init_batchnorm` makes it neutral at first.
    FileNotFoundError or ModelError if the weights cannot be read, or none of them fits a layer.
    """
    torch.manual_seed(recipe.seed)
    start = start_weights(recipe.start) if start is None else start
    weights = {_plain_name(name): blobs for name, blobs in start.items()}
    plain = {step.layer.name: _plain_name(step.layer.name) for step in network.trained()}
    fitting = {
        step.layer.name: weights[plain[step.layer.name]]
        for step in network.trained()
        if [tuple(blob.shape) for blob in weights.get(plain[step.layer.name], ())] == step.weights
    }
    if not fitting:
        raise ModelError(f"{recipe.start} has no weights that fit a layer of {network.name}")
    *inner, last = [step.layer for step in network.trained()]
    if labels is not None and (head := _start_head(recipe.start)) is not None and head.labels != tuple(labels):
        fitting.pop(last.name, None)
    frozen = [name for name in fitting if re.split(r"[_/]", name)[0] in recipe.frozen]
    kept = frozen if recipe.normalized == "all" else fitting
    normalized = [layer.name for layer in inner if layer.name not in kept and isinstance(layer, Convolution)]
    model = TorchNetwork(network, normalized)
    model.load_weights(fitting, strict=False)
    if last.name not in fitting:  # every anchor is almost certainly background
        weight, bias = model.filters[last.name].parameters()
        with torch.no_grad():
            weight.mul_(0.1)
            bias[logit_channels(network).confidence] = float(np.log(_PRIOR / (1 - _PRIOR)))
    model.freeze(frozen)
    return model, fitting


def keep_head_rows(model: TorchNetwork, config: HeadConfig, start: str) -> tuple[str, ...]:
    """Give the last layer the start model's rows for boxes, confidence and the classes that it has too.

    Nothing changes unless the start model has the same anchors and last layer, apart from its classes. Returns the classes.
    """
    head, channels = _start_head(start), logit_channels(model.network)
    anchors, classes = len(config.anchors), len(config.labels)
    if head is None or head.delta_order != config.delta_order or len(head.anchors) != anchors:
        return ()
    if not np.allclose(head.anchors, config.anchors, rtol=1e-3):
        return ()
    weights = {_plain_name(name): blobs for name, blobs in start_weights(start).items()}
    blobs = weights.get(_plain_name(channels.layer), ())
    parameters = list(model.filters[channels.layer.replace(".", "_")].parameters())
    old_classes = len(head.labels)
    rows = anchors * (old_classes + 5)
    if [tuple(blob.shape) for blob in blobs] != [(rows, *parameter.shape[1:]) for parameter in parameters]:
        return ()
    table = class_table(head.labels)
    known = [(i, table[label]) for i, label in enumerate(config.labels) if label in table]
    with torch.no_grad():
        for parameter, blob in zip(parameters, blobs, strict=True):
            old = torch.from_numpy(np.array(blob, np.float32))
            parameter[anchors * classes :] = old[anchors * old_classes :]
            for new_row, old_row in known:
                parameter[new_row : anchors * classes : classes] = old[old_row : anchors * old_classes : old_classes]
    return tuple(config.labels[i] for i, _ in known)


def start_anchors(recipe: Recipe) -> Sequence[tuple[float, float]]:
    """Return the anchors that a training starts with: the recipe's, the start model's or the published ones.

    The start model's are used, in pixels, if it has as many as the published head, because its weights give deltas that refer
    to them at any input size. Published ones are scaled to the recipe's input size.

    Raises
    ------
    FileNotFoundError, ModelError
        If ``recipe.start`` does not exist, or its description is not a model's.
    FetchError, ImportError
        If a published model is not available locally and cannot be fetched.
    """
    if recipe.anchors is not None:
        return recipe.anchors
    head = _start_head(recipe.start)
    if head is not None and len(head.anchors) == len(VOC.anchors):
        return head.anchors
    scale_x, scale_y = (new / old for new, old in zip(recipe.input_size, VOC.input_size, strict=True))
    return [(w * scale_x, h * scale_y) for w, h in VOC.anchors]


def _start_head(start: str) -> HeadConfig | None:
    """The head of a model; None for weights without a head."""
    return None if start.endswith(".npz") else Model.load(start).head


def start_weights(start: str) -> Weights:
    """Return the weights of a published model, of a model's files, or of a weights file as for `formats.read_weights`.

    Raises
    ------
    FileNotFoundError, ModelError
        If the file is missing, or has another format.
    FetchError, ImportError
        If published weights are not available locally and cannot be fetched.
    """
    return read_weights(start) if start.endswith((".npz", ".caffemodel", ".net")) else Model.load(start).weights


def _plain_name(name: str) -> str:
    """A fire module's convolution as every release names it: ``fire2_expand3x3``."""
    name = name.replace("/", "_").replace("expand_", "expand")
    return re.sub(r"_squeeze1x1$", "_squeeze", name)
