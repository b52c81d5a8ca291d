"""Import the dependencies, with an error that explains how to install a missing one."""

from __future__ import annotations

import importlib

try:
    import cv2

    _ = cv2.dnn.blobFromImage
except (ImportError, AttributeError) as error:
    if isinstance(error, ModuleNotFoundError) and error.name == "cv2":
        raise ImportError(
            "opencv_squeezedet needs OpenCV 4.8 or newer, and no cv2 is installed: pip install 'opencv-squeezedet[opencv]' "
            "installs opencv-contrib-python; pip install opencv-python-headless installs OpenCV without windows",
            name="cv2",
        ) from None
    raise ImportError(
        f"opencv_squeezedet needs cv2 with its dnn module, which cannot be used here ({error}). "
        "If a system library such as libGL.so.1 is missing, as on a server without a screen: install it "
        "(Debian, Ubuntu: apt-get install libgl1 libglib2.0-0), or use opencv-contrib-python-headless instead of "
        "opencv-contrib-python. "
        "If several OpenCV wheels are installed over each other: pip uninstall opencv-python opencv-python-headless "
        "opencv-contrib-python opencv-contrib-python-headless, then reinstall one of them."
    ) from error

try:
    importlib.import_module("opencv_squeezedet._kernel")
except ImportError as error:
    raise ImportError(
        f"opencv_squeezedet's compiled extension cannot be imported ({error}). In a clone of the repository build it with "
        "'pip install .' there; outside it, 'pip install --force-reinstall opencv-squeezedet'. A C compiler is needed."
    ) from error
