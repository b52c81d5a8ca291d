"""Model files: definition, weights and a small JSON, found by their common stem, and read into ``cv2.dnn``."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from opencv_squeezedet import _checks
from opencv_squeezedet._opencv import silent_opencv
from opencv_squeezedet.config import HeadConfig, from_fields
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.preprocess import Preprocess

StrPath = str | os.PathLike[str]

EMBEDDED = "squeezedet_lite_voc"
_SUFFIXES = {".prototxt", ".caffemodel", ".json"}
Outputs = dict[str, tuple[str, int]]
_OUTPUTS: Outputs = {"delta_bbox": ("slice", 2), "class_scores": ("softmax", 0), "conf_scores": ("sigmoid", 0)}


@dataclass(frozen=True)
class Model:
    """A network's files, and how to feed and to read it.

    Parameters
    ----------
    definition, weights : str or None
        Caffe's prototxt and caffemodel; None for a network that was read by someone else.
    config : HeadConfig
        The head that the network ends in.
    preprocess : Preprocess
        How its input is made.
    outputs : dict
        For each blob the layer that gives it, and which of the layer's tops it is.
    """

    definition: str | None
    weights: str | None
    config: HeadConfig
    preprocess: Preprocess
    outputs: Outputs = field(default_factory=lambda: dict(_OUTPUTS))

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        if self.preprocess.size != self.config.input_size:
            raise ValueError(
                f"preprocess makes a blob of {self.preprocess.size}, the config's input_size is {self.config.input_size}"
            )

    def __str__(self) -> str:
        if self.definition is None:
            return "the network"
        return f"{self.definition!r} with {self.weights!r}"


def find_model(
    model: StrPath | None = None,
    weights: StrPath | None = None,
    *,
    config: HeadConfig | None = None,
    preprocess: Preprocess | None = None,
) -> Model:
    """Find the files of a model by their common stem: ``NAME.prototxt``, ``NAME.caffemodel`` and ``NAME.json``.

    Parameters
    ----------
    model : path or str, optional
        The stem, or one of the three files; where there are none, the name of a published model, see `registry`. Default: the
        embedded model.
    weights : path, optional
        The caffemodel, where its stem is another.
    config, preprocess : optional
        Instead of what the JSON file says; with a ``config`` the file may be missing, and ``preprocess`` is then
        ``Preprocess(config.input_size)``.

    Raises
    ------
    FileNotFoundError
        That names the file that is missing.
    ModelError
        If the JSON file is not a model's, or the published model is no detector.
    FetchError, ImportError
        If the published weights are not here and cannot be fetched; see `registry.fetch`.
    """
    _check_types(config, preprocess)
    stem = os.path.join(models_folder(), EMBEDDED) if model is None else os.fspath(model)
    if isinstance(model, str) and not any(os.path.isfile(stem + suffix) for suffix in ("", *_SUFFIXES)):
        stem, weights = _registered(stem, weights)
    root, suffix = os.path.splitext(stem)
    if suffix in _SUFFIXES:
        stem = root
    definition, description = f"{stem}.prototxt", f"{stem}.json"
    caffemodel = f"{stem}.caffemodel" if weights is None else os.fspath(weights)
    for what, path in (("network definition", definition), ("weights", caffemodel)):
        if not os.path.isfile(path):
            raise FileNotFoundError(f"no {what} at {path!r}")
    if not os.path.isfile(description):
        if config is None:
            raise FileNotFoundError(
                f"no model description at {description!r}: write one (see models/README.md), or give a config"
            )
        return bare_model(definition, caffemodel, config, preprocess)
    import json  # not everybody's import time

    with open(description, "rb") as file:
        content = file.read()
    try:
        return _described(definition, caffemodel, json.loads(content), config, preprocess)
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{description!r}: {error}") from error


def _registered(name: str, weights: StrPath | None) -> tuple[str, StrPath | None]:
    """Return the stem and the weights of a published model; those that were given, if it is none."""
    from opencv_squeezedet import registry  # not everybody's import time

    found = registry.resolve(name, "detector", weights)
    if found is not None and found.entry.stem is not None:
        return found.entry.stem, found.weights
    if os.path.basename(name) == name and os.path.splitext(name)[1] not in _SUFFIXES:
        raise FileNotFoundError(
            f"no network definition at {name + '.prototxt'!r}, and the published models are {', '.join(registry.names())}"
        )
    return name, weights


def bare_model(definition: str | None, weights: str | None, config: HeadConfig, preprocess: Preprocess | None) -> Model:
    """Return a model without a description: preprocessing as opencv_contrib's unless it is given."""
    _check_types(config, preprocess)
    return Model(definition, weights, config, Preprocess(config.input_size) if preprocess is None else preprocess)


