"""``squeezedet inspect``: a network's layers, its head and its config."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opencv_squeezedet.blobs import BLOBS
from opencv_squeezedet.cli.arguments import MODEL_HELP, add_weights
from opencv_squeezedet.cli.errors import EXIT_SOME_FAILED, CommandError, usage_errors, write_errors
from opencv_squeezedet.cli.parser import CommandParser
from opencv_squeezedet.cli.targets import OF_MODEL, check_targets
from opencv_squeezedet.cli.terminal import complain, print_table, shown
from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.errors import ModelError, reason
from opencv_squeezedet.files import write_whole
from opencv_squeezedet.formats.load import CompressedFile
from opencv_squeezedet.formats.sdz import Stored, stored_of
from opencv_squeezedet.model import Model
from opencv_squeezedet.model_files import named, reserved_by
from opencv_squeezedet.network import Shape, Step
from opencv_squeezedet.network.head import Head, check_config, head_of
from opencv_squeezedet.pictures import encode_picture, read_picture

DESCRIPTION = "Show a network's layers with their shapes, parameters and MACs; its head, and its JSON description."
USAGE = "[options] [MODEL]"
EXAMPLE = "models/SqueezeDet_deploy.prototxt"


def add_arguments(parser: CommandParser) -> None:
    add = parser.add_argument_group("network").add_argument
    add("model", nargs="?", default="embedded", metavar="MODEL", help=f"{MODEL_HELP} (default: embedded)")
    add_weights(add)
    add("--json", action="store_true", help="print everything as JSON instead of the table")
    add = parser.add_argument_group("activations").add_argument
    add("--activations", metavar="PICTURE", help="draw the feature maps of a layer for this picture")
    add("--layer", metavar="NAME", help="layer to draw (default: the last one with a ReLU)")
    add("-o", "--output", metavar="FILE", help="file for the feature maps, PNG or JPEG")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status: 1 if parts of the model are inconsistent."""
    if (args.activations is None) != (args.output is None) or (args.layer is not None and args.activations is None):
        raise CommandError("--activations and --output need each other, and --layer needs both")
    if args.activations is not None:
        return _draw(args)
    with usage_errors():
        inspected = _Inspected(Model.load(args.model, args.weights))
    if args.json:
        print(json.dumps(inspected.to_dict(), indent=2))
    else:
        inspected.print()
    for problem in inspected.problems:
        complain(args.program, problem)
    return EXIT_SOME_FAILED if inspected.problems else 0


def _draw(args: argparse.Namespace) -> int:
    """Draw a layer's feature maps for a picture."""
    from opencv_squeezedet.activations import draw_maps, layer_maps

    model = reserved_by(args.model, args.weights)
    check_targets({"--output": args.output}, {"the picture": [args.activations], OF_MODEL: model})
    if Path(args.output).suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise CommandError(f"--output: a name that ends in .png or .jpg was expected, got {shown(args.output)!r}")
    with usage_errors():
        image = read_picture(Path(args.activations))
        layer, maps = layer_maps(Model.load(args.model, args.weights), image, args.layer)
    with write_errors():
        write_whole(Path(args.output), encode_picture(draw_maps(maps), Path(args.output).suffix))
    count, height, width = maps.shape
    dead = int((maps == 0).all((1, 2)).sum())
    print(f"{shown(layer)}: {count} maps of {width}x{height}, {dead} of them 0 everywhere; wrote {shown(args.output)}")
    return 0


