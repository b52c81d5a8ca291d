"""The command line's parser: argparse, with errors in one line."""

from __future__ import annotations

import argparse
import textwrap
from types import ModuleType
from typing import NoReturn

from opencv_squeezedet._version import __version__
from opencv_squeezedet.cli.errors import CommandError
from opencv_squeezedet.cli.terminal import did_you_mean


class CommandParser(argparse.ArgumentParser):
    """Reports wrong arguments in one line, and reads sources between options."""

    _sources: str | None = None

    def add_sources(self, *, metavar: str, help: str) -> None:  # noqa: A002  (argparse's name)
        """Collect one or more arguments in the list ``args.sources``."""
        self.add_argument("sources", nargs="*", metavar=metavar, help=help)
        self._sources = metavar

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """Read arguments between options too; everything after ``--`` is a source, even if it begins with a dash."""
        if self._sources is None:
            return self._known(argv)
        end = argv.index("--") if "--" in argv else len(argv)  # argparse cannot handle both
        args = self._known(argv[:end])
        args.sources += argv[end + 1 :]
        if not args.sources:
            self.error(f"the following arguments are required: {self._sources}")
        return args

    def _known(self, argv: list[str]) -> argparse.Namespace:
        args, unknown = self.parse_known_intermixed_args(argv)
        if unknown:
            option = unknown[0].partition("=")[0]
            suggestion = did_you_mean(option, self._option_string_actions) if option.startswith("-") else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{suggestion}")
        return args

    def error(self, message: str) -> NoReturn:
        """Raise a CommandError that points to the command's help."""
        raise CommandError(f"{message} (see {self.prog} --help)")


class _HelpFormatter(argparse.HelpFormatter):
    """argparse's layout; the lines of a description stay lines."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(self._wrapped(line, width, indent) for line in text.splitlines())

    @staticmethod
    def _wrapped(line: str, width: int, indent: str) -> str:
        inner = indent + " " * (len(line) - len(line.lstrip()))
        return textwrap.fill(line.strip(), width, initial_indent=inner, subsequent_indent=inner, break_on_hyphens=False)


def new_parser(program: str, usage: str, description: str, example: str) -> CommandParser:
    """Return a parser with ``--version``; ``usage`` and ``example`` come without the program's name."""
    parser = CommandParser(
        prog=program,
        usage=f"{program} {usage}",
        description=description,
        epilog=f"example:\n  {program} {example}",
        formatter_class=_HelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"{program} {__version__}", help="show the program's version and exit"
    )
    return parser


def make_parser(module: ModuleType, program: str) -> CommandParser:
    """Return the parser of a subcommand, which is a module; see `opencv_squeezedet.cli.runner.run_subcommand`."""
    parser = new_parser(program, module.USAGE, module.DESCRIPTION, module.EXAMPLE)
    parser.set_defaults(program=program)
    module.add_arguments(parser)
    return parser
