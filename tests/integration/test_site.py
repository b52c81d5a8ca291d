"""The built site and the HTML report: links lead somewhere, nothing is loaded from elsewhere, and a browser has no complaint.

``.ci/docs`` builds the site and runs this. The site is in ``build/site``, or where SQUEEZEDET_SITE says. If
SQUEEZEDET_SCREENSHOTS names a folder, each page is written there as PNG too, to look at.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import importlib
import os
import posixpath
import shutil
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from commands import write_cats
from networks import ROOT

from opencv_squeezedet.cli import SUBCOMMANDS, main
from opencv_squeezedet.cli.parser import make_parser

SITE = Path(os.environ.get("SQUEEZEDET_SITE", ROOT / "build" / "site"))
SCREENSHOTS = os.environ.get("SQUEEZEDET_SCREENSHOTS")
WIDTHS = {"wide": 1280, "narrow": 400}
BROWSER, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--hide-scrollbars", "--disable-dev-shm-usage"),
)

needs_site = pytest.mark.skipif(not (SITE / "index.html").exists(), reason=f"no site at {SITE}: .ci/docs builds it")
needs_browser = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no chromium and chromedriver: apt-get install chromium chromium-driver"
)
OTHERS = ("_static/", "_downloads/")  # files of the theme, and files to take along
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html")) if SITE.exists() else []
PAGES = [page for page in PAGES if not page.startswith(OTHERS)]
SHOWN = [page for page in PAGES if not page.startswith(("_", "genindex", "py-modindex"))]


# ---- links --------------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a page names, and where it leads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if not value:
                continue
            if name in ("id", "name"):
                self.anchors.add(value)
            elif tag == "a" and name == "href":
                self.links.append(value)
            elif name == "src" or (tag == "link" and name == "href" and ("rel", "canonical") not in attrs):
                self.loaded.append(value)


@functools.cache
def page(name: str) -> Page:
    return Page(SITE / name)


def target(source: str, link: str) -> tuple[str, str]:
    """A file of the site, and an anchor in it."""
    parts = urlsplit(link)
    name = posixpath.normpath(posixpath.join(posixpath.dirname(source), unquote(parts.path))) if parts.path else source
    return name, unquote(parts.fragment)


def is_inside(link: str) -> bool:
    return not urlsplit(link).scheme and not link.startswith("//")


@needs_site
def test_links_inside_lead_somewhere() -> None:
    broken = []
    for name in PAGES:
        for link in filter(is_inside, page(name).links + page(name).loaded):
            file, anchor = target(name, link)
            if not (SITE / file).is_file():
                broken.append(f"{name}: {link}")
            elif anchor and file.endswith(".html") and anchor not in page(file).anchors:
                broken.append(f"{name}: {link}, which has no such anchor")
    assert broken == []


@needs_site
def test_nothing_is_loaded_from_elsewhere() -> None:
    loaded = [(name, url) for name in PAGES for url in page(name).loaded if not url.startswith("data:")]
    assert [(name, url) for name, url in loaded if not is_inside(url)] == []


@needs_site
def test_every_public_name_is_in_the_reference() -> None:
    import opencv_squeezedet as sd

    anchors = page("api/index.html").anchors
    assert [name for name in sd.__all__ if name != "__version__" and f"opencv_squeezedet.{name}" not in anchors] == []


@needs_site
@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_option_is_in_a_table(name: str) -> None:
    text = (SITE / "use" / "commands.html").read_text(encoding="utf-8")
    section = text.partition(f'<section id="{name}">')[2].partition("</section>")[0]
    for action in make_parser(importlib.import_module(f"opencv_squeezedet.cli.{name}"), name)._actions:
        for option in action.option_strings if action.help != argparse.SUPPRESS else ():
            assert option in ("-h", "--help", "--version") or f">{option}</span>" in section


# ---- in a browser ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="the extra [docs] brings selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    driver.set_page_load_timeout(60)
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The site, served on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SITE))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def look(browser: Any, url: str, name: str, width: str) -> None:
    """Open a page; nothing on the console, no picture missing, nothing wider than the window."""
    size = {"width": WIDTHS[width], "height": 900, "deviceScaleFactor": 1, "mobile": width == "narrow"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(url)
    missing = "return [...document.images].filter(i => i.complete && !i.naturalWidth && i.src).map(i => i.src)"
    overflow = "return document.documentElement.scrollWidth - window.innerWidth"
    if SCREENSHOTS:
        height = min(6000, browser.execute_script("return document.documentElement.scrollHeight"))
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**size, "height": height})
        browser.save_screenshot(str(Path(SCREENSHOTS, f"{name.replace('/', '_').removesuffix('.html')}_{width}.png")))
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert browser.execute_script(missing) == []
    assert browser.execute_script(overflow) <= 1, "the page is wider than the window"


@needs_site
@needs_browser
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SHOWN)
def test_page(browser: Any, address: str, name: str, width: str) -> None:
    look(browser, f"{address}/{name}", name, width)


@needs_site
@needs_browser
@pytest.mark.parametrize("link", ["use/commands.html#eval", "api/index.html#opencv_squeezedet.postprocess"])
@pytest.mark.parametrize("width", [1000, WIDTHS["wide"]])
def test_an_anchor_is_below_a_header_of_one_row(browser: Any, address: str, link: str, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get("about:blank")
    browser.get(f"{address}/{link}")
    header = browser.execute_script("return document.querySelector('.bd-header').getBoundingClientRect().bottom")
    top = browser.execute_script(
        "return document.getElementById(arguments[0]).getBoundingClientRect().top", link.split("#")[1]
    )
    assert header <= 72
    assert header <= top <= 200


@needs_site
@needs_browser
def test_search_finds_a_name(browser: Any, address: str) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    browser.get(f"{address}/search.html?q=letterbox")
    results = WebDriverWait(browser, 20).until(lambda it: it.find_elements(By.CSS_SELECTOR, "#search-results li"))
    assert results
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@needs_browser
@pytest.mark.parametrize("width", WIDTHS)
def test_report_of_an_evaluation(browser: Any, tmp_path: Path, width: str) -> None:
    pytest.importorskip("faster_coco_eval", reason="the extra [eval] brings it")
    report = tmp_path / "report.html"
    assert main(["eval", str(write_cats(tmp_path)), "--html", str(report), "--quiet"]) == 0
    look(browser, report.as_uri(), "report.html", width)
