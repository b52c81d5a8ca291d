"""Includes content from elsewhere in the repository, at marks that stand alone on a line.

``<!-- file: ../CONTRIBUTING.md -->`` includes that file, without its title if the page has one. ``<!-- commands -->`` includes
a table of the options of each command, and ``<!-- zoo -->`` the table of ``measured/zoo.json``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from opencv_squeezedet.cli import SUBCOMMANDS
from opencv_squeezedet.cli.parser import CommandParser, make_parser

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "https://github.com/opencv-squeezedet/opencv-squeezedet/blob/main"
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "models/README.md": "models.md",
}
_MARK = re.compile(r"^<!-- file: \.\./(\S+) -->$", re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)")


def insert(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace the marks by their content."""
    source[0] = _MARK.sub(lambda match: _text(match[1], docname, app), source[0])
    for mark, text in (("commands", _commands), ("zoo", _zoo)):
        if f"<!-- {mark} -->" in source[0]:
            source[0] = source[0].replace(f"<!-- {mark} -->", text())


def _commands() -> str:
    """A section for each command: description, usage, example, and a table for each group of options."""
    sections = []
    for name in SUBCOMMANDS:
        parser = make_parser(importlib.import_module(f"opencv_squeezedet.cli.{name}"), f"squeezedet {name}")
        tables = [table for group in parser._action_groups if (table := _options(parser, group))]
        sections.append("\n\n".join([f"## {name}", *_introduction(parser), *tables]))
    return "\n\n".join(sections)


def _introduction(parser: CommandParser) -> list[str]:
    """The description, whose indented lines are a list of terms, then usage and example."""
    paragraphs = []
    for paragraph in (parser.description or "").split("\n\n"):
        lines = paragraph.splitlines()
        terms = [line.split(maxsplit=1) for line in lines if line.startswith("  ")]
        text = _escaped(" ".join(line for line in lines if not line.startswith("  ")))
        paragraphs.append(
            "\n".join([text, *([""] if terms else []), *(f"- `{term}`: {_escaped(rest)}" for term, rest in terms)])
        )
    example = (parser.epilog or "").partition("\n")[2].strip()
    return [*paragraphs, f"```text\n{parser.usage}\n```", f"```console\n$ {example}\n```"]


def _options(parser: CommandParser, group: argparse._ArgumentGroup) -> str:
    """The table of a group's arguments with their defaults; empty if the group has none but the parser's own."""
    formatter = parser._get_formatter()
    rows = []
    for action in group._group_actions:
        if action.help == argparse.SUPPRESS or {"--help", "--version"} & set(action.option_strings):
            continue
        text, _, default = formatter._expand_help(action).partition(" (default: ")
        value = (
            "" if action.nargs == 0 or not action.option_strings else f" {action.metavar or '' if not action.choices else ''}"
        )
        names = ", ".join(f"`{name}{value}`".replace(" `", "`") for name in action.option_strings) or f"`{action.metavar}`"
        if action.choices and action.option_strings:
            text += f": {', '.join(f'`{choice}`' for choice in action.choices)}"
        needed = "required" if action.required and action.option_strings else ""
        rows.append(f"| {names} | {_escaped(text)} | {_escaped(default.removesuffix(')')) or needed} |")
    if not rows:
        return ""
    title = "arguments" if group.title == "positional arguments" else group.title
    return "\n".join([f"| {title} | | default |", "|---|---|---|", *rows])


def _escaped(text: str) -> str:
    """Text of a help as Markdown: words that begin with dashes or contain marks are literal."""
    text = re.sub(r"(?<!`)(?<!\S)(--[a-z-]+)", r"`\1`", text)
    return re.sub(r"([*_|<>\[\]])(?![^`]*`(?:[^`]*`[^`]*`)*[^`]*$)", r"\\\1", text)


def _zoo() -> str:
    """The table of the detectors, and a description of the machine."""
    measured = json.loads((ROOT / "docs" / "measured" / "zoo.json").read_text(encoding="utf-8"))
    header = ("detector", "runs in", "trained on", "MB", "VOC07", "VOC10", "COCO AP", "ms")
    keys = ("name", "engine", "trained_on", "megabytes", "voc07", "voc10", "coco", "milliseconds")
    rows = [[f"{row[key]:.1f}" if isinstance(row[key], float) else row[key] for key in keys] for row in measured["detectors"]]
    lines = [header, ["---"] * 3 + ["---:"] * 5, *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n{measured['pictures']} photos; {measured['machine']}."


def _text(path: str, docname: str, app: Sphinx) -> str:
    """The file's text, with links to the site's pages or to the repository."""
    file = ROOT / path
    app.env.note_dependency(str(file))
    folder = posixpath.dirname(path)

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        if target in PAGES:
            return f"](/{PAGES[target]}{match[2] or ''})"
        if target.startswith("docs/") and target.endswith(".md"):
            return f"](/{target.removeprefix('docs/')}{match[2] or ''})"
        if not (ROOT / target).exists():
            raise ValueError(f"{path} leads to {target}, which does not exist")
        return f"]({SOURCE}/{target})"

    text = _LINK.sub(link, file.read_text(encoding="utf-8"))
    # If the page has its own title, the file's title is removed.
    return re.sub(r"\A# .*\n", "", text) if app.env.doc2path(docname) and _has_title(docname, app) else text


def _has_title(docname: str, app: Sphinx) -> bool:
    return Path(app.env.doc2path(docname)).read_text(encoding="utf-8").startswith("# ")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register."""
    app.connect("source-read", insert)
    return {"parallel_read_safe": True}
