"""Model files: a network and a small JSON that describes its input and its head, found by their common stem."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import cv2

from opencv_squeezedet import _checks
from opencv_squeezedet.backends import Backend, BackendName, Files, Place, open_backend
from opencv_squeezedet.config import HeadConfig, from_fields
from opencv_squeezedet.errors import ModelError, UnknownLayerError
from opencv_squeezedet.preprocess import Preprocess

if TYPE_CHECKING:
    from opencv_squeezedet.network import Network

StrPath = str | os.PathLike[str]
Description = TypeVar("Description")

EMBEDDED = "squeezedet_pyramid_voc"
_SUFFIXES = {".prototxt", ".caffemodel", ".json", ".onnx"}
_OUTPUTS: dict[str, Place] = {"delta_bbox": ("slice", 2), "class_scores": ("softmax", 0), "conf_scores": ("sigmoid", 0)}


@dataclass(frozen=True)
class Model:
    """A network, and how to feed and to read it.

    Parameters
    ----------
    network : Files or cv2.dnn.Net
        Its files, or a network that was read by someone else.
    config : HeadConfig
        The head that the network ends in.
    preprocess : Preprocess
        How its input is made.
    outputs : dict
        For each blob the Caffe layer that gives it, and which of the layer's tops it is, or the name of an ONNX output.
    fits : bool
        Whether the head is known to be the network's, which then need not be checked.
    """

    network: Files | cv2.dnn.Net
    config: HeadConfig
    preprocess: Preprocess
    outputs: dict[str, Place] = field(default_factory=lambda: dict(_OUTPUTS))
    fits: bool = False

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        if self.preprocess.size != self.config.input_size:
            raise ValueError(
                f"preprocess makes a blob of {self.preprocess.size}, the config's input_size is {self.config.input_size}"
            )


def find_model(
    model: StrPath | None = None,
    weights: StrPath | None = None,
    *,
    config: HeadConfig | None = None,
    preprocess: Preprocess | None = None,
) -> Model:
    """Find the files of a model by their common stem.

    The network is ``NAME.prototxt`` with ``NAME.caffemodel``, or ``NAME.onnx``; ``NAME.json`` describes it.

    Parameters
    ----------
    model : path or str, optional
        The stem, or one of the files; ``NAME.onnx`` means that one even where Caffe's lie beside it. Where there are none, the
        name of a published model, see `registry`. Default: the embedded model.
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
    path = os.path.join(models_folder(), EMBEDDED) if model is None else os.fspath(model)
    if isinstance(model, str) and not is_path(model):
        path, weights = _registered(model, weights)
    files = find_files(path, weights)
    description = f"{stem_of(path)}.json"
    known = model is None and weights is None
    found = read_description(description, lambda content: _described(files, content, config, preprocess, known=known))
    if found is not None:
        return found
    if config is None:
        raise FileNotFoundError(f"no model description at {description!r}: write one (see models/README.md), or give a config")
    return bare_model(files, config, preprocess)


def read_description(path: str, take: Callable[[Any], Description]) -> Description | None:
    """Return what is made of a JSON file; None if it is missing, ModelError if it is none, or cannot be taken."""
    if not os.path.isfile(path):
        return None
    import json  # not everybody's import time

    with open(path, "rb") as file:
        content = file.read()
    try:
        return take(json.loads(content))
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{path!r}: {error}") from error


def _registered(name: str, weights: StrPath | None) -> tuple[str, StrPath | None]:
    """Return the stem and the weights of a published model; those that were given, if it is none."""
    from opencv_squeezedet import registry  # not everybody's import time

    found = registry.resolve(name, "detector", weights)
    if found is not None and found.entry.stem is not None:
        return found.entry.stem, found.weights
    if os.path.basename(name) == name and os.path.splitext(name)[1] not in _SUFFIXES:
        raise FileNotFoundError(
            f"no network definition at {name + '.prototxt'!r}, and the published detectors are "
            + ", ".join(registry.names("detector"))
        )
    return name, weights


def is_path(model: str, *suffixes: str) -> bool:
    """Whether there is a file of this name, or of this stem and one of the suffixes (default: all that a model may have)."""
    return any(os.path.isfile(model + suffix) for suffix in ("", *(suffixes or _SUFFIXES)))


def stem_of(path: str) -> str:
    """Return the common part of the names of a model's files, for one of them or for the stem itself."""
    root, suffix = os.path.splitext(path)
    return root if suffix in _SUFFIXES else path


def find_files(model: str, weights: StrPath | None = None) -> Files:
    """Find the files of a network; parameters and errors as those of `find_model`."""
    stem = stem_of(model)
    definition, caffemodel, onnx = (f"{stem}.{suffix}" for suffix in ("prototxt", "caffemodel", "onnx"))
    if weights is not None and os.path.abspath(weights) != os.path.abspath(caffemodel):
        caffemodel, onnx = os.fspath(weights), ""  # an ONNX file beside the definition holds other weights
    if os.path.isfile(onnx) and (model == onnx or not (os.path.isfile(definition) and os.path.isfile(caffemodel))):
        return Files(onnx=onnx)
    for what, path in (("network definition", definition), ("weights", caffemodel)):
        if not os.path.isfile(path):
            raise FileNotFoundError(f"no {what} at {path!r}" + (f", and no {onnx!r}" if onnx else ""))
    return Files(definition, caffemodel, onnx if os.path.isfile(onnx) else None)


