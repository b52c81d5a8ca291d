"""What all subcommands share: start and end, arguments, errors, and what the user sees."""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import sys
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import NoReturn, TextIO, get_args

from opencv_squeezedet._checks import MOST, fraction
from opencv_squeezedet._opencv import silent_opencv
from opencv_squeezedet._version import __version__
from opencv_squeezedet.backends import BackendName
from opencv_squeezedet.extras import needs
from opencv_squeezedet.files import own_descriptor, real_path
from opencv_squeezedet.options import NMS_KINDS, Options

SOURCE_HELP = "picture, video, folder, 'pattern', list of sources (.txt), camera number, - for stdin"
OF_SOURCES, OF_MODEL = "one of the sources", "a file of the model"
EXIT_SOME_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
_NO_MORE_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class CommandError(Exception):
    """Ends the command with one line on standard error."""

    def __init__(self, message: str, status: int = EXIT_USAGE) -> None:
        super().__init__(message)
        self.status = status


# ---- start and end -----------------------------------------------------------------------------------------------------


def run_subcommand(name: str, argv: list[str], *, program: str) -> int:
    """Run the subcommand of a module of this package, under the name it was called by.

    The module has ``DESCRIPTION``, ``USAGE`` and ``EXAMPLE`` (both without the program's name), ``add_arguments(parser)`` and
    ``run(args) -> int``, which returns the exit status; ``args.program`` is the name.
    """

    def work() -> int:
        module = import_module(f"opencv_squeezedet.cli.{name}")
        with silent_opencv(), native_messages_hidden():
            status: int = module.run(make_parser(module, program).parse(argv))
        return status

    return guarded(program, work)


def guarded(program: str, work: Callable[[], int]) -> int:
    """Return the exit status of a command, whatever ends it: 1 if something failed, 2 for wrong usage, 130 for Ctrl-C."""
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name may hold what the terminal cannot show
    try:
        status = work()
        sys.stdout.flush()
        return status
    except CommandError as error:
        complain(program, str(error))
        return error.status
    except ImportError as error:  # of a missing extra, which it names
        complain(program, reason(error))
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except MemoryError as error:
        complain(program, f"not enough memory: {reason(error)}")
        return EXIT_SOME_FAILED
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # as in "detect ... | head": the reader is gone
            complain(program, f"{shown(error.filename or 'cannot write to standard output')}: {reason(error)}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_SOME_FAILED


def _open_standard_streams() -> None:
    """Connect a stream that the shell has closed to the null device."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


@contextmanager
def native_messages_hidden() -> Iterator[None]:
    """Keep libraries below Python from writing to standard error, where what Python writes goes on to appear.

    For the whole of a command: were standard error put aside for a call alone, lines of other threads would be lost meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():  # standard error is the process's
        yield
        return
    with ExitStack() as stack:
        sys.stderr.flush()
        saved = os.dup(2)
        stack.callback(os.close, saved)
        stream = sys.__stderr__
        if stream is not None and sys.stderr is stream:  # otherwise it leads elsewhere already
            visible = open(saved, "w", 1, stream.encoding, "backslashreplace", closefd=False)  # noqa: SIM115
            stack.enter_context(redirect_stderr(stack.enter_context(visible)))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, nowhere)
        os.dup2(nowhere, 2)
        stack.callback(os.dup2, saved, 2)
        yield


