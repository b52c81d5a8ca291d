"""Pictures from files that are not pictures, do not end or are too large; files that appear together or not at all."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import PHOTO
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from opencv_squeezedet import files, pictures
from opencv_squeezedet.files import real_path, temporary_beside, write_together, write_whole
from opencv_squeezedet.pictures import read_picture

# ---- reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
@pytest.mark.parametrize("name", ["pipe.jpg", "/dev/zero"])
def test_pipes_and_devices_are_refused(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ValueError, match="regular file"):
        read_picture(tmp_path / name)


def test_what_grows_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_PIECE", 1000)
    with open("/dev/zero", "rb") as endless, pytest.raises(ValueError, match="4,500 bytes"):
        files.read_at_most(endless, 4500)
    with PHOTO.open("rb") as file:
        assert files.read_at_most(file, PHOTO.stat().st_size) == PHOTO.read_bytes()


def test_a_part_of_a_png_that_is_larger_than_the_file(photo: np.ndarray) -> None:
    """OpenCV 5 would fill 4 GiB with zeros first, which takes it half a minute."""
    content = bytearray(cv2.imencode(".png", photo)[1].tobytes())
    content[33:37] = b"\xff\xff\xff\x17"
    with pytest.raises(ValueError, match=r"damaged.*4,294,967,063 bytes"):
        pictures.decode_picture(bytes(content))


@pytest.mark.parametrize("suffix", [".pfm", ".tiff", ".hdr", ".png"])
def test_pictures_of_floats_and_16_bits_are_the_same_pictures(tmp_path: Path, photo: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    exact = [cv2.IMWRITE_TIFF_COMPRESSION, 1] if suffix == ".tiff" else []  # old OpenCV writes logarithms otherwise
    deep = photo.astype(np.uint16) * 257 if suffix == ".png" else (photo / np.float32(255)).astype(np.float32)
    cv2.imwrite(str(path), deep, exact)
    picture = read_picture(path)
    assert (picture.dtype, picture.shape) == (np.uint8, photo.shape)
    assert np.abs(picture.astype(int) - photo).max() <= (2 if suffix == ".hdr" else 0)


def test_floats_that_are_no_picture(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.pfm"), np.full((4, 4, 3), 7e8, np.float32))
    with pytest.raises(ValueError, match=r"float.*from 0 to 1 or to 255"):
        read_picture(tmp_path / "a.pfm")


def test_a_circle_of_links(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for path in (tmp_path / "a", tmp_path / "a" / "deeper"):
        with pytest.raises(OSError, match="symbolic links"):
            write_whole(path, b"")
    assert real_path(tmp_path / "c") == tmp_path.resolve() / "c"


# ---- writing -----------------------------------------------------------------------------------------------------------


def test_temporary_names_are_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of two containers with one process number and one folder, which draw the same name."""
    drawn = iter([b"same", b"same", b"same", b"other"])
    monkeypatch.setattr(os, "urandom", lambda count: next(drawn))
    first = temporary_beside(tmp_path / "a.mp4")
    first.write_text("the other container's")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 1)
        second = temporary_beside(tmp_path / "a.mp4")
    assert (first.name, second.name) == (f".{b'same'.hex()}.mp4", f".{b'other'.hex()}.mp4")
    assert first.read_text() == "the other container's"
    monkeypatch.undo()
    assert len(temporary_beside(tmp_path / ("a." + "x" * 250)).name) < 40
    with pytest.raises(OSError, match=r"missing.a\.json"):
        temporary_beside(tmp_path / "missing" / "a.json")


def test_the_users_mask_counts(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_whole(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="links")
def test_a_link_in_the_place_of_a_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As someone puts it there who may write to the same folder, the moment the file is there."""
    victim, opened = tmp_path / "victim", Path.open
    victim.write_text("mine")

    def swap(path: Path, *args: Any, **options: Any) -> Any:
        file = opened(path, *args, **options)
        if args == ("xb",):
            path.unlink()
            path.symlink_to(victim)
        return file

    monkeypatch.setattr(Path, "open", swap)
    write_whole(tmp_path / "a", b"content")
    assert victim.read_text() == "mine"


NAMES = st.sampled_from(["a", "b.txt", "c.json", "d"])


@examples(400)
@given(
    before=st.dictionaries(NAMES, st.binary(max_size=3)),
    contents=st.dictionaries(NAMES, st.binary(min_size=4, max_size=9), min_size=1),
    at=st.integers(1, 40),
    late=st.booleans(),
    error=st.sampled_from([OSError(28, "No space left on device"), KeyboardInterrupt()]),
)
def test_all_or_none_whatever_goes_wrong_and_when(
    before: dict[str, bytes], contents: dict[str, bytes], at: int, late: bool, error: BaseException
) -> None:
    """One call fails, or is interrupted before or after it."""
    calls: list[str] = []

    def faulty(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) != at:
                return real(*args, **options)
            if late and isinstance(error, KeyboardInterrupt) and name != "open":
                real(*args, **options)
            raise error

        return call

    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        folder = Path(place)
        for name, content in before.items():
            (folder / name).write_bytes(content)
        for owner, name in ((Path, "open"), (Path, "replace"), (Path, "unlink"), (files.shutil, "copyfileobj")):
            patch.setattr(owner, name, faulty(name, getattr(owner, name)))
        try:
            write_together({folder / name: content for name, content in contents.items()})
            done = True
        except (OSError, KeyboardInterrupt):
            done = False
        patch.undo()
        found = {path.name: path.read_bytes() for path in folder.iterdir() if not re.fullmatch(r"\.[0-9a-f]{16}.*", path.name)}
        left = len(list(folder.iterdir())) - len(found)
    assert found in ((before | contents,) if done else (before, before | contents))
    assert left <= (len(calls) >= at and calls[at - 1] == "unlink")
