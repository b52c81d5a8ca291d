"""Data sets with a file of annotations for each picture, anywhere below a folder: each file finds its picture."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from xml.etree import ElementTree

from opencv_squeezedet.datasets.problems import Problems
from opencv_squeezedet.datasets.raw import MOST_TEXT_BYTES, SPLITS, Raw, RawPicture, read_text
from opencv_squeezedet.files import read_regular
from opencv_squeezedet.pictures import PICTURE_SUFFIXES

Parse = Callable[[bytes, Problems, Path], RawPicture]
_MOST_NAMED = 3  # folders
_DEEPEST = 6  # subfolders; limits the scan if the user passes / by mistake


class AnnotationFolders:
    """The annotation files with a ``suffix`` below a folder, and their pictures, there or below ``images``.

    ``parse`` makes a picture, whose path has only the name in the annotation, from a file's content. ``lists`` is a folder
    with a list ``SPLIT.txt`` of names for each split; splits without a list are the folders of their names.
    """

    def __init__(
        self, format_name: str, parse: Parse, folder: Path, suffix: str, images: Path | None, lists: Path | None = None
    ) -> None:
        self._format, self._parse, self.folder, self._images, self._lists = format_name, parse, folder, images, lists
        files = list(files_below(folder))
        self.paths = sorted(path for path in files if path.suffix.lower() == suffix)
        self._counts = Counter(path.stem for path in self.paths)
        self._pictures: dict[str, list[Path]] = {}
        for path in files if images is None else files_below(images):
            if path.suffix.lower() in PICTURE_SUFFIXES:
                for name in {path.stem, path.name}:
                    self._pictures.setdefault(name, []).append(path)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have a list or, without any list, a folder of a usual name."""
        if listed := [] if self._lists is None else sorted(path.stem for path in self._lists.glob("*.txt")):
            return tuple(name for name in listed if "_" not in name)  # VOC has lists of classes too
        folders = {part for path in self.paths for part in path.relative_to(self.folder).parts[:-1]}
        return tuple(name for name in SPLITS if name in folders)

    def of_split(self, split: str | None) -> list[Path]:
        """Return the files of a split; FileNotFoundError if there is no such split."""
        if split is None:
            return self.paths
        path = None if self._lists is None else self._lists / f"{split}.txt"
        if path is not None and path.is_file():
            by_name = {path.stem: path for path in self.paths}
            by_name |= {path.relative_to(self.folder).with_suffix("").as_posix(): path for path in self.paths}
            names = [line.split()[0] for line in read_text(path).splitlines() if line.strip()]
            return [by_name.get(name, self.folder / f"{name}{self.paths[0].suffix if self.paths else ''}") for name in names]
        if paths := [path for path in self.paths if split in path.relative_to(self.folder).parts[:-1]]:
            return paths
        expected = "" if path is None else f"{path} is missing, and so is "
        there = ", ".join(self.splits) or "none"
        raise FileNotFoundError(f"no split {split!r} (there: {there}): {expected}a folder {split} with annotations")

    def read(self, split: str | None) -> Raw:
        """Read a split, or all files."""
        paths, raw = self.of_split(split), Raw(None)
        for path in paths:
            try:
                picture = self._parse(read_regular(path, MOST_TEXT_BYTES), raw.problems, path)
                identifier = self._relative(path) if self._counts[path.stem] > 1 else path.stem
                raw.pictures.append(picture._replace(path=self._picture(path, picture.path.name), image_id=identifier))
            except OSError as error:
                raw.problems.left_out("annotation files that cannot be read", f"{path.name}: {error.strerror}")
            except (ElementTree.ParseError, LookupError, ValueError, RecursionError) as error:  # LookupError: encodings
                raw.problems.left_out("annotation files that cannot be read", f"{path.name}: {error}")
        annotations, pictures = (
            {self._shown(path.parent) for path in every} for every in (paths, (p.path for p in raw.pictures))
        )
        where = "beside their pictures" if annotations == pictures else f"pictures in {_listed(pictures)}"
        raw.layout = f"{self._format} in {_listed(annotations)}, {where}"
        return raw

    def _picture(self, annotation: Path, named: str) -> Path:
        """Return the picture of a file's name, or of the name in the file; of several the nearest.

        ValueError if several are equally near.
        """
        paths = self._pictures.get(annotation.stem) or self._pictures.get(named) or self._pictures.get(Path(named).stem, [])
        paths = [path for path in paths if path.name == named] or paths
        if not paths:
            return (self._images or annotation.parent) / f"{annotation.stem}.jpg"
        nearness = [_shared_folders(annotation.parent, path.parent) for path in paths]
        nearest = [path for path, shared in zip(paths, nearness, strict=True) if shared == max(nearness)]
        if len(nearest) > 1:
            raise ValueError(f"its picture may be {' or '.join(sorted(map(self._shown, nearest)))}")
        return nearest[0]

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.folder).with_suffix("").as_posix()

    def _shown(self, path: Path) -> str:
        root = self.folder if self._images is None else Path(os.path.commonpath([self.folder, self._images]))
        return os.path.relpath(path, root) if path.is_relative_to(root) else str(path)


def _listed(folders: Iterable[str]) -> str:
    names = [f"{name}{os.sep}" if name != os.curdir else "the folder itself" for name in sorted(folders)]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _shared_folders(first: Path, second: Path) -> int:
    """Count the folders that two paths have in common, from their beginnings and from their ends; most if they are equal."""
    if first == second:
        return len(first.parts) + 1
    return shared_parts(first.parts, second.parts) + shared_parts(first.parts[::-1], second.parts[::-1])


def shared_parts(first: Sequence[str], second: Sequence[str]) -> int:
    """Count the parts that two paths have in common, from their beginnings."""
    return len([*takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))])


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and its subfolders, through links too, each folder once; hidden names are skipped."""
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        deepest = len(Path(parent).relative_to(folder).parts) == _DEEPEST
        folders[:] = [] if deepest else sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))
