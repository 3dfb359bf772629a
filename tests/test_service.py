"""The service answers what the index knows, says how it came about, and errs in one shape only."""

import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from scipy import sparse
from starlette.testclient import TestClient

from index import Index, build_index, query_encoder
from lsr.encoders import BM25Encoder
from lsr.errors import IndexCorrupt, UsageError
from lsr.types import Document
from service import Limits, Settings, create_app
from service.openapi import SNAPSHOT, openapi_json
from service.problems import KINDS
from service.wire.answers import SearchResponse
from service.wire.documents import StoredDocument
from service.wire.indexes import IndexInfo, IndexList
from service.wire.problems import Problem, ProblemKind
from service.wire.server import Live, Ready, ServerInfo

DOCUMENTS = [
    Document("d1", {"title": "Caffeine", "text": "coffee and sleep", "lang": "en", "year": 1999}),
    Document("d2", {"title": "Cats", "text": "cats sleep all day", "lang": "en", "year": 2010}),
    Document("d3", {"title": "Hunde", "text": "dogs sleep too", "lang": "de", "year": 2020}),
    Document("a/b c?#%é", {"title": "Odd", "text": "an odd id", "lang": "en", "good": True}),
    Document("..", {"title": "Dots", "text": "a relative id"}),
    Document("<script>", {"title": "<b>", "text": "hostile markup"}),
]
KINDS_OF_FIELDS = {"lang": "keyword", "year": "int", "good": "bool"}
SEARCH = "/v1/indexes/papers/search"
JSON = {"Content-Type": "application/json"}
LIMIT_BYTES = 4096


@dataclass(frozen=True)
class World:
    """A client of an app that serves `papers` (BM25) and `vectors` (no encoder)."""

    client: TestClient
    folder: Path
    encoder: BM25Encoder

    def search(self, index: str = "papers", **body: Any) -> Any:
        response = self.client.post(f"/v1/indexes/{index}/search", json=body)
        assert response.status_code == 200, response.text
        answer = response.json()
        SearchResponse.model_validate(answer, extra="forbid")
        return answer

    def ids(self, index: str = "papers", **body: Any) -> list[str]:
        return [hit["id"] for hit in self.search(index, **body)["hits"]]


def opened(client: TestClient) -> TestClient:
    """Wait until the app's indexes are open."""
    assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
    return client


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two indexes on disk."""
    folder = tmp_path_factory.mktemp("service")
    encoder = BM25Encoder.fit(document.text() for document in DOCUMENTS)
    build_index(
        folder / "papers.index",
        DOCUMENTS,
        encoder,
        source="test",
        fields=KINDS_OF_FIELDS,
        progress=False,
    )
    # max_weight 255 makes an impact the weight itself, so that scores are dot products.
    with Index.create(folder / "vectors.index", n_terms=5, max_weight=255.0) as index:
        weights = sparse.csr_array(np.array([[1, 2, 0, 0, 0], [0, 3, 4, 0, 0]], np.float32))
        index.add([Document("v1", {"note": "one"}), Document("v2")], weights)
    return folder


@pytest.fixture(scope="module")
def world(folder: Path) -> Iterator[World]:
    app = create_app(
        Settings(
            {name: folder / f"{name}.index" for name in ("papers", "vectors")},
            limits=Limits(body_bytes=LIMIT_BYTES),
        )
    )
    encoder = BM25Encoder.fit(document.text() for document in DOCUMENTS)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield World(opened(client), folder, encoder)


def assert_problem(response: Any, status: int, code: str, *, folder: Path | None = None) -> Any:
    """The one shape of every error."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    Problem.model_validate(problem)  # which may have members of its own
    assert (problem["status"], problem["code"]) == (status, code)
    assert (KINDS[code].status, KINDS[code].title) == (status, problem["title"])
    assert problem["type"] == "/problems/" + code.replace("_", "-")
    assert problem["instance"].startswith("/")
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["detail"]
    assert "Traceback" not in response.text
    assert folder is None or str(folder) not in response.text
    return problem


# ---- searching ---------------------------------------------------------------------------------


