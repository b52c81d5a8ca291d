"""Display of a picture with its detections, in a notebook or a window."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.detections import Detections
from opencv_squeezedet.draw import draw
from opencv_squeezedet.preprocess import Picture

_TITLE = "detections"
_LARGEST = (1280, 800)  # of a window, in pixels
_POLL = 50  # milliseconds


def show(image: Picture, detections: Detections) -> None:
    """Display the picture with its detections: in a notebook's cell, or in a window until it is closed or a key is pressed.

    Parameters
    ----------
    image : array
        Any picture that `SqueezeDet.detect` accepts.
    detections : Detections
        In the picture's pixels.

    Raises
    ------
    RuntimeError
        If there is neither a notebook nor a display.
    TypeError, ValueError
        If the image is not a picture.
    """
    drawn = draw(image, detections)
    ipython: Any = sys.modules.get("IPython")
    if ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None:  # Jupyter's, not a terminal's
        _, png = cv2.imencode(".png", drawn)
        ipython.display.display(ipython.display.Image(data=png.tobytes()))
    elif display_works():
        _show_in_window(drawn)
    else:
        raise RuntimeError(
            "neither a notebook nor a display was found, or OpenCV was built without windows: "
            "write the picture to a file with cv2.imwrite(path, draw(image, detections))"
        )


def display_works() -> bool:
    """Whether a window can be opened; tried in a subprocess, because a toolkit without a display may abort it."""
    code = "import cv2; cv2.namedWindow('x'); cv2.destroyAllWindows()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def _show_in_window(drawn: NDArray[np.uint8]) -> None:
    height, width = drawn.shape[:2]
    scale = min(1.0, _LARGEST[0] / width, _LARGEST[1] / height)
    cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
    cv2.resizeWindow(_TITLE, max(1, round(scale * width)), max(1, round(scale * height)))
    cv2.imshow(_TITLE, drawn)
    while cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) >= 1:
        if cv2.waitKey(_POLL) >= 0:
            cv2.destroyWindow(_TITLE)
            break
