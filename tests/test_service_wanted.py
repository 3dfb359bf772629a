"""Whatever is wrong with a request is told in words that need no knowledge of our libraries."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from service import Settings, create_app
from service.errors import problem_of_faults
from service.problems import ProblemError
from service.routes import ROUTERS  # noqa: F401  defines every model of a request
from service.wire.base import Strict

VALUES: tuple[Any, ...] = (
    None, True, "", "x", "x" * 300, 1, -1, 1.5, 1e300, 10**30, float("nan"),
    [], ["x"], [1], [None], [[]], ["x"] * 100, {}, {"x": 1}, {"x": None}, {"x": {}},
)  # fmt: skip
FOREIGN = (
    "input should", "valid ", "dictionary", "instance", "extract", "extra", "function", "tag",
    "model", "parse", "type", "none", "unable", "pydantic", "[", "utf-8", "serializ",
)  # fmt: skip
"""What only somebody who wrote the server could make sense of; `none` is no word of JSON."""


def models(of: type[Strict] = Strict) -> Iterator[type[Strict]]:
    for one in of.__subclasses__():
        yield one
        yield from models(one)


def mistake(model: type[Strict], body: Any) -> ProblemError | None:
    try:
        model.model_validate(body)
    except ValidationError as error:
        errors = [one | {"loc": ("body", *one["loc"])} for one in error.errors()]
        return problem_of_faults(errors, body, model)
    return None


@pytest.mark.parametrize("model", dict.fromkeys(models()), ids=lambda model: model.__name__)
def test_no_message_speaks_of_what_the_server_is_made_of(model: type[Strict]) -> None:
    """Every field of every request, given a value of every kind."""
    names = {field.alias or name for name, field in model.model_fields.items()}
    assert names
    for name, value in itertools.product([*names, "bogus"], VALUES):
        problem = mistake(model, {name: value})
        for fault in () if problem is None else problem.faults:
            assert fault.pointer == "" or fault.pointer.split("/")[1] in {*names, "bogus"}
            ours = fault.message.replace("none of them", "").replace("'none'", "")
            ours = ours.replace('wanted "exact" or {"approx": {"recall": 0.95}}, say', "")
            found = [word for word in FOREIGN if word in ours.lower()]
            assert not found, (name, value, fault)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home = tmp_path_factory.mktemp("wanted") / "data"
    with TestClient(create_app(Settings({}, home=home))) as client:
        assert client.post("/v1/indexes", json={"name": "pets"}).status_code == 201
        yield client


TEXT: dict[str, Any] = {"text": "a"}
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "pointer", "message"),
    [
        # the kind of a value
        ({"query": {"text": 1}}, "/query/text", "wanted a string"),
        ({"query": TEXT, "limit": "3"}, "/limit", "wanted a whole number"),
        ({"query": TEXT, "limit": 1.5}, "/limit", "wanted a whole number"),
        ({"query": TEXT, "timeout_ms": "1"}, "/timeout_ms", "wanted a number"),
        ({"query": TEXT, "timing": 1}, "/timing", "wanted true or false"),
        ({"query": TEXT, "fields": "title"}, "/fields", "wanted a list"),
        ({"query": "cats"}, "/query", "wanted a JSON object"),
        ({"query": TEXT, "filter": []}, "/filter", "wanted a JSON object"),
        ({"query": {"tokens": {"a": None}}}, "/query/tokens/a", "wanted a number"),
        # bounds
        ({"query": TEXT, "limit": 0}, "/limit", "wanted at least 1"),
        ({"query": TEXT, "limit": 1001}, "/limit", "wanted at most 1,000"),
        ({"query": TEXT, "offset": 10_000}, "/offset", "wanted less than 10,000"),
        ({"query": TEXT, "timeout_ms": 0}, "/timeout_ms", "wanted more than 0"),
        ({"query": {"tokens": {"a": 1e39}}}, "/query/tokens/a", "wanted at most 3.4028234e+38"),
        # one of several
        ({"query": TEXT, "count": "all"}, "/count", "wanted 'none', 'estimate' or 'exact'"),
        (
            {"query": TEXT, "explain": "yes"},
            "/explain",
            'wanted true, false or {"top_terms": 5}, say',
        ),
        (
            {"query": TEXT, "explain": {"top_terms": "5"}},
            "/explain/top_terms",
            "wanted a whole number",
        ),
        (
            {"query": TEXT, "min_score": "1"},
            "/min_score",
            'wanted a number or {"relative": 0.2}, say',
        ),
        ({"query": TEXT, "min_score": {"relative": 2}}, "/min_score/relative", "wanted at most 1"),
        (
            {"query": TEXT, "require_terms": [None]},
            "/require_terms/0",
            "wanted a vocabulary entry or a term number",
        ),
        ({"query": TEXT, "require_terms": [-1]}, "/require_terms/0", "wanted at least 0"),
        ({"query": {"like": 3}}, "/query/like", 'wanted the id of a document or {"id": "d1"}, say'),
        ({"query": {"like": {}}}, "/query/like/id", "wanted, but missing"),
        # what no JSON text or no index can hold
        (
            {"query": TEXT, "filter": {"year": 10**30}},
            "/filter",
            "not a filter: a whole number in it has more than 64 bits",
        ),
    ],
)
def test_a_mistake_of_a_search_is_told_at_its_place(
    client: TestClient, body: dict[str, Any], pointer: str, message: str
) -> None:
    answer = client.post("/v1/indexes/pets/search", content=json.dumps(body), headers=JSON)
    assert answer.status_code == 422, answer.text
    (fault,) = answer.json()["errors"]
    assert (fault["pointer"], fault["message"]) == (pointer, message)
    assert answer.json()["detail"] == f"{pointer}: {message}."


@pytest.mark.parametrize(
    ("address", "pointer", "message"),
    [
        ("/v1/tasks?limit=x", "/query/limit", "wanted a whole number"),
        ("/v1/tasks?limit=101", "/query/limit", "wanted at most 100"),
        ("/v1/tasks/first", "/path/id", "wanted a whole number"),
    ],
)
def test_a_mistake_in_an_address_is_told_alike(
    client: TestClient, address: str, pointer: str, message: str
) -> None:
    answer = client.get(address)
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert (fault["pointer"], fault["message"]) == (pointer, message)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"inputs": 3}, "/inputs: wanted a text or a list of texts."),
        ({"inputs": ["a", 3]}, "/inputs/1: wanted a string."),
        ({"inputs": "a", "truncate": "x"}, "/truncate: wanted true or false."),
    ],
)
def test_clients_of_another_protocol_are_told_alike(
    client: TestClient, body: dict[str, Any], error: str
) -> None:
    answer = client.post("/embed_sparse", json=body)
    assert answer.status_code == 422
    assert answer.json() == {"error": error, "error_type": "validation"}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ('{"n": ' + "9" * 30 + "}", "a whole number in it has more than 64 bits"),
        ('{"n": NaN}', "NaN and infinity in it are no numbers of JSON"),
        ('{"n": "\\ud800"}', "half a surrogate pair in it is no character"),
        ('{"n": ' + "[" * 300 + "]" * 300 + "}", "it is nested too deeply"),
    ],
)
def test_what_cannot_be_stored_says_why(client: TestClient, fields: str, why: str) -> None:
    body = f'{{"fields": {fields}}}'
    answer = client.put("/v1/indexes/pets/documents/a", content=body, headers=JSON)
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert (fault["pointer"], fault["message"]) == ("/fields", f"cannot be stored: {why}")
