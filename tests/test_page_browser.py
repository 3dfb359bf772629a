"""The search page in a real Chromium: by mouse, by keyboard, by what a screen reader is told.

Install with `pip install -e '.[browser]'` and `apt-get install -y chromium`.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from page_world import DOCUMENTS, HOSTILE, NO_CHROMIUM, build_world, chromium, served

from index import Index, build_index
from lsr.encoders import BM25Encoder
from lsr.types import Document

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.slow
_NEXT = "pip install -e '.[browser]'"
playwright = pytest.importorskip("playwright.sync_api", reason=f"no browser driver: {_NEXT}")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=f"no axe: {_NEXT}")
expect = playwright.expect

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    places = build_world(tmp_path_factory.mktemp("page"))
    with served(*(f"{name}={path}" for name, path in places.items())) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    path = chromium()
    if path is None:
        pytest.skip(NO_CHROMIUM)
    with playwright.sync_playwright() as driver:
        # As root, in a container for instance, Chromium only starts without its sandbox.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: "Browser", address: str) -> Iterator[Callable[..., "Page"]]:
    """Open an address of the page; an error in it, or a request to elsewhere, fails the test."""
    contexts = []
    wrongs: list[str] = []

    def open_page(path: str = "/", **options: Any) -> "Page":
        context = browser.new_context(**{"viewport": DESK, "base_url": address} | options)
        contexts.append(context)
        home = options.get("base_url", address)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: wrongs.append(f"error: {error}"))
        page.on("console", lambda said: said.type == "error" and _refused(said.text, wrongs))
        page.on("request", lambda one: one.url.startswith(home) or wrongs.append(one.url))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrongs


def _refused(text: str, wrongs: list[str]) -> None:
    """A failed request is told on the console as well; tests of failures cause them on purpose."""
    if "Failed to load resource" not in text:
        wrongs.append(text)


def search(address: str, **body: Any) -> list[dict[str, Any]]:
    answer = httpx.post(f"{address}/v1/indexes/{body.pop('index', 'kitchen')}/search", json=body)
    hits: list[dict[str, Any]] = answer.raise_for_status().json()["hits"]
    return hits


def shown(page: "Page") -> list[str]:
    """Ids of the hits on the screen."""
    return [str(one.get_attribute("data-hit")) for one in page.locator(".hit .opener").all()]


def expect_hits(page: "Page", ids: list[str]) -> None:
    expect(page.locator(".hit")).to_have_count(len(ids))
    assert shown(page) == ids


def ids_of(address: str, **body: Any) -> list[str]:
    return [hit["id"] for hit in search(address, **body)]


def test_hits_come_while_one_types_and_are_announced(
    opened: Callable[..., "Page"], address: str
) -> None:
    page = opened()
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("coffee", delay=20)
    expect_hits(page, ids_of(address, query={"text": "coffee"}))
    expect(page.locator("#said")).to_contain_text(re.compile(r"\d+ (of \d+ documents|hits)"))
    page.keyboard.type(" dinner")
    expect(page).to_have_url(re.compile(r"q=coffee\+dinner"))
    expected = ids_of(address, query={"text": "coffee dinner"})
    expect(page.locator(".hit .opener").first).to_have_attribute("data-hit", expected[0])
    expect_hits(page, expected)


def test_a_late_answer_never_replaces_a_newer_one(
    opened: Callable[..., "Page"], address: str
) -> None:
    page = opened()
    held: list[Route] = []

    def hold(route: "Route") -> None:
        if "granite" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route("**/search", hold)
    page.locator("#q").fill("granite")
    page.wait_for_timeout(400)
    page.locator("#q").fill("tea")
    expect_hits(page, ids_of(address, query={"text": "tea"}))
    assert held
    for route in held:
        route.abort()
    page.wait_for_timeout(300)
    assert shown(page) == ids_of(address, query={"text": "tea"})


def test_each_bar_adds_up_to_its_score(opened: Callable[..., "Page"], address: str) -> None:
    query = "coffee dinner evening sleep light walk same people tea"
    page = opened(f"/?q={query}")
    hits = search(address, query={"text": query}, explain=True)
    expect_hits(page, [hit["id"] for hit in hits])
    width = page.locator(".bar").first.evaluate("bar => bar.getBoundingClientRect().width")
    for hit, item in zip(hits, page.locator(".hit").all(), strict=True):
        numbers = item.locator(".sum li:not(.total) .number").all_inner_texts()
        total = item.locator(".sum .total").inner_text().removeprefix("= ")
        assert sum(round(float(number) * 100) for number in numbers) == round(float(total) * 100)
        assert total == item.locator(".score").inner_text() == f"{hit['score']:.2f}"
        parts = item.locator(".bar span:not(.empty)")
        widths = parts.evaluate_all("all => all.map((one) => one.getBoundingClientRect().width)")
        # Gaps of 2 px between the parts are not theirs.
        assert sum(widths) == pytest.approx(width * hit["score"] / hits[0]["score"], abs=20)
        for part, term in zip(widths, hit["explain"]["terms"][:6], strict=False):
            assert part / sum(widths) == pytest.approx(term["share"], abs=0.01)


def test_a_muted_term_changes_the_ranking_and_the_address_tells_it(
    opened: Callable[..., "Page"], address: str
) -> None:
    page = opened("/?q=coffee evening")
    before = ids_of(address, query={"text": "coffee evening"})
    expect_hits(page, before)
    page.locator("[data-chip=coffe]").click()
    weights = {
        token["term"]: token["weight"]
        for token in httpx.post(
            f"{address}/v1/encode", json={"index": "kitchen", "texts": ["coffee evening"]}
        ).json()["results"][0]["tokens"]
    }
    evening = weights["even"]
    after = ids_of(address, query={"tokens": {"even": evening}})
    assert after != before
    expect_hits(page, after)
    expect(page.locator("[data-chip=coffe]")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("[data-chip=coffe]")).to_be_focused()
    again = opened(page.url.removeprefix(address))
    expect_hits(again, after)
    again.get_by_role("button", name="Reset").click()
    expect_hits(again, before)
    page.go_back()
    expect_hits(page, before)


def test_chips_are_the_terms_that_the_encoder_reads(
    opened: Callable[..., "Page"], address: str
) -> None:
    """Also those that no hit has."""
    query = "coffee granite zzz evening"
    answer = httpx.post(f"{address}/v1/encode", json={"index": "kitchen", "texts": [query]}).json()
    page = opened(f"/?index=kitchen&q={query}&f.lang=de")
    expect(page.locator(".chip")).to_have_count(len(answer["results"][0]["tokens"]))
    chips = [one.split("\n")[0] for one in page.locator(".chip .mute").all_inner_texts()]
    assert chips == [
        f"{token['term']} {token['weight']:.2f}" for token in answer["results"][0]["tokens"]
    ]


def test_a_boosted_term_weighs_more(opened: Callable[..., "Page"], address: str) -> None:
    page = opened("/?q=coffee evening")
    chip = page.locator(".chip", has=page.locator("[data-chip=even]"))
    weight = float(chip.locator(".number").inner_text())
    page.get_by_role("button", name="Boost even").click()
    expect(page).to_have_url(re.compile(r"w=even%3A1\.5"))
    expect(chip.locator(".number")).not_to_have_text(f"{weight:.2f}")
    boosted = float(chip.locator(".number").inner_text())
    assert boosted == pytest.approx(weight * 1.5, abs=0.011)
    page.get_by_role("button", name="Weaken even").click()
    expect(chip.locator(".number")).to_have_text(f"{weight:.2f}")
    expect(page).not_to_have_url(re.compile("w="))


def test_the_page_is_walked_by_keyboard(opened: Callable[..., "Page"]) -> None:
    page = opened("/?q=coffee")
    openers = page.locator(".hit .opener")
    expect(openers.first).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(openers.nth(0)).to_be_focused()
    page.keyboard.press("j")
    expect(openers.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(openers.nth(1)).to_have_attribute("aria-expanded", "true")
    expect(page.locator(".detail table")).to_be_visible()
    page.keyboard.press("Escape")
    expect(openers.nth(1)).to_have_attribute("aria-expanded", "false")
    expect(openers.nth(1)).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Keyboard")
    page.get_by_label("Single keys work").uncheck()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("/")
    expect(page.locator("#q")).not_to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Keyboard shortcuts").click()
    page.get_by_label("Single keys work").check()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()


def test_a_hostile_document_is_shown_as_text(opened: Callable[..., "Page"]) -> None:
    page = opened("/?q=coffee")
    hit = page.locator(".hit", has=page.locator("[data-hit=hostile]"))
    expect(hit.locator(".opener")).to_have_text(HOSTILE)
    hit.locator(".opener").click()
    expect(hit.locator("dd", has_text="😀😀 coffee")).to_have_text(
        f"😀😀 coffee {HOSTILE} and more coffee"
    )
    assert page.locator("main img, main script").count() == 0
    assert page.evaluate("window.pwned") is None


def test_what_the_text_says_is_underlined(opened: Callable[..., "Page"]) -> None:
    """Offsets count characters, of which an emoji is one, though JavaScript counts two."""
    page = opened("/?q=coffee evening&index=kitchen")
    hostile = page.locator(".hit", has=page.locator("[data-hit=hostile]"))
    expect(hostile.locator(".snippet mark.literal")).to_have_text(["coffee", "coffee"])
    coffee = page.locator(".hit", has=page.locator("[data-hit=coffee]"))
    assert coffee.locator("h2 mark").all_inner_texts() == ["Coffee", "evening"]
    assert coffee.locator(".snippet mark").all_inner_texts() == ["Coffee"]


def test_what_a_learned_term_was_read_from_is_tinted(
    opened: Callable[..., "Page"], address: str
) -> None:
    """The answer is made up: a real one takes a network, as in test_service_origins.py."""
    (coffee,) = (
        term["index"]
        for hit in search(address, query={"text": "coffee"}, explain=True)
        for term in hit["explain"]["terms"]
        if hit["id"] == "sleep"
    )
    asked: list[Any] = []

    def told(route: "Route") -> None:
        asked.append(route.request.post_data_json)
        span = {"field": "text", "start": 0, "end": 5, "terms": ["coffe"], "origin": "expansion"}
        route.fulfill(json={"index": "kitchen", "id": "sleep", "encoder": "e@0", "spans": [span]})

    page = opened("/?q=coffee evening&index=kitchen")
    page.route("**/v1/indexes/kitchen/origins/sleep", told)
    sleep = page.locator(".hit", has=page.locator("[data-hit=sleep]"))
    sleep.locator(".opener").click()
    expect(sleep.locator(".snippet mark.expansion")).to_have_text("Sleep")
    expect(sleep.locator(".snippet mark.literal")).to_have_text("evening")
    expect(sleep.locator("dd mark.expansion")).to_have_text("Sleep")
    assert asked == [{"terms": [coffee]}]
    sleep.locator(".sum [data-term=coffe]").hover()
    expect(sleep.locator(".snippet mark.pointed")).to_have_text("Sleep")
    tea = page.locator(".hit", has=page.locator("[data-hit=tea]"))
    tea.locator(".opener").click()
    expect(tea.locator(".detail")).to_contain_text("cannot be told: Index 'kitchen' was not built")


def test_literal_only_leaves_out_what_expansion_added(
    opened: Callable[..., "Page"], address: str
) -> None:
    page = opened("/?q=coffee evening&index=kitchen")
    hits = search(address, query={"text": "coffee evening"}, explain=True)
    literal = {
        hit["id"]: sum(
            term["score"] for term in hit["explain"]["terms"] if term["origin"] == "literal"
        )
        for hit in hits
    }
    before = [hit["id"] for hit in hits]
    expect_hits(page, before)
    page.keyboard.press("Escape")
    page.locator(".opener").first.focus()
    page.keyboard.press("l")
    after = sorted(before, key=lambda doc_id: -literal[doc_id])
    assert after != before
    expect(page.locator(".hit .opener").first).to_have_attribute("data-hit", after[0])
    expect_hits(page, after)
    for doc_id, item in zip(after, page.locator(".hit").all(), strict=True):
        assert item.locator(".score").inner_text() == f"{literal[doc_id]:.2f}"
    page.locator("#literal").click()
    expect(page.locator(".hit .opener").first).to_have_attribute("data-hit", before[0])


def test_more_like_a_hit_is_a_search_of_its_own(
    opened: Callable[..., "Page"], address: str
) -> None:
    page = opened("/?q=coffee&index=kitchen")
    page.locator("[data-hit=coffee]").click()
    page.get_by_role("button", name="More like this").click()
    expect(page).to_have_url(re.compile("like=coffee"))
    expect_hits(page, ids_of(address, query={"like": "coffee"}))
    page.get_by_role("button", name="Stop looking").click()
    expect(page.locator(".tries button")).not_to_have_count(0)
    page.go_back()
    expect_hits(page, ids_of(address, query={"like": "coffee"}))


def test_a_hostile_query_and_index_name_are_shown_as_text(opened: Callable[..., "Page"]) -> None:
    page = opened(f"/?q={HOSTILE}&index=<img src=x onerror=window.pwned=1>&f.<b>=1&w=<b>:2")
    expect(page.get_by_role("alert")).to_contain_text(
        "'<img src=x onerror=window.pwned=1>' is no name"
    )
    assert page.locator("main img, main script").count() == 0
    assert page.evaluate("window.pwned") is None


def test_filters_narrow_and_are_undone(opened: Callable[..., "Page"], address: str) -> None:
    page = opened("/?q=coffee")
    expect_hits(page, ids_of(address, query={"text": "coffee"}))
    page.keyboard.press("Escape")
    expect(page.locator("#q")).to_have_value("coffee")
    page.locator(".filters summary").click()
    page.get_by_label("lang").fill("de")
    page.keyboard.press("Enter")
    expect_hits(page, ["kaffee"])
    expect(page.get_by_label("lang")).to_have_value("de")
    page.get_by_label("year from").fill("2006")
    page.keyboard.press("Tab")
    expect(page.locator(".start")).to_contain_text("No hits")
    page.get_by_role("button", name="Search without filters").click()
    expect_hits(page, ids_of(address, query={"text": "coffee"}))


def test_two_indexes_stand_side_by_side(opened: Callable[..., "Page"], address: str) -> None:
    page = opened("/?view=compare&q=coffee evening&index=plain&with=kitchen")
    plain, kitchen = (
        ids_of(address, index=name, query={"text": "coffee evening"})
        for name in ("plain", "kitchen")
    )
    expect(page.locator(".rows").nth(1).locator(".row")).to_have_count(len(kitchen))
    sides = [
        [row.get_attribute("data-id") for row in rows.locator(".row").all()]
        for rows in page.locator(".rows").all()
    ]
    assert sides == [plain, kitchen]
    for rank, doc_id in enumerate(kitchen):
        move = page.locator(".rows").nth(1).locator(".move").nth(rank).inner_text()
        by = plain.index(doc_id) - rank if doc_id in plain else None
        said = "new" if by is None else "=" if by == 0 else f"{'▲' if by > 0 else '▼'}{abs(by)}"
        assert move == said
    assert page.locator(".lines path").count() == len(set(plain) & set(kitchen))
    page.locator(".rows").nth(1).locator("[data-id=sleep] .opener").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("tbody th")).to_have_text(["even", "coffe"])
    scores, shares = [], []
    for name in ("plain", "kitchen"):
        (hit,) = (
            hit
            for hit in search(address, index=name, query={"text": "coffee evening"}, explain=True)
            if hit["id"] == "sleep"
        )
        scores.append(f"{hit['score']:.2f}")
        shares.append({term["term"]: term["share"] for term in hit["explain"]["terms"]})
    assert dialog.locator("tfoot td").all_inner_texts() == scores
    for row in dialog.locator("tbody tr").all():
        term = row.locator("th").inner_text()
        told = [
            cell.replace(" %", "").replace("–", "0").replace("−", "-").replace("+", "")
            for cell in row.locator("td").all_inner_texts()
        ]
        a, b = (100 * side.get(term, 0) for side in shares)
        assert [float(one) for one in told] == pytest.approx([a, b, b - a], abs=0.051)


def test_a_document_that_was_expected_says_what_it_lacks(
    opened: Callable[..., "Page"], address: str
) -> None:
    page = opened("/?q=coffee evening&index=kitchen")
    page.get_by_label("Id of a document").fill("nothing")
    page.get_by_role("button", name="Why not?").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Not among the first thousand, with a score of 0.00")
    assert dialog.locator("tr.missing th").all_inner_texts() == ["coffe", "even"]
    page.keyboard.press("Escape")
    page.get_by_label("Id of a document").fill("absent")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("unknown_document")
    page.keyboard.press("Escape")
    hits = search(address, query={"text": "coffee evening"})
    page.get_by_label("Id of a document").fill(hits[1]["id"])
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text(f"Rank 2, with a score of {hits[1]['score']:.2f}")


def test_health_tells_what_is_served(opened: Callable[..., "Page"]) -> None:
    page = opened("/?view=health")
    expect(page.locator(".notice")).to_contain_text("2 of 2 indexes are open")
    expect(page.locator(".card", has_text="kitchen").locator("dd").first).to_have_text("9")


def test_searches_show_in_the_health_view(opened: Callable[..., "Page"], address: str) -> None:
    def told() -> tuple[list[int], list[float]]:
        minutes = httpx.get(f"{address}/v1/health-history").json()["minutes"][-60:]
        whole = [one for one in minutes if "unfinished" not in one] or minutes
        of = [one["indexes"].get("kitchen") for one in reversed(minutes)]
        searches = [one["indexes"].get("kitchen", {}).get("searches", 0) for one in whole[::-1]]
        return searches, [one["p50_ms"] for one in of if one]

    for _ in range(3):
        search(address, query={"text": "tea"})
    before = told()
    page = opened("/?view=health")
    card = page.locator(".card", has_text="kitchen")
    shown_numbers = []
    for title in ("Searches a minute", "Latency"):
        chart = card.locator(".chart", has_text=title)
        chart.get_by_text("As a table").click()
        cells = chart.locator("tbody td:nth-child(2)").all_inner_texts()
        shown_numbers.append([float(cell.removesuffix(" ms")) for cell in cells])
    # A minute may end while the page is read.
    assert any(
        shown_numbers[0] == searches and shown_numbers[1] == pytest.approx(medians, abs=0.6)
        for searches, medians in (before, told())
    )


def test_an_empty_box_offers_queries_that_have_hits(opened: Callable[..., "Page"]) -> None:
    page = opened("/?index=kitchen")
    offered = page.locator(".tries button")
    expect(offered).not_to_have_count(0)
    titles = {document.fields["title"] for document in DOCUMENTS}
    assert set(offered.all_inner_texts()) <= titles
    offered.first.click()
    expect(page.locator(".hit")).not_to_have_count(0)
    expect(page.locator("#q")).to_have_value(page.locator(".hit .opener").first.inner_text())


def test_without_hits_the_reason_is_given(opened: Callable[..., "Page"]) -> None:
    page = opened("/?q=the")
    expect(page.locator(".start")).to_contain_text("No word of the query carries weight")


def test_a_problem_comes_with_its_hint_and_request_id(opened: Callable[..., "Page"]) -> None:
    page = opened("/?q=tea&index=kitchn")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Did you mean 'kitchen'?")
    expect(alert).to_contain_text(re.compile(r"404 · unknown_index · request [0-9a-f]+"))


def test_a_server_that_is_gone_is_told_and_found_again(
    opened: Callable[..., "Page"], address: str
) -> None:
    page = opened("/?q=tea")
    expect_hits(page, ids_of(address, query={"text": "tea"}))
    page.route("**/v1/**", lambda route: route.abort())
    page.locator("#q").fill("coffee")
    expect(page.get_by_role("alert")).to_contain_text("No answer from the server")
    page.unroute("**/v1/**")
    # Nothing is pressed: it tries again by itself.
    expect_hits(page, ids_of(address, query={"text": "coffee"}))


def test_a_slow_server_is_told_and_waited_for(opened: Callable[..., "Page"]) -> None:
    page = opened()
    held: list[Route] = []
    page.route("**/search", lambda route: held.append(route))
    page.locator("#q").fill("tea")
    expect(page.locator(".status")).to_contain_text("taking its time")
    expect(page.locator("#said")).to_have_text("Still searching")
    held[-1].continue_()
    expect(page.locator(".hit")).not_to_have_count(0)
    expect(page.locator(".status")).not_to_contain_text("taking its time")


def test_a_key_is_sent_and_lasts_as_long_as_the_tab(opened: Callable[..., "Page"]) -> None:
    page = opened()
    sent: list[str | None] = []
    page.on("request", lambda one: "/v1/" in one.url and sent.append(one.headers.get("x-api-key")))
    page.get_by_role("button", name="Key", exact=True).click()
    page.get_by_role("textbox", name="API key").fill("secret-1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Key set")).to_be_visible()
    page.locator("#q").fill("tea")
    expect(page.locator(".hit").first).to_be_visible()
    assert sent[-1] == "secret-1"
    assert "secret-1" not in page.url
    assert page.evaluate("Object.values({...localStorage}).includes('secret-1')") is False
    assert page.evaluate("Object.values({...sessionStorage}).includes('secret-1')") is True


def test_a_server_with_keys_asks_for_one(
    browser: "Browser", tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A key that only searches, and only English documents, sees no more than that."""
    folder = tmp_path_factory.mktemp("keyed")
    places = build_world(folder)
    made = subprocess.run(
        [sys.executable, "-m", "lsr", "keys", "create", "--data", str(folder / "data"), "--json"]
        + ["--scope", "search:kitchen", "--filter", '{"lang": "de"}'],
        capture_output=True,
        text=True,
        check=True,
    )
    key = json.loads(made.stdout)["key"]
    with served(
        "--data", str(folder / "data"), *(f"{n}={p}" for n, p in places.items())
    ) as address:
        page = browser.new_context(base_url=address).new_page()
        page.goto("/?q=coffee")
        expect(page.get_by_role("alert")).to_contain_text("401")
        page.get_by_role("button", name="Enter a key").click()
        page.get_by_role("textbox", name="API key").fill(key)
        page.keyboard.press("Enter")
        expect_hits(page, ["kaffee"])
        assert page.get_by_label("Index").locator("option").all_inner_texts() == ["kitchen"]
        page.keyboard.press("Escape")
        page.get_by_role("link", name="Health").click()
        expect(page.locator(".card")).to_have_count(1)
        page.context.close()