# ---- arguments ---------------------------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """Reports wrong arguments in one line, and fits its help on a screen."""

    _LINES, _COLUMNS = 24, 100
    _sources: str | None = None

    def add_sources(self, *, metavar: str, help: str) -> None:  # noqa: A002  (argparse's name)
        """Collect one or more arguments in the list ``args.sources``."""
        self.add_argument("sources", nargs="*", metavar=metavar, help=help)
        self._sources = metavar

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """Read arguments between options too; whatever follows ``--`` is a source, even if it begins with a dash."""
        if self._sources is None:
            return self.parse_intermixed_args(argv)
        end = argv.index("--") if "--" in argv else len(argv)  # argparse cannot handle both
        args = self.parse_intermixed_args(argv[:end])
        args.sources += argv[end + 1 :]
        if not args.sources:
            self.error(f"the following arguments are required: {self._sources}")
        return args

    def error(self, message: str) -> NoReturn:
        """Raise a CommandError that points to the command's help."""
        raise CommandError(f"{message} (see {self.prog} --help)")

    def format_help(self) -> str:
        """Return the help without blank lines, its options in two columns if one would not fit on a screen."""
        width = shutil.get_terminal_size((self._COLUMNS, self._LINES)).columns
        lines = self._help_in_columns(1, width)
        if len(lines) > self._LINES and width >= self._COLUMNS:
            lines = self._help_in_columns(2, width)
        return "\n".join(lines) + "\n"

    def _help_in_columns(self, columns: int, width: int) -> list[str]:
        lines = textwrap.wrap(f"usage: {self.usage}", width)
        for line in (self.description or "").splitlines():
            lines += textwrap.wrap(line, width)
        for group in self._action_groups:
            entries = [
                (_invocation(action), action.help) for action in group._group_actions if action.help != argparse.SUPPRESS
            ]
            if entries and group not in (self._positionals, self._optionals):  # those two are told by their form
                lines.append(f"{group.title}:")
            if entries:
                lines += _table(entries, min(columns, len(entries)), width)
        return lines + textwrap.wrap(self.epilog or "", width)


