"""The published models, and their files by name; no file is used before its checksum is verified."""

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
    """Return all entries by name."""
    import json  # keeps import fast

    with open(Path(__file__).with_name("registry.json"), "rb") as file:
        content: dict[str, dict[str, Any]] = json.load(file)
    return {name: Entry(name=name, **{**fields, "urls": tuple(fields.get("urls", ()))}) for name, fields in content.items()}


def names(task: Task | None = None) -> list[str]:
    """Return the names of all entries, or of those with a task."""
    return [name for name, entry in entries().items() if task in (None, entry.task)]


def find_entry(name: str) -> Entry:
    """Return the entry of this name; if there is none, ValueError lists the names."""
    if name not in entries():
        raise ValueError(f"no published weights are named {name!r}; the names are {', '.join(names())}")
    return entries()[name]


def find_network(model: StrPath, weights: StrPath | None = None, *, task: Task | None = None) -> Files:
    """Find the files of a network: those of this name on disk, or else those of the published model of this name.

    Parameters
    ----------
    model : path or str
        A path as for `find_files`. If there are no such files and it is a str, the name of a published model; its weights are
        fetched if they are not available locally.
    weights : path, optional
        Your own weights, if their stem is different or they replace the published ones.
    task : {"detector", "classifier"}, optional
        The task that a published model must have.

    Raises
    ------
    FileNotFoundError, ModelError, FetchError, ImportError
        If a file is missing; if the model has another task, or the file its own weights; as for `fetch`.
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
        raise ModelError(f"{model!r} is a {entry.task}, not a {task}; the published {task}s are {', '.join(names(task))}")
    if weights is not None:
        return find_files(entry.stem, weights)
    fetched = fetch(model)
    return find_files(fetched) if fetched.suffix == ".sdz" else find_files(entry.stem, fetched)


def fetch(name: str, *, cache: StrPath | None = None, timeout: float = 30.0) -> Path:
    """Fetch published weights, if they are not available locally yet, and check them.

    A file already in the cache folder, fetched or put there by hand, is used if its checksum is right and replaced otherwise.
    Several processes may fetch at once: one does, and the others wait for it. An interrupted transfer is resumed. Progress is
    shown on standard error.

    Parameters
    ----------
    name : str
        A name in the registry.
    cache : path, optional
        The cache folder. Default: that of the environment variable ``OPENCV_SQUEEZEDET_CACHE``, or else the user's.
    timeout : float
        Seconds to wait for a silent server.

    Returns
    -------
    Path
        Of the file, whose checksum has been verified.

    Raises
    ------
    ValueError, FetchError, ImportError
        If there is no such name; if the file cannot be fetched, with its address and its path; without the extra ``[fetch]``.
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
        raise FetchError(f"{str(path)!r} is not this package's file: {problem}; reinstall the package")
    by_hand = f"By hand: get {entry.urls[0]} and put it at {str(path)!r}; it is checked before use"
    if path.is_file():
        by_hand += f" (the file there now is not the published one: {problem})"
    try:
        from opencv_squeezedet.registry.download import download

        download(_addresses(entry), path, check=entry.problem, most=entry.size or _MOST_BYTES, timeout=timeout)
    except ImportError as error:
        raise ImportError(f"{error}. {by_hand}") from error
    except FetchError as error:
        raise FetchError(f"cannot fetch {name!r}: {error}. {by_hand}") from error
    except OSError as error:
        raise FetchError(
            f"cannot fetch {name!r}: the cache folder {str(path.parent)!r} is not writable ({error.strerror}): "
            f"make room there, or set {CACHE} to another folder"
        ) from error
    return path


def _addresses(entry: Entry) -> list[str]:
    """URLs and paths of the file: those of the mirror, if any, instead of the published addresses."""
    from urllib.parse import quote  # keeps import fast

    mirror = os.environ.get(MIRROR)
    if not mirror:
        return list(entry.urls)
    return [f"{mirror.rstrip('/')}/{quote(entry.file)}" if "://" in mirror else os.path.join(mirror, entry.file)]
