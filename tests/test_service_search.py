"""Every option of a search means what it says: each is held against a reference of dictionaries."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from service_world import (
    NUMBERS,
    Served,
    build_world,
    matrix_of,
    number_document,
    ones,
    ranking,
    serving,
)

from index import Hits, Index
from lsr.types import Document
from service import Settings, create_app, turns

QUERY = (1, 4, 7)
NUMBERS_URL = "/v1/indexes/numbers/search"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    with serving(build_world(folder)) as served:
        yield served


def scored(answer: Any) -> list[tuple[str, float]]:
    return [(hit["id"], pytest.approx(hit["score"], rel=1e-9)) for hit in answer["hits"]]


def test_a_plain_answer_says_that_it_is_exact(served: Served) -> None:
    answer = served.search("numbers", query=ones(*QUERY), limit=7)
    assert scored(answer) == ranking(NUMBERS, QUERY)[:7]
    assert (answer["mode"], answer["exact"], answer["timed_out"]) == ("exact", True, False)
    for absent in ("total", "certificate", "next_cursor", "min_score"):
        assert absent not in answer, "nothing is told that was not asked for"


# ---- pages ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("offset", "limit"), [(0, 5), (3, 5), (17, 100), (59, 1), (1000, 10)])
def test_offset_passes_over_hits(served: Served, offset: int, limit: int) -> None:
    answer = served.search("numbers", query=ones(*QUERY), offset=offset, limit=limit)
    assert scored(answer) == ranking(NUMBERS, QUERY)[offset : offset + limit]
    ranks = [hit["rank"] for hit in answer["hits"]]
    assert ranks == list(range(offset + 1, offset + 1 + len(ranks)))


def test_the_window_of_offset_and_limit_is_bounded(served: Served) -> None:
    body = {"query": ones(1), "offset": 9_500, "limit": 501}
    assert "10000" in served.refused(NUMBERS_URL, body, 422, "invalid_request")["detail"]
    assert served.ids("numbers", query=ones(1), offset=9_500, limit=500) == []


def test_cursors_lead_through_the_whole_ranking(served: Served) -> None:
    """Pages of changing size, each document once, in the order of one long answer."""
    cursor: str | None = "start"
    found: list[tuple[str, float]] = []
    for limit in [7, 3, 20, 1, 50, 50]:
        answer = served.search("numbers", query=ones(*QUERY), cursor=cursor, limit=limit)
        assert [hit["rank"] for hit in answer["hits"]] == [
            len(found) + 1 + i for i in range(len(answer["hits"]))
        ]
        found += scored(answer)
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert cursor is None
    assert found == ranking(NUMBERS, QUERY)


def test_a_cursor_is_good_for_its_own_request_alone(served: Served) -> None:
    body = {"query": ones(*QUERY), "filter": {"parity": "odd"}, "limit": 5}
    cursor = served.search("numbers", **body, cursor="start")["next_cursor"]
    told = served.search("numbers", **body, cursor=cursor, explain=True, fields=[])
    passing = [one for one in ranking(NUMBERS, QUERY) if int(one[0][1:]) % 2]
    assert scored(told) == passing[5:10], "what is told of each hit may change"
    for other in ({"query": ones(1)}, {"filter": None}, {"min_score": 1}, {"exclude_terms": [3]}):
        changed = body | other | {"cursor": cursor}
        problem = served.refused(NUMBERS_URL, changed, 422, "invalid_cursor")
        assert problem["errors"][0]["pointer"] == "/cursor"
        assert "another request" in problem["detail"]


def test_members_in_another_order_are_the_same_request(served: Served) -> None:
    """Some languages write maps in another order each time."""
    ranges = {"number": {"gte": 0, "lt": 90}, "parity": "odd"}
    weights = {"indices": list(QUERY), "values": [1.0] * len(QUERY)}
    body = {"query": {"vector": weights}, "filter": ranges, "limit": 5}
    cursor = served.search("numbers", **body, cursor="start")["next_cursor"]
    turned = {
        "query": {"vector": dict(reversed(weights.items()))},
        "filter": {"parity": "odd", "number": {"lt": 90, "gte": 0}},
        "limit": 5,
    }
    told = served.search("numbers", **turned, cursor=cursor)
    assert told["hits"] == served.search("numbers", **body, cursor=cursor)["hits"]


@pytest.mark.parametrize("cursor", ["", "x", "é", "a" * 5000, "AAAA", "start ", "\x00"])
def test_what_is_no_cursor_is_refused(served: Served, cursor: str) -> None:
    body = {"query": ones(1), "cursor": cursor}
    served.refused(NUMBERS_URL, body, 422, "invalid_cursor")


def test_no_bit_of_a_cursor_can_be_changed(served: Served) -> None:
    body = {"query": ones(*QUERY), "limit": 5}
    cursor = served.search("numbers", **body, cursor="start")["next_cursor"]
    for at in range(len(cursor) - 1):  # the last character has bits that stand for nothing
        other = "A" if cursor[at] != "A" else "B"
        forged = cursor[:at] + other + cursor[at + 1 :]
        served.refused(NUMBERS_URL, body | {"cursor": forged}, 422, "invalid_cursor")


def test_pages_are_of_one_commit_whatever_is_written(tmp_path: Path) -> None:
    """Replaced, deleted and new documents do not move a page; a merge ends the cursor: 410."""
    path = tmp_path / "live.index"
    url = "/v1/indexes/live/search"
    body = {"query": ones(*QUERY), "limit": 20, "explain": True}
    with Index.create(path, n_terms=12, max_weight=255.0) as index:
        index.add([number_document(one) for one in NUMBERS], matrix_of(list(NUMBERS.values()), 12))
        with serving({"live": path}) as served:
            answer = served.search("live", **body, cursor="start")
            generation = answer["generation"]
            changed = [one for one, _ in ranking(NUMBERS, QUERY)[15:30]]
            index.add(
                [Document(one, {"new": True}) for one in changed],
                matrix_of([{2: 1}] * len(changed), 12),
            )
            index.delete([one for one, _ in ranking(NUMBERS, QUERY)[30:35]])
            index.add([Document("late")], matrix_of([dict.fromkeys(QUERY, 50)], 12))
            assert served.ids("live", query=ones(*QUERY))[0] == "late"
            found = scored(answer)
            while (cursor := answer["next_cursor"]) is not None:
                last = cursor
                answer = served.search("live", **body, cursor=cursor)
                assert answer["generation"] == generation
                for hit in answer["hits"]:
                    assert hit["fields"] == number_document(hit["id"]).fields
                    assert hit["explain"]["sum"] == hit["score"]
                found += scored(answer)
            assert found == ranking(NUMBERS, QUERY)
            index.merge()
            problem = served.refused(url, body | {"cursor": last}, 410, "cursor_expired")
            assert '"start"' in problem["hint"]


def test_cursors_go_with_neither_offsets_nor_approximation(served: Served) -> None:
    for other in ({"offset": 3}, {"mode": {"approx": {"pages": 1}}}):
        body = {"query": ones(1), "cursor": "start"} | other
        served.refused(NUMBERS_URL, body, 422, "invalid_request")


# ---- which documents --------------------------------------------------------------------------


def test_filters_may_be_trees(served: Served) -> None:
    tree = {
        "any": [
            {"all": [{"field": "parity", "eq": "odd"}, {"field": "number", "lt": 20}]},
            {"not": {"number": {"lt": 50}}},
        ]
    }

    def passes(doc_id: str) -> bool:
        number = int(doc_id[1:])
        return (number % 2 == 1 and number < 20) or number >= 50

    answer = served.search("numbers", query=ones(*QUERY), filter=tree, limit=100)
    assert scored(answer) == ranking(NUMBERS, QUERY, passes)


@pytest.mark.parametrize(
    ("tree", "pointer", "hint"),
    [
        ({"all": [{"field": "paritx", "eq": 1}]}, "/filter/all/0/field", "'parity'"),
        ({"any": [{"not": {"number": {"gtt": 1}}}]}, "/filter/any/0/not/number/gtt", "'gt'"),
        ({"all": {"parity": "odd"}}, "/filter/all", None),
        ({"all": [], "parity": "odd"}, "/filter", None),
        ({"number": {"gt": "x"}}, "/filter/number/gt", None),
    ],
)
def test_a_mistake_in_a_tree_is_pointed_at(
    served: Served, tree: Any, pointer: str, hint: str | None
) -> None:
    response = served.client.post(NUMBERS_URL, json={"query": ones(1), "filter": tree})
    assert response.status_code == 422
    problem = response.json()
    assert problem["code"] in ("invalid_filter", "unknown_filter_field")
    assert problem["errors"][0]["pointer"] == pointer
    assert hint is None or hint in problem["hint"]


def test_a_filter_nested_beyond_reason_is_refused(served: Served) -> None:
    tree: Any = {"parity": "odd"}
    for _ in range(40):
        tree = {"not": tree}
    served.refused(NUMBERS_URL, {"query": ones(1), "filter": tree}, 422, "invalid_filter")
    for _ in range(400):
        tree = {"not": tree}
    served.refused(NUMBERS_URL, {"query": ones(1), "filter": tree}, 422, "invalid_request")


def test_required_and_excluded_terms(served: Served) -> None:
    def passes(doc_id: str) -> bool:
        return {2, 4} <= set(NUMBERS[doc_id]) and 9 not in NUMBERS[doc_id]

    answer = served.search(
        "numbers", query=ones(*QUERY), require_terms=[2, 4], exclude_terms=[9], limit=100
    )
    assert scored(answer) == ranking(NUMBERS, QUERY, passes)
    assert answer["hits"]


def test_required_terms_may_be_entries_of_the_vocabulary(served: Served) -> None:
    query = {"text": "sleep"}
    assert set(served.ids("papers", query=query)) == {"d1", "d2", "d3"}
    assert served.ids("papers", query=query, require_terms=["cat"]) == ["d2"]
    assert set(served.ids("papers", query=query, exclude_terms=["cat"])) == {"d1", "d3"}


def test_required_terms_may_be_words_that_are_read_as_one_entry(served: Served) -> None:
    query = {"text": "sleep"}
    assert served.ids("papers", query=query, require_terms=["Cats"]) == ["d2"]
    assert set(served.ids("papers", query=query, exclude_terms=["cats"])) == {"d1", "d3"}


@pytest.mark.parametrize(
    ("index", "terms", "code", "hint"),
    [
        ("papers", ["cats sleep"], "invalid_query", "'cat' and 'sleep'"),
        ("papers", ["zebra"], "invalid_query", None),
        ("words", ["cats"], "invalid_query", "'cat' and '##s'"),
        ("words", ["slep"], "invalid_query", "Did you mean 'sleep'?"),
        ("numbers", ["cat"], "no_encoder", "term numbers"),
        ("numbers", [12], "invalid_query", None),
        ("numbers", [10**30], "invalid_query", None),
    ],
)
def test_terms_that_are_none_are_refused_with_what_was_meant(
    served: Served, index: str, terms: list[Any], code: str, hint: str | None
) -> None:
    query = ones(1) if index == "numbers" else {"text": "cat"}
    body = {"query": query, "exclude_terms": terms}
    problem = served.refused(f"/v1/indexes/{index}/search", body, 422, code)
    assert problem["errors"][0]["pointer"] == "/exclude_terms/0"
    assert hint is None or hint in problem["hint"]


# ---- scores -----------------------------------------------------------------------------------


@pytest.mark.parametrize("least", [0, 3, 4.5, 5, 1000])
def test_hits_below_the_least_score_are_left_out(served: Served, least: float) -> None:
    # A whole score is a multiple of 4095 of the unit, which floats miss by some 1e-16.
    answer = served.search("numbers", query=ones(*QUERY), min_score=least - 1e-6 * bool(least))
    assert scored(answer) == [one for one in ranking(NUMBERS, QUERY) if one[1] >= least][:10]


def test_a_least_score_may_be_relative_to_the_best_possible(served: Served) -> None:
    best = sum(max(row.get(term, 0) for row in NUMBERS.values()) for term in QUERY)
    assert best == 9
    answer = served.search("numbers", query=ones(*QUERY), min_score={"relative": 0.5}, limit=100)
    assert answer["min_score"]["best_possible"] == pytest.approx(9, rel=1e-9)
    assert answer["min_score"]["value"] == pytest.approx(4.5, rel=1e-9)
    assert scored(answer) == [one for one in ranking(NUMBERS, QUERY) if one[1] >= 4.5]


def test_a_cursor_stops_at_the_least_score(served: Served) -> None:
    body = {"query": ones(*QUERY), "min_score": 4.5, "limit": 3}
    above = [one for one in ranking(NUMBERS, QUERY) if one[1] >= 4.5]
    found, cursor = [], "start"
    while cursor is not None:
        answer = served.search("numbers", **body, cursor=cursor)
        found += scored(answer)
        cursor = answer["next_cursor"]
    assert found == above


def test_a_relative_least_score_stays_what_it_was_on_the_first_page(tmp_path: Path) -> None:
    path = tmp_path / "live.index"
    body = {"query": ones(*QUERY), "min_score": {"relative": 0.5}, "limit": 3}
    with Index.create(path, n_terms=12, max_weight=255.0) as index:
        index.add([number_document(one) for one in NUMBERS], matrix_of(list(NUMBERS.values()), 12))
        with serving({"live": path}) as served:
            answer = served.search("live", **body, cursor="start")
            found, told = scored(answer), answer["min_score"]
            index.add([Document("late")], matrix_of([dict.fromkeys(QUERY, 50)], 12))
            assert served.search("live", **body)["min_score"]["value"] > told["value"]
            while (cursor := answer["next_cursor"]) is not None:
                answer = served.search("live", **body, cursor=cursor)
                assert answer["min_score"] == told
                found += scored(answer)
    assert found == [one for one in ranking(NUMBERS, QUERY) if one[1] >= 4.5]


@pytest.mark.parametrize("limit", [1, 10, 100])
@pytest.mark.parametrize("least", [None, 4.5, 8.9])
@pytest.mark.parametrize("condition", [None, {"parity": "odd"}])
def test_counts_are_of_all_that_matches(
    served: Served, limit: int, least: float | None, condition: Any
) -> None:
    terms = (0, 1, 2, 4, 7, 9)
    body = {"query": ones(*terms), "limit": limit, "min_score": least, "filter": condition}
    truth = [
        one
        for one in ranking(NUMBERS, terms, lambda d: condition is None or int(d[1:]) % 2)
        if least is None or one[1] >= least
    ]
    exact = served.search("numbers", **body, count="exact")["total"]
    assert exact == {"value": len(truth), "relation": "eq"}
    estimate = served.search("numbers", **body, count="estimate")["total"]
    assert estimate["value"] >= min(limit, len(truth))
    assert (
        estimate["value"] == len(truth)
        if estimate["relation"] == "eq"
        else (estimate["value"] <= len(truth))
    )
    if limit > len(truth):
        assert estimate["relation"] == "eq"


def test_counts_leave_out_the_document_that_a_query_is_like(served: Served) -> None:
    terms = set(NUMBERS["n07"])
    truth = [one for one, row in NUMBERS.items() if terms & set(row) and one != "n07"]
    for limit in (2, 100):
        body = {"query": {"like": "n07"}, "limit": limit, "count": "exact"}
        assert served.search("numbers", **body)["total"]["value"] == len(truth)
        odd = served.search("numbers", **body, filter={"parity": "odd"})
        assert odd["total"]["value"] == sum(int(one[1:]) % 2 for one in truth)
        even = served.search("numbers", **body, filter={"parity": "even"})
        assert even["total"]["value"] == sum(int(one[1:]) % 2 == 0 for one in truth)
    least = served.search("numbers", query={"like": "n07"}, limit=1, min_score=1, count="exact")
    listed = served.search("numbers", query={"like": "n07"}, limit=100, min_score=1)
    assert least["total"] == {"value": len(listed["hits"]), "relation": "eq"}


# ---- like this document -----------------------------------------------------------------------


def test_like_searches_by_the_stored_vector_and_leaves_the_document_out(served: Served) -> None:
    of = NUMBERS["n07"]
    scores = {
        other: sum(weight * row.get(term, 0) for term, weight in of.items())
        for other, row in NUMBERS.items()
        if other != "n07"
    }
    expected = sorted((one for one in scores.items() if one[1]), key=lambda one: -one[1])
    for like in ("n07", {"id": "n07"}):
        answer = served.search("numbers", query={"like": like}, limit=8, offset=2)
        assert [hit["score"] for hit in answer["hits"]] == pytest.approx(
            [score for _, score in expected[2:10]], rel=1e-3
        ), "weights of a query have 12 bits"
        assert (answer["query"]["strategy"], answer["query"]["terms_used"]) == ("like", 4)
    everything = served.ids("numbers", query={"like": "n07"}, limit=100)
    assert sorted(everything) == sorted(one for one, _ in expected)


def test_like_weighs_terms_as_queries_do(served: Served) -> None:
    """Of 'cats', what 'dogs' shares is `pet`: 2 in the document times 1.5 in the table, times 2."""
    answer = served.search("words", query={"like": "cats"})
    (hit,) = answer["hits"]
    assert hit["id"] == "dogs"
    assert hit["score"] == pytest.approx(2 * 1.5 * 2, rel=1e-3), "weights of a query have 12 bits"


def test_like_is_shortened_to_the_heaviest_terms_and_says_so(served: Served) -> None:
    answer = served.search("words", query={"like": {"id": "cats", "terms": 1}}, explain=True)
    assert answer["query"]["terms_used"] == 1
    assert answer["hits"] == [], "the heaviest, 3 x 2 for `cat`, is in no other document"
    (warning,) = answer["warnings"]
    assert warning["code"] == "shortened_query"
    assert "1 heaviest of the document's 6" in warning["message"]


def test_like_of_nothing(served: Served) -> None:
    (warning,) = served.search("words", query={"like": "empty"})["warnings"]
    assert warning["code"] == "empty_query"
    body = {"query": {"like": "nobody"}}
    problem = served.refused(NUMBERS_URL, body, 404, "unknown_document")
    assert problem["errors"][0]["pointer"] == "/query/like"
    served.refused(NUMBERS_URL, {"query": {"like": ""}}, 404, "unknown_document")
    served.refused(NUMBERS_URL, {"query": {"like": "a" * 9000}}, 404, "unknown_document")


# ---- how hard to try --------------------------------------------------------------------------


@pytest.mark.parametrize("approx", [{"pages": 1}, {"recall": 0.9}])
def test_an_approximate_answer_has_a_certificate(served: Served, approx: Any) -> None:
    answer = served.search("numbers", query=ones(*QUERY), mode={"approx": approx}, limit=5)
    assert answer["mode"] == "approx"
    certificate = answer["certificate"]
    assert certificate["pages_scored"] <= certificate["pages"]
    assert answer["exact"], "all of it lies in one page"
    assert scored(answer) == ranking(NUMBERS, QUERY)[:5]


@pytest.mark.parametrize(
    "mode",
    ["approx", {"approx": {}}, {"approx": {"pages": 1, "recall": 0.5}}, {"approx": {"pages": 0}},
     {"approx": {"recall": 1}}, {"exact": True}, 1, None],
)  # fmt: skip
def test_modes_that_are_none_are_refused(served: Served, mode: Any) -> None:
    body = {"query": ones(1), "mode": mode}
    problem = served.client.post(NUMBERS_URL, json=body).json()
    assert problem["status"] == 422
    assert problem["errors"][0]["pointer"].startswith("/mode")


def test_a_deadline_that_has_passed_gives_the_best_so_far(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine has its own tests of deadlines; here it says that one came."""
    given: list[float | None] = []
    real: Callable[..., Hits] = Index.search

    def stopped(*arguments: Any, timeout: float | None, **rest: Any) -> Hits:
        given.append(timeout)
        hits = real(*arguments, **rest)
        return replace(hits, report=replace(hits.report, stopped=True, exact=False))

    monkeypatch.setattr(Index, "search", stopped)
    answer = served.search("numbers", query=ones(*QUERY), timeout_ms=250, cursor="start", limit=3)
    assert (answer["timed_out"], answer["exact"]) == (True, False)
    assert answer["certificate"]["pages"] == 1
    for least in (None, 1):
        body = {"query": ones(*QUERY), "timeout_ms": 250, "limit": 3, "min_score": least}
        counted = served.search("numbers", **body, count="exact")
        assert counted["total"] == {"value": 3, "relation": "gte"}, "time is up for counting, too"
    assert answer["next_cursor"] is None, "what follows a partial answer is anybody's guess"
    assert (
        "etag"
        not in served.client.post(
            NUMBERS_URL, json={"query": ones(1), "timing": False, "timeout_ms": 1e-9}
        ).headers
    )
    assert given[0] is not None
    assert 0.1 < given[0] < 0.25, "what reading the query took is part of the time"
    assert given[-1] == 1e-6