def test_a_text_finds_documents_and_the_answer_says_how(world: World) -> None:
    response = world.client.post(SEARCH, json={"query": {"text": "cats asleep"}, "limit": 2})
    answer = response.json()
    SearchResponse.model_validate(answer, extra="forbid")
    with Index.open(world.folder / "papers.index") as index:
        expected = index.search(world.encoder.encode_queries(["cats asleep"]), 2)
        assert answer["generation"] == index.generation
    assert [(hit["id"], hit["score"]) for hit in answer["hits"]] == list(expected)
    assert answer["hits"][0]["id"] == "d2"
    assert [hit["rank"] for hit in answer["hits"]] == list(range(1, len(answer["hits"]) + 1))
    assert answer["hits"][0]["fields"] == DOCUMENTS[1].fields
    assert answer["query"]["strategy"] == "bm25"
    assert re.fullmatch(r".+@[0-9a-f]{16}", answer["query"]["encoder"])
    assert (answer["index"], answer["mode"], answer["warnings"]) == ("papers", "exact", [])
    stages = re.findall(r"(\w+);dur=[\d.]+", response.headers["server-timing"])
    assert stages == ["encode", "filter", "score", "fetch", "total"] == list(answer["timing_ms"])
    times = answer["timing_ms"]
    assert times["total"] >= times["encode"] + times["score"] + times["fetch"] - 0.01  # rounded


def test_text_tokens_and_vector_of_one_query_give_one_ranking(world: World) -> None:
    row = world.encoder.encode_queries(["sleep of cats"])
    vector = {"indices": row.indices.tolist()[::-1], "values": row.data.tolist()[::-1]}
    tokens = dict(zip(world.encoder.term_strings(row.indices), row.data.tolist(), strict=True))
    answers = [
        world.search(query=query)
        for query in ({"text": "sleep of cats"}, {"tokens": tokens}, {"vector": vector})
    ]
    assert [answer["query"]["strategy"] for answer in answers] == ["bm25", "tokens", "vector"]
    assert {answer["query"]["terms_used"] for answer in answers} == {2}
    hits = [[(hit["id"], hit["score"]) for hit in answer["hits"]] for answer in answers]
    assert len(hits[0]) == 3
    assert hits[0] == hits[1] == hits[2]


def test_a_vector_scores_as_its_dot_product(world: World) -> None:
    answer = world.search("vectors", query={"vector": {"indices": [2, 1], "values": [1.0, 1.0]}})
    # Equal query weights share one integer, so only the float division by 4095 is inexact.
    assert [(hit["id"], hit["score"]) for hit in answer["hits"]] == [
        ("v2", pytest.approx(7.0, rel=1e-9)),
        ("v1", pytest.approx(2.0, rel=1e-9)),
    ]
    assert answer["query"] == {"encoder": None, "strategy": "vector", "terms_used": 2}


def test_explanations_add_up_to_the_score(world: World) -> None:
    answer = world.search(query={"text": "cats sleeping with dogs"}, explain=True)
    assert len(answer["hits"]) == 3
    for hit in answer["hits"]:
        terms = hit["explain"]["terms"]
        assert hit["explain"]["sum"] == hit["score"]
        assert sum(one["score"] for one in terms) == pytest.approx(hit["score"], rel=1e-12)
        assert sum(one["share"] for one in terms) == pytest.approx(1.0)
        for one in terms:
            assert one["score"] == pytest.approx(one["query"] * one["doc"], rel=1e-12)
            assert one["term"] in hit["fields"]["text"]  # stems are prefixes in these texts
    assert {one["term"] for one in answer["hits"][0]["explain"]["terms"]} == {"cat", "sleep"}


def test_an_index_of_vectors_explains_by_term_number(world: World) -> None:
    query = {"vector": {"indices": [1], "values": [0.5]}}
    hit = world.search("vectors", query=query, explain=True)["hits"][0]
    assert [(one["term"], one["index"], one["doc"]) for one in hit["explain"]["terms"]] == [
        (None, 1, pytest.approx(3.0))
    ]