def test_what_is_copied_runs(opened: Callable[..., "Page"], address: str) -> None:
    page = opened("/?q=it's coffee&f.lang=en", permissions=["clipboard-read", "clipboard-write"])
    expect(page.locator(".hit").first).to_be_visible()
    ids = shown(page)
    page.get_by_role("button", name="Copy as Python").click()
    expect(page.get_by_role("button", name="Copy as Python")).to_have_text("Copied")
    program = page.evaluate("navigator.clipboard.readText()")
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert [line.split()[1] for line in printed.splitlines()] == ids
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_role("button", name="Copy as curl")).to_have_text("Copied")
    command = page.evaluate("navigator.clipboard.readText()")
    assert f"'{address}/v1/indexes/kitchen/search'" in command
    assert r"it'\''s coffee" in command


def test_colours_follow_the_system_and_the_button(opened: Callable[..., "Page"]) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = (opened(color_scheme=one).evaluate(ground) for one in ("light", "dark"))
    assert light != dark
    page = opened(color_scheme="light")
    page.get_by_role("button", name="Colours: auto").click()
    assert page.evaluate(ground) == light
    page.get_by_role("button", name="Colours: light").click()
    assert page.evaluate(ground) == dark
    page.reload()
    assert page.evaluate(ground) == dark


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("path", "ready"),
    [
        ("/", ".start"),
        ("/?q=coffee evening&w=coffe:0&f.lang=en", ".hit"),
        ("/?q=the", ".start"),
        ("/?q=tea&index=nowhere", "[role=alert]"),
        ("/?view=compare&q=coffee evening", ".row"),
        ("/?view=health", ".card"),
        ("/docs", ".operation"),
    ],
)
def test_axe_finds_nothing(
    opened: Callable[..., "Page"], path: str, ready: str, scheme: str, viewport: Any
) -> None:
    page = opened(path, color_scheme=scheme, viewport=viewport, reduced_motion="reduce")
    page.locator(ready).first.wait_for()
    if ready == ".hit":
        page.locator(".opener").first.click()
        page.locator(".detail table").wait_for()
    results = axe.Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    fits(page)


