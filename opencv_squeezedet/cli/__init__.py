"""The command ``squeezedet``: each subcommand is a module here, and two have short names."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from opencv_squeezedet._version import __version__
from opencv_squeezedet.cli import common

SUBCOMMANDS = {
    "detect": "find objects in pictures and videos",
    "batch": "find objects in many pictures, on all cores or on a Ray cluster",
    "classify": "classify whole pictures",
    "models": "published weights: list, fetch, verify",
    "convert": "convert a network to another format: Caffe, ONNX",
    "compress": "prune a network, share and Huffman-code its weights",
    "inspect": "show a network's layers, shapes, costs, head and config",
    "quantize": "make a network of 8-bit numbers, for speed",
    "eval": "measure a detector on a data set",
    "anchors": "find anchor shapes for a data set",
    "label": "label pictures with a teacher, for training",
    "train": "train a detector on annotated pictures",
}
"""The name of each subcommand and of its module, and what it is for. A module is imported when its command runs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``squeezedet``; returns the exit status: 0, 1 if something failed, 2 for wrong usage, 130 after Ctrl-C."""
    return common.guarded("squeezedet", lambda: _run(_given(argv)))


def detect_main(argv: Sequence[str] | None = None) -> int:
    """Run ``detect``, the short name of ``squeezedet detect``."""
    return common.run_subcommand("detect", _given(argv), program="detect")


def classify_main(argv: Sequence[str] | None = None) -> int:
    """Run ``classify``, the short name of ``squeezedet classify``."""
    return common.run_subcommand("classify", _given(argv), program="classify")


def _given(argv: Sequence[str] | None) -> list[str]:
    return list(sys.argv[1:] if argv is None else argv)


def _run(argv: list[str]) -> int:
    parser = common.Parser(
        prog="squeezedet",
        usage="squeezedet COMMAND ...",
        description="\n".join(
            ["SqueezeDet for OpenCV.", "commands:", *(f"  {name:<10}{what}" for name, what in SUBCOMMANDS.items())]
        ),
        epilog="example: squeezedet detect holiday/ --threshold 0.4 (squeezedet detect --help lists all options)",
    )
    parser.add_argument("--version", action="version", version=f"squeezedet {__version__}", help="print the version")
    parser.add_argument("command", metavar="COMMAND", choices=SUBCOMMANDS, help=argparse.SUPPRESS)
    name: str = parser.parse_args(argv[:1]).command
    return common.run_subcommand(name, argv[1:], program=f"squeezedet {name}")
