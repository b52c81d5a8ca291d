"""Which files a model may have, and where they are: found once, by their common stem.

============================  ==================================================================
file                          what it holds
============================  ==================================================================
``NAME.prototxt``             Caffe's definition of the network
``NAME.caffemodel``, ``.net``  its weights: Caffe's, or Deep Compression's
``NAME.onnx``                 definition and weights in one
``NAME.sdz``                  definition, weights and description in one, compressed
``NAME.json``                 description: how the input is made, and what the outputs mean
============================  ==================================================================
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.files import StrPath

SUFFIXES = (".prototxt", ".caffemodel", ".net", ".onnx", ".sdz", ".json")
MOST_BYTES = 2**31 - 1
"""The largest file that is read, as of protobuf."""
_COMPLETE = (".onnx", ".net", ".sdz")  # contain their own weights


@dataclass(frozen=True)
class Files:
    """Where a model's files are; None for a file that does not exist.

    Parameters
    ----------
    definition : str or None
        Caffe's prototxt.
    weights : str or None
        The caffemodel or ``.net``. Without a definition it must hold the weights of a classifier that this package knows.
    onnx : str or None
        The network as ONNX; if Caffe's two files are beside it, the same network.
    description : str or None
        The JSON file, or the compressed model, which has it inside.
    compressed : str or None
        The ``.sdz``; there is then no definition, no weights and no ONNX file apart.
    """

    definition: str | None = None
    weights: str | None = None
    onnx: str | None = None
    description: str | None = None
    compressed: str | None = None

    @property
    def are_caffe(self) -> bool:
        """Whether these are what Caffe itself reads; a ``.net`` or ``.npz`` has weights, but not as a caffemodel."""
        return self.definition is not None and self.weights is not None and not self.weights.endswith((".net", ".npz"))

    @property
    def main(self) -> str:
        """The file that defines the network's layers, or else its weights."""
        return str(self.definition or self.onnx or self.compressed or self.weights)

    @property
    def paths(self) -> tuple[str, ...]:
        """All that are there, each once."""
        paths = (self.definition, self.weights, self.onnx, self.compressed, self.description)
        return tuple(dict.fromkeys(path for path in paths if path is not None))

    @property
    def reserved(self) -> tuple[str, ...]:
        """Names under which nothing else may be written: the files, and what would be taken for their description."""
        return self.paths if self.compressed is not None else (*self.paths, f"{self.stem}.json")

    @property
    def stem(self) -> str:
        """The common part of the names, by which the description is found."""
        return stem_of(self.main)

    def __str__(self) -> str:
        return f"{self.definition!r} with {self.weights!r}" if self.definition and self.weights else repr(self.main)

    def with_weights(self) -> Files:
        """Return the files themselves if they have weights; if not, FileNotFoundError names the missing file."""
        if self.weights is None and self.onnx is None and self.compressed is None:
            raise FileNotFoundError(f"no weights at {self.stem + '.caffemodel'!r}, and no {self.stem + '.onnx'!r}")
        return self

    def with_definition(self) -> Files:
        """Return the files themselves if they define the layers; if not, FileNotFoundError names the missing file."""
        if self.definition is None and self.onnx is None and self.compressed is None:
            raise FileNotFoundError(f"no network definition at {self.stem + '.prototxt'!r}, and no {self.stem + '.onnx'!r}")
        return self


