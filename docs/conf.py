"""Sphinx: the site. `.ci/docs` builds it with warnings as errors."""

import importlib
import inspect
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from api import modules
from numpydoc.xref import DEFAULT_LINKS
from pages import PAGES, SOURCE

import opencv_squeezedet as sd

project = "opencv-squeezedet"
author = "The opencv-squeezedet maintainers"
copyright = author  # noqa: A001  (Sphinx's name)
version = release = sd.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.linkcode",
    "sphinx_copybutton",
    "sphinx_design",
    "api",
    "figures",
    "pages",
    "run",
]
exclude_patterns = ["_generated", "_ext", "_inventories", "_templates"]
default_role = "py:obj"
nitpicky = False  # docstrings name things of other projects, whose sites a build without a network cannot ask

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc's sections say them
autosummary_generate = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {name: name for name in DEFAULT_LINKS} | {
    **{name: f":class:`{name}`" for name in ("bool", "bytes", "dict", "float", "int", "list", "set", "str", "tuple")},
    **{
        name: f":exc:`{name}`"
        for name in ("FileNotFoundError", "ImportError", "OSError", "RuntimeError", "TypeError", "ValueError")
    },
    "ndarray": ":class:`ndarray <numpy.ndarray>`",
}
intersphinx_mapping = {  # the few names above, so that a build needs no network
    "python": ("https://docs.python.org/3", "_inventories/python.inv"),
    "numpy": ("https://numpy.org/doc/stable", "_inventories/numpy.inv"),
}
numpydoc_class_members_toctree = False

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

WRITTEN_ELSEWHERE = [
    *("api/index", *(f"api/{name}" for name in modules())),
    *(page.removesuffix(".md") for source, page in PAGES.items() if source != "README.md"),
]
"""Pages without a link to edit them: made from docstrings, or from files outside this folder."""

html_theme = "pydata_sphinx_theme"
html_title = "opencv-squeezedet"
html_static_path = ["_static"]
templates_path = ["_templates"]
html_css_files = ["site.css"]
html_favicon = "_static/favicon.svg"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "SqueezeDet for OpenCV"},
    "header_links_before_dropdown": 6,
    "navbar_end": ["release", "theme-switcher", "navbar-icon-links"],
    "icon_links": [
        {
            "name": "Source",
            "url": "https://github.com/opencv-squeezedet/opencv-squeezedet",
            "icon": "fa-brands fa-github",
        }
    ],
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "use_edit_page_button": True,
    "secondary_sidebar_items": {
        "**": ["page-toc", "edit-this-page"],
        **{page: ["page-toc"] for page in WRITTEN_ELSEWHERE},
    },
    "show_toc_level": 2,
}
html_context = {
    "default_mode": "light",
    "github_user": "opencv-squeezedet",
    "github_repo": "opencv-squeezedet",
    "github_version": "main",
    "doc_path": "docs",
}
html_sidebars = {page: [] for page in ("index", "start", "models", "benchmarks")}


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Where the source of a name is."""
    thing = importlib.import_module(info["module"])
    try:
        for part in info["fullname"].split("."):
            thing = getattr(thing, part)
        thing = inspect.unwrap(getattr(thing, "fget", thing))
        lines, start = inspect.getsourcelines(thing)
        file = inspect.getsourcefile(thing) or ""
    except (AttributeError, TypeError, OSError):
        return None
    path = file.rpartition("/opencv_squeezedet/")[2]
    return f"{SOURCE}/opencv_squeezedet/{path}#L{start}-L{start + len(lines) - 1}"
