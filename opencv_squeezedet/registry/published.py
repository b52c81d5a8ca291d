"""The published models: which there are, and how a name becomes files; nothing is used before its checksum is right."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from opencv_squeezedet.errors import FetchError, ModelError
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.model_files import Files, find_files, is_model
from opencv_squeezedet.network.architectures import Task
from opencv_squeezedet.registry.entry import CACHE, Entry

MIRROR = "OPENCV_SQUEEZEDET_MIRROR"

_MOST_BYTES = 1 << 28  # of a file whose size is not known


@cache
def entries() -> dict[str, Entry]:
    """Return what there is, by name."""
    import json  # keeps import fast

    with open(Path(__file__).with_name("registry.json"), "rb") as file:
        content: dict[str, dict[str, Any]] = json.load(file)
    return {name: Entry(name=name, **{**fields, "urls": tuple(fields.get("urls", ()))}) for name, fields in content.items()}


def names(task: Task | None = None) -> list[str]:
    """Return the names there are, all or those of a task."""
    return [name for name, entry in entries().items() if task in (None, entry.task)]


def find_entry(name: str) -> Entry:
    """Return the entry of this name; ValueError, that lists the names, if there is none."""
    if name not in entries():
        raise ValueError(f"no published weights have the name {name!r}; there are {', '.join(names())}")
    return entries()[name]


def find_network(model: StrPath, weights: StrPath | None = None, *, task: Task | None = None) -> Files:
    """Find the files of a network: those of this name on the disk, or else those of the published model of this name.

    Parameters
    ----------
    model : path or str
        As `find_files` takes it; where there are no such files, and it is a str, the name of a published model, whose weights
        are fetched if they are not here.
    weights : path, optional
        The caller's own, where they have another stem, or instead of the published ones.
    task : {"detector", "classifier"}, optional
        What a published model has to do.

    Raises
    ------
    FileNotFoundError
        That names the file that is missing.
    ModelError
        If the published model has another task, or weights are given for a file that has its own.
    FetchError, ImportError
        As `fetch`.
    """
    if not isinstance(model, str) or is_model(model):
        return find_files(model, weights)
    if model not in entries():
        if os.path.basename(model) == model and not os.path.splitext(model)[1]:
            published = f"published {task}s" if task else "published models"
            raise FileNotFoundError(
                f"no network definition at {model + '.prototxt'!r}, and the {published} are {', '.join(names(task))}"
            )
        return find_files(model, weights)
    entry = entries()[model]
    if task not in (None, entry.task):
        raise ModelError(f"{model!r} is a {entry.task}, a {task} was expected: {', '.join(names(task))}")
    return find_files(entry.stem, fetch(model) if weights is None else weights)


def fetch(name: str, *, cache: StrPath | None = None, timeout: float = 30.0) -> Path:
    """Bring published weights here, if they are not here yet, and check them.

    A file that is in the cache folder already, fetched or put there by hand, is used where its checksum is right, and
    otherwise replaced. Several processes may fetch at once: one does, the others wait for it. What was interrupted is taken up
    again. Progress is shown on standard error.

    Parameters
    ----------
    name : str
        A name of the registry.
    cache : path, optional
        The cache folder. Default: what the environment variable ``OPENCV_SQUEEZEDET_CACHE`` tells, or else the user's.
    timeout : float
        Seconds that a server may be silent.

    Returns
    -------
    Path
        Of the file, whose checksum is right.

    Raises
    ------
    ValueError
        If there is no such name; the error lists them.
    FetchError
        If the file cannot be had; the error tells where to get it and where to put it.
    ImportError
        If that takes the extra ``[fetch]``.
    """
    entry = find_entry(name)
    try:
        path = entry.path(cache)
    except ImportError as error:
        raise ImportError(f"{error}. By hand: get {entry.urls[0]} and put it in that folder") from error
    try:
        problem = entry.problem(path) if path.is_file() else "it is missing"
    except OSError as error:
        raise FetchError(f"cannot read {str(path)!r}: {error.strerror}") from error
    if problem is None:
        return path
    if entry.shipped:
        raise FetchError(f"{str(path)!r} is not this package's: {problem}; install the package again")
    by_hand = f"By hand: get {entry.urls[0]} and put it at {str(path)!r}, where it is checked when it is used"
    if path.is_file():
        by_hand += f" (what is there now is not it: {problem})"
    try:
        from opencv_squeezedet.registry.download import download

        download(_addresses(entry), path, check=entry.problem, most=entry.size or _MOST_BYTES, timeout=timeout)
    except ImportError as error:
        raise ImportError(f"{error}. {by_hand}") from error
    except FetchError as error:
        raise FetchError(f"cannot fetch {name!r}: {error}. {by_hand}") from error
    except OSError as error:
        raise FetchError(
            f"cannot fetch {name!r}: the cache folder {str(path.parent)!r} cannot be written to ({error.strerror}): "
            f"make room there, or set {CACHE} to another"
        ) from error
    return path


def _addresses(entry: Entry) -> list[str]:
    """URLs and paths of the file: the mirror's, if there is one, instead of the published ones."""
    from urllib.parse import quote  # keeps import fast

    mirror = os.environ.get(MIRROR)
    if not mirror:
        return list(entry.urls)
    return [f"{mirror.rstrip('/')}/{quote(entry.file)}" if "://" in mirror else os.path.join(mirror, entry.file)]
