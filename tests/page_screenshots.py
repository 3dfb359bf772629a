"""Photograph the search page for the README, so that the pictures are of what there is.

    python tests/page_screenshots.py bm25=bm25.index learned=learned.index --encoder learned=FOLDER

serves the indexes and writes data/screenshots/*.png: a search of the last index, its best hit open,
the same at night and on a phone, the first and the last compared, and their health.
"""

import argparse
import os
import re
from pathlib import Path
from urllib.parse import urlencode

from page_world import NO_CHROMIUM, chromium, served
from playwright.sync_api import Browser, sync_playwright

FOLDER = Path(__file__).resolve().parent.parent / "data" / "screenshots"
QUERY = "write rows to a spreadsheet-like text file"
DESK = {"width": 1180, "height": 860}
PHONE = {"width": 390, "height": 844}


def photograph(
    browser: Browser, address: str, path: Path, ready: str, *, open_first: bool, **options: object
) -> None:
    """Write what stands at `address` to `path` once `ready`, a selector, is there."""
    context = browser.new_context(**({"viewport": DESK, "reduced_motion": "reduce"} | options))
    page = context.new_page()
    page.goto(address)
    page.locator(ready).first.wait_for()
    if open_first:
        page.locator(".opener").first.click()
        # Reading the document again takes seconds the first time: torch is loaded.
        page.locator(".detail", has_text=re.compile("Tinted|cannot be told")).wait_for()
    # Away from the box and the hit: no caret blinks, nothing is pointed at.
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)
    page.screenshot(path=path)
    context.close()
    print(f"wrote      {path}   {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("indexes", nargs="+", metavar="NAME=INDEX")
    parser.add_argument("--encoder", metavar="NAME=FOLDER", help="the whole encoder of an index")
    parser.add_argument("--query", default=QUERY)
    parser.add_argument("--output", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    path = chromium()
    if path is None:
        parser.exit(1, f"{NO_CHROMIUM}\n")
    arguments.output.mkdir(parents=True, exist_ok=True)
    names = [one.partition("=")[0] for one in arguments.indexes]
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    served_with = [*arguments.indexes]
    if arguments.encoder:
        served_with += ["--encoder", arguments.encoder]
    with served(*served_with) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=flags)

        def shoot(name: str, ready: str, state: dict[str, str], **options: object) -> None:
            picture = arguments.output / f"{name}.png"
            to = f"{address}/?{urlencode(state)}"
            photograph(browser, to, picture, ready, open_first=ready == ".hit", **options)

        search = {"q": arguments.query, "index": names[-1]}
        shoot("search", ".hit", search, color_scheme="light")
        shoot("search-dark", ".hit", search, color_scheme="dark")
        shoot("phone", ".hit", search, color_scheme="light", viewport=PHONE)
        both = {"view": "compare", "q": arguments.query, "index": names[0], "with": names[-1]}
        shoot("compare", ".row", both, color_scheme="light")
        shoot("health", ".card", {"view": "health"}, color_scheme="light")
        browser.close()


if __name__ == "__main__":
    main()
