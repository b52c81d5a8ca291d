"""Downloads a file: resumes an interrupted transfer, retries, and checks the file before it gets its name."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from opencv_squeezedet.errors import FetchError
from opencv_squeezedet.extras import needs

with needs("fetch", what="fetching"):
    import requests
    from filelock import FileLock
    from tqdm import tqdm

ATTEMPTS = 4
BACKOFF = 0.5
"""Seconds before the second attempt; twice as many before each further attempt."""

_PIECE = 1 << 14  # unpacked it may be a thousand times as much
_PACKED = ("", "identity", "gzip", "deflate")  # in two layers it may be a million times as much
_FINAL = (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL, requests.TooManyRedirects)
_PASSING = {408, 425, 429}  # and all from 500 up: errors that may soon pass


class _PassingError(Exception):
    """An attempt failed for a reason that may have passed by the next attempt."""


def download(addresses: Iterable[str], path: Path, *, check: Callable[[Path], str | None], most: int, timeout: float) -> None:
    """Fetch a file from the first address (an ``http``, ``https`` or ``file`` URL, or a path) that has it, atomically.

    One process at a time does this; the others wait, and then use the file it fetched. The file grows under the name
    ``path + ".part"``. If the transfer is interrupted, that file stays behind and the next call resumes it. ``check`` returns
    the fault of a file, or None; ``most`` is its maximum size in bytes, ``timeout`` the seconds to wait for a silent server.
    FetchError, with the reason at each address, if none has the file; OSError if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f"{path.name}.lock")):
        if path.is_file() and check(path) is None:
            return  # another process has fetched it in the meantime
        transfer = _Transfer(path.with_name(f"{path.name}.part"), check, most, timeout)
        failures = []
        for address in addresses:
            try:
                transfer.attempt_all(address)
            except FetchError as error:
                failures.append(f"{address}: {error}")
            else:
                os.replace(transfer.part, path)
                return
        raise FetchError("; ".join(failures))


@dataclass
class _Transfer:
    """The partial file, and the attempts to complete it."""

    part: Path
    check: Callable[[Path], str | None]
    most: int
    timeout: float

    def attempt_all(self, address: str) -> None:
        """Complete the file from one address; FetchError if that fails."""
        print(f"fetching {address}", file=sys.stderr)
        for attempt in range(ATTEMPTS):
            if self.part.is_file() and self.check(self.part) is None:
                return
            if attempt:
                time.sleep(BACKOFF * 2 ** (attempt - 1))
            try:
                self._attempt(address)
            except _PassingError as error:
                reason = str(error)
                continue
            fault = self.check(self.part)
            if fault is None:
                return
            reason = f"the file received is not the published one: {fault}"
            self.part.unlink()
        raise FetchError(f"{reason} ({ATTEMPTS} attempts)")

    def _attempt(self, address: str) -> None:
        scheme = urlsplit(address).scheme
        if scheme in ("http", "https"):
            try:
                self._from_server(address)
            except _FINAL as error:
                raise FetchError(" ".join(str(error).split()).rstrip(".")) from error
            except requests.RequestException as error:
                raise _PassingError(_short(error)) from error
        elif "://" in address and scheme != "file":
            raise FetchError("only http, https and file URLs and paths are supported")
        else:
            self._from_file(url2pathname(urlsplit(address).path) if scheme == "file" else address)

    def _from_server(self, url: str) -> None:
        start = self.part.stat().st_size if self.part.is_file() else 0
        headers = {"Accept-Encoding": "identity"}  # byte positions must be the file's, not a compressed stream's
        if start:
            headers["Range"] = f"bytes={start}-"
        with requests.get(url, headers=headers, stream=True, timeout=self.timeout) as response:
            status = response.status_code
            if status in _PASSING or status >= 500:
                raise _PassingError(f"the server answered {status} {response.reason}")
            continues = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
            if start and (status == 416 or (status == 206 and not continues)):
                self.part.unlink()
                raise _PassingError("the server did not resume the partial file")
            if status not in (200, 206):
                raise FetchError(f"the server answered {status} {response.reason}")
            packed = response.headers.get("Content-Encoding", "").strip().lower()
            if packed not in _PACKED:
                raise FetchError(f"no content encoding was expected, the server sent {packed[:40]!r}")
            length = response.headers.get("Content-Length", "")
            start = start if status == 206 else 0
            total = start + int(length) if length.isdecimal() and len(length) < 20 else None
            self._write(response.iter_content(_PIECE), start, total)

    def _from_file(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                self._write(iter(lambda: file.read(_PIECE), b""), 0, os.fstat(file.fileno()).st_size)
        except OSError as error:
            if error.filename == path:
                raise FetchError(error.strerror) from error
            raise

    def _write(self, pieces: Iterator[bytes], start: int, total: int | None) -> None:
        """Write what follows the first ``start`` bytes, which are already in the file."""
        size = start
        bar = tqdm(total=total, initial=start, unit="B", unit_scale=True, disable=None, leave=False, dynamic_ncols=True)
        with self.part.open("ab" if start else "wb") as file, closing(bar):
            for piece in pieces:
                size += len(piece)
                if size > self.most:
                    break
                file.write(piece)
                bar.update(len(piece))
        if size > self.most:
            self.part.unlink()
            raise FetchError(f"the transfer exceeds the {self.most} bytes that the file may have")


def _short(error: requests.RequestException) -> str:
    """The informative part of an error from requests."""
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "the server did not answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was interrupted"
    cause = getattr(error.args[0] if error.args else None, "reason", None) or error
    return " ".join(str(cause).split(": ", 1)[-1].split()) or type(error).__name__
