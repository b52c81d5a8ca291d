"""A network's files in the form that backends take: as they are, or converted to ONNX in memory; read and checked before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from opencv_squeezedet._opencv import read_net_from_caffe
from opencv_squeezedet.backends.base import BackendName, no_layer, no_top
from opencv_squeezedet.backends.forms import Form
from opencv_squeezedet.blobs import Place, Places
from opencv_squeezedet.errors import ModelError, UnknownLayerError
from opencv_squeezedet.model_files import Files, named, read_file

if TYPE_CHECKING:
    from opencv_squeezedet.network import Layer, Network, Weights

Misfit = Callable[[tuple[int, int] | None], str | None]
"""Says what is wrong with a network, or with an input of (width, height) for it; None if nothing is."""


class NetworkContent:
    """A network's files, read, checked and converted at most once, however many backends are opened with them.

    Parameters
    ----------
    files : Files
        Where the network lies.
    trusted : bool
        Whether the files are known to be sound; then they are not looked into.
    """

    def __init__(self, files: Files, *, trusted: bool = False) -> None:
        self.files, self.trusted = files, trusted
        self._contents: dict[str, bytes] = {}
        self._forms: dict[str, tuple[Form, Misfit]] = {}

    def form(self, backend: BackendName, outputs: Places | None) -> tuple[Form, Misfit]:
        """Return the network as the backend takes it, checked, and what tells of an input's size whether it takes that.

        Raises
        ------
        ModelError
            If the files cannot be read or do not fit each other, or the network does not give these blobs. It names the layer,
            what it has and what was expected.
        OSError
            If a file cannot be read.
        """
        key = f"{backend} {outputs}"
        if key not in self._forms:
            self._forms[key] = self._form(backend, outputs)
        return self._forms[key]

    def _form(self, backend: BackendName, outputs: Places | None) -> tuple[Form, Misfit]:
        files = self.files
        takes_caffe = backend == "opencv" and read_net_from_caffe is not None
        if files.compressed is not None and (takes_caffe or self.trusted):
            return self._unpacked(files.compressed, outputs, as_caffe=takes_caffe)
        if takes_caffe and files.are_caffe:
            used, name = replace(files, onnx=None), str(files)
        elif files.onnx is not None:
            used, name = Files(onnx=files.onnx), repr(files.onnx)
        else:
            return self._converted(outputs)
        misfit = partial(_misfit_of_files, used) if self.trusted else self._checked(used)
        paths = (path for path in (used.definition, used.weights, used.onnx) if path is not None)
        form = Form(tuple(map(self._read, paths)), name, outputs)
        return form, misfit or self._trial(form, backend)

    def _unpacked(self, path: str, outputs: Places | None, *, as_caffe: bool) -> tuple[Form, Misfit]:
        """A compressed model as Caffe's two files; or, if it is trusted, as the ONNX file that it has in it."""
        from opencv_squeezedet.formats.bare_weights import bare_caffemodel, with_weights  # takes time to import
        from opencv_squeezedet.formats.sdz import read_sdz

        model, misfit = read_sdz(path, read=self._read), partial(_misfit_of_files, self.files)
        if self.trusted:
            weights = model.weights(as_stored=True)
        else:
            with named(path):
                network, weights = model.checked(as_stored=True)
            misfit = partial(_misfit_of_network, network)
        contents = (model.definition, bare_caffemodel(weights)) if as_caffe else (with_weights(model.skeleton, weights),)
        return Form(contents, repr(path), outputs), misfit

    def _checked(self, files: Files) -> Misfit | None:
        """What tells by the layers, after a check of the files; None if some layers are not described here."""
        from opencv_squeezedet.formats import load_network  # takes time to import

        try:
            return partial(_misfit_of_network, load_network(files, read=self._read)[0])
        except UnknownLayerError:
            return None

    def _trial(self, form: Form, backend: BackendName) -> Misfit:
        from opencv_squeezedet.backends.trial import Trial  # takes time to import

        return Trial(form, backend)

    def _converted(self, outputs: Places | None) -> tuple[Form, Misfit]:
        from opencv_squeezedet.formats import onnx_bytes

        network, weights = self._network()
        name = str(self.files)
        if outputs is None:
            return Form((onnx_bytes(network, weights),), name, None), partial(_misfit_of_network, network)
        tops = {blob: _top(network, name, place, blob) for blob, place in outputs.items()}
        return Form((onnx_bytes(up_to(network, set(tops.values())), weights),), name, tops), partial(
            _misfit_of_network, network
        )

    def _network(self) -> tuple[Network, Weights]:
        if self.files.compressed is not None:  # without the other readers, which a detector then need not import
            from opencv_squeezedet.formats import read_sdz

            model = read_sdz(self.files.compressed, read=self._read)
            with named(self.files.compressed):
                return model.checked()
        from opencv_squeezedet.formats import load_network

        return load_network(self.files, read=self._read)

    def _read(self, path: str, *most: int) -> bytes:
        """The content of a file, the same whenever it is asked for: what was checked is what runs."""
        if path not in self._contents:
            self._contents[path] = self._reader()(path, *most)
        return self._contents[path]

    def _reader(self) -> Callable[..., bytes]:
        if self.trusted:
            return read_file
        from opencv_squeezedet.formats import content_of  # takes time to import

        return content_of


def _misfit_of_network(network: Network, size: tuple[int, int] | None) -> str | None:
    """What the shapes of a network's layers say."""
    try:
        _ = network.steps if size is None else replace(network, input_shape=(1, 3, size[1], size[0])).steps
    except ModelError as error:
        return str(error)
    return None


def _misfit_of_files(files: Files, size: tuple[int, int] | None) -> str | None:
    """The same for a network that is known to be sound, which is read only when an input's size is asked about."""
    if size is None:
        return None
    from opencv_squeezedet.formats import load_definition  # takes time to import

    return _misfit_of_network(load_definition(files), size)


def _top(network: Network, name: str, place: Place, blob: str) -> str:
    if isinstance(place, str):
        return place
    layer, top = place
    tops = {step.layer.name: step.layer.tops for step in network.steps}
    if layer not in tops:
        raise no_layer(name, layer, blob)
    if top >= len(tops[layer]):
        raise no_top(layer, len(tops[layer]), top, blob)
    return tops[layer][top]


def up_to(network: Network, tops: set[str]) -> Network:
    """The part of a network that makes these tops, which then are its outputs."""
    layers: list[Layer] = []
    needed = set(tops)
    for layer in reversed(network.layers):
        if not needed.isdisjoint(layer.tops):
            layers.insert(0, layer)
            needed.update(layer.bottoms)
    return replace(network, layers=tuple(layers))
