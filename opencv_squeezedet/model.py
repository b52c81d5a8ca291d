"""A model: a network's files, and what describes its input and its head."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import cv2

from opencv_squeezedet import _checks
from opencv_squeezedet.backends import Backend, BackendName, NetworkContent, open_backend
from opencv_squeezedet.blobs import BLOBS, CAFFE_PLACES, Place, Places
from opencv_squeezedet.config import HeadConfig, from_fields
from opencv_squeezedet.errors import ModelError, UnknownLayerError
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.model_files import Files, find_files, models_folder, read_file
from opencv_squeezedet.preprocess import Preprocess

if TYPE_CHECKING:
    from opencv_squeezedet.network import Network

Description = TypeVar("Description")

EMBEDDED = "squeezedet_pyramid_voc"
_MOST_DESCRIPTION = 1 << 24


@dataclass(frozen=True)
class Model:
    """A network, how its input is made and its output is read; found once, it makes any number of detectors.

    Parameters
    ----------
    network : Files or cv2.dnn.Net
        Its files, or a network that has already been read.
    config : HeadConfig
        The head that the network ends in.
    preprocess : Preprocess
        How its input is made.
    outputs : dict
        For each blob the Caffe layer that gives it, and which of the layer's tops it is, or the name of an ONNX output.
    fits : bool
        Whether the files are known to be sound and the head to be the network's, so that neither need be checked.
    """

    network: Files | cv2.dnn.Net
    config: HeadConfig
    preprocess: Preprocess
    outputs: Places = field(default_factory=lambda: dict(CAFFE_PLACES))
    fits: bool = False

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        if self.preprocess.size != self.config.input_size:
            raise ValueError(
                f"preprocess makes a blob of {self.preprocess.size}, the config's input_size is {self.config.input_size}"
            )

    def with_parts(self, config: HeadConfig | None, preprocess: Preprocess | None) -> Model:
        """Return the model with another head or preprocessing; itself if both are None."""
        if config is None and preprocess is None:
            return self
        _check_types(config, preprocess)
        return replace(
            self, config=config or self.config, preprocess=preprocess or self.preprocess, fits=self.fits and config is None
        )

    @cached_property
    def content(self) -> NetworkContent | cv2.dnn.Net:
        """The network as `open_backend` takes it: files are read, checked and converted when first needed."""
        return NetworkContent(self.network, trusted=self.fits) if isinstance(self.network, Files) else self.network


def find_model(
    model: StrPath | None = None,
    weights: StrPath | None = None,
    *,
    config: HeadConfig | None = None,
    preprocess: Preprocess | None = None,
    undescribed: HeadConfig | None = None,
) -> Model:
    """Find the files of a model by their common stem, and read its description.

    Parameters
    ----------
    model, weights : path or str, optional
        As for `registry.find_network`: files, or the name of a published model. Default: the embedded model.
    config, preprocess : optional
        Instead of what the JSON file says; with a ``config`` the file may be missing, and ``preprocess`` is then
        ``Preprocess(config.input_size)``.
    undescribed : HeadConfig, optional
        The head of a model without a JSON file.

    Raises
    ------
    FileNotFoundError
        If a file is missing; the message names it.
    ModelError
        If the JSON file is not a model's, or the published model is not a detector.
    FetchError, ImportError
        If the published weights are not available locally and cannot be fetched; see `registry.fetch`.
    """
    _check_types(config, preprocess)
    files = _find_detector(model, weights)
    known = model is None and weights is None and config is None
    described = read_description(files, lambda content: _described(files, content, config, preprocess, known))
    if described is not None:
        return described
    config = config or undescribed
    if config is None:
        raise FileNotFoundError(
            f"no model description at {files.stem + '.json'!r}: write one (see models/README.md), or give a config"
        )
    return bare_model(files, config, preprocess)


def _find_detector(model: StrPath | None, weights: StrPath | None) -> Files:
    if model is None:
        stem = os.path.join(models_folder(), EMBEDDED)
        found = find_files(f"{stem}.sdz") if weights is None else find_files(stem, weights)
    else:
        from opencv_squeezedet.registry import find_network  # keeps import fast

        found = find_network(model, weights, task="detector")
    return found.with_definition().with_weights()


def read_description(files: Files, take: Callable[[Any], Description]) -> Description | None:
    """Return what ``take`` makes of a model's JSON, None without one; ModelError if it is not JSON, or ``take`` rejects it."""
    import json  # keeps import fast

    content = description_of(files)
    if content is None:
        return None
    try:
        return take(json.loads(content))
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{files.description!r}: {error}") from error


def preprocess_of(files: Files, size: tuple[int, int]) -> Preprocess:
    """Return how a model's input is made: as its JSON says or, if it does not, stretched to ``size``."""

    def take(described: Any) -> Preprocess | None:
        fields = described.get("preprocess") if isinstance(described, dict) else None
        return None if fields is None else from_fields(Preprocess, fields)

    return read_description(files, take) or Preprocess(size)


