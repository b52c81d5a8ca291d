"""Text for the terminal: messages, tables, and names with control characters escaped."""

from __future__ import annotations

import difflib
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO


def complain(program: str, message: str) -> None:
    """Print one line on standard error, after the program's name; control characters in the message are escaped."""
    print(f"{program}: {shown(message)}", file=sys.stderr)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int = 0, file: TextIO | None = None) -> None:
    """Print rows in columns; the last ``numbers`` columns hold numbers, aligned to the right.

    On a terminal the header is bold, and lines that end with text are cut at the terminal's edge.
    """
    file = sys.stdout if file is None else file
    table = [[shown(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    text = len(widths) - numbers
    for number, row in enumerate(table):
        cells = [cell.ljust(width) for cell, width in zip(row[:text], widths, strict=False)]
        cells += [cell.rjust(width) for cell, width in zip(row[text:], widths[text:], strict=True)]
        line = "  ".join(cells).rstrip()
        if file.isatty():
            line = line if numbers else line[: shutil.get_terminal_size().columns]
            line = f"\x1b[1m{line}\x1b[0m" if number == 0 and "NO_COLOR" not in os.environ else line
        print(line, file=file)


def shown(name: str | Path) -> str:
    """The text on one line, with control characters escaped: a file name may contain any character."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(name))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a suggestion that can follow an error message; empty if no known name is similar."""
    names = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), names, n=1)
    return f"; did you mean {names[close[0]]!r}?" if close else ""
