"""The files that a model may have, and the search for them, by their common stem or in the folder of a training.

==============================  ============================================================
file                            content
==============================  ============================================================
``NAME.prototxt``               Caffe's definition of the network
``NAME.caffemodel``, ``.net``   its weights: Caffe's, or Deep Compression's
``NAME.onnx``                   definition and weights
``NAME.sdz``                    definition, weights and description, compressed
``NAME.json``                   description: how the input is made, what the outputs mean
==============================  ============================================================
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
"""Maximum file size: protobuf's limit of 2 GiB."""
MOST_DEFINITION, MOST_DESCRIPTION = 1 << 20, 1 << 24
"""Maximum size of a prototxt, ten times that of public networks, and of a JSON file."""
OF_TRAINING = "model"
"""The stem of the model in the folder of a training, which may be named instead of it."""
_COMPLETE = (".onnx", ".net", ".sdz")  # contain their own weights
_DEFINE_WITH_WEIGHTS = (".onnx", ".sdz")


@dataclass(frozen=True)
class Files:
    """The paths of a model's files; None for a file that it does not have."""

    definition: str | None = None  # prototxt, ONNX file or .sdz; the last two contain the weights
    weights: str | None = None  # caffemodel, .net or .npz; without a definition those of a classifier of this package
    description: str | None = None  # the JSON file, or the .sdz that contains it

    @property
    def main(self) -> str:
        """The file that defines the network's layers, or else its weights."""
        return str(self.definition or self.weights)

    @property
    def paths(self) -> tuple[str, ...]:
        """The files of the network."""
        return tuple(path for path in (self.definition, self.weights) if path is not None)

    @property
    def reserved(self) -> tuple[str, ...]:
        """Paths that no output may have: the files, and the path of their description, even if there is none."""
        return self.paths if self.is_compressed or not self.paths else (*self.paths, f"{self.stem}.json")

    @property
    def is_compressed(self) -> bool:
        """Whether the model is a single ``.sdz`` file."""
        return self.definition is not None and self.definition.endswith(".sdz")

    @property
    def stem(self) -> str:
        """The common part of the paths, with which the description's begins."""
        return stem_of(self.main)

    def __str__(self) -> str:
        return f"{self.definition!r} with {self.weights!r}" if self.definition and self.weights else repr(self.main)

    def check_weights(self) -> None:
        """Raise FileNotFoundError, which names the missing file, if there are no weights."""
        if self.weights is None and not self.main.endswith(_DEFINE_WITH_WEIGHTS):
            raise FileNotFoundError(f"no weights at {self.stem + '.caffemodel'!r}, and no {self.stem + '.onnx'!r}")

    def check_definition(self) -> None:
        """Raise FileNotFoundError, which names the missing file, if nothing defines the layers."""
        if self.definition is None:
            raise FileNotFoundError(f"no network definition at {self.stem + '.prototxt'!r}, and no {self.stem + '.onnx'!r}")