class _Inspected:
    """The parts of a model that can be read, and the problems with the others."""

    def __init__(self, model: Model) -> None:
        self.files, self.network = model.files, model.network
        self.problems: list[str] = []
        self.head: Head | None = None
        self.config: HeadConfig | None = None
        if self.files.definition is not None and self.files.weights is not None:
            with self._problems_kept():
                _ = model.weights
        self.stored: dict[str, Stored] = {}
        if isinstance(model.source, CompressedFile):
            self.stored = stored_of(model.source.compressed, model.weights)
        with self._problems_kept():
            _ = model.preprocess, model.labels
            if (config := model.head) is not None:
                self.config = config
                with named(str(self.files.description)):
                    self.head = head_of(self.network, model.outputs)
                    check_config(self.head, config)
        tops = {top for layer in self.network.layers for top in layer.tops}
        if model.description is None and not self.problems and set(BLOBS) <= tops:
            with self._problems_kept():
                self.head = head_of(self.network)

    @contextmanager
    def _problems_kept(self) -> Iterator[None]:
        try:
            yield
        except ModelError as error:
            self.problems.append(reason(error))

    def to_dict(self) -> dict[str, Any]:
        network = self.network
        more_inputs = [{"name": name, "shape": shape} for name, shape in network.more_inputs]
        return {
            "name": network.name,
            "definition": self.files.main,
            "weights": self.files.weights if self.files.definition else None,
            "input": {"name": network.input_name, "shape": network.input_shape},
            **({"more_inputs": more_inputs} if more_inputs else {}),
            "layers": [self._layer(step) for step in network.steps],
            "outputs": network.output_names,
            "parameters": network.parameters,
            "macs": network.macs,
            "head": self.head and dataclasses.asdict(self.head),
            "config": self.config and self.config.to_dict(),
            "problems": self.problems,
        }

    def _layer(self, step: Step) -> dict[str, Any]:
        return {
            "name": step.layer.name,
            "type": type(step.layer).__name__,
            "bottoms": step.layer.bottoms,
            "tops": step.layer.tops,
            "shapes": step.tops,
            "weights": step.weights,
            "parameters": step.parameters,
            "macs": step.macs // self.network.input_shape[0],
        } | ({"stored": self.stored[step.layer.name]._asdict()} if step.layer.name in self.stored else {})

    def print(self) -> None:
        paths = dict.fromkeys(path for path in (self.files.main, self.files.weights) if path is not None)
        with_sizes = ", ".join(f"{shown(path)} ({os.path.getsize(path):,} bytes)" for path in paths)
        header, numbers = ["layer", "type", "output", "parameters", "MACs"], 2
        inputs = [[name, "Input", _shapes([shape]), "", ""] for name, shape in self.network.inputs.items()]
        rows = list(inputs)
        for step in self.network.steps:
            counts = [f"{count:,}" if count else "" for count in (step.parameters, step.macs // self.network.input_shape[0])]
            rows.append([step.layer.name, type(step.layer).__name__, _shapes(step.tops), *counts])
        rows.append(["total", "", "", f"{self.network.parameters:,}", f"{self.network.macs:,}"])
        if self.stored:
            header, numbers = [*header, "kept", "centroids", "bytes"], 5
            cells = [_stored_cells(self.stored.get(step.layer.name)) for step in self.network.steps]
            total = ["", "", f"{sum(stored.size for stored in self.stored.values()):,}"]
            rows = [row + more for row, more in zip(rows, [*[["", "", ""]] * len(inputs), *cells, total], strict=True)]
        print(f"{shown(self.network.name)}: {with_sizes}")
        print_table(header, rows, numbers=numbers)
        print("\n".join(self._head_lines()))

    def _head_lines(self) -> list[str]:
        lines = [f"outputs  {', '.join(map(shown, self.network.output_names))}"]
        if (head := self.head) is not None:
            boxes = math.prod(head.grid) * head.anchors
            lines.append(
                f"head     input {head.input_size[0]}x{head.input_size[1]}, grid {head.grid[0]}x{head.grid[1]}, "
                f"{head.anchors} anchors a cell, {boxes:,} in all, {head.classes} classes, {head.layout}, "
                f"{'probabilities' if head.activated else 'logits'}"
            )
        if (config := self.config) is not None:
            lines.append(f"config   {shown(str(self.files.description))}")
            derived = {"input_size", "grid", "layout", "activated"}
            lines += [f"  {name:<16} {_value(value)}" for name, value in config.to_dict().items() if name not in derived]
        return lines


def _stored_cells(stored: Stored | None) -> list[str]:
    """The compressed form of a layer: fraction of its kernel that is not zero, number of centroids, bytes."""
    if stored is None:
        return ["", "", ""]
    return [f"{stored.kept:.1%}", f"{stored.centroids}" if stored.centroids else "floats", f"{stored.size:,}"]


def _shapes(shapes: Sequence[Shape]) -> str:
    return " + ".join("x".join(map(str, shape)) for shape in shapes)


def _value(value: Any) -> str:
    """A field of a config; its tuples as lists, pairs as 377x371."""
    if isinstance(value, tuple):
        return ", ".join(f"{item[0]:g}x{item[1]:g}" if isinstance(item, tuple) else shown(item) for item in value)
    return str(value)
