"""Problems of a data set, counted by kind."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass

_MOST_EXAMPLES = 20  # of each kind
_MOST_SHOWN = 3
_LONGEST_EXAMPLE = 300  # names and annotations may have any length

_BRIEF = reprlib.Repr()
_BRIEF.maxdict, _BRIEF.maxstring, _BRIEF.maxother = 12, 80, 80
briefly = _BRIEF.repr
"""Show a value of any size and depth in an example."""


@dataclass(frozen=True)
class Problem:
    """All problems of one kind.

    Parameters
    ----------
    kind : str
        A noun phrase, such as "boxes beyond the edge of their pictures, clipped".
    count : int
        How often it occurs.
    examples : tuple of str
        Where it occurs, and the value there; not all of many.
    left_out : bool
        Whether these pictures, objects or results were left out.
    """

    kind: str
    count: int
    examples: tuple[str, ...] = ()
    left_out: bool = False

    def __str__(self) -> str:
        """Return one line: the kind, the count and the first examples."""
        shown = "; ".join(self.examples[:_MOST_SHOWN]) + ("; ..." if len(self.examples) > _MOST_SHOWN else "")
        return f"{self.kind}{', left out' if self.left_out else ''}: {self.count}" + (f" ({shown})" if shown else "")


class Problems:
    """Collects problems by kind, in the order of their first occurrence."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, bool], tuple[list[int], dict[str, None]]] = {}

    def left_out(self, kind: str, example: str, count: int = 1) -> None:
        """Count something that was left out."""
        self._add(kind, example, count, left_out=True)

    def noted(self, kind: str, example: str = "", count: int = 1) -> None:
        """Count something that was used in spite of the problem."""
        self._add(kind, example, count, left_out=False)

    def _add(self, kind: str, example: str, count: int, *, left_out: bool) -> None:
        total, examples = self._found.setdefault((kind, left_out), ([0], {}))
        total[0] += count
        if example and len(examples) < _MOST_EXAMPLES:
            half = _LONGEST_EXAMPLE // 2
            examples[example if len(example) <= _LONGEST_EXAMPLE else f"{example[:half]} ... {example[-half:]}"] = None

    def listed(self) -> tuple[Problem, ...]:
        """Return one `Problem` for each kind."""
        return tuple(
            Problem(kind, total, tuple(examples), left_out) for (kind, left_out), ([total], examples) in self._found.items()
        )
