"""What people get wrong over HTTP is told with its place and with what to do about it."""

import gzip
from collections.abc import Iterator
from typing import Any

import pytest
import zstandard
from starlette.testclient import TestClient

from service import Settings, create_app
from service.wire.problems import Problem

PETS = b'{"id": "a", "fields": {"title": "Cats", "text": "cats sleep", "lang": "en"}}\n'


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server with the live index 'pets'."""
    home = tmp_path_factory.mktemp("mistakes") / "data"
    with TestClient(create_app(Settings({}, home=home, work_inside=True))) as client:
        made = client.post("/v1/indexes", json={"name": "pets", "fields": {"lang": "keyword"}})
        assert made.status_code == 201, made.text
        added = client.post(
            "/v1/indexes/pets/documents",
            content=PETS,
            headers={"Content-Type": "application/x-ndjson"},
        )
        assert added.status_code == 200, added.text
        yield client


def told(client: TestClient, address: str, status: int, **request: Any) -> Problem:
    answer = client.post(address, **request)
    assert answer.status_code == status, answer.text
    return Problem.model_validate(answer.json())


def test_an_undeclared_field_is_told_what_to_do_over_http_and_at_the_terminal(
    client: TestClient,
) -> None:
    body = {"query": {"text": "cats"}, "filter": {"flavour": "sour"}}
    problem = told(client, "/v1/indexes/pets/search", 422, json=body)
    assert problem.hint is not None
    assert "POST /v1/indexes" in problem.hint
    assert "lsr index --field flavour:keyword" in problem.hint


@pytest.mark.parametrize("name", ["", "any", "all", "not", "field", "x" * 256])
def test_fields_that_no_filter_could_name_are_refused(client: TestClient, name: str) -> None:
    body = {"name": "other", "fields": {"lang": "keyword", name: "int"}}
    problem = told(client, "/v1/indexes", 422, json=body)
    assert [fault.pointer for fault in problem.errors] == [f"/fields/{name}"]
    assert "wanted" in problem.errors[0].message
    assert client.get("/v1/indexes/other").status_code == 404


def test_the_longest_name_of_a_field_is_taken_and_filtered_by(client: TestClient) -> None:
    name = "x" * 255
    made = client.post("/v1/indexes", json={"name": "long", "fields": {name: "int"}})
    assert made.status_code == 201, made.text
    body = {"query": {"text": "cats"}, "filter": {name: 3}}
    assert client.post("/v1/indexes/long/search", json=body).json()["hits"] == []
    assert client.delete("/v1/indexes/long").status_code == 204


@pytest.mark.parametrize(
    ("address", "body", "code", "pointer"),
    [
        ("keys", {"name": "k", "scopes": ["search:*", "fly:*"]}, "invalid_scope", "/scopes/1"),
        ("keys", {"name": "k", "scopes": ["monitor:pets"]}, "invalid_scope", "/scopes/0"),
        ("keys", {"name": "\n"}, "invalid_key_request", "/name"),
        ("keys", {"name": "k", "filter": {}}, "invalid_key_request", "/filter"),
        (
            "keys",
            {"name": "k", "scopes": ["write:pets"], "filter": {"lang": "en"}},
            "invalid_key_request",
            "/filter",
        ),
        ("indexes", {"name": "pets"}, "index_exists", "/name"),
    ],
)
def test_mistakes_have_a_place(
    client: TestClient, address: str, body: dict[str, Any], code: str, pointer: str
) -> None:
    status = 409 if code == "index_exists" else 422
    problem = told(client, f"/v1/{address}", status, json=body)
    assert (problem.code, [one.pointer for one in problem.errors]) == (code, [pointer])


@pytest.mark.parametrize(
    ("address", "body", "pointer", "message"),
    [
        ("indexes/pets/search", {}, "/query", "wanted, but missing"),
        (
            "indexes/pets/search",
            {"query": {"text": "a"}, "highlight": {"fields": []}},
            "/highlight/fields",
            "wanted at least 1 item",
        ),
        (
            "indexes/pets/search",
            {"query": {"text": "a"}, "require_terms": ["a"] * 65},
            "/require_terms",
            "wanted at most 64 items",
        ),
        ("keys", {"name": ""}, "/name", "wanted at least 1 character"),
        ("keys", {"name": "x" * 201}, "/name", "wanted at most 200 characters"),
        (
            "indexes/pets/search",
            {"query": {"text": "a"}, "mode": "fast"},
            "/mode",
            'wanted "exact" or {"approx": {"recall": 0.95}}, say',
        ),
    ],
)
def test_what_was_wanted_is_said_in_our_words(
    client: TestClient, address: str, body: dict[str, Any], pointer: str, message: str
) -> None:
    problem = told(client, f"/v1/{address}", 422, json=body)
    assert [(one.pointer, one.message) for one in problem.errors] == [(pointer, message)]


def test_a_query_that_is_a_text_alone_is_told_its_shape(client: TestClient) -> None:
    problem = told(client, "/v1/indexes/pets/search", 422, json={"query": "late fee"})
    assert problem.errors[0].pointer == "/query"
    assert problem.hint == 'Give {"query": {"text": "..."}}.'


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_compressed_body_that_is_cut_off_is_told_apart_from_another_one(
    client: TestClient, encoding: str
) -> None:
    packed = gzip.compress(PETS) if encoding == "gzip" else zstandard.compress(PETS)
    headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": encoding}
    address = "/v1/indexes/pets/documents"
    cut = told(client, address, 400, content=packed[:-3], headers=headers)
    other = told(client, address, 400, content=PETS, headers=headers)
    assert cut.code == other.code == "malformed_body"
    assert "ends early" in cut.detail
    assert f"is not {encoding}" in other.detail


def test_an_empty_filter_deletes_nothing_and_is_told_why(client: TestClient) -> None:
    address = "/v1/indexes/pets/documents/delete"
    problem = told(client, address, 422, json={"filter": {}})
    assert "would delete every document" in problem.detail
    assert "DELETE /v1/indexes/NAME" in problem.detail
    both = told(client, address, 422, json={"ids": ["a"], "filter": {"lang": "en"}})
    assert "exactly one" in both.detail
    assert client.get("/v1/indexes/pets").json()["n_docs"] == 1
