"""Compression from end to end: sensitivity -> densities and bits -> pruned -> shared -> coded."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from opencv_squeezedet import _checks
from opencv_squeezedet.compression.budget import BITS, DENSITIES, Choice, Limits, apply, best_choices, choices_of
from opencv_squeezedet.compression.layer_inputs import Floats
from opencv_squeezedet.compression.outputs import Outputs
from opencv_squeezedet.compression.pruning import Kernel, prune
from opencv_squeezedet.compression.sharing import INITS, MOST_BITS, Init
from opencv_squeezedet.compression.table import Row, rows_of, total_of
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.files import write_whole
from opencv_squeezedet.formats import sdz_bytes
from opencv_squeezedet.formats.sdz import parse_sdz, stored_of
from opencv_squeezedet.model import Model
from opencv_squeezedet.network import Network, Weights

REMOVED = (0.3, 0.5, 0.7, 0.85)
"""The shares of a layer's weights of whose removal the sensitivity is measured."""
_DEFAULT_RATIO, _DEFAULT_BITS = 8, 6
_ATTEMPTS = 6
_SLOPE_POWER = (
    0.5  # pruning tells of rounding in part only: at 840 kB the root gave 11 % less error than 0, and 1 twice as much
)

Curves = dict[str, tuple[float, ...]]
Report = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Settings:
    """What is wanted of a compression.

    Parameters
    ----------
    size : int, optional
        Bytes of the file, at most. Default, if there is no density either: an eighth of float32's.
    density : float, optional
        The share of all weights that is left, in (0, 1]. Default: whatever is best for the size.
    bits : int, optional
        Of a code, from 2 to 8, in every layer. Default: whatever is best for the size, or 6 if there is a density but no size.
    init : {"linear", "density", "random"}
        How k-means starts.
    """

    size: int | None = None
    density: float | None = None
    bits: int | None = None
    init: Init = "linear"

    def __post_init__(self) -> None:
        """Check the values."""
        if self.size is not None:
            _checks.count("size", self.size)
        if self.density is not None and not _checks.fraction("density", self.density) > 0:
            raise ValueError("density must be above 0")
        if self.bits is not None and not BITS[0] <= _checks.count("bits", self.bits) <= MOST_BITS:
            raise ValueError(f"bits must be from {BITS[0]} to {MOST_BITS}, got {self.bits}")
        _checks.choice("init", self.init, INITS)


@dataclass(frozen=True)
class Compressed:
    """A compressed network.

    Parameters
    ----------
    content : bytes
        Of the ``.sdz`` file.
    original, model : Model
        The model before, and after.
    rows : tuple of Row
        The table; the last row is the total.
    choices : dict
        Each layer's density and bits.
    curves : dict
        For each layer the output error after the removal of each share of `REMOVED`; empty without pictures.
    errors : dict
        The output error after each stage; empty without pictures.
    agreement : float or None
        For which share of the pictures a classifier's first class is still the same.
    accuracies : dict
        The VOC07 mAP after each stage; empty if none was measured.
    """

    content: bytes
    original: Model
    model: Model
    rows: tuple[Row, ...]
    choices: dict[str, Choice]
    curves: Curves = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    agreement: float | None = None
    accuracies: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "bytes": len(self.content),
            "layers": [row.to_dict() for row in self.rows[:-1]],
            "total": self.rows[-1].to_dict(),
            "choices": {name: choice._asdict() for name, choice in self.choices.items()},
            "sensitivity": {"removed": REMOVED, "errors": self.curves},
            "output_errors": self.errors,
            "agreement": self.agreement,
            "map_voc07": self.accuracies,
        }


def compress(
    model: Model,
    settings: Settings,
    *,
    densities: Mapping[str, float] | None = None,
    outputs: Outputs | None = None,
    moments: Mapping[str, Floats] | None = None,
    curves: Curves | None = None,
    report: Report = lambda what, done, total: None,
) -> Compressed:
    """Compress a model from its weights alone, or with pictures to see what a layer's error does to the outputs.

    Parameters
    ----------
    model : Model
        The model; its network must be of layers that this package describes.
    settings : Settings
        How far.
    densities : dict, optional
        Each layer's, where that is decided already.
    outputs : Outputs, optional
        The network's outputs for pictures, with which those of the result are compared.
    moments : dict, optional
        By `layer_moments`, for each convolution: its weights then make up for each other's errors, as far as those show
        in its outputs. That is worth more than anything else here.
    curves : dict, optional
        The sensitivity by `measure_sensitivity`. Default: every layer's error, relative to its weights, counts the same.
    report : function, optional
        Is told the progress.

    Raises
    ------
    ModelError
        If the network cannot be as small as wanted.
    """
    network, weights = model.network, model.weights
    kernels = {name: blobs[0] for name, blobs in weights.items()}
    curves = curves or {}
    counts = {name: _slope(kernels[name], curves[name]) if name in curves else 1.0 for name in kernels}
    if densities is None and settings.density is not None:
        densities = _densities(kernels, settings.density, counts)
    bits = BITS if settings.bits is None else (settings.bits,)
    if settings.bits is None and settings.density is not None and settings.size is None:
        bits = (_DEFAULT_BITS,)
    choices = {}
    for number, (name, kernel) in enumerate(kernels.items()):
        report("choices", number, len(kernels))
        limits = Limits(DENSITIES if densities is None else (densities[name],), bits, settings.init)
        choices[name] = choices_of(kernel, limits)
    applied = _Applied(weights, settings.init, moments or {}, report)
    best, content, found = _within(network, settings, choices, counts, applied, model.description)
    active = None if outputs is None else outputs.active_inputs(found)
    rows = rows_of(network, stored_of(parse_sdz(content), found), active)
    errors, agreement = {}, None
    if outputs is not None:
        pruned = {name: [prune(blobs[0], best[name].density), *blobs[1:]] for name, blobs in weights.items()}
        errors = {"pruned": outputs.error(pruned), "shared": outputs.error(found)}
        if len(network.output_names) == 1:
            agreement = outputs.agreement(found)
    compressed = Model(network, found, description=model.description)
    return Compressed(content, model, compressed, (*rows, total_of(rows, len(content))), best, curves, errors, agreement)