def fits(page: "Page") -> None:
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0, "nothing is wider than the window"


def test_axe_would_find_grey_on_grey(opened: Callable[..., "Page"]) -> None:
    page = opened()
    page.locator(".start").wait_for()
    page.evaluate("document.querySelector('.start p').style.color = 'silver'")
    assert "color-contrast" in axe.Axe().run(page).generate_snapshot()


@pytest.mark.parametrize("view", ["", "view=compare&"])
def test_back_shows_its_query_in_the_box_too(opened: Callable[..., "Page"], view: str) -> None:
    page = opened(f"/?{view}q=tea&index=kitchen")
    expect(page.locator(".opener").first).to_be_visible()
    page.locator("#q").fill("coffee")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("q=coffee"))
    page.keyboard.type(" dinner")  # not asked yet, and given up
    page.go_back()
    expect(page).to_have_url(re.compile("q=tea"))
    expect(page.locator("#q")).to_have_value("tea")
    expect(page.locator("#q")).to_be_focused()
    page.wait_for_timeout(300)
    expect(page).to_have_url(re.compile("q=tea"))


@pytest.mark.parametrize("view", ["", "&view=compare"])
def test_a_typed_query_is_a_step_of_its_own_at_enter(
    opened: Callable[..., "Page"], view: str
) -> None:
    """What is only typed on the way to it is none, and what is done with it settles it too."""
    page = opened(f"/?index=kitchen{view}")
    for query in ("tea", "coffee"):
        page.locator("#q").fill("")
        for part in query[:2], query[2:]:
            page.locator("#q").press_sequentially(part)
            page.wait_for_timeout(300)
        expect(page).to_have_url(re.compile(f"q={query}"))
        page.keyboard.press("Enter")
    page.go_back()
    expect(page.locator("#q")).to_have_value("tea")
    expect(page.locator(".opener").first).to_be_visible()
    page.go_back()
    expect(page.locator("#q")).to_have_value("")
    expect(page.locator(".start")).to_be_visible()


