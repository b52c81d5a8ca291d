"""Where people put VOC's XML files and their pictures: wherever they are below a folder, each XML file finds its picture."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from opencv_squeezedet.pictures import PICTURE_SUFFIXES

_MOST_NAMED = 3  # folders
_DEEPEST = 6  # folders below the first: nobody who names / by mistake is to wait for all of it


@dataclass
class Layout:
    """The XML files and the pictures below a folder.

    Parameters
    ----------
    folder : Path
        The folder.
    images : Path, optional
        The folder of the pictures, if they lie elsewhere.
    annotations : list of Path
        The XML files, by name.
    """

    folder: Path
    images: Path | None = None
    annotations: list[Path] = field(init=False)

    def __post_init__(self) -> None:
        """Look through the folders once."""
        there = list(files_below(self.folder))
        self.annotations = sorted(path for path in there if path.suffix.lower() == ".xml")
        self._counts = Counter(path.stem for path in self.annotations)
        self._pictures: dict[str, list[Path]] = {}
        for path in there if self.images is None else files_below(self.images):
            if path.suffix.lower() in PICTURE_SUFFIXES:
                for name in {path.stem, path.name}:
                    self._pictures.setdefault(name, []).append(path)

    def picture(self, annotation: Path, named: str) -> Path:
        """Return the picture of an XML file: the one of its name, or of the name in it; of several the one nearest to it.

        Raises
        ------
        ValueError
            If several are as near.
        """
        found = self._pictures.get(annotation.stem) or self._pictures.get(named) or self._pictures.get(Path(named).stem, [])
        found = [path for path in found if path.name == named] or found
        if not found:
            return (self.images or annotation.parent) / f"{annotation.stem}.jpg"
        nearness = [_shared(annotation.parent, path.parent) for path in found]
        nearest = [path for path, shared in zip(found, nearness, strict=True) if shared == max(nearness)]
        if len(nearest) > 1:
            raise ValueError(f"its picture may be {' or '.join(sorted(map(self._inside, nearest)))}")
        return nearest[0]

    def of_split(self, split: str, names: Sequence[str] | None) -> list[Path]:
        """Return the XML files that a split's list names or, without a list, those with a folder of its name in their path."""
        if names is None:
            return [path for path in self.annotations if split in path.relative_to(self.folder).parts[:-1]]
        of_name = {path.stem: path for path in self.annotations}
        of_name |= {path.relative_to(self.folder).with_suffix("").as_posix(): path for path in self.annotations}
        return [of_name.get(name, self.folder / f"{name}.xml") for name in names]

    def identifier(self, annotation: Path) -> str:
        """Return the file's name without its suffix, with its folder where another has the same name."""
        if self._counts[annotation.stem] == 1:
            return annotation.stem
        return annotation.relative_to(self.folder).with_suffix("").as_posix()

    def told(self, annotations: Iterable[Path], pictures: Iterable[Path]) -> str:
        """Say in which folders they are."""
        xml, seen = ({self._inside(path.parent) for path in paths} for paths in (annotations, pictures))
        where = "beside their pictures" if xml == seen else f"pictures in {_listed(seen)}"
        return f"PASCAL VOC's XML files in {_listed(xml)}, {where}"

    def _inside(self, path: Path) -> str:
        return os.path.relpath(path, self.folder) if path.is_relative_to(self.folder) else str(path)


def _listed(folders: Iterable[str]) -> str:
    names = [f"{name}{os.sep}" if name != os.curdir else "the folder itself" for name in sorted(folders)]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _shared(one: Path, other: Path) -> int:
    """How many folders two paths have in common, from their beginnings and from their ends: all, if they are the same."""
    pairs = list(zip(one.parts, other.parts, strict=False))
    ends = list(zip(reversed(one.parts), reversed(other.parts), strict=False))
    return len(one.parts) + 1 if one == other else _same(pairs) + _same(ends)


def _same(pairs: Iterable[tuple[str, str]]) -> int:
    count = 0
    for one, other in pairs:
        if one != other:
            break
        count += 1
    return count


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and those below but hidden ones, through links too, each folder once."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        deepest = len(Path(place).relative_to(folder).parts) == _DEEPEST
        folders[:] = [] if deepest else sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))