def test_fields_choose_what_is_returned(world: World) -> None:
    query = {"text": "coffee"}
    assert world.search(query=query, fields=[])["hits"][0]["fields"] == {}
    answer = world.search(query=query, fields=["year", "title"])
    assert answer["hits"][0]["fields"] == {"year": 1999, "title": "Caffeine"}
    assert answer["warnings"] == []
    answer = world.search(query=query, fields=["titel"])
    assert answer["hits"][0]["fields"] == {}
    (warning,) = answer["warnings"]
    assert (warning["code"], warning["values"]) == ("unknown_fields", ["titel"])
    assert "Did you mean 'title'?" in warning["message"]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"lang": "de"}, {"d3"}),
        ({"lang": ["de", "fr"]}, {"d3"}),
        ({"lang": {"in": ["en"]}, "year": {"lt": 2000}}, {"d1"}),
        ({"year": {"gte": 2010, "lte": 2020}}, {"d2", "d3"}),
        ({"year": {"gt": 1998.5}, "lang": "en"}, {"d1", "d2"}),
        ({"good": {"exists": False}}, {"d1", "d2", "d3"}),
        ({"good": True}, set()),
        ({}, {"d1", "d2", "d3"}),
    ],
)
def test_filters_select_before_ranking(
    world: World, condition: Mapping[str, Any], expected: set[str]
) -> None:
    assert set(world.ids(query={"text": "sleep"}, filter=condition)) == expected
    if expected:
        first = world.ids(query={"text": "sleep"}, filter=condition, limit=1)
        assert first[0] in expected, "the limit is filled from what passes"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"text": ""}, "empty_query"),
        ({"text": " \n"}, "empty_query"),
        ({"text": "the of and"}, "no_known_terms"),
        ({"tokens": {}}, "empty_query"),
        ({"tokens": {"sleep": 0}}, "empty_query"),
        ({"tokens": {"sleep": 1e-60}}, "empty_query"),
        ({"vector": {"indices": [], "values": []}}, "empty_query"),
        ({"vector": {"indices": [3], "values": [0]}}, "empty_query"),
    ],
)
def test_an_empty_query_has_no_hits_and_says_why(
    world: World, query: Mapping[str, Any], code: str
) -> None:
    answer = world.search(query=query)
    assert (answer["hits"], answer["query"]["terms_used"]) == ([], 0)
    assert [warning["code"] for warning in answer["warnings"]] == [code]


def test_unknown_tokens_are_named_and_the_others_used(world: World) -> None:
    answer = world.search(query={"tokens": {"sleep": 1.2, "sleeping": 1.0, "zzz": 2}})
    assert len(answer["hits"]) == 3
    (warning,) = answer["warnings"]
    assert (warning["code"], warning["values"]) == ("unknown_tokens", ["sleeping", "zzz"])


def test_an_absent_kind_of_query_may_be_null(world: World) -> None:
    """Typed clients send every optional field."""
    query = {"text": "coffee", "tokens": None, "vector": None}
    assert world.ids(query=query, filter=None, fields=None) == ["d1"]


def test_timing_can_be_left_out_of_the_body(world: World) -> None:
    response = world.client.post(SEARCH, json={"query": {"text": "cats"}, "timing": False})
    assert "timing_ms" not in response.json()
    assert "total;dur=" in response.headers["server-timing"]


# ---- other addresses ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/indexes", IndexList),
        ("/v1/indexes/papers", IndexInfo),
        ("/v1/indexes/vectors", IndexInfo),
        ("/v1/indexes/papers/documents/d1", StoredDocument),
        ("/livez", Live),
        ("/readyz", Ready),
        ("/v1/info", ServerInfo),
        *((f"/problems/{code.replace('_', '-')}", ProblemKind) for code in KINDS),
    ],
)
def test_every_answer_has_its_documented_shape_and_no_path_of_a_file(
    world: World, path: str, shape: type[BaseModel]
) -> None:
    response = world.client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-content-type-options"] == "nosniff"
    shape.model_validate(response.json(), extra="forbid")
    assert str(world.folder) not in response.text


def test_indexes_are_described(world: World) -> None:
    listed = world.client.get("/v1/indexes").json()["indexes"]
    counted = [(one["name"], one["state"], one["n_docs"]) for one in listed]
    assert counted == [("papers", "ready", 6), ("vectors", "ready", 2)]
    info = world.client.get("/v1/indexes/papers").json()
    assert (info["n_docs"], info["fields"]) == (6, KINDS_OF_FIELDS)
    assert info["encoder"]["query_strategy"] == "bm25"
    assert info["queries"] == ["text", "tokens", "vector"]
    assert world.client.get("/v1/indexes/vectors").json()["queries"] == ["vector"]


@pytest.mark.parametrize(
    ("encoded", "document"),
    [
        ("d1", DOCUMENTS[0]),
        ("a%2Fb%20c%3F%23%25%C3%A9", DOCUMENTS[3]),
        ("a/b%20c%3F%23%25%C3%A9", DOCUMENTS[3]),
        ("%3Cscript%3E", DOCUMENTS[5]),
    ],
)
def test_documents_are_read_by_ids_with_odd_characters(
    world: World, encoded: str, document: Document
) -> None:
    answer = world.client.get(f"/v1/indexes/papers/documents/{encoded}").json()
    assert answer.pop("version") >= 1
    assert answer == {"index": "papers", "id": document.doc_id, "fields": document.fields}


