"""Progress of long computations: the callback that reports it, and tqdm's bar on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opencv_squeezedet.extras import needs

OnProgress = Callable[[str, int, int], None]
"""Called with the name of the current step, the number of its units done, and their total."""


def progress_bar(
    total: float | None = None, *, initial: int = 0, quiet: bool = False, extra: str = "progress", **options: Any
) -> Any:
    """Return a ``tqdm`` bar, a context manager, on standard error; hidden if that is not a terminal, or if ``quiet``.

    ``total`` and ``initial`` are the numbers of all units and of those done before; ``options`` are tqdm's, such as ``unit``.
    ImportError if tqdm is not installed names the ``extra`` that brings it.
    """
    with needs(extra):
        from tqdm import tqdm
    hidden = True if quiet else None  # None: shown on a terminal only
    return tqdm(**{"total": total, "initial": initial, "disable": hidden, "dynamic_ncols": True, "leave": False, **options})
