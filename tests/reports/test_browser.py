"""The report in a real browser: nothing overflows, breaks, loads or hides, in any of its forms."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pyrovi as vi
from reports.samples import TREES

pytestmark = pytest.mark.browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
)
PAGES = ("complete", "bad", "discrete", "counts", "binary", "hostile")
WIDTHS = (390, 1280)
SCHEMES = ("light", "dark")
READABLE = 4.5
"""Contrast that WCAG 2.2 asks of text (success criterion 1.4.3, level AA)."""

OVERFLOWING = """
const wide = document.documentElement.clientWidth;
const held = e => { for (let p = e; p; p = p.parentElement)
    if (p.classList.contains('scroll') || getComputedStyle(p).position === 'absolute') return true;
    return false; };
return [document.documentElement.scrollWidth - wide,
    [...document.querySelectorAll('body *')].filter(e => !held(e)).filter(e => {
        const box = e.getBoundingClientRect();
        return box.width > 0 && (box.right > wide + 0.5 || box.left < -0.5); })
    .map(e => e.tagName + ' ' + e.className + ' ' + e.textContent.slice(0, 40))];
"""
SCROLLING = """
return [...document.querySelectorAll('.scroll')]
    .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
    .length;
"""
IMAGES = """
return Promise.all([...document.images].map(async image => {
    await image.decode();
    const box = image.getBoundingClientRect();
    return [image.naturalWidth, image.naturalHeight, box.width, box.height];
}));
"""
# The lowest contrast of any text with what lies behind it. Backgrounds here are opaque or
# transparent, never between.
CONTRAST = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const rgba = text => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1); return canvas.getImageData(0, 0, 1, 1).data; };
const light = text => { const [r, g, b] = [...rgba(text)].slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const behind = e => { for (let p = e; p; p = p.parentElement) {
    const color = getComputedStyle(p).backgroundColor;
    if (rgba(color)[3] === 255) return color; }
    return matchMedia('(prefers-color-scheme: dark)').matches ? 'black' : 'white'; };
document.querySelectorAll('details').forEach(e => e.open = true);
let worst = [99, ''];
for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, e.tagName + ' ' + e.className];
}
return worst;
"""


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


class Browser:
    """Headless Chromium at a width and a colour scheme."""

    def __init__(self, profile: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = chromium() or ""
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = Service(shutil.which("chromedriver"))
        self.driver = webdriver.Chrome(options=options, service=service)
        self.driver.set_script_timeout(30)

    def command(self, name: str, **arguments: Any) -> Any:
        return self.driver.execute_cdp_cmd(name, arguments)

    def open(self, path: Path, width: int, scheme: str) -> None:
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.command("Emulation.setEmulatedMedia", features=[feature])
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(path.as_uri())

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def requested(self) -> list[str]:
        messages = [json.loads(each["message"])["message"] for each in self._log("performance")]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        return [each["message"] for each in self._log("browser")]

    def _log(self, kind: str) -> list[dict[str, Any]]:
        return self.driver.get_log(kind)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if chromium() is None or shutil.which("chromedriver") is None:
        message = "no Chromium with its chromedriver: apt-get install chromium chromium-driver"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    return {name: vi.report(TREES[name]()).write(folder / f"{name}.html") for name in PAGES}


@pytest.fixture(params=[(w, s) for w in WIDTHS for s in SCHEMES], ids=lambda p: f"{p[0]}-{p[1]}")
def view(request: pytest.FixtureRequest) -> tuple[int, str]:
    return request.param


@pytest.fixture(params=PAGES)
def shown(
    request: pytest.FixtureRequest,
    browser: Browser,
    pages: dict[str, Path],
    view: tuple[int, str],
) -> Browser:
    browser.open(pages[request.param], *view)
    return browser


def test_the_console_is_silent_and_nothing_is_fetched(shown: Browser) -> None:
    assert shown.complaints() == []
    fetched = [url for url in shown.requested() if not url.startswith("data:")]
    assert len(fetched) == 1
    assert fetched[0].startswith("file:///")


def test_nothing_overflows_sideways_not_even_what_is_folded(shown: Browser) -> None:
    shown.run("document.querySelectorAll('details').forEach(e => e.open = true)")
    beyond, elements = shown.run(OVERFLOWING)
    assert beyond <= 0
    assert elements == []
    assert shown.run(SCROLLING) == 0


def test_every_image_is_decoded_and_keeps_its_shape(shown: Browser) -> None:
    images = shown.run(IMAGES)
    assert images
    for natural_width, natural_height, width, height in images:
        assert natural_width > 0
        assert width > 100
        assert width / height == pytest.approx(natural_width / natural_height, rel=0.02)


def test_all_text_stands_out_from_what_is_behind_it(shown: Browser) -> None:
    ratio, where = shown.run(CONTRAST)
    assert ratio >= READABLE, where


def test_the_colours_of_a_figure_follow_those_of_the_page(
    browser: Browser, pages: dict[str, Path]
) -> None:
    sources = {}
    for scheme in SCHEMES:
        browser.open(pages["complete"], 1280, scheme)
        sources[scheme] = browser.run("return [...document.images].map(i => i.currentSrc)")
    assert not set(sources["light"]) & set(sources["dark"])


def test_print_is_dark_on_white_whatever_the_screen(
    browser: Browser, pages: dict[str, Path]
) -> None:
    browser.open(pages["complete"], 1280, "light")
    on_screen = browser.run("return [...document.images].map(i => i.currentSrc)")
    feature = {"name": "prefers-color-scheme", "value": "dark"}
    browser.command("Emulation.setEmulatedMedia", media="print", features=[feature])
    color = browser.run("return getComputedStyle(document.body).color")
    assert sum(map(int, color.removeprefix("rgb(").removesuffix(")").split(", "))) < 150
    assert browser.run("return [...document.images].map(i => i.currentSrc)") == on_screen


def test_hostile_names_add_no_element_and_run_nothing(
    browser: Browser, pages: dict[str, Path]
) -> None:
    found = {}
    for name in ("complete", "hostile"):
        browser.open(pages[name], 1280, "light")
        tags = browser.run("return [...document.querySelectorAll('*')].map(e => e.localName)")
        found[name] = set(tags)
        assert tags.count("h1") == tags.count("title") == tags.count("style") == 1
        assert browser.run("return document.styleSheets.length") == 1
        handlers = "return [...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
        assert not [each for each in browser.run(handlers) if each.startswith("on")]
    assert found["hostile"] <= found["complete"] | {"ul", "li", "strong"}
