"""Where the commands begin: outside the package, whose import takes long enough to be interrupted."""

import signal
import sys


def squeezedet() -> int:
    """Run ``squeezedet``."""
    return _run("squeezedet", "main")


def detect() -> int:
    """Run ``detect``."""
    return _run("detect", "detect_main")


def classify() -> int:
    """Run ``classify``."""
    return _run("classify", "classify_main")


def _run(program: str, function: str) -> int:
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the process, without a traceback of what was imported
    try:
        from opencv_squeezedet import cli
    except ImportError as error:  # names what is missing
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    try:
        signal.signal(signal.SIGINT, handler)
        status: int = getattr(cli, function)()
    except KeyboardInterrupt:  # between this line's handler and the command's own
        return 130
    return status
