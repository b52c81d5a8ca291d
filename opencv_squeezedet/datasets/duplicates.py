"""Pictures with the same content."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path

_SAMPLE = 1 << 14  # bytes


def find_duplicates(paths: Sequence[Path]) -> list[list[Path]]:
    """Return groups of files with the same bytes; files that cannot be read are left out.

    Files are read only if others have their size, and whole only if others have their beginning too.
    """
    groups = [[*dict.fromkeys(paths)]]
    for key in (_size, _beginning, _content):
        groups = [part for group in groups for part in _divided(group, key)]
    return groups


def _divided(paths: Iterable[Path], key: Callable[[Path], Hashable]) -> list[list[Path]]:
    parts = defaultdict(list)
    for path in paths:
        try:
            parts[key(path)].append(path)
        except OSError:
            continue
    return [part for part in parts.values() if len(part) > 1]


def _size(path: Path) -> int:
    return path.stat().st_size


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_SAMPLE)


def _content(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
