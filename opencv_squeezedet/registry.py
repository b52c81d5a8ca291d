"""The published weights: which there are, and how they come here; nothing is used before its checksum is right."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from opencv_squeezedet.errors import FetchError, ModelError
from opencv_squeezedet.model import StrPath, models_folder

CACHE = "OPENCV_SQUEEZEDET_CACHE"
MIRROR = "OPENCV_SQUEEZEDET_MIRROR"
Task = Literal["detector", "classifier"]
State = Literal["shipped", "fetched", "not fetched", "damaged"]

_MOST_BYTES = 1 << 28  # of a file whose size is not known


@dataclass(frozen=True, kw_only=True)
class Entry:
    r"""What ``registry.json`` tells of published weights.

    Parameters
    ----------
    name, what : str
        Its name here, and what it is.
    task : {"detector", "classifier"}
        What the network is for.
    architecture : str
        A name of `opencv_squeezedet.architectures.ARCHITECTURES`.
    file : str
        The file's name, where it is published and in the cache folder.
    urls : tuple of str
        Where it is published; empty for what is part of the package.
    size : int or None
        Bytes, where the exact number is known.
    sha256, git_blob : str or None
        What proves the file; a git blob id is the SHA-1 of ``b"blob %d\0" % size + content``.
    definition : str or None
        Stem, in the package's ``models``, of the network's definition, and of a detector's description.
    preprocess : dict or None
        Fields of `Preprocess`, where no description has them.
    licence, source : str
        Under what terms, and by whom.
    """

    name: str
    what: str
    task: Task
    architecture: str
    file: str
    licence: str
    source: str
    urls: tuple[str, ...] = ()
    size: int | None = None
    sha256: str | None = None
    git_blob: str | None = None
    definition: str | None = None
    preprocess: dict[str, Any] | None = None

    @property
    def shipped(self) -> bool:
        """Whether the file is part of the package."""
        return not self.urls

    @property
    def stem(self) -> str | None:
        """Path of the definition and the description, without their suffixes."""
        return None if self.definition is None else os.path.join(models_folder(), self.definition)

    def path(self, cache: StrPath | None = None) -> Path:
        """Return where the file is, or is to be; ImportError if that takes the extra ``[fetch]``."""
        return Path(models_folder() if self.shipped else cache_folder(cache), self.file)

    def problem(self, path: Path) -> str | None:
        """Say what shows that a file is not the published one; None if nothing does."""
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"it has {size} bytes instead of {self.size}"
        digests = [(self.sha256, "sha256", hashlib.sha256())]
        digests.append((self.git_blob, "git blob id", hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)))
        for expected, kind, digest in digests:
            if expected is None:
                continue
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
            if digest.hexdigest() != expected:
                return f"its {kind} is {digest.hexdigest()} instead of {expected}"
        return None

    def state(self, cache: StrPath | None = None) -> State:
        """Return whether the file is here, and right."""
        try:
            path = self.path(cache)
        except ImportError:  # without a cache folder nothing was fetched
            return "not fetched"
        if not path.is_file():
            return "not fetched"
        if self.problem(path) is not None:
            return "damaged"
        return "shipped" if self.shipped else "fetched"


@dataclass(frozen=True)
class RegisteredModel:
    """A model that was asked for by its name.

    Parameters
    ----------
    entry : Entry
        What is known of it.
    weights : str
        Path of the weights, which are here.
    """

    entry: Entry
    weights: str


@cache
def entries() -> dict[str, Entry]:
    """Return what there is, by name."""
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


def resolve(name: str, task: Task, weights: StrPath | None = None) -> RegisteredModel | None:
    """Return the model of this name, its weights fetched if they are not here; None if no published weights have the name.

    Parameters
    ----------
    name : str
        A name of the registry, or any other.
    task : {"detector", "classifier"}
        What the model is to do.
    weights : path, optional
        The caller's own, instead of the published ones.

    Raises
    ------
    ModelError
        If the model of this name has another task.
    FetchError
        As `fetch`.
    ImportError
        As `fetch`.
    """
    if name not in entries():
        return None
    entry = entries()[name]
    if entry.task != task:
        raise ModelError(f"{name!r} is a {entry.task}, a {task} was expected: {', '.join(names(task))}")
    return RegisteredModel(entry, os.fspath(fetch(name) if weights is None else weights))


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
        from opencv_squeezedet.download import download

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
    mirror = os.environ.get(MIRROR)
    if not mirror:
        return list(entry.urls)
    return [f"{mirror.rstrip('/')}/{quote(entry.file)}" if "://" in mirror else os.path.join(mirror, entry.file)]


def cache_folder(cache: StrPath | None = None) -> Path:
    """Return the folder in which fetched files lie: the given one, the environment variable's, or else the user's.

    Raises
    ------
    ImportError
        If it is the user's, and the extra ``[fetch]`` is missing.
    """
    given = cache or os.environ.get(CACHE)
    if given:
        return Path(given).absolute()
    try:
        from platformdirs import user_cache_path
    except ImportError as error:
        raise ImportError(
            f"finding the user's cache folder needs platformdirs: pip install 'opencv-squeezedet[fetch]', or set {CACHE}"
        ) from error
    return user_cache_path("opencv-squeezedet", appauthor=False)
