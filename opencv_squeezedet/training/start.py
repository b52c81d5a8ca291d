"""A network to train: its description, its head, and the weights that it begins with."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from opencv_squeezedet import architectures, conversion
from opencv_squeezedet.backends import Files
from opencv_squeezedet.config import VOC, HeadConfig
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.formats import read_caffemodel, read_compressed
from opencv_squeezedet.model import find_model
from opencv_squeezedet.network import Convolution, Network, Weights
from opencv_squeezedet.training.module import TorchNetwork
from opencv_squeezedet.training.recipe import NetworkName, Recipe

_NETWORKS: dict[NetworkName, Callable[..., Network]] = {
    "pyramid": architectures.squeezedet_pyramid,
    "lite": architectures.squeezedet_lite,
    "gsoc": architectures.squeezedet_gsoc,
}
_PRIOR = 0.01  # confidence of every anchor before training


def describe(recipe: Recipe, labels: Sequence[str]) -> tuple[Network, HeadConfig]:
    """Return the network that a recipe trains for these classes, and its head.

    Boxes are where the objects are: the head's first axis is the one that the network's grid has first, which is x where
    opencv_contrib's decoder can read the network too, and y for the 2017 network.

    Raises
    ------
    ModelError
        If the input is too small for the network.
    """
    width, height = recipe.input_size
    anchors = recipe.anchors
    if anchors is None:
        anchors = tuple((w * width / VOC.input_size[0], h * height / VOC.input_size[1]) for w, h in VOC.anchors)
    network = _NETWORKS[recipe.network](len(labels), len(anchors), recipe.input_size)
    grid = network.step("permute").tops[0][1:3]
    config = replace(
        VOC,
        input_size=recipe.input_size,
        grid=grid,
        anchors=anchors,
        labels=tuple(labels),
        first_axis="y" if recipe.network == "gsoc" else "x",
        nms_kind="greedy",
        nms_threshold=0.45,
        score_threshold=0.3,
        top_n=512,
    )
    return network, config


def begin(network: Network, recipe: Recipe) -> tuple[TorchNetwork, list[str]]:
    """Return the network to train, and the layers that began with weights of ``recipe.start``.

    Convolutions that did not, but for the last one, get batch normalisation, so that they learn at the pace of the others.

    Raises
    ------
    FileNotFoundError, ModelError
        If the weights cannot be read, or none of them fits.
    """
    torch.manual_seed(recipe.seed)
    weights = {_plain_name(name): blobs for name, blobs in read_weights(recipe.start).items()}
    plain = {step.layer.name: _plain_name(step.layer.name) for step in network.weighted()}
    fitting = {
        step.layer.name: weights[plain[step.layer.name]]
        for step in network.weighted()
        if [tuple(blob.shape) for blob in weights.get(plain[step.layer.name], ())] == step.weights
    }
    if not fitting:
        raise ModelError(f"{recipe.start}: no layer of {network.name} finds weights of its shape there")
    *inner, last = [step.layer for step in network.weighted()]
    new = [layer.name for layer in inner if layer.name not in fitting and isinstance(layer, Convolution)]
    model = TorchNetwork(network, new)
    loaded = model.load_weights(fitting, strict=False)
    if last.name not in fitting:
        _quiet(model, last.name, network)
    model.freeze([name for name in loaded if _module_name(name) in recipe.frozen])
    return model, loaded


def read_weights(start: str) -> Weights:
    """Return the weights of a model, of a caffemodel, of Deep Compression's ``.net``, or of a NumPy archive.

    An archive has the arrays ``LAYER_w`` and ``LAYER_b`` for each layer.

    Raises
    ------
    FileNotFoundError, ModelError
        If there is no such file, or it is none of these.
    """
    path = Path(start)
    if path.suffix == ".npz":
        try:
            with np.load(path) as archive:
                return {name[:-2]: [archive[name], archive[f"{name[:-2]}_b"]] for name in archive if name.endswith("_w")}
        except (ValueError, KeyError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ModelError(f"{start!r}: arrays LAYER_w and LAYER_b were expected: {error}") from error
    if path.suffix == ".caffemodel":
        return read_caffemodel(path)
    if path.suffix == ".net":
        return read_compressed(path)
    network = find_model(None if start == "embedded" else start).network
    assert isinstance(network, Files)
    return conversion.load(network)[1]


def _plain_name(name: str) -> str:
    """A fire module's convolution as every release names it: ``fire2_expand3x3``."""
    name = name.replace("/", "_").replace("expand_", "expand")
    return re.sub(r"_squeeze1x1$", "_squeeze", name)


def _module_name(name: str) -> str:
    return re.split(r"[_/]", name)[0]


def _quiet(model: TorchNetwork, last: str, network: Network) -> None:
    """Let a new head begin with every anchor almost sure of being background."""
    module = model.filters[last]
    first, second = network.step("slice").layer.points  # type: ignore[attr-defined]
    with torch.no_grad():
        module.weight.mul_(0.1)
        module.bias[first:second] = float(np.log(_PRIOR / (1 - _PRIOR)))