def test_what_is_done_with_a_typed_query_is_a_step_from_it(
    opened: Callable[..., "Page"], address: str
) -> None:
    page = opened("/?index=kitchen")
    page.locator("#q").fill("coffee evening")
    page.locator("[data-chip=coffe]").click()
    expect(page).to_have_url(re.compile("w=coffe"))
    page.go_back()
    expect_hits(page, ids_of(address, query={"text": "coffee evening"}))
    page.go_back()
    expect(page.locator("#q")).to_have_value("")


def test_a_comparison_is_tried_again_as_it_says(opened: Callable[..., "Page"]) -> None:
    page = opened("/?view=compare&q=tea&index=plain&with=kitchen")
    expect(page.locator(".row").first).to_be_visible()
    page.route("**/v1/compare", lambda route: route.abort())
    page.locator("#q").fill("coffee")
    expect(page.get_by_role("alert")).to_contain_text("tries again by itself in 3 s")
    page.unroute("**/v1/compare")
    expect(page.locator(".row").first).to_be_visible()


def test_what_is_not_tried_again_does_not_say_so(opened: Callable[..., "Page"]) -> None:
    page = opened("/?q=coffee&index=kitchen")
    page.route("**/explain/**", lambda route: route.abort())
    page.get_by_label("Id of a document").fill("nothing")
    page.keyboard.press("Enter")
    alert = page.get_by_role("dialog").get_by_role("alert")
    expect(alert).to_contain_text("No answer from the server")
    expect(alert).not_to_contain_text("by itself")
    page.unroute("**/explain/**")
    alert.get_by_role("button", name="Try again now").click()
    expect(page.get_by_role("dialog")).to_contain_text("Not among the first thousand")