def measure_sensitivity(
    model: Model, outputs: Outputs, *, stage: Path | None = None, report: Report = lambda *_: None
) -> Curves:
    """Return for each layer the output error after the removal of each share of `REMOVED` of its weights, the smallest ones.

    Parameters
    ----------
    model : Model
        The model.
    outputs : Outputs
        Its outputs for pictures.
    stage : Path, optional
        A file of the curves found so far, by which a measurement that was stopped is resumed.
    report : function, optional
        Is told the progress.
    """
    network, weights = model.network, model.weights
    key = f"{key_of(weights)} {outputs.key}"
    curves = _resumed(stage, key)
    layers = [step.layer.name for step in network.weighted()]
    for number, name in enumerate(layers):
        report("sensitivity", number, len(layers))
        if name in curves:
            continue
        kernel, *others = weights[name]
        curves[name] = tuple(outputs.error({**weights, name: [prune(kernel, 1 - removed), *others]}) for removed in REMOVED)
        if stage is not None:
            write_whole(stage, json.dumps({"key": key, "removed": REMOVED, "errors": curves}).encode())
    return curves


def key_of(weights: Weights) -> str:
    """Return what tells the weights from others."""
    digest = sha256()
    for name, blobs in weights.items():
        digest.update(name.encode())
        for blob in blobs:
            digest.update(blob.tobytes())
    return digest.hexdigest()


def _resumed(stage: Path | None, key: str) -> Curves:
    if stage is None or not stage.is_file():
        return {}
    try:
        told = json.loads(stage.read_bytes())
        if told["key"] != key or tuple(told["removed"]) != REMOVED:
            return {}
        return {name: tuple(map(float, errors)) for name, errors in told["errors"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}  # not a file of this kind, which is then written anew


def _slope(kernel: np.ndarray, errors: tuple[float, ...]) -> float:
    """What an error of the layer's weights counts, from how much output error there was for one of pruning."""
    power = float((kernel.astype(np.float64) ** 2).sum()) or 1.0
    slopes = []
    for removed, error in zip(REMOVED, errors, strict=True):
        lost = float(((kernel - prune(kernel, 1 - removed)).astype(np.float64) ** 2).sum()) / power
        if lost > 0:
            slopes.append(error / lost)
    return max(float(np.median(slopes)), 1e-12) ** _SLOPE_POWER if slopes else 1.0


def _densities(kernels: Mapping[str, np.ndarray], density: float, counts: Mapping[str, float]) -> dict[str, float]:
    """Each layer's density, so that the pruning's error is least for a density of all."""
    total = sum(kernel.size for kernel in kernels.values())
    options = {}
    for name, kernel in kernels.items():
        squares = np.sort(kernel.astype(np.float64).ravel() ** 2)[::-1]
        lost = np.concatenate((squares[::-1].cumsum()[::-1], [0.0])) / (squares.sum() or 1.0)
        kept = np.unique(np.round(np.linspace(0, kernel.size, 129)[1:]).astype(int))
        options[name] = [Choice(some / kernel.size, 0, some, lost[some]) for some in kept.tolist()]
    best = best_choices(options, counts, lambda choice: choice.size, density * total)
    return {name: choice.density for name, choice in best.items()}


class _Applied:
    """The weights that choices make, each of which is computed once, however often the choices change."""

    def __init__(self, weights: Weights, init: Init, moments: Mapping[str, Floats], report: Report) -> None:
        self._weights, self._init, self._moments, self._report = weights, init, moments, report
        self._done: dict[tuple[str, float, int], Kernel] = {}

    def weights(self, choices: Mapping[str, Choice]) -> Weights:
        found: Weights = {}
        for number, (name, (kernel, *others)) in enumerate(self._weights.items()):
            choice = choices[name]
            key = name, choice.density, choice.bits
            if key not in self._done:
                self._report("weights", number, len(self._weights))
                self._done[key] = apply(kernel, choice, self._init, self._moments.get(name))
            found[name] = [self._done[key], *(blob.astype(np.float16).astype(np.float32) for blob in others)]
        return found


def _within(
    network: Network,
    settings: Settings,
    choices: Mapping[str, list[Choice]],
    counts: Mapping[str, float],
    applied: _Applied,
    description: bytes | None,
) -> tuple[dict[str, Choice], bytes, Weights]:
    """The best choices whose file is not larger than wanted: sizes are estimates, so it is written to know."""
    size = settings.size
    if size is None and settings.density is None and settings.bits is None:
        size = 4 * network.parameters // _DEFAULT_RATIO
    if size is None:  # all that is chosen is what is best within the bits
        choices = {name: [one for one in some if one.bits] or some for name, some in choices.items()}
    most = float("inf") if size is None else float(size)
    for _ in range(_ATTEMPTS):
        best = best_choices(choices, counts, lambda choice: choice.size, most)
        found = applied.weights(best)
        content = sdz_bytes(network, found, description)
        if size is None or len(content) <= size:
            return best, content, found
        most -= (len(content) - size) * 1.02 + 16
    raise ModelError(f"a file of at most {size:,} bytes was expected, the smallest that was found has {len(content):,}")