def test_info_tells_the_limits_that_are_enforced(world: World) -> None:
    limits = world.client.get("/v1/info").json()["limits"]
    assert limits == {
        **Limits(body_bytes=LIMIT_BYTES).as_info(),
        "limit": 1000,
        "window": 10_000,
        "cursor_depth": 100_000,
        "timeout_ms": 600_000,
        "query_terms": 4112,
        "filter_depth": 32,
        "filter_clauses": 1000,
        "filter_values": 100_000,
        "searches": 64,
        "texts": 128,
    }


def test_the_description_of_the_api_is_the_committed_one(world: World) -> None:
    """So that a change of the API shows in review: `python -m service.openapi` writes it anew."""
    assert openapi_json() == SNAPSHOT.read_bytes(), "run: python -m service.openapi"
    served = world.client.get("/openapi.json").json()
    assert "HTTPValidationError" not in str(served)
    for path, methods in served["paths"].items():
        expected = {"application/problem+json"}
        if path == "/embed_sparse":  # the errors of another protocol, but for what comes before it
            expected = {"application/json", "application/problem+json"}
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if status >= "400":
                    assert response["content"].keys() <= expected
                    assert response["content"]
                elif status not in ("204", "304"):
                    assert response["content"]


# ---- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "pointer", "hint"),
    [
        ({"query": {"text": "a"}, "limt": 3}, "unknown_field", "/limt", "Did you mean 'limit'?"),
        ({"query": {"txt": "a"}}, "unknown_field", "/query/txt", "Did you mean 'text'?"),
        ({"query": {"text": "a"}, "xyz": 3}, "unknown_field", "/xyz", "Known here: query, limit,"),
        (
            {"query": {"text": "a"}, "filter": {"year": {"gtee": 1}}},
            "invalid_filter",
            "/filter/year/gtee",
            "Did you mean 'gte'?",
        ),
        (
            {"query": {"vector": {"indices": [1], "value": [1.0]}}},
            "unknown_field",
            "/query/vector/value",
            "Did you mean 'values'?",
        ),
        ({}, "invalid_request", "/query", None),
        ({"query": {}}, "invalid_request", "/query", None),
        ({"query": {"text": "a", "tokens": {}}}, "invalid_request", "/query", None),
        ({"query": {"text": 3}}, "invalid_request", "/query/text", None),
        ({"query": {"text": "a"}, "limit": 0}, "invalid_request", "/limit", None),
        ({"query": {"text": "a"}, "limit": 1001}, "invalid_request", "/limit", None),
        ({"query": {"text": "a"}, "limit": "3"}, "invalid_request", "/limit", None),
        ({"query": {"text": "a"}, "limit": True}, "invalid_request", "/limit", None),
        ({"query": {"text": "a"}, "explain": 1}, "invalid_request", "/explain", None),
        ({"query": {"text": "a"}, "fields": "title"}, "invalid_request", "/fields", None),
        ({"query": {"tokens": {"a/b~": -1}}}, "invalid_request", "/query/tokens/a~1b~0", None),
        ({"query": {"tokens": {"a": 1e39}}}, "invalid_request", "/query/tokens/a", None),
        (
            {"query": {"vector": {"indices": [1, -2], "values": [1, 2]}}},
            "invalid_request",
            "/query/vector/indices/1",
            None,
        ),
        (
            {"query": {"vector": {"indices": [1, 2], "values": [1.0, -0.5]}}},
            "invalid_request",
            "/query/vector/values/1",
            None,
        ),
        (
            {"query": {"vector": {"indices": [1, 2], "values": [1.0]}}},
            "invalid_query",
            "/query/vector",
            "one value for each index",
        ),
        (
            {"query": {"vector": {"indices": [3, 1, 3], "values": [1, 1, 1]}}},
            "invalid_query",
            "/query/vector/indices/2",
            "Add its weights up",
        ),
        (
            {"query": {"vector": {"indices": [0, 10**9], "values": [1, 1]}}},
            "invalid_query",
            "/query/vector/indices/1",
            "encoder",
        ),
        (
            {"query": {"vector": {"indices": [0, 10**30], "values": [1, 1]}}},
            "invalid_request",
            "/query/vector/indices/1",
            None,
        ),
        (
            {"query": {"text": "a"}, "filter": {"yaer": 1}},
            "unknown_filter_field",
            "/filter/yaer",
            "Did you mean 'year'?",
        ),
        (
            {"query": {"text": "a"}, "filter": {"year": ["x"]}},
            "invalid_filter",
            "/filter/year/0",
            None,
        ),
        (
            {"query": {"text": "a"}, "filter": {"lang": {"eq": 3}}},
            "invalid_filter",
            "/filter/lang/eq",
            None,
        ),
        (
            {"query": {"text": "a"}, "filter": {"good": {"gt": False}}},
            "invalid_filter",
            "/filter/good/gt",
            None,
        ),
        ({"query": {"text": "a"}, "filter": {"year": {}}}, "invalid_filter", "/filter/year", None),
    ],
)
def test_a_wrong_body_is_refused_with_its_place(
    world: World, body: Any, code: str, pointer: str, hint: str | None
) -> None:
    problem = assert_problem(world.client.post(SEARCH, json=body), 422, code)
    assert problem["errors"][0]["pointer"] == pointer
    assert problem["instance"] == SEARCH
    if hint is not None:
        assert hint in problem["hint"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize(
    ("template", "pointer"),
    [
        ('{"query": {"tokens": {"cat": %s}}}', "/query/tokens/cat"),
        ('{"query": {"vector": {"indices": [1], "values": [%s]}}}', "/query/vector/values/0"),
        ('{"query": {"text": "a"}, "filter": {"year": {"gt": %s}}}', "/filter/year/gt"),
    ],
)
def test_numbers_that_are_none_are_refused_with_their_place(
    world: World, number: str, template: str, pointer: str
) -> None:
    """NaN and Infinity are no JSON, but common parsers read them."""
    response = world.client.post(SEARCH, content=template % number, headers=JSON)
    code = "invalid_filter" if pointer.startswith("/filter") else "invalid_request"
    problem = assert_problem(response, 422, code)
    assert problem["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b'{"query": ', JSON, 400, "malformed_json"),
        (b'{"query": {"text": "\xff"}}', JSON, 400, "malformed_json"),
        (b"[" * 2000, JSON, 400, "malformed_json"),
        (b"[]", JSON, 422, "invalid_request"),
        (b"", JSON, 422, "invalid_request"),
        (b"", {}, 422, "invalid_request"),
        (b'{"query": {"text": "a"}}', {}, 415, "unsupported_media_type"),
        (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415, None),
        (b"\x1f\x8b\x08", {**JSON, "Content-Encoding": "gzip"}, 400, "malformed_body"),
        (b"{}", {**JSON, "Content-Encoding": "br"}, 415, None),
        (b'{"query": {"tokens": {"\\ud800": "\\udfff"}}}', JSON, 422, "invalid_request"),
        (b'{"query": {"text": "\\ud800"}}', JSON, 422, "invalid_request"),
        (b'{"\\ud800": 1}', JSON, 422, None),
        (b'{"query": {"text": "a"}, "fields": ["\\ud800"]}', JSON, 422, "invalid_request"),
        (b'{"limit": ' + b"9" * 4000 + b"}", JSON, 422, None),
        (b" " * (LIMIT_BYTES + 1), JSON, 413, "body_too_large"),
    ],
)
def test_bodies_that_cannot_be_read_are_refused(
    world: World, content: bytes, headers: Mapping[str, str], status: int, code: str | None
) -> None:
    response = world.client.post(SEARCH, content=content, headers=dict(headers))
    assert_problem(response, status, code or response.json()["code"])