def find_files(model: StrPath, weights: StrPath | None = None) -> Files:
    """Find the files of a model.

    Parameters
    ----------
    model : path
        The stem ``NAME``, or one of the files. ``NAME.onnx``, ``NAME.net`` and ``NAME.sdz`` mean that file even if
        others are beside it.
    weights : path, optional
        The weights, if their stem is different.

    Returns
    -------
    Files
        Caffe's definition and weights if both exist, and the ONNX file if there is one; the definition alone if
        there are no weights. An ONNX file, or else a compressed model, is preferred to a prototxt of the same stem without
        weights.

    Raises
    ------
    FileNotFoundError
        If there is no such network, or no such weights.
    ModelError
        If weights are given for a file that has its own.
    """
    path = os.fspath(model)
    stem = path if any(os.path.isfile(path + suffix) for suffix in SUFFIXES) else stem_of(path)  # "my.net" may be a stem
    definition, caffemodel, net, onnx, compressed, description = (_existing(stem + suffix) for suffix in SUFFIXES)
    own = path if path.endswith(_COMPLETE) and os.path.isfile(path) else None
    if weights is not None:
        given = os.fspath(weights)
        if own is not None and not _same(own, given):
            raise ModelError(f"{own!r} has weights of its own, {given!r} cannot be used with it")
        if not os.path.isfile(given):
            what = f"network definition at {stem + '.prototxt'!r}" if definition is None else f"weights at {given!r}"
            raise FileNotFoundError(f"no {what}")
        if own is None:
            beside = onnx if caffemodel is not None and _same(given, caffemodel) else None  # else it holds other weights
            return Files(definition, given, beside, description)
    if own is not None:
        return _complete(own, description)
    if definition is not None and caffemodel is not None:
        return Files(definition, caffemodel, onnx, description)
    if onnx is not None or compressed is not None:
        return _complete(str(onnx or compressed), description)
    if definition is None and caffemodel is None and net is None:
        what = "weights" if path.endswith((".net", ".caffemodel")) else "network definition"
        expected = path if path.endswith(SUFFIXES) and not path.endswith(".json") else f"{stem}.prototxt"
        raise FileNotFoundError(f"no {what} at {expected!r}" + (f", and no {stem + '.onnx'!r}" if path == stem else ""))
    return Files(definition, caffemodel or net, description=description)


def _complete(path: str, description: str | None) -> Files:
    """The files of a network whose weights are in its own."""
    if path.endswith(".sdz"):
        return Files(compressed=path, description=path)
    return Files(weights=path, description=description) if path.endswith(".net") else Files(onnx=path, description=description)


def is_model(model: str) -> bool:
    """Whether there is a file of this name, or of this stem and one of `SUFFIXES`."""
    return bool(_of_name(model))


def reserved_by(*names: str | None) -> list[str]:
    """Return the same for a model and its weights, given as to `find_files`, and for others beside them of the same stem."""
    found = []
    for name in names:
        paths = [] if name is None else [*_of_name(name), *_of_name(stem_of(name))]
        found += paths and [*paths, f"{stem_of(str(name))}.json"]
    return found


def _of_name(name: str) -> list[str]:
    return [name + suffix for suffix in ("", *SUFFIXES) if os.path.isfile(name + suffix)]


def stem_of(path: str) -> str:
    """Return the common part of the names of a model's files, for one of them or for the stem itself."""
    root, suffix = os.path.splitext(path)
    return root if suffix in SUFFIXES else path


def models_folder() -> str:
    """Return where this package's own models are: in the installed package, or beside it in a clone."""
    package = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(package, "models")
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(package), "models")


Read = Callable[[str, int], bytes]
"""What gives the content of a file that has at most so many bytes, as `read_file` does."""


def read_file(path: str, most: int = MOST_BYTES) -> bytes:
    """Return the content of one of a model's files; ModelError if it is empty, or has more bytes than may be."""
    with open(path, "rb") as file:
        if (size := os.fstat(file.fileno()).st_size) > most:
            raise ModelError(f"{path!r}: a file of at most {most} bytes was expected, it has {size}")
        if content := file.read():
            return content
    raise ModelError(f"{path!r}: the file is empty")


@contextmanager
def named(path: str) -> Iterator[None]:
    """Put the file's name before what a ModelError says."""
    try:
        yield
    except ModelError as error:
        raise type(error)(f"{path!r}: {error}") from error


def _existing(path: str) -> str | None:
    return path if os.path.isfile(path) else None


def _same(one: str, other: str) -> bool:
    return os.path.abspath(one) == os.path.abspath(other)
