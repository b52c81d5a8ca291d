"""The network files that a subcommand works with."""

from __future__ import annotations

from pathlib import Path

from opencv_squeezedet import registry
from opencv_squeezedet.formats import network_files
from opencv_squeezedet.model import is_path


def find_network(model: str, weights: str | None) -> tuple[Path, Path | None]:
    """Find a network's definition and weights; where no file has the name, those of the published model that has it.

    Raises
    ------
    FileNotFoundError, ModelError, FetchError, ImportError
        As `network_files` and `registry.fetch`.
    """
    if is_path(model) or model not in registry.entries():
        return network_files(model, weights)
    found = registry.fetch(model) if weights is None else weights
    stem = registry.find_entry(model).stem
    return network_files(found) if stem is None else network_files(stem, found)
