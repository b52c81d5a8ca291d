"""Where the commands begin: outside the package, whose import takes long enough to be interrupted."""

import signal


def squeezedet() -> int:
    """Run ``squeezedet``."""
    return _run("main")


def detect() -> int:
    """Run ``detect``."""
    return _run("detect_main")


def classify() -> int:
    """Run ``classify``."""
    return _run("classify_main")


def _run(name: str) -> int:
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the process, without a traceback of what was imported
    from opencv_squeezedet import cli

    try:
        signal.signal(signal.SIGINT, handler)
        status: int = getattr(cli, name)()
    except KeyboardInterrupt:  # between this line's handler and the command's own
        return 130
    return status
