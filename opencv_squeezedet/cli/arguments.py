"""Arguments that several subcommands share, and the types of their values."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from opencv_squeezedet._checks import MOST, fraction
from opencv_squeezedet.backends import BackendName
from opencv_squeezedet.options import NMS_KINDS, Options

Add = Callable[..., object]
"""An ``add_argument`` of a parser or of a group."""

SOURCE_HELP = (
    "a picture, a video, a folder, a quoted pattern, a text file that lists sources (.txt), a camera number, an address "
    "(rtsp://, http://, https://), or - for a picture on standard input"
)
MODEL_HELP = (
    "a published name (see 'squeezedet models list'), a model file (.prototxt, .onnx, .sdz, .net), or the path of a model's "
    "files without their suffix"
)
SIZE_HELP = "the network's input size in pixels, as in 416 or 416x416"
SEED_HELP = "seed of the random numbers"
TEACHER_HELP = "pseudo-labels from squeezedet label, to learn from too"
WEIGHTS_HELP = "weights file (.caffemodel), if its name differs from the model's"


# ---- types of values ---------------------------------------------------------------------------------------------------


def positive(text: str) -> int:
    """Read a whole number from 1 up."""
    if not (text.isdecimal() and 1 <= int(text) <= MOST):
        raise argparse.ArgumentTypeError(f"a whole number from 1 up was expected, got {text!r}")
    return int(text)


def positive_number(text: str) -> float:
    """Read a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"a number above 0 was expected, got {text!r}")
    return number


def unit_fraction(text: str) -> float:
    """Read a number in [0, 1]."""
    try:
        return fraction("it", float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a number in [0, 1] was expected, got {text!r}") from None


def input_size(text: str) -> tuple[int, int]:
    """Read a network's input size: 416 or 416x416."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"pixels, as in 416 or 416x416, were expected, got {text!r}")
    return int(match[1]), int(match[2] or match[1])


# ---- options -----------------------------------------------------------------------------------------------------------


def add_model(add: Add) -> None:
    """Add the options that name a detector, by default the embedded model."""
    add("--model", metavar="MODEL", help=f"{MODEL_HELP} (default: embedded)")
    add_weights(add)


def add_weights(add: Add) -> None:
    add("--weights", metavar="FILE", help=WEIGHTS_HELP)


def add_backend(add: Add) -> None:
    """Add the options that select the backend and its device."""
    add(
        "--backend",
        choices=get_args(BackendName),
        default="opencv",
        help="library that runs the network; auto prefers onnxruntime if it is installed (default: %(default)s)",
    )
    add("--target", metavar="DEVICE", help="device for the backend, such as cpu or cuda (default: cpu)")


def add_letterbox(add: Add) -> None:
    add("--letterbox", action="store_true", help="keep the aspect ratio of each picture and pad the rest of the input")


def add_postprocessing(add: Add, *, threshold: float | None = None) -> None:
    """Add the options of post-processing; ``threshold`` is the score threshold's default."""
    own, iou = "(default: the model's setting)", {"type": unit_fraction, "metavar": "IOU"}
    lowest = own if threshold is None else "(default: %(default)s)"
    score = {"type": unit_fraction, "metavar": "SCORE", "default": threshold}
    add("--threshold", **score, help=f"score threshold in [0, 1] {lowest}")
    add("--nms", **iou, help=f"NMS threshold in [0, 1] {own}")
    add("--nms-kind", choices=NMS_KINDS, help=f"NMS rule {own}")
    add("--soft-sigma", type=positive_number, metavar="SIGMA", help=f"width of the Gaussian of soft NMS, above 0 {own}")
    vote = "box voting: average each kept box with the candidates that overlap it by more than this IoU"
    add("--vote", **iou, help=f"{vote} {own}")
    add("--cross-class", **iou, help=f"demote overlapping boxes of other classes above this IoU {own}")
    candidates = "make every class of an anchor a candidate, not only the best class"
    add("--multi-label", action="store_true", help=f"{candidates} {own}")
    add("--top-n", type=positive, metavar="N", help=f"number of candidates that enter NMS {own}")
    add("--agnostic", action="store_true", help=f"apply NMS across classes {own}")


def postprocessing(args: argparse.Namespace) -> Options:
    """Return the options of `add_postprocessing` as keyword arguments."""
    return {
        "score_threshold": args.threshold,
        "nms_threshold": args.nms,
        "nms_kind": args.nms_kind,
        "soft_sigma": args.soft_sigma,
        "vote_threshold": args.vote,
        "cross_class_threshold": args.cross_class,
        "top_n": args.top_n,
        "class_agnostic": args.agnostic or None,
        "multi_label": args.multi_label or None,
    }


def add_recursive(add: Add) -> None:
    add("-r", "--recursive", action="store_true", help="search the subfolders of folders too")


def add_every(add: Add) -> None:
    """Add ``--every``, for videos."""
    add("--every", type=positive, default=1, metavar="N", help="process every N-th frame of a video (default: %(default)s)")


def add_batch(add: Add) -> None:
    """Add ``--batch``, for detection."""
    add("--batch", type=positive, default=1, metavar="N", help="number of pictures per forward pass (default: %(default)s)")


def add_calibration_images(add: Add, *, count: int, required: bool = False, purpose: str) -> None:
    """Add the folder of calibration images, and how many of them are used."""
    add("--pictures", required=required, type=Path, metavar="DIR", help=f"folder of calibration images, {purpose}")
    add(
        "--count",
        type=positive,
        default=count,
        metavar="N",
        help="number of calibration images, taken evenly from the folder (default: %(default)s)",
    )


def add_quiet(add: Add) -> None:
    add("--quiet", action="store_true", help="suppress all output except errors")