def test_a_body_is_counted_as_it_comes(world: World) -> None:
    """Without Content-Length, and on an address that reads no body at all."""
    chunks = (b" " * 1000 for _ in range(LIMIT_BYTES // 1000 + 1))
    response = world.client.post(SEARCH, content=chunks, headers=JSON)
    assert_problem(response, 413, "body_too_large")
    response = world.client.request("GET", "/livez", content=b" " * (LIMIT_BYTES + 1))
    assert_problem(response, 413, "body_too_large")
    exactly = b'{"query": {"text": "cats"}}'.ljust(LIMIT_BYTES)
    assert world.client.post(SEARCH, content=exactly, headers=JSON).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "hint"),
    [
        ("GET", "/nowhere", 404, "not_found", "/openapi.json"),
        ("GET", "/v1/indexes/", 404, "not_found", "/openapi.json"),
        ("GET", "/docs/../openapi.py", 404, "not_found", None),
        ("GET", "/v1/indexes/papres", 404, "unknown_index", "Did you mean 'papers'?"),
        ("GET", "/v1/indexes/..%2Fpapers.index", 404, "not_found", None),
        ("GET", "/v1/indexes/papers/documents/d9", 404, "unknown_document", None),
        ("GET", "/v1/indexes/papers/documents/", 404, "unknown_document", None),
        ("GET", "/problems/unknown-indx", 404, "unknown_problem", "'unknown-index'"),
        ("GET", "/problems/unknown_index", 404, "unknown_problem", None),
        ("GET", SEARCH, 405, "method_not_allowed", None),
        ("DELETE", "/livez", 405, "method_not_allowed", None),
        ("PUT", "/docs", 405, "method_not_allowed", None),
    ],
)
def test_wrong_addresses_are_problems_too(
    world: World, method: str, path: str, status: int, code: str, hint: str | None
) -> None:
    response = world.client.request(method, path)
    problem = assert_problem(response, status, code, folder=world.folder)
    assert hint is None or hint in problem["hint"]
    if status == 405:
        methods = {SEARCH: "POST", "/livez": "GET, HEAD", "/docs": "GET, HEAD"}
        assert response.headers["allow"] == methods[path]
    if code == "unknown_index":
        assert problem["available"] == ["papers", "vectors"]


