"""Augmentation: pictures are moved, cropped, combined and recoloured, along with their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet import _checks
from opencv_squeezedet.preprocess import Picture
from opencv_squeezedet.training.example import Example


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Strength of the augmentation; every probability and range may be 0.

    Parameters
    ----------
    mosaic : float
        Probability that four pictures are combined into one.
    crop : float
        Probability that a part of the picture is cropped and resized to the input.
    crop_area : (float, float)
        Range of the part's area as a fraction of the picture's.
    zoom_out : float
        Probability that the picture is placed on a larger empty canvas.
    zoom_out_side : float
        The largest ratio of the canvas's sides to the picture's.
    flip : float
        Probability of a left-right flip.
    rotate : float
        Probability of a rotation.
    rotate_degrees : float
        The largest angle in either direction.
    colour : float
        Strength of changes of hue, saturation, brightness and contrast; 1 is usual.
    blur, noise, grey : float
        Probabilities of Gaussian blur, Gaussian noise and loss of colour.
    visible : float
        Fraction of a box that must remain in the picture for its object to be kept. With less, the object is ignored; with
        less than a tenth or less than three pixels, it is removed.

    Raises
    ------
    ValueError, TypeError
        If a field is invalid; the message names it, what was expected and what was given.
    """

    mosaic: float = 0.25
    crop: float = 0.55
    crop_area: tuple[float, float] = (0.25, 1.0)
    zoom_out: float = 0.2
    zoom_out_side: float = 1.8
    flip: float = 0.5
    rotate: float = 0.1
    rotate_degrees: float = 12.0
    colour: float = 1.0
    blur: float = 0.05
    noise: float = 0.05
    grey: float = 0.03
    visible: float = 0.4

    def __post_init__(self) -> None:
        """Check every field."""
        for name in ("mosaic", "crop", "zoom_out", "flip", "rotate", "blur", "noise", "grey", "visible"):
            _checks.fraction(name, getattr(self, name))
        for name, least in (("zoom_out_side", 1), ("rotate_degrees", 0), ("colour", 0)):
            if _checks.finite(name, getattr(self, name)) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        object.__setattr__(self, "crop_area", tuple(_checks.fraction("crop_area", share) for share in self.crop_area))
        if len(self.crop_area) != 2 or not 0 < self.crop_area[0] <= self.crop_area[1]:
            raise ValueError(f"crop_area must be two fractions above 0, the smaller first, got {self.crop_area}")


NONE = Augmentation(mosaic=0, crop=0, zoom_out=0, flip=0, rotate=0, colour=0, blur=0, noise=0, grey=0)
"""Unchanged pictures, stretched to the input."""


def augmented(
    images: Sequence[Picture],
    examples: Sequence[Example],
    size: tuple[int, int],
    mean: tuple[float, float, float],
    how: Augmentation,
    rng: np.random.Generator,
) -> tuple[Picture, Example]:
    """Return a picture of the given (width, height) and its objects, made from one example, or from four as a mosaic.

    Areas that no picture covers have the colour ``mean``, which the network sees as 0.
    """
    width, height = size
    canvas = np.empty((height, width, 3), np.uint8)
    if len(images) == 1:
        regions = [(0, 0, width, height)]
    else:
        x, y = round(width * rng.uniform(0.3, 0.7)), round(height * rng.uniform(0.3, 0.7))
        regions = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
    drawn = [
        _drawn(image, example, canvas, region, mean, how, rng)
        for image, example, region in zip(images, examples, regions, strict=True)
    ]
    xyxy, classes, quality = (np.concatenate(part) for part in zip(*drawn, strict=True))
    return _recoloured(canvas, how, rng), replace(examples[0], xyxy=xyxy, classes=classes, quality=quality)


