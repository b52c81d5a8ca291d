"""Pictures by which `compress` and `quantize` see what a network does with its weights."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from opencv_squeezedet.extras import needs
from opencv_squeezedet.pictures import PICTURE_SUFFIXES, read_picture
from opencv_squeezedet.preprocess import Picture

Report = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


def pictures_of(folder: Path, count: int) -> list[Picture]:
    """So many pictures of a folder, from all over it."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise ValueError(f"no pictures in {str(folder)!r}")
    return [read_picture(paths[i * len(paths) // count]) for i in range(min(count, len(paths)))]


@contextmanager
def progress(*, hidden: bool) -> Iterator[Report]:
    """A bar for each thing that takes time, where there is a terminal."""
    if hidden or not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    with needs("progress"):
        from tqdm import tqdm
    with tqdm(dynamic_ncols=True, leave=False) as bar:

        def report(what: str, done: int, total: int) -> None:
            bar.set_description(what, refresh=False)
            bar.total, bar.n = total, done
            bar.refresh()

        yield report
