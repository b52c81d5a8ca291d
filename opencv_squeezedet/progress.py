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

    Parameters
    ----------
    total, initial : int
        The number of units in total, and of those done before.
    quiet : bool
        Whether to hide the bar even on a terminal.
    extra : str
        The extra of this package that installs tqdm, for the error if it is missing.
    **options
        Further options of ``tqdm``, such as ``unit``.

    Raises
    ------
    ImportError
        If tqdm is not installed.
    """
    with needs(extra):
        from tqdm import tqdm
    hidden = True if quiet else None  # None: shown on a terminal only
    return tqdm(**{"total": total, "initial": initial, "disable": hidden, "dynamic_ncols": True, "leave": False, **options})
