"""How a command starts and ends."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from importlib import import_module

from opencv_squeezedet._opencv import silent_opencv
from opencv_squeezedet.cli.errors import EXIT_INTERRUPTED, EXIT_SOME_FAILED, EXIT_USAGE, CommandError
from opencv_squeezedet.cli.parser import make_parser
from opencv_squeezedet.cli.terminal import complain, shown
from opencv_squeezedet.errors import reason


def run_subcommand(name: str, argv: list[str], *, program: str) -> int:
    """Run a subcommand, under the name it was called by; returns the exit status.

    The subcommand is a module of this package with ``DESCRIPTION``, ``USAGE`` and ``EXAMPLE`` (both without the program's
    name), ``add_arguments(parser)`` and ``run(args) -> int``, which returns the exit status; ``args.program`` is the name.
    """

    def work() -> int:
        module = import_module(f"opencv_squeezedet.cli.{name}")
        with silent_opencv(), native_messages_hidden():
            status: int = module.run(make_parser(module, program).parse(argv))
        return status

    return guarded(program, work)


def guarded(program: str, work: Callable[[], int]) -> int:
    """Run a command; returns its exit status, or that of the error: 1 for a failure, 2 for wrong usage, 130 for Ctrl-C."""
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name may contain characters that the terminal cannot show
    try:
        status = work()
        sys.stdout.flush()
        return status
    except CommandError as error:
        complain(program, str(error))
        return error.status
    except ImportError as error:  # names the missing extra
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
    """Connect each standard stream that the shell has closed to the null device."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this descriptor
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


@contextmanager
def native_messages_hidden() -> Iterator[None]:
    """Hide the messages of native libraries on standard error; Python's still appear.

    Lasts for the whole command: redirecting standard error for single calls would lose lines of other threads meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():  # standard error belongs to the process
        yield
        return
    with ExitStack() as stack:
        sys.stderr.flush()
        saved = os.dup(2)
        stack.callback(os.close, saved)
        stream = sys.__stderr__
        if stream is not None and sys.stderr is stream:  # otherwise it is already redirected
            visible = open(saved, "w", 1, stream.encoding, "backslashreplace", closefd=False)  # noqa: SIM115
            stack.enter_context(redirect_stderr(stack.enter_context(visible)))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, nowhere)
        os.dup2(nowhere, 2)
        stack.callback(os.dup2, saved, 2)
        yield