def test_who_asked_too_often_waits_as_long_as_told(
    opened: Callable[..., "Page"], address: str
) -> None:
    page = opened("/?q=tea&index=kitchen")
    expect_hits(page, ids_of(address, query={"text": "tea"}))
    problem = {"title": "Too many requests", "detail": "slow down", "code": "rate_limited"}
    refused = {"status": 429, "headers": {"Retry-After": "2"}, "json": problem}
    page.route("**/search", lambda route: route.fulfill(**refused))
    page.locator("#q").fill("coffee")
    expect(page.get_by_role("alert")).to_contain_text("tries again by itself in 2 s")
    expect(page.locator("[data-chip=tea]")).to_have_count(0)
    page.unroute("**/search")
    expect_hits(page, ids_of(address, query={"text": "coffee"}))


def test_a_key_that_no_header_carries_is_refused_where_it_is_typed(
    opened: Callable[..., "Page"], address: str
) -> None:
    page = opened("/?q=tea&index=kitchen")
    expect_hits(page, ids_of(address, query={"text": "tea"}))
    page.get_by_role("button", name="Key", exact=True).click()
    box = page.get_by_role("textbox", name="API key")
    for wrong in ("lsr_abc…", "two words", "clé"):
        box.fill(wrong)
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("No key looks")
    assert page.evaluate("sessionStorage.length") == 0
    box.fill("lsr_abc")
    expect(page.get_by_role("dialog").get_by_role("alert")).to_be_empty()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Key set")).to_be_visible()


