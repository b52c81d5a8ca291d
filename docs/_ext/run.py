"""Directives that run the code they show, in a copy of the repository's ``samples`` and ``models``; a failure is a warning.

``{python}`` runs code; all code of a page shares its variables. ``{shell}`` runs lines that begin with "$ " as commands.
``{sample} NAME ARGUMENTS`` runs a file of ``samples``. The output is shown below. ``:picture: FILE`` shows a picture that was
written, ``:quiet:`` hides the output, ``:hidden:`` hides the code.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 300  # seconds per command


def workplace(app: Sphinx) -> Path:
    """The working directory of the examples."""
    return Path(app.srcdir, "_generated", "run")


def prepare(app: Sphinx) -> None:
    """Create the folder anew."""
    folder = workplace(app)
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("samples", "models"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


class Shown(SphinxDirective):
    """Base class of the directives."""

    option_spec = {  # noqa: RUF012  (docutils' way)
        "picture": directives.unchanged,
        "alt": directives.unchanged,
        "quiet": directives.flag,
        "hidden": directives.flag,
    }

    def shown(self, code: str, language: str, printed: str) -> list[nodes.Node]:
        """Return the code, its output, and its picture."""
        found: list[nodes.Node] = []
        if "hidden" not in self.options:
            found.append(nodes.literal_block(code, code, language=language))
        if printed.strip() and "quiet" not in self.options:
            below = nodes.container("", nodes.literal_block(printed, printed.rstrip(), language="text"), classes=["printed"])
            found.append(below)
        if picture := self.options.get("picture"):
            if not (workplace(self.env.app) / picture).is_file():
                raise self.error(f"{picture} was not written")
            alt = self.options.get("alt", picture)
            found.append(nodes.image(uri=f"/_generated/run/{picture}", alt=alt))
        return found

    def command(self, words: str | list[str]) -> str:
        """Return the output of a command."""
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "COLUMNS": "100", "TQDM_DISABLE": "1"}
        shell = isinstance(words, str)
        place = workplace(self.env.app)
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(words, shell=shell, cwd=place, env=environment, timeout=TIMEOUT, **both)
        if done.returncode:
            raise self.error(f"{words} failed:\n{done.stdout}")
        return done.stdout.replace(f"{place}{os.sep}", "")


class Python(Shown):
    """Code."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Run the code and show it."""
        code = "\n".join(self.content)
        names = self.env.temp_data.setdefault("names of the page", {})
        out = io.StringIO()
        before = Path.cwd()
        try:
            os.chdir(workplace(self.env.app))
            with contextlib.redirect_stdout(out):
                exec(compile(code, f"{self.env.docname}.md", "exec"), names)
        except Exception as error:
            raise self.error(f"the code failed:\n{traceback.format_exc()}") from error
        finally:
            os.chdir(before)
        return self.shown(code, "python", out.getvalue())


class Shell(Shown):
    """Commands, followed by their output."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Run the commands and show them."""
        commands = [line.removeprefix("$ ") for line in self.content if line.startswith("$ ")]
        printed = "".join(self.command(command) for command in commands)
        return self.shown("\n".join(self.content), "console", printed)


class Sample(Shown):
    """A file of ``samples``."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Run the code and show it."""
        name, *arguments = self.arguments[0].split()
        file = ROOT / "samples" / name
        self.env.note_dependency(str(file))
        printed = self.command([sys.executable, f"samples/{name}", *arguments])
        command = f"$ python samples/{name} {' '.join(arguments)}".rstrip()
        found: list[Any] = [nodes.literal_block(command, command, language="console")]
        return found + self.shown(file.read_text(encoding="utf-8").rstrip(), "python", printed)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register."""
    app.connect("builder-inited", prepare)
    app.add_directive("python", Python)
    app.add_directive("shell", Shell)
    app.add_directive("sample", Sample)
    return {"parallel_read_safe": False}
