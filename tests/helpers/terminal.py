"""A terminal to run a command in."""

from __future__ import annotations

import os
import select
import struct

import pytest


def open_terminal(columns: int = 80) -> tuple[int, int]:
    """Return a terminal's two ends, ours first; skip the test where the system has no such terminals."""
    reason = "terminals of POSIX"
    fcntl = pytest.importorskip("fcntl", reason=reason)
    pty = pytest.importorskip("pty", reason=reason)
    termios = pytest.importorskip("termios", reason=reason)
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    return main, terminal


def read_terminal(main: int) -> str:
    """Return what is shown until nobody writes any more, and close our end."""
    shown = b""
    while select.select([main], [], [], 20)[0]:
        try:
            shown += os.read(main, 1 << 16)
        except OSError:  # the other end is closed
            break
    os.close(main)
    return shown.decode().replace("\r\n", "\n")
