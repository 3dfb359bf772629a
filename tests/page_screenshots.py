"""Photograph the search page for the README, so that the pictures are of what there is.

    python tests/page_screenshots.py docs=python-docs.index learned=learned.index

serves the indexes and writes data/screenshots/*.png: a search of the last index, the same at night,
on a phone, the first and the last compared, and their health.
"""

import argparse
import os
from pathlib import Path
from urllib.parse import urlencode

from page_world import NO_CHROMIUM, chromium, served
from playwright.sync_api import Browser, Page, sync_playwright

FOLDER = Path(__file__).resolve().parent.parent / "data" / "screenshots"
QUERY = "wait until all threads have arrived at the same point"
DESK = {"width": 1180, "height": 860}
PHONE = {"width": 390, "height": 844}


def photograph(browser: Browser, address: str, path: Path, ready: str, **options: object) -> None:
    """Write what stands at `address` to `path` once `ready`, a selector, is there."""
    context = browser.new_context(**({"viewport": DESK, "reduced_motion": "reduce"} | options))
    page = context.new_page()
    page.goto(address)
    page.locator(ready).first.wait_for()
    put_aside(page)
    page.wait_for_timeout(500)
    page.screenshot(path=path)
    context.close()
    print(f"wrote      {path}   {path.stat().st_size / 1000:.0f} kB")


def put_aside(page: Page) -> None:
    """Take the focus from the box, so that no caret blinks on some pictures."""
    page.locator("body").click(position={"x": 4, "y": 400})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("indexes", nargs="+", metavar="NAME=INDEX")
    parser.add_argument("--query", default=QUERY)
    parser.add_argument("--output", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    path = chromium()
    if path is None:
        parser.exit(1, f"{NO_CHROMIUM}\n")
    arguments.output.mkdir(parents=True, exist_ok=True)
    names = [one.partition("=")[0] for one in arguments.indexes]
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with served(*arguments.indexes) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=flags)

        def shoot(name: str, ready: str, *, options: dict[str, object], **state: str) -> None:
            picture = arguments.output / f"{name}.png"
            photograph(browser, f"{address}/?{urlencode(state)}", picture, ready, **options)

        search = {"q": arguments.query, "index": names[-1]}
        shoot("search", ".hit", options={"color_scheme": "light"}, **search)
        shoot("search-dark", ".hit", options={"color_scheme": "dark"}, **search)
        shoot("phone", ".hit", options={"color_scheme": "light", "viewport": PHONE}, **search)
        both = {"view": "compare", "q": arguments.query, "index": names[0], "with": names[-1]}
        shoot("compare", ".row", options={"color_scheme": "light"}, **both)
        shoot("health", ".card", options={"color_scheme": "light"}, view="health")
        browser.close()


if __name__ == "__main__":
    main()