def test_a_search_ends_when_its_client_goes_away(
    folder: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is made to wait for the flag that the disconnection must raise."""
    monkeypatch.setattr(turns, "SLOW_S", 0.0)
    ended = threading.Event()

    def endless(*arguments: Any, cancel: Any, **rest: Any) -> Hits:
        for _ in range(1000):
            if cancel.is_set():
                ended.set()
                break
            ended.wait(0.01)
        return real(*arguments, cancel=cancel, **rest)

    real: Callable[..., Hits] = Index.search
    app = create_app(Settings({"numbers": folder / "numbers.index"}))

    async def ask() -> list[Any]:
        sent: list[Any] = []
        messages = [
            {"type": "http.request", "body": b'{"query": {"vector": {"indices": [1], '},
            {"type": "http.request", "body": b'"values": [1]}}}', "more_body": False},
        ]
        messages[0]["more_body"] = True

        async def receive() -> Any:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        async with app.router.lifespan_context(app) as state:
            assert state["engine"].wait(30)
            monkeypatch.setattr(Index, "search", endless)
            scope = {
                "type": "http",
                "method": "POST",
                "path": NUMBERS_URL,
                "raw_path": NUMBERS_URL.encode(),
                "query_string": b"",
                "headers": [(b"content-type", b"application/json")],
                "state": dict(state),
            }
            await app(scope, receive, send)
        return sent

    sent = asyncio.run(ask())
    assert ended.is_set()
    assert sent[0]["status"] == 499


# ---- entity tags ------------------------------------------------------------------------------


def test_an_answer_without_times_has_a_tag_until_the_next_commit(tmp_path: Path) -> None:
    path = tmp_path / "live.index"
    body = {"query": ones(1), "timing": False}
    url = "/v1/indexes/live/search"
    with Index.create(path, n_terms=12, max_weight=255.0) as index:
        index.add([number_document("n01")], matrix_of([{1: 2}], 12))
        with serving({"live": path}) as served:
            first = served.client.post(url, json=body)
            tag = first.headers["etag"]
            again = served.client.post(url, json=body, headers={"If-None-Match": f'W/"x", {tag}'})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == tag
            other = served.client.post(
                url, json=body | {"limit": 1}, headers={"If-None-Match": tag}
            )
            assert other.status_code == 200
            assert other.headers["etag"] != tag
            index.add([number_document("n02")], matrix_of([{1: 1}], 12))
            after = served.client.post(url, json=body, headers={"If-None-Match": tag})
            assert after.status_code == 200
            assert len(after.json()["hits"]) == 2
            assert after.headers["etag"] != tag
            assert "etag" not in served.client.post(url, json={"query": ones(1)}).headers


# ---- hostile bodies ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"offset": -1}, "/offset"),
        ({"offset": True}, "/offset"),
        ({"cursor": 3}, "/cursor"),
        ({"explain": {"top_terms": 0}}, "/explain/top_terms"),
        ({"explain": {"top": 1}}, "/explain/top"),
        ({"explain": "yes"}, "/explain"),
        ({"highlight": {"fields": []}}, "/highlight/fields"),
        ({"highlight": {"fields": ["text"], "max_char": 3}}, "/highlight/max_char"),
        ({"highlight": {"fields": ["text"], "max_chars": 3}}, "/highlight/max_chars"),
        ({"min_score": -1}, "/min_score"),
        ({"min_score": {"relative": 2}}, "/min_score/relative"),
        ({"min_score": "3"}, "/min_score"),
        ({"require_terms": [-1]}, "/require_terms/0"),
        ({"require_terms": [True]}, "/require_terms/0"),
        ({"require_terms": [1.5]}, "/require_terms/0"),
        ({"require_terms": list(range(65))}, "/require_terms"),
        ({"timeout_ms": 0}, "/timeout_ms"),
        ({"timeout_ms": 1e9}, "/timeout_ms"),
        ({"count": "some"}, "/count"),
        ({"query": {"like": 3}}, "/query/like"),
        ({"query": {"like": {"id": "a", "term": 3}}}, "/query/like/term"),
        ({"query": {"like": "a", "text": "b"}}, "/query"),
    ],
)
def test_wrong_options_are_refused_with_their_place(
    served: Served, body: Any, pointer: str
) -> None:
    response = served.client.post(NUMBERS_URL, json={"query": ones(1)} | body)
    assert response.status_code == 422, response.text
    problem = response.json()
    assert problem["errors"][0]["pointer"] == pointer
    assert problem["code"] in ("invalid_request", "unknown_field")


@pytest.mark.parametrize(
    "content",
    [
        '"min_score": NaN', '"min_score": {"relative": Infinity}', '"timeout_ms": NaN',
        '"mode": {"approx": {"recall": NaN}}', '"cursor": "\\ud800"',
        '"require_terms": ["\\udfff"]',
        '"highlight": {"fields": ["\\ud800"]}', '"filter": {"parity": "\\ud800"}',
        '"filter": {"\\ud800": 1}', '"filter": {"number": 1e999}', '"offset": 1e400',
    ],
)  # fmt: skip
def test_what_json_cannot_say_is_refused(served: Served, content: str) -> None:
    body = '{"query": {"vector": {"indices": [1], "values": [1]}}, ' + content + "}"
    headers = {"Content-Type": "application/json"}
    response = served.client.post(NUMBERS_URL, content=body, headers=headers)
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