def test_what_is_allowed_is_told_of_every_route_of_an_address(world: World) -> None:
    for path, methods in (
        ("/v1/indexes", "GET, HEAD, POST"),
        ("/v1/indexes/papers", "DELETE, GET, HEAD, PATCH"),
        ("/v1/indexes/papers/documents/d1", "DELETE, GET, HEAD, PUT"),
    ):
        response = world.client.request("TRACE", path)
        assert (response.status_code, response.headers["allow"]) == (405, methods)


def test_head_is_answered_as_get_without_the_body(world: World) -> None:
    """Probes of load balancers ask so, and took the server for dead."""
    for path in ("/livez", "/readyz", "/metrics", "/v1/indexes/papers/documents/d1", "/nowhere"):
        asked, told = world.client.get(path), world.client.head(path)
        assert (told.status_code, told.content) == (asked.status_code, b"")
        for name in ("content-type", "etag"):
            assert told.headers.get(name) == asked.headers.get(name)
    assert world.client.head(SEARCH).status_code == 405


def test_an_index_of_vectors_refuses_text_and_says_what_it_takes(world: World) -> None:
    for query in ({"text": "a"}, {"tokens": {"a": 1}}):
        response = world.client.post("/v1/indexes/vectors/search", json={"query": query})
        problem = assert_problem(response, 422, "no_encoder")
        assert "query.vector" in problem["hint"]


