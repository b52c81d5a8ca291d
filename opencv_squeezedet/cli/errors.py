"""Exit statuses, and how errors end a command: with one line on standard error."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from opencv_squeezedet.cli.terminal import shown
from opencv_squeezedet.errors import reason
from opencv_squeezedet.extras import needs

EXIT_SOME_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
_NO_SPACE_LEFT = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class CommandError(Exception):
    """Ends the command with one line on standard error."""

    def __init__(self, message: str, status: int = EXIT_USAGE) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def usage_errors(*others: type[Exception], about: str = "") -> Iterator[None]:
    """End the command with one line, and status 2, if an argument cannot be used.

    Either a file is missing or unreadable (OSError), its content or a value is wrong (ValueError, and the types in
    ``others``), or an extra is not installed (ImportError). The line begins with ``about``. A full disk gives status 1.
    """
    faults: tuple[type[Exception], ...] = (ImportError, ValueError, *others)
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        full = error.errno in _NO_SPACE_LEFT
        name = f"{error.filename}: " if error.filename else "a temporary file: " if full else ""
        about = "cannot write " if full else about
        raise CommandError(shown(about + name + reason(error)), EXIT_SOME_FAILED if full else EXIT_USAGE) from error
    except faults as error:
        raise CommandError(shown(about + reason(error))) from error


@contextmanager
def write_errors() -> Iterator[None]:
    """End the command with one line, and status 1, if an output cannot be written."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        name = shown(error.filename or "to standard output")
        raise CommandError(f"cannot write {name}: {reason(error)}", EXIT_SOME_FAILED) from error


@contextmanager
def needs_training() -> Iterator[None]:
    """`needs` for a block that imports torch."""
    from opencv_squeezedet.cli.memory import keep_memory

    # Waiting threads yield their cores to the data-loading workers; torch reads this when it is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_memory()
    with needs("train"):
        yield
