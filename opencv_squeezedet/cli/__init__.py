"""The command ``squeezedet``: each subcommand is a module here, and two have short names."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from opencv_squeezedet.cli import parser, runner

SUBCOMMANDS = {
    "detect": "find objects in pictures and videos",
    "batch": "find objects in many pictures, on all cores or on a Ray cluster",
    "classify": "classify whole pictures",
    "models": "list, fetch and verify published weights",
    "convert": "convert a network to another format: Caffe, ONNX, .sdz",
    "compress": "make a network's file smaller, as in Deep Compression",
    "inspect": "show a network's layers, shapes, costs, head and config",
    "quantize": "convert a network to 8-bit integers, for speed",
    "eval": "evaluate a detector on a data set",
    "check": "show what a data set contains, and the problems of its annotations",
    "anchors": "fit anchor shapes to a data set",
    "label": "label pictures with a teacher, for training",
    "train": "train a detector on annotated pictures",
}
"""Name and purpose of each subcommand; its module has the same name and is imported when the command runs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``squeezedet``; returns the exit status: 0, 1 if something failed, 2 for wrong usage, 130 after Ctrl-C."""
    return runner.guarded("squeezedet", lambda: _run(_given(argv)))


def detect_main(argv: Sequence[str] | None = None) -> int:
    """Run ``detect``, the short name of ``squeezedet detect``."""
    return runner.run_subcommand("detect", _given(argv), program="detect")


def classify_main(argv: Sequence[str] | None = None) -> int:
    """Run ``classify``, the short name of ``squeezedet classify``."""
    return runner.run_subcommand("classify", _given(argv), program="classify")


def _given(argv: Sequence[str] | None) -> list[str]:
    return list(sys.argv[1:] if argv is None else argv)


def _run(argv: list[str]) -> int:
    commands = [f"  {name:<10}{purpose}" for name, purpose in SUBCOMMANDS.items()]
    tool = parser.new_parser(
        "squeezedet",
        "COMMAND ...",
        "\n".join(
            ["SqueezeDet for OpenCV.", "", "commands:", *commands, "", "squeezedet COMMAND --help lists a command's options."]
        ),
        "detect holiday/ --threshold 0.4",
    )
    tool.add_argument("command", metavar="COMMAND", choices=SUBCOMMANDS, help=argparse.SUPPRESS)
    name: str = tool.parse_args(argv[:1]).command
    return runner.run_subcommand(name, argv[1:], program=f"squeezedet {name}")
