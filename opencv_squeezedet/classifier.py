"""`SqueezeNet`: from a picture to the classes that it shows."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet import _checks
from opencv_squeezedet.backends import BackendName
from opencv_squeezedet.errors import ModelError, UnknownLayerError
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.model import Model
from opencv_squeezedet.model_files import models_folder
from opencv_squeezedet.preprocess import Picture, Preprocess


class Class(NamedTuple):
    """A class that a picture may show: its index, its name and its probability."""

    class_id: int
    label: str
    probability: float


@dataclass(frozen=True)
class Classes:
    """The most probable classes of a picture, in descending order: a sequence of `Class`; a slice is again `Classes`."""

    classes: tuple[Class, ...]

    def __len__(self) -> int:
        return len(self.classes)

    def __iter__(self) -> Iterator[Class]:
        return iter(self.classes)

    @overload
    def __getitem__(self, key: SupportsIndex) -> Class: ...
    @overload
    def __getitem__(self, key: slice) -> Classes: ...
    def __getitem__(self, key: SupportsIndex | slice) -> Class | Classes:
        return Classes(self.classes[key]) if isinstance(key, slice) else self.classes[key]

    def __repr__(self) -> str:
        return f"Classes({', '.join(f'{c.class_id} {c.label} {c.probability:.3f}' for c in self)})"

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Return JSON types: ``{"classes": [{"class_id", "label", "probability"}, ...]}``."""
        return {"classes": [entry._asdict() for entry in self]}

    def to_json(self, indent: int | None = None) -> str:
        """Return `to_dict` as JSON."""
        import json  # keeps import fast

        return json.dumps(self.to_dict(), indent=indent)


class SqueezeNet:
    """A classifier: SqueezeNet, or another network with one output value for each class.

    One classifier may be used by several threads at once; see `SqueezeDet`.

    Parameters
    ----------
    model : path, str or Model
        A `Model`, or an argument of `Model.load`: files, or the name of a published model. A caffemodel without a prototxt
        must be that of SqueezeNet v1.0, v1.1 or the GSoC work. The package contains no classifier weights.
    weights : path, optional
        The caffemodel, if its stem is different.
    labels : sequence of str, optional
        The class names, in the order of the network's output. Default: those in ``NAME.json``, or else ImageNet's 1000.
    preprocess : Preprocess, optional
        How the input is made. Default: as ``NAME.json`` says; or else BGR minus (104, 117, 123), stretched to
        the size in the network's definition.
    backend, target : str, optional
        The library that runs the network, and the device; as for `SqueezeDet`.

    Attributes
    ----------
    backend : Backend
        The network, ready to run.
    preprocess : Preprocess
        How its input is made.
    labels : tuple of str
        The class names.
    activated : bool
        Whether the network gives probabilities; if it gives logits, their softmax is taken.

    Raises
    ------
    FileNotFoundError
        If a file is missing; the message names it.
    ModelError
        If the files cannot be read, do not fit each other, or the network does not give one value for each label.
    ValueError, ImportError, FetchError
        As for `SqueezeDet`.

    Examples
    --------
    >>> for c in SqueezeNet("squeezenet-v1.1").classify(cv2.imread("photo.jpg")):  # doctest: +SKIP
    ...     print(c.label, c.probability)
    """

    def __init__(
        self,
        model: StrPath | Model,
        weights: StrPath | None = None,
        *,
        labels: Sequence[str] | None = None,
        preprocess: Preprocess | None = None,
        backend: BackendName = "opencv",
        target: str | None = None,
    ) -> None:
        if isinstance(model, Model) and weights is not None:
            raise TypeError("weights belong to a model's files, not to a Model")
        loaded = model if isinstance(model, Model) else Model.load(model, weights, task="classifier")
        if loaded.head is not None:
            raise ModelError(f"{loaded.name} is a detector, not a classifier")
        names = (loaded.labels or imagenet_labels()) if labels is None else labels
        if isinstance(names, str) or not all(isinstance(label, str) for label in names):
            raise TypeError(f"labels must be a sequence of strings, got {names!r}")
        makes = loaded.preprocess if preprocess is None else preprocess
        if makes is None:
            try:
                makes = Preprocess(loaded.network.input_size)
            except UnknownLayerError as error:
                raise UnknownLayerError(f"a preprocess or a JSON file must give the input's size: {error}") from error
        if not isinstance(makes, Preprocess):
            raise TypeError(f"preprocess must be a Preprocess, got {makes!r}")
        self.labels, self.preprocess = tuple(names), makes
        self.backend = Model(loaded.source, None, None, makes, loaded.name).open(backend, target)
        (shape,) = self.backend.shapes(self.preprocess.size)
        if math.prod(shape) != len(self.labels) or sum(length != 1 for length in shape) > 1:
            raise ModelError(
                f"{self.backend.origin(0)} gives the shape {shape}; a value for each of {len(self.labels)} labels was expected"
            )
        self.activated = self._gives_probabilities()

    def classify(self, image: Picture, top: SupportsIndex = 5) -> Classes:
        """Return the most probable classes of a picture, at most ``top``; equal probabilities by index.

        The picture is any that `SqueezeDet.detect` accepts; TypeError or ValueError for another, or for a wrong ``top``.
        """
        count = _checks.count("top", top)
        probabilities = self.forward(image)
        best = np.argsort(-probabilities, kind="stable")[:count].tolist()
        # JSON gets float32's own digits, not the exact value as a double
        return Classes(tuple(Class(i, self.labels[i], float(str(probabilities[i]))) for i in best))

    def forward(self, image: Picture) -> NDArray[np.float32]:
        """Return the probability of each class, (classes,) float32; errors as for `classify`."""
        values = self.backend.forward(self.preprocess.blob(image))[0].reshape(-1)
        if self.activated:
            return values
        exponentials = np.exp(values.astype(np.float64) - values.max())
        return np.asarray(exponentials / exponentials.sum(), np.float32)

    def _gives_probabilities(self) -> bool:
        width, height = self.preprocess.size
        noise = np.random.default_rng(0).uniform(-100, 100, (1, 3, height, width)).astype(np.float32)
        values = self.backend.forward(noise)[0]
        return bool(values.min() >= 0 and abs(values.sum(dtype=np.float64) - 1) < 1e-4)


def imagenet_labels() -> tuple[str, ...]:
    """Return the names of the 1000 classes of ILSVRC-2012, in the order of a network's outputs."""
    with open(os.path.join(models_folder(), "imagenet_synset_words.txt"), encoding="utf-8") as file:
        return tuple(line.rstrip("\n").split(" ", 1)[1] for line in file)
