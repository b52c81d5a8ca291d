"""One entry of the registry: published weights, where they are kept, and the checksums that verify them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from opencv_squeezedet.files import StrPath
from opencv_squeezedet.model_files import models_folder
from opencv_squeezedet.network.architectures import Task

CACHE = "OPENCV_SQUEEZEDET_CACHE"
State = Literal["shipped", "fetched", "not fetched", "damaged"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    r"""What ``registry.json`` says about published weights.

    Parameters
    ----------
    name, what, licence, source : str
        Its name in the registry, its description, its terms, and its publisher.
    task : {"detector", "classifier"}
        Task of the network.
    architecture : str
        A key of `opencv_squeezedet.network.architectures.ARCHITECTURES`.
    definition : str
        Stem, in ``models``, of the network's definition and description.
    file, urls : str, tuple of str
        The file's name, also in the cache folder, and its addresses; none if it is part of the package.
    size, sha256, git_blob : int, str, str or None
        Bytes, and checksums; a git blob id is the SHA-1 of ``b"blob %d\0" % size + content``.
    """

    name: str
    what: str
    task: Task
    architecture: str
    definition: str
    file: str
    licence: str
    source: str
    urls: tuple[str, ...] = ()
    size: int | None = None
    sha256: str | None = None
    git_blob: str | None = None

    @property
    def shipped(self) -> bool:
        """Whether the file is part of the package, or of the clone that it runs in."""
        return not self.urls or os.path.isfile(os.path.join(models_folder(), self.file))

    @property
    def stem(self) -> str:
        """Path of the definition and the description, without their suffixes."""
        return os.path.join(models_folder(), self.definition)

    def path(self, cache: StrPath | None = None) -> Path:
        """Return where the file is or will be; ImportError if finding that needs the extra ``[fetch]``."""
        return Path(models_folder() if self.shipped else cache_folder(cache), self.file)

    def problem(self, path: Path) -> str | None:
        """Return the evidence that a file is not the published file, or None."""
        import hashlib  # keeps import fast

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
        """Return whether the file is available locally, with the right checksum."""
        try:
            path = self.path(cache)
        except ImportError:  # without a cache folder nothing was fetched
            return "not fetched"
        if not path.is_file():
            return "not fetched"
        if self.problem(path) is not None:
            return "damaged"
        return "shipped" if self.shipped else "fetched"


def cache_folder(cache: StrPath | None = None) -> Path:
    """Return the folder for fetched files: the given folder, the environment variable's, or else the user's cache folder.

    ImportError if it is the user's cache folder, and the extra ``[fetch]`` is missing.
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