def test_a_query_of_too_many_terms_is_refused(folder: Path) -> None:
    app = create_app(Settings({"papers": folder / "papers.index"}))
    with TestClient(app) as client:
        text = " ".join(f"w{i}" for i in range(20_000))  # unseen words share 16,384 buckets
        response = opened(client).post(SEARCH, json={"query": {"text": text}})
        assert "4,112" in assert_problem(response, 422, "query_too_long")["detail"]
        vector = {"indices": list(range(4113)), "values": [1.0] * 4113}
        response = client.post(SEARCH, json={"query": {"vector": vector}})
        problem = assert_problem(response, 422, "invalid_request")
        assert problem["errors"][0]["pointer"] == "/query/vector/indices"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RuntimeError("secret /etc/x"), 500, "internal_error"),
        (IndexCorrupt("secret /etc/x"), 503, "index_unavailable"),
    ],
)
def test_our_own_faults_are_logged_and_not_told(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    code: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise type(error)(*error.args)  # the parameter itself would keep every frame alive

    monkeypatch.setattr(Index, "search", fail)
    with caplog.at_level(logging.ERROR, "lsr.service"):
        response = world.client.post(SEARCH, json={"query": {"text": "cats"}})
    problem = assert_problem(response, status, code)
    assert "secret" not in response.text
    assert problem["request_id"] in caplog.text
    assert "secret" in caplog.text


@pytest.mark.parametrize(
    ("sent", "kept"), [("trace-1.a_B", True), ("", False), ("a\tb", False), ("x" * 129, False)]
)
def test_a_well_formed_request_id_is_kept(world: World, sent: str, kept: bool) -> None:
    returned = world.client.get("/nowhere", headers={"X-Request-Id": sent}).json()["request_id"]
    assert (returned == sent) is kept
    assert re.fullmatch(r"[\w.-]+", returned)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["text", "tokens", "vector", "indices", "values", "year", "gt", "in"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    body=st.fixed_dictionaries(
        {"query": json_values | st.fixed_dictionaries({"text": st.text()})},
        optional={"limit": json_values, "filter": json_values, "fields": json_values},
    )
)
def test_any_json_gets_an_answer_or_a_problem(world: World, body: Any) -> None:
    response = world.client.post(SEARCH, content=json.dumps(body), headers=JSON)
    if response.status_code == 200:
        SearchResponse.model_validate(response.json(), extra="forbid")
    else:
        assert_problem(response, response.status_code, response.json()["code"])
        assert response.status_code in (400, 413, 422)


def test_a_wrong_parameter_of_the_address_is_named(tmp_path: Path) -> None:
    """It was told as a missing body once, to whoever sent none or one that is no JSON."""
    settings = Settings({}, home=tmp_path / "data", work_inside=True)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        problem = assert_problem(client.get("/v1/tasks?limit=x"), 422, "invalid_request")
        assert problem["errors"][0]["pointer"] == "/query/limit"
        assert "'limit': wanted a whole number" in problem["detail"]
        assert client.post("/v1/indexes", json={"name": "pets"}).status_code == 201
        response = client.post(
            "/v1/indexes/pets/documents?wait=soon",
            content=b'{"id": "a"}\n',
            headers={"Content-Type": "application/x-ndjson"},
        )
        assert "'wait'" in assert_problem(response, 422, "invalid_request")["detail"]
        misspelt = client.post("/v1/indexes/pets/documents?akc=logged", content=b'{"id": "a"}\n')
        problem = assert_problem(misspelt, 422, "unknown_field")
        assert problem["hint"] == "Did you mean 'ack'?"
        assert_problem(client.get("/v1/info?x=1"), 422, "unknown_field")


# ---- opening, commits, threads -----------------------------------------------------------------


def test_nothing_is_ready_until_everything_is_open(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    really_load = query_encoder

    def slowly(*arguments: Any) -> Any:
        assert gate.wait(30)
        return really_load(*arguments)

    monkeypatch.setattr("service.collection.query_encoder", slowly)
    paths = dict.fromkeys(("papers", "more"), folder / "papers.index")
    with TestClient(create_app(Settings(paths))) as client:
        try:
            assert client.get("/livez").status_code == 200
            problem = assert_problem(client.get("/readyz"), 503, "not_ready")
            while problem["checks"][0]["step"] != "loading the encoder":
                problem = client.get("/readyz").json()
            first, second = problem["checks"]
            assert (first["index"], first["state"]) == ("papers", "opening")
            assert 0 <= first["seconds"] < 30
            assert (second["state"], second["step"]) == ("opening", "waiting for its turn")
            response = client.post(SEARCH, json={"query": {"text": "cats"}})
            assert_problem(response, 503, "not_ready")
            assert response.headers["retry-after"] == "1"
            listed = client.get("/v1/indexes").json()["indexes"]
            assert {one["state"] for one in listed} == {"opening"}
        finally:
            gate.set()
        answer = opened(client).get("/readyz").json()
        assert answer["status"] == "ready"
        while not all(check["verified"] for check in answer["checks"]):
            answer = client.get("/readyz").json()  # verified in the background
        index_bytes = client.get("/v1/indexes/papers").json()["segment_bytes"]
        assert answer["checks"][0]["verified"] == {"bytes": index_bytes, "of": index_bytes}


def test_one_index_that_cannot_be_opened_does_not_stop_the_others(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(Settings({"gone": tmp_path / "gone.index", "papers": folder / "papers.index"}))
    with caplog.at_level(logging.ERROR, "lsr.service"), TestClient(app) as client:
        problem = assert_problem(opened(client).get("/readyz"), 503, "not_ready", folder=tmp_path)
        gone, papers = problem["checks"]
        assert gone["reason"] == "cannot be opened (IndexNotFound)"
        assert (gone["state"], gone["step"]) == ("failed", "failed")
        assert (papers["state"], papers["step"]) == ("ready", "serving")
        response = client.post("/v1/indexes/gone/search", json={"query": {"text": "cats"}})
        assert_problem(response, 503, "index_unavailable", folder=tmp_path)
        assert client.post(SEARCH, json={"query": {"text": "cats"}}).status_code == 200
    assert str(tmp_path / "gone.index") in caplog.text, "the log names the path"


def test_commits_of_others_are_visible_to_the_next_search(tmp_path: Path) -> None:
    path = tmp_path / "live.index"
    with (
        Index.create(path, n_terms=3, max_weight=255.0) as writer,
        TestClient(create_app(Settings({"live": path}))) as client,
    ):

        def found() -> tuple[int, list[str]]:
            query = {"query": {"vector": {"indices": [1], "values": [1.0]}}}
            answer = opened(client).post("/v1/indexes/live/search", json=query).json()
            return answer["generation"], [hit["id"] for hit in answer["hits"]]

        vector = sparse.csr_array(np.array([[0, 1, 0]], np.float32))
        assert found() == (0, [])
        added = writer.add([Document("a")], vector)
        assert found() == (added.number, ["a"])
        deleted = writer.delete(["a"])
        assert found() == (deleted.number, [])
        assert client.get("/v1/indexes/live/documents/a").status_code == 404


def test_answers_are_of_one_commit_while_another_process_replaces(tmp_path: Path) -> None:
    """A hit's score, stored fields and explanation belong together, whatever is written."""
    ids = [f"d{i}" for i in range(20)]

    def version(number: int) -> tuple[list[Document], Any]:
        weights = np.zeros((20, 2), np.float32)
        weights[:, 1] = number + 1
        return [Document(one, {"version": number}) for one in ids], sparse.csr_array(weights)

    wrong: list[object] = []
    done = threading.Event()
    with Index.create(tmp_path / "live.index", n_terms=2, max_weight=255.0) as writer:
        writer.add(*version(0))
        app = create_app(Settings({"live": writer.path}))
        with TestClient(app, raise_server_exceptions=False) as client:
            opened(client)
            body = {
                "query": {"vector": {"indices": [1], "values": [1.0]}},
                "limit": 20,
                "explain": True,
            }

            def read() -> None:
                while not done.is_set():
                    response = client.post("/v1/indexes/live/search", json=body)
                    if response.status_code == 503:
                        assert_problem(response, 503, "index_busy")
                        continue
                    answer = response.json()
                    for hit in answer["hits"]:
                        if round(hit["score"]) != hit["fields"]["version"] + 1:
                            wrong.append(hit)
                        if hit["explain"]["sum"] != hit["score"]:
                            wrong.append(hit)
                    if sorted(hit["id"] for hit in answer["hits"]) != sorted(ids):
                        wrong.append(answer)

            readers = [threading.Thread(target=read) for _ in range(3)]
            for reader in readers:
                reader.start()
            for number in range(1, 25):
                writer.add(*version(number))
            done.set()
            for reader in readers:
                reader.join()
    assert wrong == []


def test_one_slow_query_stalls_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    search: Callable[..., Any] = Index.search
    entered, release = threading.Event(), threading.Event()

    def slow_for_three(self: Index, query: Any, k: int, **rest: Any) -> Any:
        if k == 3:
            entered.set()
            assert release.wait(30)
        return search(self, query, k, **rest)

    monkeypatch.setattr(Index, "search", slow_for_three)
    slow: list[list[str]] = []
    thread = threading.Thread(
        target=lambda: slow.append(world.ids(query={"text": "cats"}, limit=3))
    )
    thread.start()
    assert entered.wait(30)
    assert world.ids(query={"text": "cats"}) == ["d2"]
    assert slow == []
    release.set()
    thread.join()
    assert slow == [["d2"]]


def test_an_index_of_passages_says_where_the_best_one_lies(tmp_path: Path) -> None:
    text = "filler words here " * 8 + "zebra " + "more filler words " * 8
    documents = [Document("long", {"text": text}), Document("short", {"text": "a horse"})]
    encoder = BM25Encoder.fit(document.text() for document in documents)
    path = tmp_path / "passages.index"
    build_index(path, documents, encoder, source="test", passages=(10, 2), progress=False)
    with TestClient(create_app(Settings({"passages": path}))) as client:
        body = {"query": {"text": "zebra"}, "explain": True}
        answer = opened(client).post("/v1/indexes/passages/search", json=body).json()
        SearchResponse.model_validate(answer, extra="forbid")
    (hit,) = answer["hits"]
    assert hit["id"] == "long"
    assert "zebra" in text[hit["passage"]["start"] : hit["passage"]["end"]]
    assert hit["passage"]["end"] - hit["passage"]["start"] < len(text) / 2
    assert hit["explain"]["sum"] == hit["score"]


@pytest.mark.parametrize("name", ["", "Papers", "-a", "a/b", "..", "a" * 64, "é"])
def test_names_that_cannot_be_addresses_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="index name"):
        Settings({name: Path("x")})


def test_an_encoder_for_an_index_that_is_not_served_is_refused() -> None:
    with pytest.raises(UsageError, match="not served"):
        Settings({"a": Path("x")}, encoders={"b": Path("y")})


def test_serving_needs_no_torch(folder: Path) -> None:
    """The whole way of a text query, in an interpreter where torch cannot be imported."""
    code = f"""
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
from pathlib import Path
from starlette.testclient import TestClient
from service import Settings, create_app
settings = Settings({{"papers": Path({str(folder / "papers.index")!r})}})
with TestClient(create_app(settings)) as client:
    assert client.app_state["engine"].wait(30)
    answer = client.post("{SEARCH}", json={{"query": {{"text": "cats"}}}}).json()
    assert [hit["id"] for hit in answer["hits"]] == ["d2"], answer
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
