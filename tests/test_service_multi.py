"""Many searches at once, two side by side, and one document under the lens."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_world import (
    N_TERMS,
    NUMBERS,
    Served,
    build_world,
    matrix_of,
    number_document,
    ones,
    ranking,
    serving,
)

from index import Index
from service.search.comparing import moves, overlap, rank_biased_overlap
from service.wire.answers import SearchResponse
from service.wire.compare import CompareResponse
from service.wire.multi import MAX_SEARCHES, MultiSearchResponse
from service.wire.why import ExplainResponse


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(build_world(tmp_path_factory.mktemp("multi"))) as served:
        yield served


def without_times(answer: Any) -> Any:
    return {key: value for key, value in answer.items() if key != "timing_ms"}


# ---- many -------------------------------------------------------------------------------------


def test_each_search_is_answered_as_if_it_came_alone(served: Served) -> None:
    searches: list[dict[str, Any]] = [
        {"index": "numbers", "query": ones(1, 4), "limit": 3, "offset": 2, "count": "exact"},
        {"index": "papers", "query": {"text": "cats"}, "explain": True},
        {"index": "words", "query": {"like": "cats"}, "timing": False},
    ]
    answer = served.post("/v1/multi-search", {"searches": searches}, MultiSearchResponse)
    for search, result in zip(searches, answer["results"], strict=True):
        alone = served.search(**{"index": search["index"], **search})
        assert result["status"] == 200
        assert without_times(result["answer"]) == without_times(alone)
        assert ("timing_ms" in result["answer"]) == search.get("timing", True)


def test_a_wrong_search_costs_the_others_nothing(served: Served) -> None:
    good = {"index": "numbers", "query": ones(1), "limit": 1}
    searches = [
        good,
        {"index": "nowhere", "query": ones(1)},
        {"index": "numbers", "query": ones(1), "limt": 2},
        {"index": "numbers", "query": {"text": "a"}},
        {"index": "numbers", "query": ones(1), "filter": {"paritx": 1}},
        {"query": ones(1)},
        3,
        {"\ud800": 1},
        good,
    ]
    response = served.client.post(
        "/v1/multi-search",
        content=json.dumps({"searches": searches}),  # which escapes half a surrogate pair
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code == 200, response.text
    results = response.json()["results"]
    MultiSearchResponse.model_validate(response.json())
    told = [
        (one["status"], one["problem"]["code"], one["problem"]["errors"][0]["pointer"])
        for one in results[2:-2]
    ]
    assert results[-2]["status"] == 422
    assert told == [
        (422, "unknown_field", "/limt"),
        (422, "no_encoder", "/query/text"),
        (422, "unknown_filter_field", "/filter/paritx"),
        (422, "invalid_request", "/index"),
        (422, "invalid_request", ""),
    ]
    assert "'limit'" in results[2]["problem"]["hint"]
    assert (results[1]["status"], results[1]["problem"]["code"]) == (404, "unknown_index")
    assert results[0]["answer"]["hits"] == results[-1]["answer"]["hits"] != []


def test_how_many_searches_is_bounded(served: Served) -> None:
    one = {"index": "numbers", "query": ones(1), "limit": 1, "fields": []}
    for searches in ([], [one] * (MAX_SEARCHES + 1)):
        body = {"searches": searches}
        problem = served.refused("/v1/multi-search", body, 422, "invalid_request")
        assert problem["errors"][0]["pointer"] == "/searches"
    served.post("/v1/multi-search", {"searches": [one] * MAX_SEARCHES}, MultiSearchResponse)
    served.refused("/v1/multi-search", {"searches": [one], "x": 1}, 422, "unknown_field")


# ---- two --------------------------------------------------------------------------------------


def test_two_targets_are_told_with_their_differences(served: Served) -> None:
    body = {
        "query": ones(1, 4, 7),
        "a": {"index": "numbers", "explain": True},
        "b": {"index": "numbers", "explain": True, "filter": {"parity": "odd"}},
        "limit": 8,
    }
    answer = served.post("/v1/compare", body, CompareResponse)
    a = [one for one, _ in ranking(NUMBERS, (1, 4, 7))][:8]
    b = [one for one, _ in ranking(NUMBERS, (1, 4, 7), lambda d: int(d[1:]) % 2)][:8]
    assert [hit["id"] for hit in answer["a"]["hits"]] == a
    assert [hit["id"] for hit in answer["b"]["hits"]] == b
    both = [one for one in a if one in b]
    assert answer["overlap"] == {"both": len(both), "share": len(both) / 8}
    for move in answer["moves"]:
        assert move["a"] == (a.index(move["id"]) + 1 if move["id"] in a else None)
        assert move["b"] == (b.index(move["id"]) + 1 if move["id"] in b else None)
    assert sorted(move["id"] for move in answer["moves"]) == sorted({*a, *b})
    assert [one["id"] for one in answer["terms"]] == both
    assert all(one["terms"] == [] for one in answer["terms"]), "terms without names are not named"
    for side in ("a", "b"):
        SearchResponse.model_validate(answer[side], extra="forbid")


def test_terms_differ_by_their_share_of_the_score(served: Served) -> None:
    body = {
        "a": {"index": "words", "query": {"tokens": {"cat": 2, "pet": 1}}, "explain": True},
        "b": {"index": "words", "query": {"tokens": {"cat": 2, "rest": 4}}, "explain": True},
    }
    answer = served.post("/v1/compare", body, CompareResponse)
    (document,) = answer["terms"]  # `dogs` is found by one of them only
    assert document["id"] == "cats"
    # a: cat 2 x 3, pet 1 x 2. b: cat 2 x 3, rest 4 x 1.
    expected = {"cat": (6 / 8, 6 / 10), "pet": (2 / 8, 0.0), "rest": (0.0, 4 / 10)}
    for one in document["terms"]:
        assert (one["a"], one["b"]) == pytest.approx(expected.pop(one["term"]), rel=1e-3)
        assert one["difference"] == one["b"] - one["a"]
    assert expected == {}
    sizes = [abs(one["difference"]) for one in document["terms"]]
    assert sizes == sorted(sizes, reverse=True)
    del body["b"]["explain"]
    assert "terms" not in served.post("/v1/compare", body, CompareResponse)


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"b": {"index": "nowhere"}}, "unknown_index", None),
        ({"b": {"index": "numbers", "limit": 3}}, "invalid_request", "/b"),
        ({"b": {"index": "numbers", "modes": 1}}, "unknown_field", "/b/modes"),
        ({"b": {"index": "numbers", "filter": {"x": 1}}}, "unknown_filter_field", "/b/filter/x"),
        ({"b": {"index": "papers"}}, "invalid_query", "/query/vector/indices/1"),
        ({"b": {"index": "numbers", "query": {"text": "a"}}}, "no_encoder", "/b/query/text"),
        ({"query": None}, "invalid_request", ""),
        ({"persistence": 1}, "invalid_request", "/persistence"),
        ({"c": {}}, "unknown_field", "/c"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    served: Served, change: Any, code: str, pointer: str | None
) -> None:
    query = {"vector": {"indices": [1, 10**9], "values": [1, 1]}} if "papers" in str(change) else 0
    body = {"query": query or ones(1), "a": {"index": "numbers"}, "b": {"index": "numbers"}}
    if query:
        body["a"] = {"index": "numbers", "query": ones(1)}
    response = served.client.post("/v1/compare", json=body | change)
    problem = response.json()
    assert problem["code"] == code, problem
    if pointer is not None:
        assert problem["errors"][0]["pointer"] == pointer


orders = st.permutations(list("abcdef")).map(lambda one: one[:4])


@given(a=orders, b=orders, p=st.floats(0.05, 0.95))
def test_rank_biased_overlap_is_its_definition(
    a: Sequence[str], b: Sequence[str], p: float
) -> None:
    agreement = [len(set(a[:d]) & set(b[:d])) / d for d in range(1, 5)]
    weights = [p**d for d in range(4)]
    expected = sum(w * x for w, x in zip(weights, agreement, strict=True)) / sum(weights)
    assert rank_biased_overlap(a, b, p) == pytest.approx(expected)
    assert rank_biased_overlap(a, a, p) == pytest.approx(1)
    assert rank_biased_overlap(a, b, p) == pytest.approx(rank_biased_overlap(b, a, p))
    assert overlap(a, b)[0] == sum(one in b for one in a)
    assert {one["id"] for one in moves(a, b)} == {*a, *b}


def test_lists_of_other_lengths_and_none() -> None:
    assert rank_biased_overlap([], [], 0.9) == 1.0
    assert rank_biased_overlap(["a"], [], 0.9) == 0.0
    assert overlap([], []) == (0, 1.0)
    assert moves(["a"], ["b", "a"]) == [
        {"id": "a", "a": 1, "b": 2, "move": -1},
        {"id": "b", "a": None, "b": 1, "move": None},
    ]


# ---- one document -----------------------------------------------------------------------------


def explained(served: Served, doc_id: str, index: str = "numbers", **body: Any) -> Any:
    return served.post(f"/v1/indexes/{index}/explain/{doc_id}", body, ExplainResponse)


def test_any_document_is_explained_found_or_not(served: Served) -> None:
    terms = (1, 4, 7)
    truth = ranking(NUMBERS, terms)
    for doc_id, row in NUMBERS.items():
        answer = explained(served, doc_id, query=ones(*terms), k=5)
        score = sum(row.get(term, 0) for term in terms)
        assert answer["score"] == pytest.approx(score, rel=1e-9, abs=0)
        assert answer["explain"]["sum"] == answer["score"]
        assert {one["index"] for one in answer["explain"]["terms"]} == set(terms) & set(row)
        assert {one["index"] for one in answer["missing"]} == set(terms) - set(row)
        ranks = {one: rank for rank, (one, _) in enumerate(truth, start=1)}
        assert answer["rank"] == ranks.get(doc_id)
        assert answer["cut"]["score"] == pytest.approx(truth[4][1], rel=1e-9)
        assert answer["allowed"]
        if answer["rank"] is not None and answer["rank"] <= 5:
            assert (answer["gap"], answer["lift"]) == (None, None)
        else:
            assert answer["gap"] == pytest.approx(truth[4][1] - score, rel=1e-9)


def test_what_would_lift_a_document_lifts_it_and_nothing_less(tmp_path: Path) -> None:
    """Each answer is tried: the document is written anew with that weight, and with one less."""
    terms, k = (1, 4, 7), 5
    path = tmp_path / "live.index"
    rows = list(NUMBERS.values())
    n_tried = 0
    with Index.create(path, n_terms=N_TERMS, max_weight=255.0) as index:
        index.add([number_document(one) for one in NUMBERS], matrix_of(rows, N_TERMS))
        with serving({"live": path}) as served:

            def top_with(doc_id: str, extra: dict[int, float]) -> bool:
                row = {**NUMBERS[doc_id], **{t: w for t, w in extra.items() if w}}
                index.add([number_document(doc_id)], matrix_of([row], N_TERMS))
                found = served.ids("live", query=ones(*terms), limit=k, fields=[])
                return doc_id in found

            for doc_id in list(NUMBERS)[:12]:
                # Written first, so that it stands last among its equals, as a changed one would.
                top_with(doc_id, {})
                answer = explained(served, doc_id, "live", query=ones(*terms), k=k)
                if answer["lift"] is None:
                    continue
                for lift in answer["lift"]["terms"]:
                    assert top_with(doc_id, {lift["index"]: lift["weight"]})
                    assert not top_with(doc_id, {lift["index"]: lift["weight"] - 1})
                    n_tried += 1
                together = answer["lift"]["together"]
                if together is not None:
                    heaviest = {one["index"]: one["heaviest"] for one in answer["missing"]}
                    assert top_with(doc_id, {term: heaviest[term] for term in together})
                top_with(doc_id, {})
    assert n_tried > 10


def test_a_document_that_a_condition_keeps_out_says_so(served: Served) -> None:
    best = ranking(NUMBERS, (1, 4))[0][0]
    parity = "even" if int(best[1:]) % 2 else "odd"
    answer = explained(served, best, query=ones(1, 4), filter={"parity": parity})
    assert (answer["allowed"], answer["rank"]) == (False, None)
    absent = next(term for term in range(N_TERMS) if term not in NUMBERS[best])
    answer = explained(served, best, query=ones(1, 4), require_terms=[absent])
    assert not answer["allowed"]
    answer = explained(served, best, query=ones(1, 4), exclude_terms=[absent])
    assert (answer["allowed"], answer["rank"]) == (True, 1)


def test_missing_terms_have_names_and_a_caution(served: Served) -> None:
    answer = explained(served, "dogs", "words", query={"text": "cats pet bone sleep"}, k=1)
    missing = {one["term"]: one for one in answer["missing"]}
    assert set(missing) == {"cat", "##s", "sleep"}
    assert [one["in_text"] for one in missing.values()] == [False] * 3
    assert missing["cat"]["heaviest"] == 3
    assert "learned associations" in answer["lift"]["note"]
    lone = explained(served, "empty", "words", query={"text": "cat"}, k=10)
    assert (lone["score"], lone["rank"], lone["cut"], lone["gap"]) == (0, None, None, 0)
    assert [one["term"] for one in lone["lift"]["terms"]] == ["cat"]


def test_what_cannot_be_explained_is_refused(served: Served) -> None:
    url = "/v1/indexes/numbers/explain/"
    served.refused(url + "nobody", {"query": ones(1)}, 404, "unknown_document")
    served.refused(url, {"query": ones(1)}, 404, "unknown_document")
    served.refused(url + "n01", {"query": ones(1), "K": 3}, 422, "unknown_field")
    served.refused(url + "n01", {"query": ones(1), "k": 0}, 422, "invalid_request")
    served.refused(url + "n01", {"query": {"like": "nobody"}}, 404, "unknown_document")
    served.refused("/v1/indexes/no/explain/n01", {"query": ones(1)}, 404, "unknown_index")
