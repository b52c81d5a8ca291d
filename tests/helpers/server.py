"""A web server on this machine that behaves as badly as it is told; and a registry whose weights it has."""

from __future__ import annotations

import gzip
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

import opencv_squeezedet as sd
from opencv_squeezedet.registry import Entry

CONTENT = np.random.default_rng(4).bytes(6 << 16)
FILE = "thing.caffemodel"


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@cache
def bomb() -> bytes:
    """A quarter of a megabyte that unpacks to a thousand times as much."""
    return gzip.compress(bytes(1 << 28))


def entry(url: str | list[str], content: bytes = CONTENT, **fields: object) -> Entry:
    """Weights at these addresses, known as ``thing``."""
    values: dict[str, object] = {
        "name": "thing",
        "what": "a thing",
        "task": "detector",
        "architecture": "squeezedet-shuffle",
        "file": FILE,
        "licence": "none",
        "source": "here",
        "definition": "squeezedet_shuffle_voc",
        "urls": (url,) if isinstance(url, str) else tuple(url),
        "git_blob": git_blob(content),
    }
    return Entry(**(values | fields))  # type: ignore[arg-type]


def in_a_process(server: Server) -> str:
    """Return the beginning of a program in which ``thing`` comes from this server."""
    return f"""
import sys; sys.path[:0] = {[str(Path(__file__).parent), str(Path(sd.__file__).parents[1])]!r}
from server import entry
from opencv_squeezedet import registry
from opencv_squeezedet.registry import published
published.entries = lambda: {{"thing": entry({server.url + "/" + FILE!r})}}
"""


class Server:
    """Answers each request as the next of its ``manners`` says, and all further ones well."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.content = CONTENT
        self.manners: list[str | int] = []
        self.requests: list[tuple[str, str | None]] = []
        """Path and range of each request."""
        self.over = threading.Event()


_HEADERS = {
    "no range": {},
    "other name": {"Content-Disposition": 'attachment; filename="../../../evil"'},
    "huge length": {"Content-Length": "9" * 5000},
    "long length": {"Content-Length": str(len(CONTENT) + 1)},
    "short length": {"Content-Length": str(len(CONTENT) - 1)},
    "negative length": {"Content-Length": "-5"},
    "two lengths": {"Content-Length": f"{len(CONTENT)}, 7"},
}
"""Of an answer with the whole content."""
_REDIRECTS = {"redirect to a file": "file:///etc/passwd", "redirect upwards": f"/a/../../../../{FILE}"}


class _Handler(BaseHTTPRequestHandler):
    state: Server

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        state = self.state
        state.requests.append((self.path, self.headers.get("Range")))
        manner = state.manners.pop(0) if state.manners else "good"
        with suppress(OSError):  # the client may have gone
            self.answer(manner, state.content)

    def answer(self, manner: str | int, content: bytes) -> None:
        if isinstance(manner, int):
            self.send(manner, b"no")
        elif manner in _HEADERS:
            self.send(200, content, **_HEADERS[manner])
        elif manner in _REDIRECTS:
            self.send(302, b"", Location=_REDIRECTS[manner])
        else:
            getattr(self, manner.replace(" ", "_"))(content)

    def drop(self, content: bytes) -> None:
        self.connection.close()

    def mute(self, content: bytes) -> None:
        self.state.over.wait(10)

    def redirect(self, content: bytes) -> None:
        self.send(302, b"", Location=f"{self.state.url}/moved/{FILE}")

    def redirect_for_ever(self, content: bytes) -> None:
        self.state.manners.insert(0, "redirect for ever")
        self.send(302, b"", Location=self.path)

    def corrupt(self, content: bytes) -> None:
        self.send(200, content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])

    def truncate(self, content: bytes) -> None:
        self.send(200, content[: len(content) // 2], **{"Content-Length": str(len(content))})

    def truncate_in_silence(self, content: bytes) -> None:
        self.send(200, content[: len(content) // 2], **{"Content-Length": ""})

    def stall(self, content: bytes) -> None:
        self.truncate(content)
        self.wfile.flush()
        self.state.over.wait(10)

    def slow(self, content: bytes) -> None:
        self.begin(200, {"Content-Length": str(len(content))})
        for start in range(0, len(content), 1 << 15):
            self.wfile.write(content[start : start + (1 << 15)])
            time.sleep(0.05)

    def endless(self, content: bytes) -> None:
        self.begin(200, {})
        while not self.state.over.is_set():
            self.wfile.write(content)

    def other_range(self, content: bytes) -> None:
        self.send(206, content[5:], **{"Content-Range": f"bytes 5-{len(content) - 1}/{len(content)}"})

    def compress(self, content: bytes) -> None:
        self.send(200, gzip.compress(content), **{"Content-Encoding": "gzip"})

    def bomb(self, content: bytes) -> None:
        self.send(200, bomb(), **{"Content-Encoding": "gzip"})

    def bomb_in_a_bomb(self, content: bytes) -> None:
        self.send(200, gzip.compress(bomb()), **{"Content-Encoding": "gzip, gzip"})

    def good(self, content: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not wanted:
            self.send(200, content)
        elif int(wanted[1]) >= len(content):
            self.send(416, b"", **{"Content-Range": f"bytes */{len(content)}"})
        else:
            span = f"bytes {wanted[1]}-{len(content) - 1}/{len(content)}"
            self.send(206, content[int(wanted[1]) :], **{"Content-Range": span})

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.begin(status, {"Content-Length": str(len(body))} | headers)
        self.wfile.write(body)

    def begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server on a free port of 127.0.0.1."""

    class Handler(_Handler):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        Handler.state = Server(f"http://127.0.0.1:{http.server_address[1]}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Handler.state
        finally:
            Handler.state.over.set()
            http.shutdown()
            thread.join()
