"""``squeezedet convert``: a network's files in another format."""

from __future__ import annotations

import argparse
from pathlib import Path

from opencv_squeezedet.cli.arguments import MODEL_HELP, add_weights
from opencv_squeezedet.cli.errors import usage_errors
from opencv_squeezedet.cli.parser import CommandParser
from opencv_squeezedet.cli.terminal import shown
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.files import has_content, real_path, write_together
from opencv_squeezedet.formats import caffemodel_bytes, load_network, onnx_bytes, prototxt_text, sdz_bytes
from opencv_squeezedet.model import description_of
from opencv_squeezedet.network import Network, Weights
from opencv_squeezedet.registry import find_network

DESCRIPTION = (
    "Convert a network between Caffe's prototxt and caffemodel, ONNX, .sdz and (as a source) Han's .net. The model's JSON "
    "description is copied too. The ONNX files run on OpenCV 4.8 to 5 and on onnxruntime."
)
USAGE = "[options] SOURCE TARGET"
EXAMPLE = "SqueezeDet.prototxt SqueezeDet.onnx --half"


def add_arguments(parser: CommandParser) -> None:
    """Add convert's arguments."""
    add = parser.add_argument_group("files").add_argument
    add("source", metavar="SOURCE", help=MODEL_HELP)
    add(
        "target",
        metavar="TARGET",
        help="NAME.onnx, NAME.sdz, or NAME.caffemodel or NAME.prototxt, each of which writes both of Caffe's files",
    )
    add_weights(add)
    add = parser.add_argument_group("conversion").add_argument
    add("--half", action="store_true", help="write the weights as float16; Caffe itself cannot read such a caffemodel")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    with usage_errors():
        written = convert(args.source, args.target, weights=args.weights, half=args.half)
    for path, size in written.items():
        print(f"{shown(path)}: {size:,} bytes")
    return 0


def convert(source: str, target: Path | str, *, weights: str | None = None, half: bool = False) -> dict[Path, int]:
    """Write the network's files, all or none; returns their sizes."""
    target = Path(target)
    files = find_network(source, weights)
    description = description_of(files)
    contents = _contents(target, *load_network(files), description, half=half)
    if description is not None and target.suffix != ".sdz":
        contents |= description_beside(description, target)
    taken = {real_path(Path(path)) for path in files.paths if path != files.description or path == files.compressed}
    for path in contents:
        if real_path(path) in taken:
            raise ModelError(f"{str(path)!r} is the source itself, which is not overwritten")
    write_together(contents)
    return {path: len(content) for path, content in contents.items()}


def _contents(target: Path, network: Network, weights: Weights, description: bytes | None, *, half: bool) -> dict[Path, bytes]:
    """The content of each file."""
    if target.suffix == ".sdz":
        return {target: sdz_bytes(network, weights, description)}
    if target.suffix == ".onnx":
        return {target: onnx_bytes(network, weights, half=half)}
    if target.suffix in (".caffemodel", ".prototxt"):
        return {
            target.with_suffix(".caffemodel"): caffemodel_bytes(network, weights, half=half),
            target.with_suffix(".prototxt"): prototxt_text(network).encode(),
        }
    raise ModelError(f"a target that ends in .onnx, .sdz, .caffemodel or .prototxt was expected, got {str(target)!r}")


def description_beside(content: bytes, target: Path) -> dict[Path, bytes]:
    """Return what is to be written beside a network: its JSON, or nothing if that is there.

    Raises
    ------
    ModelError
        If another one is there, which may have the user's edits.
    OSError
        If that cannot be read.
    """
    path = target.with_suffix(".json")
    if has_content(path, content):
        return {}
    if path.exists() and not path.is_dir():  # as which it cannot be written
        raise ModelError(f"{str(path)!r} already exists and describes another model; it is not overwritten")
    return {path: content}