def _drawn(
    image: Picture,
    example: Example,
    canvas: NDArray[np.uint8],
    region: tuple[int, int, int, int],
    mean: tuple[float, float, float],
    how: Augmentation,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Draw a picture, geometrically changed, into a region (x1, y1, x2, y2) of the canvas; return its objects there."""
    x1, y1, x2, y2 = region
    matrix = _matrix(image.shape, (x2 - x1, y2 - y1), how, rng)
    covered = _covers(image.shape, (x2 - x1, y2 - y1), matrix)
    canvas[y1:y2, x1:x2] = cv2.warpAffine(
        image,
        matrix[:2],
        (x2 - x1, y2 - y1),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE if covered else cv2.BORDER_CONSTANT,
        borderValue=np.rint(mean).tolist(),
    )
    boxes = _moved(example.xyxy, matrix)
    inside = boxes.clip(0, np.array([x2 - x1, y2 - y1] * 2, np.float32))
    area, visible = ((xyxy[:, 2:] - xyxy[:, :2]).prod(1) for xyxy in (boxes, inside))
    share = np.divide(visible, area, out=np.zeros_like(visible), where=area > 0)
    kept = ((share > 0.1) | (example.quality < 0)) & ((inside[:, 2:] - inside[:, :2]).min(1, initial=np.inf) >= 3)
    quality = np.where(share >= how.visible, example.quality, np.minimum(example.quality, 0)).astype(np.float32)
    return inside[kept] + np.array([x1, y1] * 2, np.float32), example.classes[kept], quality[kept]


def _matrix(shape: tuple[int, ...], size: tuple[int, int], how: Augmentation, rng: np.random.Generator) -> NDArray[np.float64]:
    """The (3, 3) map from picture pixels to a region of (width, height)."""
    height, width = shape[:2]
    x, y, w, h = 0.0, 0.0, float(width), float(height)  # the window that becomes the region
    chance = rng.random()
    if chance < how.crop:
        area, aspect = rng.uniform(*how.crop_area), np.exp(rng.uniform(-0.35, 0.35))
        w, h = (side * min(1.0, np.sqrt(area) * factor) for side, factor in ((width, aspect), (height, 1 / aspect)))
        x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
    elif chance < how.crop + how.zoom_out:
        w, h = (side * rng.uniform(1, how.zoom_out_side) for side in (width, height))
        x, y = rng.uniform(width - w, 0), rng.uniform(height - h, 0)
    scale = np.diag([size[0] / w, size[1] / h, 1.0])
    # Pixel i covers [i, i + 1), while warpAffine puts its centre at i.
    matrix = _shift(-0.5, -0.5) @ scale @ _shift(0.5 - x, 0.5 - y)
    if rng.random() < how.flip:
        matrix = np.array([[-1.0, 0, size[0] - 1], [0, 1, 0], [0, 0, 1]]) @ matrix
    if rng.random() < how.rotate:
        degrees = rng.uniform(-how.rotate_degrees, how.rotate_degrees)
        turn = np.vstack([cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), degrees, 1.0), [0, 0, 1]])
        matrix = turn @ matrix
    return matrix


def _covers(shape: tuple[int, ...], size: tuple[int, int], matrix: NDArray[np.float64]) -> bool:
    """Whether the picture covers all of a region of (width, height)."""
    corners = np.array([[x, y, 1] for x in (-0.5, size[0] - 0.5) for y in (-0.5, size[1] - 0.5)])
    points = (np.linalg.inv(matrix) @ corners.T)[:2].T + 0.5
    return bool((points > -1e-6).all() and (points < np.array(shape[1::-1]) + 1e-6).all())


def _shift(x: float, y: float) -> NDArray[np.float64]:
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def _moved(xyxy: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """The upright boxes around moved boxes; their edges are half a pixel before the pixel centres that `matrix` maps."""
    corners = np.stack([xyxy[:, [0, 1]], xyxy[:, [2, 1]], xyxy[:, [2, 3]], xyxy[:, [0, 3]]], axis=1) - 0.5
    moved = corners @ matrix[:2, :2].T + matrix[:2, 2] + 0.5
    return np.concatenate([moved.min(1), moved.max(1)], axis=1).astype(np.float32)


def _recoloured(image: Picture, how: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    if how.colour:
        hue, saturation, brightness, contrast = rng.uniform(-1, 1, 4) * how.colour * (9, 0.5, 28, 0.35)
        if rng.random() < 0.7:
            hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
            ramp = np.arange(256)
            tables = ((ramp + hue) % 180, (ramp * (1 + saturation)).clip(0, 255), ramp)
            hsv = cv2.LUT(hsv, np.stack(tables, axis=-1).astype(np.uint8)[:, None])
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
        table = ((np.arange(256) - 128) * (1 + contrast) + 128 + brightness).clip(0, 255).astype(np.uint8)
        image = cv2.LUT(image, table)
    if rng.random() < how.grey:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if rng.random() < how.blur:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 1.6))
    if rng.random() < how.noise:
        image = (image + rng.normal(0, rng.uniform(2, 12), image.shape)).clip(0, 255)
    return image.astype(np.uint8, copy=False)
