"""show: a picture below a notebook's cell, or in a window; where there is neither, an error that says what to do."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

import opencv_squeezedet as sd

IMAGE = np.full((90, 160, 3), 30, np.uint8)
FOUND = sd.Detections([(20, 30, 120, 80)], [0.9], [7], sd.VOC.labels)


@pytest.fixture(autouse=True)
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is a display")
def test_neither_a_notebook_nor_a_display() -> None:
    with pytest.raises(RuntimeError, match=r"notebook.*cv2\.imwrite\(path, draw"):
        sd.show(IMAGE, FOUND)
    with pytest.raises(TypeError, match=r"detections.*got list"):
        sd.show(IMAGE, [])  # type: ignore[arg-type]


@pytest.mark.parametrize("ended_by", ["a key", "closing it"])
@pytest.mark.parametrize(("size", "window"), [((160, 90), (160, 90)), ((4000, 1000), (1280, 320)), ((1, 4000), (1, 800))])
def test_a_window(ended_by: str, size: tuple[int, int], window: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a substitute for it."""
    calls: list[tuple[str, object]] = []
    waited: list[int] = []
    monkeypatch.setattr(sys.modules["opencv_squeezedet.show"], "display_works", lambda: True)
    for name, substitute in {
        "namedWindow": lambda title, flags: calls.append(("namedWindow", title)),
        "resizeWindow": lambda title, *wanted: calls.append(("resizeWindow", wanted)),
        "imshow": lambda title, image: calls.append(("imshow", image)),
        "waitKey": lambda delay: waited.append(delay) or (27 if ended_by == "a key" and len(waited) == 3 else -1),
        "getWindowProperty": lambda *_: -1.0 if ended_by == "closing it" and len(waited) == 3 else 1.0,
        "destroyWindow": lambda title: calls.append(("destroyWindow", title)),
    }.items():
        monkeypatch.setattr(cv2, name, substitute)
    image = np.full((size[1], size[0], 3), 30, np.uint8)
    sd.show(image, FOUND)
    assert len(waited) == 3
    assert ("resizeWindow", window) in calls
    (shown,) = [value for name, value in calls if name == "imshow"]
    assert np.array_equal(shown, sd.draw(image, FOUND))
    assert [name for name, _ in calls].count("destroyWindow") == (ended_by == "a key")


@pytest.mark.parametrize("shell", [SimpleNamespace(kernel=object()), None, SimpleNamespace()])
def test_a_notebook_is_neither_ipython_imported_only_nor_in_a_terminal(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a substitute for IPython."""
    displayed: list[bytes] = []
    display = SimpleNamespace(Image=lambda data: data, display=displayed.append)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell, display=display))
    monkeypatch.setattr(sys.modules["opencv_squeezedet.show"], "display_works", lambda: False)
    if not hasattr(shell, "kernel"):
        with pytest.raises(RuntimeError, match="notebook"):
            sd.show(IMAGE, FOUND)
        assert displayed == []
        return
    sd.show(IMAGE, FOUND)
    (png,) = displayed
    assert np.array_equal(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), sd.draw(IMAGE, FOUND))
