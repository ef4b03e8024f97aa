"""The built pages in a browser: nothing is cut at any width.

SKDAM_SITE names the folder of a site that ``sphinx-build docs FOLDER`` has built. The
browser is Playwright's, or the one that SKDAM_BROWSER names.
"""

import os
from pathlib import Path

import pytest

SITE = os.environ.get("SKDAM_SITE")
PAGES = sorted(Path(SITE).rglob("*.html")) if SITE else []

OVERFLOWS = """() => {
    const scrolls = (element) => {
        for (; element && element !== document.body; element = element.parentElement) {
            if (/auto|scroll/.test(getComputedStyle(element).overflowX)) return true;
        }
        return false;
    };
    const found = [];
    const kinds = "article :is(pre, table, .math, h1, h2, h3, h4, dt, img)";
    for (const element of document.querySelectorAll(kinds)) {
        const box = element.getBoundingClientRect();
        const right = document.querySelector("article").getBoundingClientRect().right;
        const inner = element.clientWidth;
        const cut = inner && element.scrollWidth > inner + 1;
        if ((cut || box.right > right + 1) && !scrolls(element)) {
            found.push(element.tagName + ": " + element.textContent.slice(0, 60));
        }
    }
    const root = document.documentElement;
    if (root.scrollWidth > root.clientWidth + 1) found.push("the page itself");
    return found;
}"""


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        # Root, as in containers, has no sandbox.
        chromium = running.chromium.launch(
            executable_path=os.environ.get("SKDAM_BROWSER"), args=["--no-sandbox"]
        )
        yield chromium
        chromium.close()


@pytest.mark.skipif(not SITE, reason="SKDAM_SITE does not name a built site")
@pytest.mark.parametrize("width", [400, 768, 1280, 1920])
def test_nothing_is_cut(browser, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    found = {}
    for path in PAGES:
        page.goto(path.resolve().as_uri())
        page.evaluate("window.MathJax?.startup?.promise?.then(() => true)")
        overflows = page.evaluate(OVERFLOWS)
        if overflows:
            found[str(path.relative_to(SITE))] = overflows
    page.close()
    assert PAGES
    assert not found
