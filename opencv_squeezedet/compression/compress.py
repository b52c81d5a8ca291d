"""Compression from end to end: plan each layer's density and bits -> prune and share its weights -> encode the file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet import _checks
from opencv_squeezedet.compression.budget import BITS, DENSITIES, Choice, apply, best_choices, choices_of
from opencv_squeezedet.compression.pruning import Floats, Kernel, kernels_of, prune, prune_layers
from opencv_squeezedet.compression.reference_outputs import ReferenceOutputs
from opencv_squeezedet.compression.sharing import MOST_BITS
from opencv_squeezedet.compression.table import LayerRow, layer_rows, total_row
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.files import write_whole
from opencv_squeezedet.formats import sdz_bytes
from opencv_squeezedet.formats.sdz import parse_sdz, stored_of
from opencv_squeezedet.formats.shared_weights import values_bytes
from opencv_squeezedet.model import Model
from opencv_squeezedet.progress import OnProgress

REMOVED = (0.3, 0.5, 0.7, 0.85)
"""The fractions of a layer's weights whose removal measures its sensitivity."""
_DEFAULT_RATIO, _DEFAULT_BITS = 8, 6
_SLOPE_POWER = 0.5  # pruning predicts rounding in part: at 840 kB the root gave 11 % less error than 0, and 1 twice as much

Curves = dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Settings:
    """The goals of a compression.

    Parameters
    ----------
    size : int, optional
        Maximum number of bytes of the file. Default, if neither density nor bits are given: an eighth of float32's.
    density : float, optional
        Fraction of all weights to keep, in (0, 1]. Default: chosen for the size.
    bits : int, optional
        Bits of a code in every layer, from 2 to 8. Default: chosen for the size, or 6 if there is a density but no size.
    """

    size: int | None = None
    density: float | None = None
    bits: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.size is not None:
            _checks.count("size", self.size)
        if self.density is not None and not _checks.fraction("density", self.density) > 0:
            raise ValueError("density must be above 0")
        if self.bits is not None and not BITS[0] <= _checks.count("bits", self.bits) <= MOST_BITS:
            raise ValueError(f"bits must be from {BITS[0]} to {MOST_BITS}, got {self.bits}")


@dataclass(frozen=True)
class Compressed:
    """A compressed network.

    Parameters
    ----------
    content : bytes
        Of the ``.sdz`` file.
    original, model : Model
        The model before, and after.
    rows : tuple of LayerRow
        The table; the last row is the total.
    choices : dict
        Each layer's density and bits.
    curves : dict
        For each layer the output error after the removal of each fraction of `REMOVED`; empty without pictures.
    errors : dict
        The output error after each stage; empty without pictures.
    agreement : float or None
        The fraction of the pictures for which a classifier's first class is unchanged.
    accuracies : dict
        The VOC07 mAP after each stage; empty if it was not measured.
    """

    content: bytes
    original: Model
    model: Model
    rows: tuple[LayerRow, ...]
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


@dataclass(frozen=True)
class Plan:
    """How each layer may be stored, and what that costs; planning computes no weights and writes no file."""

    options: dict[str, list[Choice]]  # of each layer
    importance: dict[str, float]  # weight of each layer's error
    size: float  # maximum number of bytes of the file, or infinity
    other_bytes: int  # that do not depend on the choices

    def best(self, excess: float = 0.0) -> dict[str, Choice]:
        """Return the choices with the least error within the size, by which the file has had an ``excess`` of bytes so far.

        ModelError if even the smallest choices exceed the size.
        """
        others = self.other_bytes + excess
        least = others + sum(min(choice.size for choice in options) for options in self.options.values())
        if least > self.size:
            raise ModelError(f"a file of at most {self.size:,} bytes was expected, the smallest has about {least:,.0f}")
        return best_choices(self.options, self.importance, lambda choice: choice.size, self.size - others)


def plan(
    model: Model,
    settings: Settings,
    *,
    densities: Mapping[str, float] | None = None,
    curves: Curves | None = None,
    report: OnProgress = lambda what, done, total: None,
) -> Plan:
    """Return the choices of each layer whose weights may change; parameters as for `compress`."""
    kernels, curves = kernels_of(model), curves or {}
    importance = {name: _slope(kernel, curves[name]) if name in curves else 1.0 for name, kernel in kernels.items()}
    if densities is None and settings.density is not None:
        densities = _layer_densities(kernels, settings.density, importance)
    bits = BITS if settings.bits is None else (settings.bits,)
    if settings.bits is None and settings.density is not None and settings.size is None:
        bits = (_DEFAULT_BITS,)
    size = settings.size
    if size is None and settings.density is None and settings.bits is None:
        size = 4 * model.network.parameters // _DEFAULT_RATIO
    options = {}
    for number, (name, kernel) in enumerate(kernels.items()):
        report("choices", number, len(kernels))
        options[name] = choices_of(kernel, DENSITIES if densities is None else (densities[name],), bits)
        if size is None:  # the least error is wanted within the bits, so plain floats are the last resort
            options[name] = [choice for choice in options[name] if choice.bits] or options[name]
    return Plan(options, importance, math.inf, 0) if size is None else Plan(options, importance, size, _other_bytes(model))


