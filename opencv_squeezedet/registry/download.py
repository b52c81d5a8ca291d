"""Brings a file here whole: taken up where it broke off, tried again, checked before it gets its name."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
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
"""Seconds before the second attempt; twice as many before each further one."""

_PIECE = 1 << 16
_FINAL = (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL, requests.TooManyRedirects)
_PASSING = {408, 425, 429}  # with all from 500 up: what may be over soon


class _PassingError(Exception):
    """What made an attempt fail, and may be over at the next one."""


def download(addresses: Iterable[str], path: Path, *, check: Callable[[Path], str | None], most: int, timeout: float) -> None:
    """Fetch a file from the first address that gives it.

    One process at a time does this, and others wait; what they then find is used. The file grows under the name
    ``path + ".part"``, which stays behind where the work is interrupted, and is taken up by the next call.

    Parameters
    ----------
    addresses : iterable of str
        URLs (``http``, ``https``, ``file``) and paths.
    path : Path
        Where the file is to be; what is there is replaced, at once.
    check : function
        Says what is wrong with a file; None if nothing is.
    most : int
        Bytes that the file may have.
    timeout : float
        Seconds that a server may be silent.

    Raises
    ------
    FetchError
        If no address gives the file; it tells what each one gave.
    OSError
        If the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f"{path.name}.lock")):
        if path.is_file() and check(path) is None:
            return  # another process has fetched it meanwhile
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


class _Transfer:
    """The growing file."""

    def __init__(self, part: Path, check: Callable[[Path], str | None], most: int, timeout: float) -> None:
        self.part = part
        self._check, self._most, self._timeout = check, most, timeout

    def attempt_all(self, address: str) -> None:
        """Make the file whole from one address; FetchError where it cannot be."""
        print(f"fetching {address}", file=sys.stderr)
        for attempt in range(ATTEMPTS):
            if self.part.is_file() and self._check(self.part) is None:
                return
            if attempt:
                time.sleep(BACKOFF * 2 ** (attempt - 1))
            try:
                self._attempt(address)
            except _PassingError as error:
                reason = str(error)
                continue
            wrong = self._check(self.part)
            if wrong is None:
                return
            reason = f"what came is not the published file: {wrong}"
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
            raise FetchError("http, https, file and paths are understood")
        else:
            self._from_file(url2pathname(urlsplit(address).path) if scheme == "file" else address)

    def _from_server(self, url: str) -> None:
        start = self.part.stat().st_size if self.part.is_file() else 0
        headers = {"Accept-Encoding": "identity"}  # positions are the file's, not those of a compressed stream
        if start:
            headers["Range"] = f"bytes={start}-"
        with requests.get(url, headers=headers, stream=True, timeout=self._timeout) as response:
            status = response.status_code
            if status in _PASSING or status >= 500:
                raise _PassingError(f"the server answers {status} {response.reason}")
            if start and (status == 416 or (status == 206 and not _continues(response, start))):
                self.part.unlink()
                raise _PassingError("the server does not continue what is here")
            if status not in (200, 206):
                raise FetchError(f"the server answers {status} {response.reason}")
            length = response.headers.get("Content-Length", "")
            start = start if status == 206 else 0
            total = start + int(length) if length.isdecimal() else None
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
        """Write what follows the first bytes, which are here."""
        size = start
        bar = tqdm(total=total, initial=start, unit="B", unit_scale=True, disable=None, leave=False, dynamic_ncols=True)
        with self.part.open("ab" if start else "wb") as file, closing(bar):
            for piece in pieces:
                size += len(piece)
                if size > self._most:
                    break
                file.write(piece)
                bar.update(len(piece))
        if size > self._most:
            self.part.unlink()
            raise FetchError(f"more comes than the {self._most} bytes that the file may have")


def _continues(response: requests.Response, start: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _short(error: requests.RequestException) -> str:
    """The telling part of what requests says."""
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "the server does not answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    cause: BaseException = error
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    if isinstance(reason, BaseException):
        cause = reason
    return " ".join(str(cause).split(": ", 1)[-1].split()) or type(error).__name__