def find_files(model: StrPath, weights: StrPath | None = None) -> Files:
    """Find the files of a model, given its stem ``NAME``, one of the files, or the folder of a training.

    ``NAME.onnx``, ``NAME.net`` and ``NAME.sdz`` mean that file even if others are beside it. Otherwise these are Caffe's
    definition and weights if both exist; else the ONNX file; else the ``.sdz``; else the definition or the weights alone.
    ``weights`` is the path of weights with another stem. FileNotFoundError if there is no such network, or no such weights;
    ModelError if weights are given for a file that has its own.
    """
    path = _in_folder(os.fspath(model))
    stem = path if any(os.path.isfile(path + suffix) for suffix in SUFFIXES) else stem_of(path)  # "my.net" may be a stem
    paths = (stem + suffix for suffix in SUFFIXES)
    definition, caffemodel, net, onnx, compressed, description = (path if os.path.isfile(path) else None for path in paths)
    own = path if path.endswith(_COMPLETE) and os.path.isfile(path) else None
    if weights is not None:
        given = os.fspath(weights)
        if own is not None and os.path.abspath(own) != os.path.abspath(given):
            raise ModelError(f"{own!r} has weights of its own, {given!r} cannot be used with it")
        if not os.path.isfile(given):
            what = f"network definition at {stem + '.prototxt'!r}" if definition is None else f"weights at {given!r}"
            raise FileNotFoundError(f"no {what}")
        if own is None:
            return Files(definition, given, description)
    if own is not None:
        return _complete(own, description)
    if definition is not None and caffemodel is not None:
        return Files(definition, caffemodel, description)
    if onnx is not None or compressed is not None:
        return _complete(str(onnx or compressed), description)
    if definition is None and caffemodel is None and net is None:
        what = "weights" if path.endswith((".net", ".caffemodel")) else "network definition"
        expected = path if path.endswith(SUFFIXES) and not path.endswith(".json") else f"{stem}.prototxt"
        raise FileNotFoundError(f"no {what} at {expected!r}" + (f", and no {stem + '.onnx'!r}" if path == stem else ""))
    return Files(definition, caffemodel or net, description)


def _complete(path: str, description: str | None) -> Files:
    """The files of a network whose weights are in its own file."""
    if path.endswith(".net"):
        return Files(weights=path, description=description)
    return Files(path, description=path if path.endswith(".sdz") else description)


def is_model(model: str) -> bool:
    """Whether there is a file of this name, or of this stem and a suffix in `SUFFIXES`."""
    return bool(_of_name(model)) or _in_folder(model) != model


def reserved_by(*names: str | None) -> list[str]:
    """Return the paths that no output may have: the files that `find_files` returns, and those of the same stem."""
    reserved = []
    for name in (_in_folder(name) for name in names if name is not None):
        paths = [*_of_name(name), *_of_name(stem_of(name))]
        reserved += paths and [*paths, f"{stem_of(name)}.json"]
    return reserved


def _in_folder(path: str) -> str:
    """Return the stem of a training's model if this is its folder, and otherwise the path as it is."""
    return os.path.join(path, OF_TRAINING) if os.path.isdir(path) and not _of_name(path) else path


def _of_name(name: str) -> list[str]:
    return [name + suffix for suffix in ("", *SUFFIXES) if os.path.isfile(name + suffix)]


def stem_of(path: str) -> str:
    """Return the common part of the names of a model's files, for a file or for the stem itself."""
    root, suffix = os.path.splitext(path)
    return root if suffix in SUFFIXES else path


def models_folder() -> str:
    """Return where this package's own models are: in the installed package, or beside it in a clone."""
    package = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(package, "models")
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(package), "models")


Read = Callable[[str, int], bytes]
"""Returns the content of a file of at most that many bytes, as `read_file` does."""


def read_file(path: str, most: int = MOST_BYTES) -> bytes:
    """Return the content of a model's file; ModelError if it is empty, larger than ``most`` bytes, or no such file."""
    with open(path, "rb") as file:
        if (size := os.fstat(file.fileno()).st_size) > most:
            raise ModelError(f"{path!r}: a file of at most {most} bytes was expected, it has {size}")
        content = file.read()
    with named(path):
        check_content(content)
    return content


def check_content(content: bytes) -> None:
    """Raise a ModelError if a file is empty, or is what a failed download leaves behind."""
    if not content:
        raise ModelError("the file is empty")
    if content.startswith(b"version https://git-lfs"):
        raise ModelError("this is a Git LFS pointer, not the file itself, which `git lfs pull` downloads")
    if content[:256].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise ModelError("this is an HTML page, not the file itself; download it again, by the link to the raw file")


@contextmanager
def named(path: str) -> Iterator[None]:
    """Prefix the message of a ModelError with the file's name."""
    try:
        yield
    except ModelError as error:
        raise type(error)(f"{path!r}: {error}") from error
