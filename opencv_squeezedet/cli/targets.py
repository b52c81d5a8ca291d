"""Files that a command writes: checks before the work begins, and writing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from opencv_squeezedet.cli.errors import CommandError, write_errors
from opencv_squeezedet.cli.terminal import shown
from opencv_squeezedet.errors import reason
from opencv_squeezedet.files import own_descriptor, real_path, write_whole

OF_SOURCES, OF_MODEL = "one of the sources", "a file of the model"


def check_targets(targets: Mapping[str, str | Path | None], inputs: Mapping[str, Iterable[str | Path | None]]) -> None:
    """Refuse targets (by option; "-" is standard output) that cannot be written, or would overwrite an input.

    ``inputs`` has the files that must not be overwritten by description, as in "a file of the model". CommandError names the
    option.
    """
    taken = {resolved(path): what for what, paths in inputs.items() for path in paths if path is not None}
    for option, target in targets.items():
        if target is None:
            continue
        descriptor = 1 if str(target) == "-" else own_descriptor(target)
        path = resolved(target) if descriptor is None else Path(f"/dev/fd/{descriptor}")
        problem = ""
        if path in taken:
            problem = f" is {taken[path]}"
        elif descriptor is None and path.is_dir():
            problem = " is a folder"
        elif descriptor is None and not path.parent.is_dir():
            problem = ": its folder does not exist"
        elif descriptor is None and not os.access(path.parent, os.W_OK) and (path.is_file() or not path.exists()):
            problem = ": its folder is not writable"
        if problem:
            raise CommandError(f"{option}: {shown(target)}{problem}")
        taken[path] = f"the target of {option} too"


def resolved(name: str | Path) -> Path:
    """Return a path without symbolic links; CommandError if the links form a loop."""
    try:
        return real_path(Path(name))
    except OSError as error:
        raise CommandError(f"{shown(name)}: {reason(error)}") from error


def write_target(target: str | Path, content: bytes) -> None:
    """Write a file; CommandError if that fails."""
    with write_errors():
        write_whole(Path(target), content)