def bare_model(network: Files | cv2.dnn.Net, config: HeadConfig, preprocess: Preprocess | None) -> Model:
    """Return a model without a description: preprocessing as opencv_contrib's unless it is given."""
    _check_types(config, preprocess)
    return Model(network, config, Preprocess(config.input_size) if preprocess is None else preprocess)


def _check_types(config: object, preprocess: object) -> None:
    for name, value, kind in (("config", config, HeadConfig), ("preprocess", preprocess, Preprocess)):
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} must be a {kind.__name__}, got {value!r}")


def _described(
    files: Files, description: Any, config: HeadConfig | None, preprocess: Preprocess | None, *, known: bool
) -> Model:
    parts = {"preprocess", "head", "outputs"}
    if not isinstance(description, dict) or not {"preprocess", "head"} <= description.keys() <= parts:
        raise ValueError("a JSON object with 'preprocess', 'head' and, if need be, 'outputs' was expected")
    outputs = outputs_of(description["outputs"]) if "outputs" in description else dict(_OUTPUTS)
    return Model(
        files,
        config_of(description["head"], outputs, lambda: _definition(files)) if config is None else config,
        from_fields(Preprocess, description["preprocess"]) if preprocess is None else preprocess,
        outputs,
        fits=known and config is None,
    )


def config_of(fields: Any, outputs: Mapping[str, Place] | None, definition: Callable[[], Network]) -> HeadConfig:
    """Return the config of a description's head; what that leaves out of the network's shapes, the definition tells.

    Raises
    ------
    ValueError, TypeError
        If the fields are not those of a `HeadConfig`, or not the network's.
    """
    if not isinstance(fields, dict) or "anchors" not in fields or {"input_size", "grid", "labels"} <= fields.keys():
        return HeadConfig.from_dict(fields)
    from opencv_squeezedet.head import derive_config  # not everybody's import time

    return derive_config(definition(), outputs=outputs, **fields)


def _definition(files: Files) -> Network:
    from opencv_squeezedet import conversion  # takes an extra

    return conversion.definition(files)


def outputs_of(value: Any) -> dict[str, Place]:
    """Return the 'outputs' of a description, checked; ValueError that says what was expected."""
    if not isinstance(value, dict) or value.keys() != _OUTPUTS.keys():
        raise ValueError(f"'outputs' must have the keys {', '.join(map(repr, _OUTPUTS))}, got {value!r}")
    return {blob: _place(blob, value[blob]) for blob in _OUTPUTS}  # in the order of `Blobs`, whatever that of the file is


def _place(blob: str, value: Any) -> Place:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
        return value[0], _checks.count("top", value[1], least=0)
    raise ValueError(f"'outputs' must give [layer, top], or an ONNX output's name, for each blob, got {value!r} for {blob!r}")


def models_folder() -> str:
    """Where the embedded model lies: in the installed package, or beside it in a clone."""
    package = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(package, "models")
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(package), "models")


def open_model(model: Model, backend: BackendName = "opencv", target: str | None = None) -> Backend:
    """Make a model's network ready to run, and check that it takes the input and gives the blobs of the model's head.

    Raises
    ------
    ModelError
        If the files cannot be read, a blob's place is missing, or a shape is not the head's.
    ValueError, ImportError
        If the backend or the target cannot be had; see `open_backend`.
    OSError
        If a file cannot be read.
    """
    if not model.fits and isinstance(model.network, Files):
        check_files(model.network)
    opened = open_backend(model.network, model.outputs, backend, target)
    if not model.fits:
        check_head(opened, model.config)
    return opened


def check_files(files: Files) -> None:
    """Check Caffe's files before OpenCV sees them, which finds weights of other shapes only when it runs.

    Without the extra ``[onnx]``, and for layers that it does not know, what OpenCV finds has to do.

    Raises
    ------
    ModelError
        That names the layer, what it has and what was expected.
    """
    if files.definition is None:
        return
    try:
        from opencv_squeezedet import conversion  # takes an extra, and time to import

        conversion.load(files)
    except (ImportError, UnknownLayerError):
        pass


def check_head(network: Backend, head: HeadConfig) -> None:
    """Check that a network takes the input and gives the three blobs that the head is made for.

    Raises
    ------
    ModelError
        If it does not take the input, or a shape is not the head's.
    """
    for i, (blob, got) in enumerate(zip(network.blobs, network.shapes(head.input_size), strict=True)):
        if got not in head.single_shapes[blob]:
            raise ModelError(
                f"{network.origin(i)} gives {blob} in the shape {got}; the head's {head.grid} grid, "
                f"{len(head.anchors)} anchors a cell and {len(head.labels)} classes need {(1, *head.blob_shapes[blob][0])}"
            )