def test_the_reference_says_which_header_cannot_be_sent(opened: Callable[..., "Page"]) -> None:
    page = opened("/docs")
    operation = page.locator(".operation", has=page.get_by_placeholder("Idempotency-Key")).first
    operation.get_by_text("Try it").click()
    operation.get_by_placeholder("Idempotency-Key").fill("cut…")
    operation.get_by_role("button", name="Send").click()
    expect(operation.get_by_role("status")).to_contain_text("not sent: idempotency-key")


@pytest.fixture(scope="module")
def kinds_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An index with a field of each kind, and values that are easily mistaken."""
    path = tmp_path_factory.mktemp("kinds") / "kinds.index"
    fields = [
        {"city": "Paris, France", "number": 2**53 + 1, "when": "9999-12-31", "open": True},
        {"city": "Paris", "number": 2**53, "when": "2024-02-29", "open": False},
        {"city": 'the "old" town', "number": 1, "when": "2003-01-01", "open": False},
    ]
    documents = [
        Document(f"d{at}", {"title": f"Coffee {at}", "text": "Coffee." * 200} | one)
        for at, one in enumerate(fields)
    ]
    encoder = BM25Encoder.fit(document.text() for document in documents)
    kinds = {"city": "keyword", "number": "int", "when": "date", "open": "bool"}
    build_index(path, documents, encoder, source="test", fields=kinds, progress=False)
    with served(f"kinds={path}") as address:
        yield address


def asked_filter(page: "Page", path: str) -> Any:
    """The filter of the search that an address makes."""
    with page.expect_request("**/search") as asked:
        page.goto(path)
    expect(page.locator(".status strong, .start").first).to_be_visible()
    assert page.get_by_role("alert").count() == 0
    return (asked.value.post_data_json or {}).get("filter")


def test_a_keyword_may_hold_a_comma(opened: Callable[..., "Page"], kinds_address: str) -> None:
    page = opened(f"{kinds_address}/?q=coffee&f.city=Paris, France", base_url=kinds_address)
    expect(page.get_by_label("city")).to_have_value('"Paris, France"')
    expect(page.locator(".hit .opener")).to_have_text(["Coffee 0"])
    page.get_by_label("city").fill(' "Paris, France",Paris , ')
    page.keyboard.press("Tab")
    expect(page.locator(".hit")).to_have_count(2)
    expect(page.get_by_label("city")).to_have_value('"Paris, France", Paris')
    page.get_by_label("city").fill('the "old" town')
    page.keyboard.press("Tab")
    expect(page.locator(".hit .opener")).to_have_text(["Coffee 2"])
    page.get_by_label("city").fill('"the ""old"" town"')
    page.keyboard.press("Tab")
    page.wait_for_timeout(300)
    expect(page.locator(".hit .opener")).to_have_text(["Coffee 2"])


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("number=abc..", None),
        ("number=2005", None),
        ("number=1.5..", None),
        ("number=..9223372036854775808", None),
        ("number=..-3", {"number": {"lte": -3}}),
        ("when=garbage..garbage", None),
        ("when=2024-02-30..", None),
        ("when=2024-02-29..2024-02-29", {"when": {"gte": "2024-02-29", "lt": "2024-03-01"}}),
        ("when=..9999-12-31", {"when": {"lte": "9999-12-31T23:59:59.999999Z"}}),
        ("open=maybe", None),
        ("open=false", {"open": False}),
        ("constructor=x", None),
    ],
)
def test_a_malformed_filter_of_a_link_is_left_out(
    opened: Callable[..., "Page"], kinds_address: str, given: str, sent: Any
) -> None:
    page = opened(f"{kinds_address}/", base_url=kinds_address)
    assert asked_filter(page, f"/?q=coffee&f.{given}") == sent
    used = "Filters" if sent is None else "Filters (1)"
    expect(page.locator(".filters summary")).to_have_text(used)
    if sent is None or given.endswith("9999-12-31"):
        expect(page.locator(".hit")).to_have_count(3)


def test_whole_numbers_keep_their_digits(opened: Callable[..., "Page"], kinds_address: str) -> None:
    path = f"{kinds_address}/?q=coffee&f.number={2**53 + 1}..{2**53 + 1}"
    page = opened(path, base_url=kinds_address)
    expect(page.locator(".hit .opener")).to_have_text(["Coffee 0"])
    page.locator(".hit .opener").click()
    expect(page.locator(".fields dd", has_text=str(2**53 + 1))).to_be_visible()


FOCUSED = "document.activeElement.dataset.hit || document.activeElement.textContent"


def test_literal_only_keeps_the_focus(opened: Callable[..., "Page"]) -> None:
    page = opened("/?q=coffee evening&index=kitchen")
    for pressed in ("true", "false"):
        page.locator("#literal").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#literal")).to_have_attribute("aria-pressed", pressed)
        expect(page.locator("#literal")).to_be_focused()


def test_more_hits_are_appended_to_what_is_open(opened: Callable[..., "Page"]) -> None:
    page = opened("/?q=coffee evening&index=kitchen&k=2")
    expect(page.locator(".hit")).to_have_count(2)
    page.locator(".opener").first.click()
    expect(page.locator(".detail table")).to_be_visible()
    page.get_by_role("button", name="More hits").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".hit")).not_to_have_count(2)
    expect(page.locator(".detail table")).to_be_visible()
    # On from where one was: the first of those that came.
    assert page.evaluate(FOCUSED) == page.locator(".opener").nth(2).get_attribute("data-hit")


def test_a_long_text_is_scrolled_by_keyboard(
    opened: Callable[..., "Page"], kinds_address: str
) -> None:
    page = opened(f"{kinds_address}/?q=coffee", base_url=kinds_address, viewport=PHONE)
    page.locator(".opener").first.click()
    box = page.locator(".hit dd[tabindex='0']")
    expect(box).to_have_count(1)
    expect(box).to_have_attribute("aria-label", "text")
    results = axe.Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def test_filters_and_reference_fit_the_narrowest_phone(
    opened: Callable[..., "Page"], kinds_address: str
) -> None:
    narrow = {"width": 360, "height": 740}
    page = opened(
        f"{kinds_address}/?q=coffee&f.when=2001-01-01..2002-01-01",
        base_url=kinds_address,
        viewport=narrow,
    )
    page.get_by_label("when to").wait_for()
    fits(page)
    boxes = page.locator(".filters input").evaluate_all(
        "all => all.map((one) => one.getBoundingClientRect().right)"
    )
    assert max(boxes) <= narrow["width"] - 16
    page.goto("/docs")
    page.locator(".operation").first.wait_for()
    fits(page)


def test_what_was_said_of_a_search_stays_with_it(opened: Callable[..., "Page"]) -> None:
    """Compare applies no filters and no weights: its address holds none."""
    page = opened("/?q=coffee evening&index=kitchen&w=coffe:0&f.lang=en&literal=1")
    expect(page.locator(".hit").first).to_be_visible()
    page.get_by_role("link", name="Compare").click()
    expect(page.locator(".row").first).to_be_visible()
    assert not re.search(r"[?&](w|f\.lang|literal)=", page.url)
    page.get_by_role("link", name="Search", exact=True).click()
    expect(page.locator("[data-chip=coffe]")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label("lang")).to_have_value("en")
    page.get_by_role("link", name="Compare").click()
    page.locator("#q").fill("coffee")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Search", exact=True).click()
    expect(page.locator("[data-chip=coffe]")).to_have_attribute("aria-pressed", "false")


def test_a_query_typed_in_compare_replaces_more_like_this(opened: Callable[..., "Page"]) -> None:
    page = opened("/?index=kitchen&like=tea")
    expect(page.locator(".chip .like")).to_have_text("tea")
    page.get_by_role("link", name="Compare").click()
    page.locator("#q").fill("coffee")
    page.keyboard.press("Enter")
    expect(page.locator(".row").first).to_be_visible()
    page.get_by_role("link", name="Search", exact=True).click()
    expect(page.locator("[data-chip=coffe]")).to_be_visible()
    expect(page).not_to_have_url(re.compile("like="))


def test_the_start_page_tells_what_the_index_holds_by_now(
    opened: Callable[..., "Page"], tmp_path: Path
) -> None:
    places = build_world(tmp_path)
    with served(f"plain={places['plain']}") as own:
        page = opened(f"{own}/", base_url=own)
        expect(page.locator(".start .large")).to_contain_text("9 documents")
        with Index.open(places["plain"]) as index:  # by another process
            encoder = BM25Encoder.fit(document.text() for document in DOCUMENTS)
            index.add([Document("new", {"text": "tea"})], encoder.encode_documents(["tea"]))
        page.locator("#q").fill("tea")
        expect(page.locator(".hit").first).to_be_visible()
        page.locator("#q").fill("")
        expect(page.locator(".start .large")).to_contain_text("10 documents")


def test_a_key_that_may_see_no_index_is_told_so(opened: Callable[..., "Page"]) -> None:
    page = opened("/docs")
    page.route("**/v1/indexes", lambda route: route.fulfill(json={"indexes": []}))
    page.goto("/")
    expect(page.locator(".notice")).to_have_text("This server serves no index yet.")
    page.get_by_role("button", name="Key", exact=True).click()
    page.get_by_role("textbox", name="API key").fill("lsr_abc")
    page.keyboard.press("Enter")
    expect(page.locator(".notice")).to_contain_text("no index that this key may see")


def test_no_key_leads_away_from_a_panel_that_asks_for_one(opened: Callable[..., "Page"]) -> None:
    page = opened("/docs")
    problem = {"title": "Key required", "detail": "no key", "code": "unauthorized"}
    page.route("**/v1/indexes", lambda route: route.fulfill(status=401, json=problem))
    page.goto("/?q=tea")
    expect(page.get_by_role("alert")).to_contain_text("Key required")
    for pressed in "213":
        page.keyboard.press(pressed)
    expect(page.get_by_role("alert")).to_contain_text("Key required")
    expect(page).to_have_url(re.compile(r"/\?q=tea$"))


def test_text_runs_in_the_direction_of_its_script(opened: Callable[..., "Page"]) -> None:
    page = opened("/?q=coffee&index=kitchen")
    page.locator(".opener").first.click()
    direction = "(one) => { one.textContent = 'שלום'; return getComputedStyle(one).direction; }"
    for place in (".opener", ".snippet", ".fields dd"):
        text = page.locator(place).first
        assert text.get_attribute("dir") == "auto"
        direction = (
            "(node) => { node.textContent = 'שלום'; return getComputedStyle(node).direction; }"
        )
        assert text.evaluate(direction) == "rtl"
