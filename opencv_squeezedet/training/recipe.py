"""The settings of a training run; the same recipe and seed give the same run."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from opencv_squeezedet import _checks
from opencv_squeezedet.config import checked_anchors, from_fields
from opencv_squeezedet.network.architectures import TRAINABLE
from opencv_squeezedet.training.augment import Augmentation
from opencv_squeezedet.training.loop import Schedule

LossName = Literal["aligned", "published"]
Normalized = Literal["new", "all"]
_STEP = 64  # input sides in steps of it suit every network


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a training run.

    Parameters
    ----------
    network : str
        The network: a key of ``TRAINABLE`` in `network.architectures`.
    input_size : (int, int)
        Width and height of the input, pixels. Default: the network's, 384x384 for ``shuffle`` and 416x416 for the others.
    anchors : sequence of (float, float), optional
        Anchor shapes, pixels of that input. Default: those of the model in ``start``, unchanged, if it has nine; otherwise
        opencv_contrib's nine, scaled from 416x416 to that size.
    loss : {"aligned", "published"}
        `AlignedLoss` or `PublishedLoss`.
    candidates, alpha, beta, box : int, float, float, float
        Parameters of `AlignedLoss`; ignored for the published loss.
    distillation : float
        Weight of the teacher's classes in those of an annotated object.
    pictures : int
        Number of pictures seen in total.
    batch : int
        Pictures in a step, of all processes together.
    small : float
        Fraction of the training, at its start, at about 10/13 of the input size (320 for 384), where steps take half the time.
    vary : int
        Largest random change of the input's sides from batch to batch, in steps of 64 pixels, except at the training's end
        (see ``plain_end``).
    start : str
        The initial weights: a published model by name, a model as for `SqueezeDet`, or a weights file. Default: ``embedded``
        for ``shuffle``, ``pyramid-voc`` for the others.
    start_share : float
        Weight of the initial weights in the mean with the trained weights that is written at the end, in layers that have
        both. After fine-tuning a good model the mean is often better than either (Wortsman et al., arXiv:2109.01903).
    frozen : sequence of str
        Convolutions, fire modules and stages that keep those weights; names that the network does not have are ignored.
    normalized : {"new", "all"}
        The convolutions that get batch normalisation while they are trained: those without initial weights, or all that are
        not frozen. The last layer never does.
    rare : float
        Exponent of a class's rarity in its weight: with 0 all objects have the same weight, with 1 all classes.
    augmentation : Augmentation
        Strength of the augmentation.
    schedule : Schedule
        Learning rate, EMA and precision.
    plain_end : float
        Fraction of the training, at its end, without mosaics and with a fixed input size.
    unlabelled : float, optional
        Fraction of pictures with pseudo-labels only. Default: their fraction of all pictures.
    seed : int
        Random seed.

    Raises
    ------
    ValueError, TypeError
        If a field is invalid; the message names it, what was expected and what was given.
    """

    network: str = next(iter(TRAINABLE))
    input_size: tuple[int, int] = None  # type: ignore[assignment]  # the network's; see __post_init__
    anchors: tuple[tuple[float, float], ...] | None = None
    loss: LossName = "aligned"
    candidates: int = 10
    alpha: float = 0.5
    beta: float = 5.0
    box: float = 5.0
    distillation: float = 0.5
    pictures: int = 240_000
    batch: int = 32
    small: float = 0.6
    vary: int = 0
    start: str = None  # type: ignore[assignment]  # likewise
    start_share: float = 0.0
    frozen: tuple[str, ...] = ("conv1", "fire2", "fire3", "stage2")
    normalized: Normalized = "new"
    rare: float = 0.35
    augmentation: Augmentation = field(default_factory=Augmentation)
    schedule: Schedule = field(default_factory=Schedule)
    plain_end: float = 0.15
    unlabelled: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the fields, and fill in those that follow from the network."""
        _checks.choice("network", self.network, tuple(TRAINABLE))
        _checks.choice("loss", self.loss, get_args(LossName))
        _checks.choice("normalized", self.normalized, get_args(Normalized))
        for name in ("pictures", "batch", "candidates"):
            _checks.count(name, getattr(self, name))
        for name in ("small", "start_share", "rare", "plain_end", "distillation"):
            _checks.fraction(name, getattr(self, name))
        for name in ("alpha", "beta", "box"):
            if _checks.finite(name, getattr(self, name)) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("seed", "vary"):
            _checks.count(name, getattr(self, name), least=0)
        if self.unlabelled is not None:
            _checks.fraction("unlabelled", self.unlabelled)
        architecture = TRAINABLE[self.network]
        if self.start is None:
            object.__setattr__(self, "start", architecture.start)
        size = architecture.build().input_size if self.input_size is None else self.input_size
        object.__setattr__(self, "input_size", _checks.size("input_size", size))
        if isinstance(self.frozen, str) or not all(isinstance(name, str) for name in self.frozen):
            raise TypeError(f"frozen must be names of layers, got {self.frozen!r}")
        object.__setattr__(self, "frozen", tuple(self.frozen))
        if self.anchors is not None:
            object.__setattr__(self, "anchors", checked_anchors(self.anchors))

    @property
    def sizes(self) -> list[tuple[list[tuple[int, int]], float]]:
        """Input sizes to draw from, and the fraction of the training from which they are used."""
        sizes = [(self._around(self.input_size), self.small)]
        if self.small:
            width, height = (side - round(side * 3 / 13 / _STEP) * _STEP for side in self.input_size)
            sizes.insert(0, (self._around((width, height)), 0.0))
        if self.vary:
            sizes.append(([self.input_size], max(self.small, 1 - self.plain_end)))
        return sizes

    def _around(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        steps = range(-self.vary * _STEP, self.vary * _STEP + 1, _STEP)
        return [(size[0] + step, size[1] + step) for step in steps if min(size) + step >= _STEP]

    def to_json(self) -> str:
        """Return the recipe as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str, network: str | None = None) -> Recipe:
        """Make the recipe from the result of `to_json`; ValueError or TypeError for anything else.

        ``network`` replaces the network; missing fields then have that network's defaults.
        """
        try:
            fields: Any = json.loads(text)
        except RecursionError as error:
            raise ValueError(f"a recipe was expected: {error}") from error
        if isinstance(fields, dict):
            if network is not None:
                fields["network"] = network
            for name, kind in (("augmentation", Augmentation), ("schedule", Schedule)):
                if name in fields:
                    fields[name] = from_fields(kind, fields[name])
        return from_fields(cls, fields)