def description_of(files: Files) -> bytes | None:
    """Return the content of a model's JSON, a file of its own or in a compressed model; None if there is none."""
    if files.compressed is not None:
        from opencv_squeezedet.formats import read_sdz  # keeps import fast

        return read_sdz(files.compressed).description
    return None if files.description is None else read_file(files.description, _MOST_DESCRIPTION)


def bare_model(network: Files | cv2.dnn.Net, config: HeadConfig, preprocess: Preprocess | None) -> Model:
    """Return a model without a description, with opencv_contrib's preprocessing unless another is given."""
    _check_types(config, preprocess)
    return Model(network, config, Preprocess(config.input_size) if preprocess is None else preprocess)


def _check_types(config: object, preprocess: object) -> None:
    for name, value, kind in (("config", config, HeadConfig), ("preprocess", preprocess, Preprocess)):
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} must be a {kind.__name__}, got {value!r}")


def _described(files: Files, description: Any, config: HeadConfig | None, preprocess: Preprocess | None, known: bool) -> Model:
    parts = {"preprocess", "head", "outputs"}
    if not isinstance(description, dict) or not {"preprocess", "head"} <= description.keys() <= parts:
        raise ValueError("a JSON object with 'preprocess', 'head' and, if needed, 'outputs' was expected")
    outputs = outputs_of(description["outputs"]) if "outputs" in description else dict(CAFFE_PLACES)
    return Model(
        files,
        config_of(description["head"], outputs, lambda: _definition(files)) if config is None else config,
        from_fields(Preprocess, description["preprocess"]) if preprocess is None else preprocess,
        outputs,
        fits=known,
    )


def config_of(fields: Any, outputs: Places | None, definition: Callable[[], Network]) -> HeadConfig:
    """Return the config of a description's head; shapes that it leaves out come from the network's definition.

    Raises
    ------
    ValueError, TypeError
        If the fields are not those of a `HeadConfig`, or not the network's.
    UnknownLayerError
        If the definition is needed, and has layers that `opencv_squeezedet.network` does not describe.
    """
    told = {"input_size", "grid", "labels", "first_axis"}
    if not isinstance(fields, dict) or "anchors" not in fields or told <= fields.keys():
        return HeadConfig.from_dict(fields)
    from opencv_squeezedet.network.head import derive_config  # keeps import fast

    try:
        network = definition()
    except UnknownLayerError as error:
        missing = ", ".join(f"'{name}'" for name in sorted(told - fields.keys()))
        raise UnknownLayerError(
            f"the head leaves out {missing}, which the network's definition would give: {error}"
        ) from error
    return derive_config(network, outputs=outputs, **fields)


def _definition(files: Files) -> Network:
    from opencv_squeezedet.formats import load_definition  # keeps import fast

    return load_definition(files)


def outputs_of(value: Any) -> dict[str, Place]:
    """Return the 'outputs' of a description, checked; if they are wrong, ValueError says what was expected."""
    if not isinstance(value, Mapping) or value.keys() != set(BLOBS):
        raise ValueError(f"'outputs' must have the keys {', '.join(map(repr, BLOBS))}, got {value!r}")
    return {blob: _place(blob, value[blob]) for blob in BLOBS}  # in the order of `Blobs`, whatever the file's order


def _place(blob: str, value: Any) -> Place:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
        return value[0], _checks.count("top", value[1], least=0)
    raise ValueError(f"'outputs' must give [layer, top], or an ONNX output's name, for each blob, got {value!r} for {blob!r}")


def open_model(model: Model, backend: BackendName = "opencv", target: str | None = None) -> Backend:
    """Make a model's network ready to run, and check that it accepts the input and gives the blobs of the model's head.

    Raises
    ------
    ModelError
        If the files cannot be read or are damaged, a blob's place is missing, or a shape is not the head's.
    ValueError, ImportError
        If the backend or the target is not available; see `open_backend`.
    OSError
        If a file cannot be read.
    """
    opened = open_backend(model.content, model.outputs, backend, target, size=None if model.fits else model.config.input_size)
    if not model.fits:
        check_head(opened, model.config)
    return opened


def check_head(network: Backend, head: HeadConfig) -> None:
    """Check that a network accepts the input and gives the three blobs that the head expects.

    Raises
    ------
    ModelError
        If it does not accept the input, or a shape is not the head's.
    """
    for i, (blob, got) in enumerate(zip(network.blobs, network.shapes(head.input_size), strict=True)):
        if got not in head.single_shapes[blob]:
            raise ModelError(
                f"{network.origin(i)} gives {blob} in the shape {got}; the head's {head.grid} grid, "
                f"{len(head.anchors)} anchors a cell and {len(head.labels)} classes need {(1, *head.blob_shapes[blob][0])}"
            )
