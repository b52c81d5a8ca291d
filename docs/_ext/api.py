"""The API reference: a page for each public module, written before Sphinx reads its sources."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import GenericAlias, ModuleType
from typing import TYPE_CHECKING, Any

import scipy.stats  # noqa: F401  (while it is imported it looks at torch's tensors, which a mock lacks)
from sphinx.ext.autodoc.mock import mock

import opencv_squeezedet

if TYPE_CHECKING:
    from sphinx.application import Sphinx

NAME = opencv_squeezedet.__name__
WITHOUT = {"cli", "models"}  # the commands have their own page; models are data
MOCKED = ["torch"]  # gigabytes, for the import of the training modules alone
ALSO = ("errors", "anchor_shapes", "model", "network.architectures", "network.head")  # public, without __all__
GROUPS = {
    "Detection": ["SqueezeDet", "Detections", "Detection", "draw", "show", "Preprocess", "ModelError"],
    "For OpenCV applications": ["DetectionModel", "InferBbox", "InferBboxObject"],
    "Heads": ["HeadConfig", "VOC", "KITTI"],
    "Post-processing": ["postprocess", "postprocess_batch", "score", "decode", "nms", "soft_nms", "ssd_postprocess"],
    "Classification": ["SqueezeNet", "Classes", "Class"],
}


def modules() -> list[str]:
    """Names of the documented modules below the package, subpackages first."""
    packages = [info.name for info in pkgutil.iter_modules(opencv_squeezedet.__path__) if info.ispkg]
    return [name for name in packages if name not in WITHOUT and not name.startswith("_")] + list(ALSO)


def public(module: ModuleType) -> list[str]:
    """The names in ``__all__``, or else the public names that the module defines."""
    if hasattr(module, "__all__"):
        return [name for name in module.__all__ if not name.startswith("__")]
    own = [name for name, thing in vars(module).items() if getattr(thing, "__module__", None) == module.__name__]
    if not own:  # a module that re-exports names
        own = [name for name, thing in vars(module).items() if getattr(thing, "__module__", "").startswith(NAME)]
    again = {id(getattr(opencv_squeezedet, name)) for name in opencv_squeezedet.__all__}  # names of the package itself
    return [name for name in own if not name.startswith("_") and id(vars(module)[name]) not in again]


def entry(module: str, name: str, thing: Any) -> list[str]:
    """The directive for one name."""
    if inspect.isclass(thing):
        members = [] if issubclass(thing, Exception) else ["   :members:"]
        return [f".. autoclass:: {module}.{name}", *members, ""]
    if inspect.isroutine(thing):
        return [f".. autofunction:: {module}.{name}", ""]
    if isinstance(thing, GenericAlias):
        return [f".. py:data:: {name}", "", f"   ``{thing}``", ""]
    return [f".. autodata:: {module}.{name}", "   :no-value:", ""]


def titled(title: str, rule: str = "=") -> list[str]:
    """A heading."""
    return [title, rule * len(title), ""]


def table(names: list[str]) -> list[str]:
    """A line with a link for each name of the current module."""
    return [".. autosummary::", "   :nosignatures:", "", *(f"   {name}" for name in names), ""]


def page(name: str) -> str:
    """The page of a module."""
    whole = f"{NAME}.{name}"
    module = importlib.import_module(whole)
    names = sorted(public(module), key=str.lower)
    shown = [each for each in names if not isinstance(getattr(module, each), GenericAlias)]
    head = [*titled(whole), f".. currentmodule:: {whole}", "", inspect.getdoc(module) or "", ""]
    body = [line for each in names for line in entry(whole, each, getattr(module, each))]
    return "\n".join([*head, *(table(shown) if len(shown) > 3 else []), *body])


def front() -> str:
    """The page of the package itself, with the list of the other pages."""
    rest = [name for name in public(opencv_squeezedet) if not any(name in names for names in GROUPS.values())]
    lines = [*titled("API"), f".. currentmodule:: {NAME}", "", "``import opencv_squeezedet as sd`` provides these names.", ""]
    groups = {title: [name for name in names if hasattr(opencv_squeezedet, name)] for title, names in GROUPS.items()}
    if rest:
        groups["More"] = rest
    for title, names in groups.items():
        lines += [*titled(title, "-"), *table(names)]
        lines += [line for name in names for line in entry(NAME, name, getattr(opencv_squeezedet, name))]
    lines += [*titled("Subpackages and modules", "-"), ".. toctree::", "   :maxdepth: 1", "", *(f"   {n}" for n in modules())]
    return "\n".join([*lines, ""])


def write(app: Sphinx) -> None:
    """Write the pages whose content has changed."""
    folder = Path(app.srcdir, "api")
    folder.mkdir(exist_ok=True)
    with mock(MOCKED):
        pages = {"index": front(), **{name: page(name) for name in modules()}}
    for old in folder.glob("*.rst"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        file = folder / f"{name}.rst"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def skip(app: Sphinx, what: str, name: str, thing: Any, skipped: bool, options: Any) -> bool | None:
    """Skip the automatic docstrings of named tuples' fields."""
    return True if (inspect.getdoc(thing) or "").startswith("Alias for field number") else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register."""
    app.connect("builder-inited", write)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
