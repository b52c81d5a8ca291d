"""Conversion of a picture to the network's input blob."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet import _checks

Resize = Literal["stretch", "letterbox", "crop"]
Picture = NDArray[Any]

MOST_SIDE, MOST_PIXELS = 1 << 20, 1 << 30
"""Limits of a picture, those of OpenCV's readers of files and of its int indices."""

_MOST_FLOAT = float(np.finfo(np.float32).max)
_TO_BGR = {1: cv2.COLOR_GRAY2BGR, 4: cv2.COLOR_BGRA2BGR}


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes the network's input: ``(picture - mean) * scale`` at the input's size, as NCHW.

    Parameters
    ----------
    size : (int, int)
        Width and height of the network's input, pixels.
    mean : (float, float, float)
        Subtracted from the channels, in the network's channel order, on the 0..255 scale.
    scale : float
        Factor after the mean is subtracted.
    swap_rb : bool
        True for a network that takes RGB; pictures are BGR.
    resize : {"stretch", "letterbox", "crop"}
        ``"stretch"``: width and height are scaled to the input's independently. ``"letterbox"``: the whole picture is scaled
        with its aspect ratio and centred; the rest of the input is the mean. ``"crop"``: the largest centred part of the
        picture with the input's aspect ratio is scaled.

    Raises
    ------
    ValueError, TypeError
        If a field is invalid; the message names it, what was expected and what was given.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float] = (104.0, 117.0, 123.0)
    scale: float = 1.0
    swap_rb: bool = False
    resize: Resize = "stretch"

    def __post_init__(self) -> None:
        """Check every field, and convert it to its final form."""
        if np.shape(self.mean) != (3,):
            raise ValueError(f"mean must be three numbers, got {self.mean!r}")
        object.__setattr__(self, "mean", tuple(_checks.finite("mean", value) for value in self.mean))
        object.__setattr__(self, "size", _checks.size("size", self.size))
        values = 3 * self.size[0] * self.size[1]
        if values > _checks.MOST:
            raise ValueError(f"size {self.size} makes a blob of {values} values; at most {_checks.MOST} are possible")
        object.__setattr__(self, "scale", _checks.finite("scale", self.scale))
        largest = max(max(abs(mean), abs(255.0 - mean)) for mean in self.mean) * max(abs(self.scale), 1.0)
        if largest > _MOST_FLOAT:
            raise ValueError(f"mean {self.mean} and scale {self.scale:g} give values of {largest:g}, too large for float32")
        object.__setattr__(self, "swap_rb", _checks.flag("swap_rb", self.swap_rb))
        _checks.choice("resize", self.resize, get_args(Resize))

    def blob(self, image: Picture) -> NDArray[np.float32]:
        """Return the blob of one picture, (1, 3, height, width) float32; pictures as for `as_bgr`."""
        picture = as_bgr(image)
        if self.resize == "stretch":
            return self._stretched(picture, self.size)
        source, target = _regions((picture.shape[1], picture.shape[0]), self.size, self.resize)
        picture = picture[source.y : source.y + source.height, source.x : source.x + source.width]
        blob = np.zeros((1, 3, self.size[1], self.size[0]), np.float32)
        inside = np.s_[..., target.y : target.y + target.height, target.x : target.x + target.width]
        blob[inside] = self._stretched(picture, (target.width, target.height))
        return blob

    def _stretched(self, picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
        blob = cv2.dnn.blobFromImage(picture, self.scale, size, self.mean, self.swap_rb, crop=False)
        return np.asarray(blob, np.float32)


class Placement(NamedTuple):
    """The position of a picture in the network's input.

    A point (x, y) of the input is ``((x - left) * x_factor, (y - top) * y_factor)`` in the picture, which has ``width`` and
    ``height``. The kernel does the arithmetic of `to_picture` itself, in double precision.
    """

    left: float
    top: float
    x_factor: float
    y_factor: float
    width: float
    height: float

    def to_picture(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert boxes (N, 4) from input to picture pixels, clipped to the picture."""
        corner, factors = (self.left, self.top) * 2, (self.x_factor, self.y_factor) * 2
        boxes = (xyxy - np.array(corner, np.float32)) * np.array(factors, np.float32)
        return boxes.clip(0, np.array((self.width, self.height) * 2, np.float32))


def placement(image_size: tuple[int, int], input_size: tuple[int, int], resize: Resize) -> Placement:
    """Return the position of a picture of (width, height) in an input of (width, height) created by `Preprocess`."""
    width, height = image_size
    if resize == "stretch":
        return Placement(0.0, 0.0, width / input_size[0], height / input_size[1], width, height)
    source, target = _regions(image_size, input_size, resize)
    x_factor, y_factor = source.width / target.width, source.height / target.height
    left, top = target.x - source.x / x_factor, target.y - source.y / y_factor
    return Placement(left, top, x_factor, y_factor, width, height)


class _Region(NamedTuple):
    x: int
    y: int
    width: int
    height: int


def _regions(image_size: tuple[int, int], input_size: tuple[int, int], resize: Resize) -> tuple[_Region, _Region]:
    """The part of the picture that is scaled, and the part of the input it fills: both centred, at least 1x1 pixels."""
    (w, h), (input_w, input_h) = image_size, input_size
    whole_picture, whole_input = _Region(0, 0, w, h), _Region(0, 0, input_w, input_h)
    if resize == "letterbox":
        scale = min(input_w / w, input_h / h)
        return whole_picture, _centred(whole_input, round(w * scale), round(h * scale))
    scale = min(w / input_w, h / input_h)
    return _centred(whole_picture, round(input_w * scale), round(input_h * scale)), whole_input


def _centred(of: _Region, width: int, height: int) -> _Region:
    width, height = max(1, width), max(1, height)
    return _Region((of.width - width) // 2, (of.height - height) // 2, width, height)


def as_bgr(image: Picture) -> NDArray[np.uint8]:
    """Return any picture as (H, W, 3) uint8, BGR; without a copy if it already is.

    Other types are rounded to 8 bits: boxes do not depend on the picture's type.

    Parameters
    ----------
    image : (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) array of uint8, uint16, float16, float32 or float64
        Grey, BGR or BGRA, of any size from 1x1 up to `MOST_SIDE` and `MOST_PIXELS`, in any byte order; alpha is ignored.
        uint16 has the range [0, 65535], floats [0, 1], or [0, 255] if any value is above 1.5.

    Raises
    ------
    TypeError, ValueError
        If it has another type or shape, is too large, or contains floats that are not finite or far outside both ranges.
    """
    if not isinstance(image, np.ndarray):
        hint = " (cv2.imread returns None for a file it cannot read)" if image is None else ""
        raise TypeError(f"image must be an array, got {type(image).__name__}{hint}")
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels not in (1, 3, 4) or not image.size:
        raise ValueError(f"image must have the shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {image.shape}")
    height, width = image.shape[:2]
    if max(height, width) > MOST_SIDE or height * width > MOST_PIXELS:
        raise ValueError(f"image must have at most {MOST_PIXELS} pixels, {MOST_SIDE} a side, got {width}x{height}")
    if image.dtype.newbyteorder("=") == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif image.dtype.kind == "f":
        image = _float_picture(image)
    elif image.dtype != np.uint8:
        raise TypeError(f"image must contain uint8, uint16 or floats, got {image.dtype}")
    if channels == 3:
        return image
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), _TO_BGR[channels]), np.uint8)


def _float_picture(image: Picture) -> NDArray[np.uint8]:
    low, high = float(image.min()), float(image.max())
    unit = 1.0 if high <= 1.5 else 255.0
    if not (low >= -0.5 * unit and high <= 1.5 * unit):  # false for NaN too
        raise ValueError(f"a float image must range from 0 to 1 or to 255, got values from {low:g} to {high:g}")
    counts: NDArray[np.float32] = np.rint(image.astype(np.float32) * np.float32(255.0 / unit))
    return counts.clip(0, 255).astype(np.uint8)