def _check_types(config: object, preprocess: object) -> None:
    for name, value, kind in (("config", config, HeadConfig), ("preprocess", preprocess, Preprocess)):
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} must be a {kind.__name__}, got {value!r}")


def _described(
    definition: str, weights: str, description: Any, config: HeadConfig | None, preprocess: Preprocess | None
) -> Model:
    parts = {"preprocess", "head", "outputs"}
    if not isinstance(description, dict) or not {"preprocess", "head"} <= description.keys() <= parts:
        raise ValueError("a JSON object with 'preprocess', 'head' and, if need be, 'outputs' was expected")
    outputs = _outputs(description["outputs"]) if "outputs" in description else dict(_OUTPUTS)
    return Model(
        definition,
        weights,
        HeadConfig.from_dict(description["head"]) if config is None else config,
        from_fields(Preprocess, description["preprocess"]) if preprocess is None else preprocess,
        outputs,
    )


def _outputs(value: Any) -> Outputs:
    if not isinstance(value, dict) or value.keys() != _OUTPUTS.keys():
        raise ValueError(f"'outputs' must have the keys {', '.join(map(repr, _OUTPUTS))}, got {value!r}")
    outputs = {}
    for blob in _OUTPUTS:  # in the order of `Blobs`, whatever that of the file is
        place = value[blob]
        if not (isinstance(place, list) and len(place) == 2 and isinstance(place[0], str)):
            raise ValueError(f"'outputs' must give [layer, top] for each blob, got {place!r} for {blob!r}")
        outputs[blob] = (place[0], _checks.count("top", place[1], least=0))
    return outputs


def models_folder() -> str:
    """Where the embedded model lies: in the installed package, or beside it in a clone."""
    package = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(package, "models")
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(package), "models")


def read_net(model: Model) -> cv2.dnn.Net:
    """Read the network from its files, and check it with `check_net`.

    Raises
    ------
    ModelError
        If OpenCV cannot read the files or has no Caffe importer, or the network is not the head's.
    OSError
        If a file cannot be read.
    """
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        raise ModelError(
            f"OpenCV {cv2.__version__} has no Caffe importer: install 'opencv-contrib-python>=4.8,<5' to read caffemodels"
        )
    contents = []
    for path in (model.definition, model.weights):
        contents.append(np.fromfile(str(path), np.uint8))
        if not contents[-1].size:
            raise ModelError(f"{path!r} is empty")
    try:
        with silent_opencv():
            net = cv2.dnn.readNetFromCaffe(*contents)
    except cv2.error as error:
        raise ModelError(f"OpenCV cannot read {model}: {_reason(error)}") from error
    check_net(net, model)
    return net


def check_net(net: cv2.dnn.Net, model: Model) -> None:
    """Check that the network takes the input and gives the three blobs that the head is made for, without running it.

    Raises
    ------
    ModelError
        If a layer is missing, or a shape is not the head's.
    """
    layers = net.getLayerNames()
    for blob, (layer, _) in model.outputs.items():
        if layer not in layers:
            raise ModelError(f"{model} has no layer {layer!r}, which should give {blob}")
    width, height = model.config.input_size
    try:
        with silent_opencv():
            ids, _, shapes = net.getLayersShapes((1, 3, height, width))
    except cv2.error as error:
        raise ModelError(f"{model} does not fit itself, or the input of {width}x{height}: {_reason(error)}") from error
    places = {int(layer_id): i for i, layer_id in enumerate(np.ravel(np.asarray(ids)))}
    for blob, (layer, top) in model.outputs.items():
        tops = shapes[places[net.getLayerId(layer)]]
        if top >= len(tops):
            raise ModelError(f"layer {layer!r} has {len(tops)} tops; number {top} should give {blob}")
        got = tuple(np.ravel(np.asarray(tops[top])).tolist())
        if got not in model.config.single_shapes[blob]:
            raise ModelError(
                f"layer {layer!r} gives {blob} in the shape {got}; the head's {model.config.grid} grid, "
                f"{len(model.config.anchors)} anchors a cell and {len(model.config.labels)} classes need "
                f"{(1, *model.config.blob_shapes[blob][0])}"
            )


def _reason(error: cv2.error) -> str:
    """The last, telling part of OpenCV's message."""
    return " ".join(str(error).split("error: ", 1)[-1].split())
