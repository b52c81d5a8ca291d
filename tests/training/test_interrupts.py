"""Signals that wait for the end of a block."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator

import pytest

pytest.importorskip("torch", reason="the extra [train] brings torch")

from opencv_squeezedet.training.interrupts import deferred_signals


@pytest.fixture(autouse=True)
def python_s_handler() -> Iterator[None]:
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def test_ctrl_c_is_raised_after_the_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), deferred_signals():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        with deferred_signals():
            signal.raise_signal(signal.SIGINT)
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_is_not_lost_if_the_block_fails() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, deferred_signals():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        raise ValueError
    assert isinstance(caught.value.__context__, ValueError)


def test_ignored_signals_stay_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with deferred_signals():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signal.raise_signal(signal.SIGINT)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_the_handler_of_a_childs_death_runs_after_the_block() -> None:
    """As torch's, which raises RuntimeError."""

    def handler(number: int, frame: object) -> None:
        raise RuntimeError("DataLoader worker")

    done, previous = [], signal.signal(signal.SIGCHLD, handler)
    with pytest.raises(RuntimeError, match="DataLoader worker"), deferred_signals():  # noqa: PT012
        signal.raise_signal(signal.SIGCHLD)
        done.append("block")
    assert done == ["block"]
    assert signal.signal(signal.SIGCHLD, previous) is handler


def test_other_threads_have_no_signals() -> None:
    handlers = []

    def work() -> None:
        with deferred_signals():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]
