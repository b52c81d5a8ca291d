"""`Model`: a network with the description of its input and outputs; files exist only in `Model.load` and `Model.save`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from opencv_squeezedet import _checks
from opencv_squeezedet.backends import (
    Backend,
    BackendName,
    Prepared,
    check_size,
    choose_backend,
    open_prepared,
    prepare,
    prepare_tops,
)
from opencv_squeezedet.blobs import BLOBS, CAFFE_OUTPUTS, OutputRef, OutputRefs
from opencv_squeezedet.config import HeadConfig, from_fields
from opencv_squeezedet.errors import ModelError, UnknownLayerError
from opencv_squeezedet.files import StrPath, write_together
from opencv_squeezedet.formats.load import CompressedFile, DecodedNetwork, NetworkSource, read_source
from opencv_squeezedet.model_files import MOST_DESCRIPTION, Files, find_files, models_folder, read_file
from opencv_squeezedet.preprocess import Preprocess

if TYPE_CHECKING:
    from opencv_squeezedet.network import Network, Weights
    from opencv_squeezedet.network.architectures import Task

EMBEDDED = "squeezedet_shuffle_voc"
_Field = TypeVar("_Field")


class Model:
    """A network with its weights, its head and its preprocessing, in memory; any number of sessions may be opened.

    Files are decoded when they are first needed, at most once. A network may have layers that this package does
    not describe (ONNX, and Caffe with OpenCV 4): then `network` and `weights` raise an `UnknownLayerError`, and the network
    is opened and run in a child process before it is opened in this one. Models can be pickled.

    Parameters
    ----------
    network : Network or NetworkSource
        The layers; or a network that is still encoded, with its weights.
    weights : Weights, optional
        Each layer's weights, unless the network has them.
    head : HeadConfig, optional
        The head of a detector.
    preprocess : Preprocess, optional
        How the input is made.
    name : str, optional
        The model's name in error messages. Default: the network's.
    outputs : dict, optional
        For each of a detector's blobs the layer and the index of its top, or the name of an ONNX output. Default: those of
        opencv_contrib's network.
    labels : sequence of str, optional
        The class names of a classifier.
    description : bytes, optional
        The model's JSON, for the arguments that are not given.
    files : Files, optional
        The paths that the model was loaded from.

    Attributes
    ----------
    name, files
        As given.

    Raises
    ------
    ModelError
        If the weights do not fit the network.
    """

    def __init__(
        self,
        network: Network | NetworkSource,
        weights: Weights | None = None,
        head: HeadConfig | None = None,
        preprocess: Preprocess | None = None,
        name: str | None = None,
        *,
        outputs: OutputRefs | None = None,
        labels: Sequence[str] | None = None,
        description: bytes | None = None,
        files: Files | None = None,
    ) -> None:
        source = network if isinstance(network, NetworkSource) else DecodedNetwork(network, weights or {})
        self.source, self.name, self.files = source, source.name if name is None else name, files or Files()
        self._description = description
        self._prepared: dict[str, Prepared] = {}
        self._changed = False
        for field, value in (("head", head), ("preprocess", preprocess), ("outputs", outputs), ("labels", labels)):
            if value is not None:
                self.__dict__[field] = value
                self._changed = True

    @classmethod
    def load(cls, model: StrPath | None = None, weights: StrPath | None = None, *, task: Task | None = None) -> Model:
        """Find the files of a model by their common stem or by a published name, and read them.

        Parameters
        ----------
        model : path or str, optional
            ``NAME.prototxt`` with ``NAME.caffemodel``, ``NAME.onnx``, or ``NAME.sdz``, the first two with ``NAME.json``:
            their stem, or one of them. Or a ``.net``. If there are no such files, the name of a published model, see
            `registry`. Default: the embedded model.
        weights : path, optional
            The caffemodel, if its stem is different.
        task : {"detector", "classifier"}, optional
            The task of a published model, and whether weights and (for a detector) a definition must be there.

        Raises
        ------
        FileNotFoundError
            If a file is missing; the message names it.
        ModelError
            If a file is empty or too large, or the published model has another task.
        FetchError, ImportError
            If the published weights are not available locally and cannot be fetched; see `registry.fetch`.
        OSError
            If a file cannot be read.
        """
        if model is not None:
            from opencv_squeezedet.registry import find_network  # imported lazily

            files = find_network(model, weights, task=task)
        else:
            stem = os.path.join(models_folder(), EMBEDDED)
            files = find_files(f"{stem}.sdz") if weights is None else find_files(stem, weights)
        if task is not None:
            files.check_weights()
        if task == "detector":
            files.check_definition()
        source = read_source(files, trusted=model is None and weights is None)
        if isinstance(source, CompressedFile):
            description = source.compressed.description
        else:
            description = None if files.description is None else read_file(files.description, MOST_DESCRIPTION)
        return cls(source, description=description, files=files)

    @property
    def network(self) -> Network:
        """The layers.

        ModelError if they are damaged or do not fit each other, `UnknownLayerError` if this package does not describe all.
        """
        return self.source.network

    @property
    def weights(self) -> Weights:
        """The weights of the layers, by layer.

        ModelError if they are damaged or another network's, `UnknownLayerError` as for `network`, FileNotFoundError if the
        model was loaded without weights.
        """
        return self.source.weights

    @cached_property
    def head(self) -> HeadConfig | None:
        """The head of a detector; None for another model. ModelError if it is described wrongly."""
        return self._described_field("head", self._head_of)

    @cached_property
    def preprocess(self) -> Preprocess | None:
        """How the input is made; None if that is not described. ModelError if it is described wrongly."""
        return self._described_field("preprocess", lambda fields: from_fields(Preprocess, fields))

    @cached_property
    def outputs(self) -> OutputRefs | None:
        """The layer or output that gives each of a detector's blobs, if described. ModelError if it is described wrongly."""
        return self._described_field("outputs", _outputs_of)

    @cached_property
    def labels(self) -> Sequence[str] | None:
        """The class names of a classifier, if they are described. ModelError if they are described wrongly."""
        return self._described_field("labels", _labels_of)

    @property
    def description(self) -> bytes | None:
        """The model's JSON, as it was read if nothing has changed; None if there is nothing to describe."""
        if not self._changed:
            return self._description
        import json  # imported lazily
        from dataclasses import asdict

        parts = []
        if self.preprocess is not None:
            parts.append(f'"preprocess": {json.dumps(asdict(self.preprocess))}')
        if self.head is not None:
            parts.append(f'"head": {self.head.to_json()}')
        for field, value in (("outputs", self.outputs), ("labels", self.labels)):
            if value is not None:
                parts.append(f'"{field}": {json.dumps(value)}')
        return ("{\n" + ",\n".join(parts) + "\n}\n").encode() if parts else None

    @property
    def fingerprint(self) -> str:
        """A SHA-256 that distinguishes the network, its head and its preprocessing from others."""
        import hashlib  # imported lazily

        digest = hashlib.sha256()
        for content in self.source.contents():
            digest.update(hashlib.sha256(content).digest())
        digest.update(repr((self.head, self.preprocess, self.outputs, self.labels)).encode())
        return digest.hexdigest()

    def as_detector(self, head: HeadConfig | None = None, preprocess: Preprocess | None = None) -> Model:
        """Return the model with a head and a preprocessing: those given, its own, or that of opencv_contrib's networks.

        Raises
        ------
        FileNotFoundError
            If there is no description, and no head is given.
        ModelError
            If the description is not a detector's.
        TypeError, ValueError
            If a part has another type, or the two differ in the size of the input.
        """
        own = head is None and preprocess is None
        if head is None and self.head is None:
            if self._description is None:
                stem = self.files.stem if self.files.paths else self.name
                raise FileNotFoundError(
                    f"no model description at {stem + '.json'!r}: write one (see models/README.md), or give a config"
                )
            with self._described():
                raise ValueError(_EXPECTED)
        parts = self.head if head is None else head, self.preprocess if preprocess is None else preprocess
        with self._described() if own else nullcontext():
            checked = detector_parts(*parts)
        if own and self.preprocess is not None:
            return self
        changed = Model(self.source, None, *checked, self.name, outputs=self.outputs, files=self.files)
        changed._prepared = self._prepared
        return changed

    def resized(self, size: tuple[int, int]) -> Model:
        """Return the model for an input of (width, height) pixels: the same weights and, of a detector, anchors in pixels.

        The grid of the head follows from the layers.

        Raises
        ------
        ModelError
            If a layer does not allow the size; the message names the layer and, if possible, the nearest size that fits.
            `UnknownLayerError` if this package does not describe all layers.
        TypeError, ValueError
            If ``size`` is not two positive integers.
        """
        size = _checks.size("size", size)
        check_size(self.name, size)
        try:
            network, weights = self.network, self.weights
        except UnknownLayerError as error:
            raise UnknownLayerError(f"{self.name} cannot be resized to {size[0]}x{size[1]}: {error}") from error
        if size == network.input_size:
            return self
        try:
            source = DecodedNetwork(network.resized(size), weights)
        except ModelError as error:
            problem = f"{self.name} does not accept an input of {size[0]}x{size[1]}: {error}"
            raise ModelError(problem + _nearest_size(network, size)) from error
        preprocess = None if self.preprocess is None else replace(self.preprocess, size=size)
        head = self.head
        if head is not None:
            from opencv_squeezedet.network.head import head_of  # imported lazily

            head = replace(head, input_size=size, grid=head_of(source.network, self.outputs or CAFFE_OUTPUTS).grid)
        return Model(source, None, head, preprocess, self.name, outputs=self.outputs, labels=self.labels, files=self.files)

    def with_network(self, source: NetworkSource) -> Model:
        """Return a model of another network with the same head, preprocessing, outputs and labels, which are then complete."""
        return Model(
            source, head=self.head, preprocess=self.preprocess, outputs=self.outputs, labels=self.labels, files=self.files
        )

    def open(
        self, backend: BackendName = "opencv", target: str | None = None, *, tops: Sequence[str] | None = None
    ) -> Backend:
        """Make the network ready to run, and check that it accepts the input and gives the blobs of the head.

        The network is checked before a native library sees it. Layers that this package does not describe are opened and run
        in a child process first, which takes half a second.

        Parameters
        ----------
        backend : {"opencv", "onnxruntime", "auto"}
            The library that runs it; "auto" is onnxruntime if it is installed and has the target.
        target : str, optional
            The device: "cpu", or another name of `opencv_targets` or `onnxruntime_targets`. Default: the processor.
        tops : sequence of str, optional
            Blobs of the network that the session returns, by name. Default: a detector's three; the only output of others.

        Raises
        ------
        ModelError
            If the network is damaged, does not give these blobs, or a shape is not the head's.
        ValueError
            If there is no such backend, or no such target here.
        ImportError
            If the backend is not installed; the message names the extra.
        """
        backend = choose_backend(backend, target)
        if tops is not None:
            return open_prepared(prepare_tops(self.source, backend, tops), backend, target)
        size = None
        trusted = self.source.trusted and not self._changed
        if not trusted and (described := self.head or self.preprocess) is not None:
            size = described.input_size if isinstance(described, HeadConfig) else described.size
            check_size(self.name, size)
        outputs = None if self.head is None else self.outputs or CAFFE_OUTPUTS
        key = f"{backend} {outputs}"
        if key not in self._prepared:
            self._prepared[key] = prepare(self.source, backend, outputs)
        session = open_prepared(self._prepared[key], backend, target, size=size)
        if self.head is not None and not trusted:
            session.check_head(self.head)
        return session

    def encode(self, path: StrPath, *, half: bool = False) -> dict[Path, bytes]:
        """Return the content of each file that `save` writes; parameters and errors as for `save`."""
        path = Path(path)
        if path.suffix == ".sdz":
            from opencv_squeezedet.formats import sdz_bytes

            return {path: sdz_bytes(self.network, self.weights, self.description)}
        if path.suffix == ".onnx":
            contents = {path: self._onnx(half=half)}
        elif path.suffix in (".caffemodel", ".prototxt"):
            from opencv_squeezedet.formats import caffemodel_bytes, prototxt_text

            contents = {
                path.with_suffix(".prototxt"): prototxt_text(self.network).encode(),
                path.with_suffix(".caffemodel"): caffemodel_bytes(self.network, self.weights, half=half),
            }
        else:
            raise ModelError(f"a target that ends in .onnx, .sdz, .caffemodel or .prototxt was expected, got {str(path)!r}")
        description = self.description
        return contents if description is None else {**contents, path.with_suffix(".json"): description}

    def save(self, path: StrPath, *, half: bool = False) -> list[Path]:
        """Write the model's files, all or none, and return their paths.

        Parameters
        ----------
        path : path
            ``NAME.sdz``; ``NAME.onnx``; or ``NAME.caffemodel`` or ``NAME.prototxt``, either of which writes both. The last
            two come with ``NAME.json``.
        half : bool
            Store weights as float16, at half the size; Caffe itself cannot read such caffemodels.

        Raises
        ------
        ModelError
            If the suffix is unknown, the format cannot store the network, or float16 cannot hold the weights.
        OSError
            If a file cannot be written.
        """
        contents = self.encode(path, half=half)
        write_together(contents)
        return list(contents)

    def _onnx(self, *, half: bool) -> bytes:
        from opencv_squeezedet.formats import onnx_bytes

        try:
            return onnx_bytes(self.network, self.weights, half=half)
        except UnknownLayerError:
            content = self.source.onnx()
            if content is None or half:
                raise
            return content

    @cached_property
    def _fields(self) -> dict[str, Any]:
        """The description as JSON."""
        if self._description is None:
            return {}
        import json  # imported lazily

        with self._described():
            fields = json.loads(self._description)
            keys = fields.keys() if isinstance(fields, dict) else {""}
            needed = {"preprocess", "head"}
            if not keys <= {"preprocess", "labels"} and not needed <= keys <= needed | {"outputs"}:
                raise ValueError(_EXPECTED)
        return dict(fields)

    def _described_field(self, name: str, read: Callable[[Any], _Field]) -> _Field | None:
        """A field of the description; None if it has none."""
        if name not in self._fields:
            return None
        with self._described():
            return read(self._fields[name])

    @contextmanager
    def _described(self) -> Iterator[None]:
        """Report an error in the description as a ModelError that names it."""
        try:
            yield
        except (ValueError, TypeError, RecursionError) as error:
            if self._description is None:
                raise
            where = repr(self.files.description) if self.files.description else self.name
            raise ModelError(f"{where}: {error}") from error

    def _head_of(self, fields: Any) -> HeadConfig:
        """The head of a description; shapes that it leaves out come from the network."""
        derived = {"input_size", "grid", "labels", "first_axis"}
        if not isinstance(fields, dict) or "anchors" not in fields or derived <= fields.keys():
            return HeadConfig.from_dict(fields)
        from opencv_squeezedet.network.head import derive_config  # imported lazily

        try:
            network = self.network
        except UnknownLayerError as error:
            missing = ", ".join(f"'{name}'" for name in sorted(derived - fields.keys()))
            raise UnknownLayerError(f"the head leaves out {missing}, which are derived from the layers: {error}") from error
        return derive_config(network, outputs=self.outputs or CAFFE_OUTPUTS, **fields)


