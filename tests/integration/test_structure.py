"""The package's floors: a module imports from floors below its own, and no imports run in a circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from networks import ROOT

TESTS, PACKAGE = ROOT / "tests", ROOT / "opencv_squeezedet"
NAME = PACKAGE.name

FLOORS = (
    "__main__",
    "cli",
    "compression",
    "batch training",
    "evaluation",
    "anchor_shapes",
    "datasets",
    "detection_model",
    "detector classifier infer_bbox activations",
    "model",
    "backends",
    "registry",
    "formats",
    "model_files",
    "network",
    "show",
    "postprocess draw",
    "detections",
    "export",
    "presets",
    "config",
    "options",
    "pictures",
    "files preprocess",
    "_kernel",
    "report_page progress",
    "blobs boxes pipeline timing extras errors _checks _opencv _environment _version",
)
"""From the top down; rooms on one floor do not import each other."""

FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms.split()}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}
CODE = {*MODULES, f"{NAME}._kernel"}


def imports(module: str) -> Iterator[str]:
    """Every module of the package that this one imports: at the top, in a function, or for the type checker alone."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in CODE)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in CODE:
                    yield whole
                elif node.module in CODE:
                    yield node.module


def room(module: str) -> str:
    """What holds a module in the package's folder: a subpackage, or the module itself; empty for the package."""
    return module.removeprefix(NAME).removeprefix(".").split(".")[0]


def test_every_room_has_a_floor() -> None:
    rooms = {room(module) for module in CODE} - {""}
    assert rooms == set(FLOOR_OF)


def test_imports_go_down() -> None:
    upward = [
        f"{module} imports {other}"
        for module in MODULES
        if room(module)
        for other in imports(module)
        if room(other) != room(module) and not FLOOR_OF[room(module)] < FLOOR_OF.get(room(other), -1)
    ]
    assert upward == []


def test_no_circle_of_modules() -> None:
    graph = {module: set(imports(module)) - {module} for module in MODULES}
    for module in MODULES:  # a package's __init__ runs before its modules, but does not need them to exist
        graph[module] -= {parent for parent in MODULES if module.startswith(f"{parent}.")}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_module_takes_another_s_private_names() -> None:
    taken = [
        f"{module} takes {alias.name} of {node.module}"
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module in MODULES
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__") and f"{node.module}.{alias.name}" not in CODE
    ]
    assert taken == []


def test_the_sanitizers_see_every_test_of_the_kernel() -> None:
    script = ROOT / ".ci" / "sanitize"
    if not script.exists():
        pytest.skip("only in a clone")
    places = [TESTS / place for place in re.findall(r"\btests/([\w/.]+)", script.read_text(encoding="utf-8"))]
    listed = {path for place in places for path in (place.glob("test_*.py") if place.is_dir() else (place,))}
    calls = re.compile(r"\bsd\.(score|decode|nms|postprocess|postprocess_batch|InferBbox)\(")
    kernel = {path for path in TESTS.rglob("test_*.py") if calls.search(path.read_text(encoding="utf-8"))}
    elsewhere = {"stranger", "training_network", "training_calibration"}  # in another environment, or with torch
    left = {path.stem.removeprefix("test_") for path in kernel - listed}
    of_python = {"architectures", "detector", "detections", "detection_model"}  # more of Python than of the kernel
    assert left == of_python | elsewhere
    assert all(path.exists() for path in listed)