def _invocation(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else str(action.metavar or action.dest)
    return " ".join(part for part in (", ".join(action.option_strings), value) if part)


def _table(entries: list[tuple[str, str | None]], columns: int, width: int) -> list[str]:
    """Return the lines of a table of names and their meaning, in reading order."""
    cell = width // columns
    indent = 4 + max(len(name) for name, _ in entries)
    cells = []
    for name, meaning in entries:
        first, *others = textwrap.wrap(meaning or "", cell - indent - 1) or [""]
        cells.append([f"  {name:<{indent - 2}}{first}", *(" " * indent + line for line in others)])
    lines = []
    for start in range(0, len(cells), columns):
        for parts in zip_longest(*cells[start : start + columns], fillvalue=""):
            lines.append("".join(f"{part:<{cell}}" for part in parts).rstrip())
    return lines


def make_parser(module: ModuleType, program: str) -> Parser:
    """Return the parser of a subcommand; see `run_subcommand`."""
    parser = Parser(
        prog=program,
        usage=f"{program} {module.USAGE}",
        description=module.DESCRIPTION,
        epilog=f"example: {program} {module.EXAMPLE}",
    )
    parser.add_argument("--version", action="version", version=f"{program} {__version__}", help="print the version")
    parser.set_defaults(program=program)
    module.add_arguments(parser)
    return parser


def positive(text: str) -> int:
    """Read a whole number from 1 up."""
    if not (text.isdecimal() and 1 <= int(text) <= MOST):
        raise argparse.ArgumentTypeError(f"a whole number from 1 up was expected, got {text!r}")
    return int(text)


def positive_number(text: str) -> float:
    """Read a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"a number above 0 was expected, got {text!r}")
    return number


def unit_fraction(text: str) -> float:
    """Read a number in [0, 1]."""
    try:
        return fraction("it", float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a number in [0, 1] was expected, got {text!r}") from None


def add_backend(add: Callable[..., object]) -> None:
    """Add the options that choose what runs the network, with an ``add_argument``."""
    add("--backend", choices=get_args(BackendName), default="opencv", metavar="B", help="opencv, onnxruntime or auto")
    add("--target", metavar="T", help="cpu, or another of B")


def real_place(name: str | Path) -> Path:
    """Return a path without links; CommandError where they lead in a circle."""
    try:
        return real_path(Path(name))
    except OSError as error:
        raise CommandError(f"{shown(name)}: {reason(error)}") from error


def add_postprocessing(add: Callable[..., object], *, threshold: float | None = None) -> None:
    """Add the options of post-processing with an ``add_argument``; ``threshold`` is the score threshold's default."""
    score_help = "score threshold " + ("in [0, 1]" if threshold is None else f"({threshold:g})")
    add("--threshold", type=unit_fraction, default=threshold, metavar="T", help=score_help)
    add("--nms", type=unit_fraction, metavar="T", help="NMS threshold in [0, 1]")
    add("--nms-kind", choices=NMS_KINDS, metavar="K", help=", ".join(NMS_KINDS))
    add("--soft-sigma", type=positive_number, metavar="S", help="width of soft NMS, above 0")
    add("--vote", type=unit_fraction, metavar="T", help="box voting above this IoU")
    add("--cross-class", type=unit_fraction, metavar="T", help="one class above this IoU")
    add("--multi-label", action="store_true", help="all classes of an anchor")
    add("--top-n", type=positive, metavar="N", help="boxes that enter NMS")
    add("--agnostic", action="store_true", help="NMS across classes")


def postprocessing(args: argparse.Namespace) -> Options:
    """Return the options of `add_postprocessing` as keyword arguments."""
    return {
        "score_threshold": args.threshold,
        "nms_threshold": args.nms,
        "nms_kind": args.nms_kind,
        "soft_sigma": args.soft_sigma,
        "vote_threshold": args.vote,
        "cross_class_threshold": args.cross_class,
        "top_n": args.top_n,
        "class_agnostic": args.agnostic or None,
        "multi_label": args.multi_label or None,
    }


def check_targets(targets: Mapping[str, str | Path | None], inputs: Mapping[str, Iterable[str | Path | None]]) -> None:
    """Refuse now what could not be written at the end, or would overwrite what is read.

    Parameters
    ----------
    targets : dict
        The file that each option names: None if it names none, "-" for standard output.
    inputs : dict
        The files that are read, which must not be overwritten, under what they are, as in "a file of the model".

    Raises
    ------
    CommandError
        That names the option.
    """
    taken = {real_place(path): what for what, paths in inputs.items() for path in paths if path is not None}
    for option, target in targets.items():
        if target is None:
            continue
        descriptor = 1 if str(target) == "-" else own_descriptor(target)
        path = real_place(target) if descriptor is None else Path(f"/dev/fd/{descriptor}")
        if path in taken:
            problem = f" is {taken[path]}"
        elif descriptor is not None:
            taken[path] = f"the target of {option} too"
            continue
        elif path.is_dir():
            problem = " is a folder"
        elif not path.parent.is_dir():
            problem = ": its folder does not exist"
        elif not os.access(path.parent, os.W_OK) and (path.is_file() or not path.exists()):
            problem = ": its folder is not writable"
        else:
            taken[path] = f"the target of {option} too"
            continue
        raise CommandError(f"{option}: {shown(target)}{problem}")


# ---- errors --------------------------------------------------------------------------------------------------------------


@contextmanager
def usage_errors(*others: type[Exception], about: str = "") -> Iterator[None]:
    """End the command with one line, and status 2, if what the user named cannot be used.

    That is: a file is missing or unreadable (OSError), its content or a value is wrong (ValueError, and what ``others`` name),
    or an extra is not installed (ImportError). The line begins with ``about``. A full disk is not their fault: status 1.
    """
    faults: tuple[type[Exception], ...] = (ImportError, ValueError, *others)
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        full = error.errno in _NO_MORE_ROOM
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
    """`needs` for what trains, which is imported in the block."""
    from opencv_squeezedet.cli.memory import keep_memory

    # Waiting threads release their cores to the processes that read pictures; torch looks at this when it is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_memory()
    with needs("train"):
        yield


# ---- what the user sees ------------------------------------------------------------------------------------------------


def complain(program: str, message: str) -> None:
    """Print one line on standard error, with the program's name; nothing in a file's text can move the cursor."""
    print(f"{program}: {shown(message)}", file=sys.stderr)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int = 0, file: TextIO | None = None) -> None:
    """Print rows in columns; the last ``numbers`` of them are numbers, aligned to the right.

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


def reason(error: Exception) -> str:
    """The message of an exception, on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def shown(name: str | Path) -> str:
    """A text on one line, whatever characters it has: file names may have any."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(name))
