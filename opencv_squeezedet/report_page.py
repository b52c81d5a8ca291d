"""The template of HTML reports: one self-contained page of sections with tables, plots and pictures; all text is escaped."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from opencv_squeezedet.extras import needs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#1769aa", "#d55e00", "#8a94a0"
_PLOT_STYLE: Any = {
    "axes.edgecolor": "#c3cad2",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "font.size": 9,
    "grid.color": "#e8ecf0",
    "svg.hashsalt": "opencv-squeezedet",  # the same numbers give the same file
    "xtick.color": "#5b6670",
    "ytick.color": "#5b6670",
}

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; background: #f4f6f8; margin: 0; }
main { max-width: 1060px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 18px; margin: 0 0 10px; }
p { margin: 6px 0; color: #52606d; }
section { background: #fff; border: 1px solid #e1e7ec; border-radius: 8px; padding: 18px 22px; margin-top: 18px; }
.wide { overflow-x: auto; }
img.plot { width: 100%; min-width: 620px; height: auto; } img.narrow { min-width: 0; width: auto; max-width: 100%; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin-top: 18px; }
.card { flex: 1 1 120px; background: #fff; border: 1px solid #e1e7ec; border-radius: 8px; padding: 12px 16px; }
.card b { display: block; font-size: 26px; color: #1769aa; } .card span { color: #52606d; font-size: 13px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { text-align: right; padding: 4px 8px; border-bottom: 1px solid #edf1f4; }
th { color: #52606d; font-weight: 600; } th:first-child, td:first-child { text-align: left; }
tr:last-child td { border-bottom: 0; } tr.mean td { font-weight: 600; border-top: 2px solid #c3cad2; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 14px; }
figure { margin: 0; } figure img { width: 100%; border-radius: 4px; display: block; }
figcaption { font-size: 12.5px; color: #52606d; overflow-wrap: anywhere; }
.key { border: 1px solid #c3cad2; display: inline-block;
  width: 12px; height: 12px; border-radius: 2px; margin: 0 5px 0 14px; vertical-align: -1px; }
.key:first-child { margin-left: 0; }
details { color: #52606d; } details li { overflow-wrap: anywhere; }
h1, p { overflow-wrap: anywhere; }
@media (max-width: 600px) { section { padding: 14px 12px; } main { padding: 16px 8px 32px; } h1 { font-size: 20px; } }
"""


def page(title: str, subtitle: str, sections: Iterable[str]) -> str:
    """Return an HTML page with a headline, a line below it, and sections; empty sections are left out."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style></head>\n<body><main>\n<h1>{escape(title)}</h1>\n<p>{escape(subtitle)}</p>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main></body></html>\n"
    )


def section(title: str, content: str) -> str:
    """Return a section with a headline; the content is HTML."""
    return f"<section><h2>{escape(title)}</h2>\n{content}</section>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], summary: Sequence[str] = ()) -> str:
    """Return a table, with a last row that is set apart if there is a summary."""
    lines = [_row(header, "th"), *map(_row, rows), *([_row(summary, mark=' class="mean"')] if summary else [])]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _row(cells: Iterable[str], tag: str = "td", mark: str = "") -> str:
    return f"<tr{mark}>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def plot(content: str, alt: str, *, narrow: bool = False) -> str:
    """Return the image of an SVG file, with its alternative text; if it is not narrow, it scrolls on small screens."""
    source = f"data:image/svg+xml;base64,{b64encode(content.encode()).decode()}"
    kind = "plot narrow" if narrow else "plot"
    return f'<div class="wide"><img class="{kind}" alt="{escape(alt)}" src="{source}"></div>'


def photo(content: bytes) -> str:
    """Return the image of a JPEG file."""
    return f'<img alt="" src="data:image/jpeg;base64,{b64encode(content).decode()}">'


def svg(size: tuple[float, float], draw: Callable[[Figure], None]) -> str:
    """Draw a figure of this size in inches and return it as SVG; ImportError if matplotlib is not installed."""
    with needs("eval"):
        import matplotlib as mpl
        from matplotlib.figure import Figure
    with mpl.rc_context(_PLOT_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
