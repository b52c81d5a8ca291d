"""A network with layers that this package does not describe is opened and run in a child process first, which may crash."""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any, cast

import numpy as np

from opencv_squeezedet.backends.base import BackendName, inconsistent, library_message
from opencv_squeezedet.backends.network_bytes import NetworkBytes, open_bytes
from opencv_squeezedet.errors import ModelError

SECONDS = 20
"""How long opening and two passes may take, once the libraries are loaded."""
MOST_MEMORY = 4 << 30
"""How many bytes they may take, where the system keeps such a limit."""
_SECONDS_TO_START = 60
_START = """
import json, sys
request = json.loads(sys.stdin.buffer.readline())
sys.path[:] = request["path"]
from opencv_squeezedet.backends.probe import answer
answer(request)
"""
_STARTED = b"\nstarted\n"
_TOO_LATE = 1  # how faulthandler ends a process


class Probe:
    """Opens and runs a network in a child process, once for each input size; half a second, most of it to import cv2.

    Where no other Python can be started, as in a frozen application, the network is assumed valid.
    """

    def __init__(self, network: NetworkBytes, backend: BackendName) -> None:
        self._network, self._backend = network, backend
        self._results: dict[tuple[int, int] | None, str | None] = {}

    def __call__(self, size: tuple[int, int] | None) -> str | None:
        """Return the problem with the network, or with an input of (width, height); without a size it is only opened."""
        if size not in self._results:
            self._results[size] = self._run(size)
        return self._results[size]

    def _run(self, size: tuple[int, int] | None) -> str | None:
        if not sys.executable or getattr(sys, "frozen", False):
            return None
        network = self._network
        request = {
            "path": list(map(str, sys.path)),
            "backend": self._backend,
            "name": network.name,
            "outputs": network.outputs and dict(network.outputs),
            "size": size,
            "lengths": [len(content) for content in network.contents],
        }
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-c", _START],
                input=b"".join((json.dumps(request).encode(), b"\n", *network.contents)),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_SECONDS_TO_START + SECONDS,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError:
            return None
        except subprocess.TimeoutExpired:
            return self._end(_TOO_LATE)
        _, started, answered = done.stdout.partition(_STARTED)
        if not started:
            return None
        return cast("str | None", json.loads(answered)) if answered.strip() else self._end(done.returncode)

    def _end(self, status: int) -> str:
        """Why a child did not answer."""
        if status == _TOO_LATE:
            return f"{self._backend} did not open and run it within {SECONDS} s"
        with suppress(ValueError):
            return f"{self._backend} crashes on it ({signal.Signals(-status).name})"
        return f"{self._backend} crashes on it (exit status {status:#x})"


def answer(request: dict[str, Any]) -> None:
    """Open and run the network that the parent sends, in the child; the problem, if any, is sent to the parent."""
    with os.fdopen(os.dup(1), "wb", buffering=0) as parent, open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # libraries print
        if request["backend"] == "onnxruntime":
            importlib.import_module("onnxruntime")
        parent.write(_STARTED)  # from here on the network is to blame if this process ends
        faulthandler.dump_traceback_later(SECONDS, exit=True, file=nowhere)
        parent.write(json.dumps(_problem(request)).encode())
        os._exit(0)


def _problem(request: dict[str, Any]) -> str | None:
    size = None if request["size"] is None else tuple(request["size"])
    try:
        contents = tuple(map(sys.stdin.buffer.read, request["lengths"]))
        _limit_memory()
        network = open_bytes(NetworkBytes(contents, request["name"], request["outputs"]), request["backend"])
        if size is not None:
            network.shapes(size)
            network.forward(np.random.default_rng(0).uniform(-150, 150, (1, 3, size[1], size[0])).astype(np.float32))
    except ModelError as error:
        return str(error).removeprefix(str(inconsistent(request["name"], size, "")))  # which the parent adds again
    except Exception as error:
        return library_message(error) or type(error).__name__
    return None


def _limit_memory() -> None:
    with suppress(ImportError, OSError, ValueError):
        import resource  # of Unix

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, most))