def detector_parts(head: HeadConfig | None, preprocess: Preprocess | None) -> tuple[HeadConfig, Preprocess]:
    """Return a detector's head and its preprocessing, by default that of opencv_contrib's networks.

    TypeError if a part has another type, ValueError if the two differ in the size of the input.
    """
    if not isinstance(head, HeadConfig):
        raise TypeError(f"config must be a HeadConfig, got {head!r}")
    made = Preprocess(head.input_size) if preprocess is None else preprocess
    if not isinstance(made, Preprocess):
        raise TypeError(f"preprocess must be a Preprocess, got {preprocess!r}")
    if made.size != head.input_size:
        raise ValueError(f"preprocess makes a blob of {made.size}, the config's input_size is {head.input_size}")
    return head, made


_NEAR = 64  # largest difference of a suggested side from the requested side, in pixels


def _nearest_size(network: Network, size: tuple[int, int]) -> str:
    """The accepted size nearest to ``size``, as the end of an error message."""
    steps = sorted(range(-_NEAR, _NEAR + 1), key=abs)
    width, height = network.input_size
    widths = (size[0] + step for step in steps if _accepts(network, (size[0] + step, height)))
    heights = (size[1] + step for step in steps if _accepts(network, (width, size[1] + step)))
    nearest = next(widths, None), next(heights, None)
    return "" if None in nearest else f"; the nearest size that it accepts is {nearest[0]}x{nearest[1]}"


def _accepts(network: Network, size: tuple[int, int]) -> bool:
    try:
        return min(size) > 0 and bool(network.resized(size).steps)
    except ModelError:
        return False


_EXPECTED = (
    "a JSON object with 'preprocess', 'head' and, if needed, 'outputs' was expected, "
    "or for a classifier with 'preprocess' and 'labels', either or both"
)


def _outputs_of(value: Any) -> dict[str, OutputRef]:
    if not isinstance(value, Mapping) or value.keys() != set(BLOBS):
        raise ValueError(f"'outputs' must have the keys {', '.join(map(repr, BLOBS))}, got {value!r}")
    return {blob: _output_ref(blob, value[blob]) for blob in BLOBS}  # in the order of `Blobs`, not of the file


def _labels_of(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(label, str) for label in value):
        raise ValueError("'labels' must be a list of strings")
    return value


def _output_ref(blob: str, value: Any) -> OutputRef:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
        return value[0], _checks.count("top", value[1], least=0)
    raise ValueError(f"'outputs' must give [layer, top], or an ONNX output's name, for each blob, got {value!r} for {blob!r}")