def compress(
    model: Model,
    settings: Settings,
    *,
    densities: Mapping[str, float] | None = None,
    outputs: ReferenceOutputs | None = None,
    hessians: Mapping[str, Floats] | None = None,
    curves: Curves | None = None,
    report: OnProgress = lambda what, done, total: None,
) -> Compressed:
    """Compress a model from its weights alone, or with pictures that show how errors of each layer affect the outputs.

    Parameters
    ----------
    model, settings : Model, Settings
        The model, whose network must consist of layers that this package describes, and the goals.
    densities : dict, optional
        The density of each layer, if that is decided already.
    outputs : ReferenceOutputs, optional
        The network's outputs for pictures, with which those of the result are compared.
    hessians : dict, optional
        The input Hessian of each convolution, by `input_hessians`, for optimal brain quantization: no other option improves
        the result more.
    curves : dict, optional
        The sensitivity by `measure_sensitivity`. Default: the errors of all layers, relative to their weights, count the same.
    report : function, optional
        Called with the progress.

    Raises
    ------
    ModelError
        If the network cannot be that small.
    """
    network, weights = model.network, model.weights
    planned = plan(model, settings, densities=densities, curves=curves, report=report)
    hessians, excess = hessians or {}, 0.0
    kernels: dict[tuple[str, Choice], Kernel] = {}  # each is computed once, however often the choices of other layers change
    while True:  # sizes are estimates until the file is encoded; the excess grows, and `best` refuses what is too much
        best = planned.best(excess)
        changed = dict(weights)
        for number, (name, choice) in enumerate(best.items()):
            if (name, choice) not in kernels:
                report("weights", number, len(best))
                kernels[name, choice] = apply(weights[name][0], choice, hessians.get(name))
            changed[name] = [kernels[name, choice], *map(rounded, weights[name][1:])]
        content = sdz_bytes(network, changed, model.description)
        if len(content) <= planned.size:
            break
        excess += (len(content) - planned.size) * 1.02 + 16
    active = None if outputs is None else outputs.active_inputs(changed)
    rows = layer_rows(network, stored_of(parse_sdz(content), changed), active)
    errors, agreement = {}, None
    if outputs is not None:
        pruned = prune_layers(weights, {name: choice.density for name, choice in best.items()})
        errors = {"pruned": outputs.error(pruned), "shared": outputs.error(changed)}
        if len(network.output_names) == 1:
            agreement = outputs.agreement(changed)
    compressed = Model(network, changed, description=model.description)
    rows.append(total_row(rows, len(content)))
    return Compressed(content, model, compressed, tuple(rows), best, curves or {}, errors, agreement)


def measure_sensitivity(
    model: Model, outputs: ReferenceOutputs, *, stage: Path | None = None, report: OnProgress = lambda *_: None
) -> Curves:
    """Return for each layer the output errors after its smallest weights are removed: 30, 50, 70 and 85 % of them.

    The curves measured so far are kept in the file ``stage``, from which an interrupted measurement is resumed.
    """
    weights = model.weights
    fingerprint = f"{model.fingerprint} {outputs.fingerprint}"
    curves = _resumed(stage, fingerprint)
    layers = list(kernels_of(model))
    for number, name in enumerate(layers):
        report("sensitivity", number, len(layers))
        if name in curves:
            continue
        curves[name] = tuple(outputs.error(prune_layers(weights, {name: 1 - removed})) for removed in REMOVED)
        if stage is not None:
            write_whole(stage, json.dumps({"fingerprint": fingerprint, "removed": REMOVED, "errors": curves}).encode())
    return curves


def _resumed(stage: Path | None, fingerprint: str) -> Curves:
    if stage is None or not stage.is_file():
        return {}
    try:
        fields = json.loads(stage.read_bytes())
        if fields["fingerprint"] != fingerprint or tuple(fields["removed"]) != REMOVED:
            return {}
        return {name: tuple(map(float, errors)) for name, errors in fields["errors"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}  # not a file of curves: it is overwritten


def _slope(kernel: Kernel, errors: tuple[float, ...]) -> float:
    """The importance of a layer: the output error per error of its weights, measured by pruning."""
    power = float((kernel.astype(np.float64) ** 2).sum()) or 1.0
    slopes = []
    for removed, error in zip(REMOVED, errors, strict=True):
        lost = float(((kernel - prune(kernel, 1 - removed)).astype(np.float64) ** 2).sum()) / power
        if lost > 0:
            slopes.append(error / lost)
    return max(float(np.median(slopes)), 1e-12) ** _SLOPE_POWER if slopes else 1.0


def _layer_densities(kernels: Mapping[str, Kernel], density: float, importance: Mapping[str, float]) -> dict[str, float]:
    """The density of each layer that minimizes the error of pruning for the density of all weights together."""
    total = sum(kernel.size for kernel in kernels.values())
    options = {}
    for name, kernel in kernels.items():
        squares = np.sort(kernel.astype(np.float64).ravel() ** 2)[::-1]
        lost = np.concatenate((squares[::-1].cumsum()[::-1], [0.0])) / (squares.sum() or 1.0)
        kept = np.unique(np.round(np.linspace(0, kernel.size, 129)[1:]).astype(int))
        options[name] = [Choice(count / kernel.size, 0, count, lost[count]) for count in kept.tolist()]
    best = best_choices(options, importance, lambda choice: choice.size, density * total)
    return {name: choice.density for name, choice in best.items()}


def _other_bytes(model: Model) -> int:
    """The size of the file without its kernels."""
    zeros = {name: np.zeros_like(kernel) for name, kernel in kernels_of(model).items()}
    weights = {
        name: [zeros[name], *map(rounded, blobs[1:])] if name in zeros else blobs for name, blobs in model.weights.items()
    }
    content = sdz_bytes(model.network, weights, model.description)
    return len(content) - sum(len(values_bytes(kernel)) for kernel in zeros.values())


def rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the nearest values of float16, as float32."""
    return values.astype(np.float16).astype(np.float32)
