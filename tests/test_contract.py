"""The API does what its OpenAPI document says, and the document says all that it does."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from contract import MODES, Contract, main
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from service import Settings, create_app
from service.openapi import SNAPSHOT
from service.problems import CODES, KINDS
from service.routes import ROUTERS

DOCUMENT = json.loads(SNAPSHOT.read_text())
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contract]:
    contract = Contract.begin(tmp_path_factory.mktemp("contract") / "home")
    contract.prepare()
    yield contract
    contract.end()


@pytest.mark.parametrize("label", OPERATIONS)
def test_generated_requests_are_answered_as_described(contract: Contract, label: str) -> None:
    """A handful of them; `make test-api` sends a hundred thousand."""
    (operation,) = (
        one for one in contract.operations() if f"{one.method.upper()} {one.path}" == label
    )
    for mode in MODES:
        found = contract.exercise(operation, mode, n=2, start=1, shrink=False)
        assert found is None, found.message


def test_sequences_of_requests_are_answered_as_described(contract: Contract) -> None:
    """Along the links, what one request made is what the next one is about."""
    walked = contract.walk(n=4, steps=6, start=3)
    assert walked.findings == []
    assert walked.n_linked > 5


@pytest.mark.slow
def test_the_long_run_counts_and_reports(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--requests", "1", "--sequences", "5"]) == 0
    assert "errors     0 answers of 5xx, 0 findings" in capsys.readouterr().out


@pytest.mark.parametrize("label", OPERATIONS)
def test_every_route_documents_its_errors(label: str) -> None:
    """With the codes by name; what has a body says how the body may be wrong."""
    responses = OPERATIONS[label]["responses"]
    assert any(status.startswith("2") for status in responses)
    assert "500" in responses
    if "requestBody" in OPERATIONS[label]:
        assert {"400", "413", "415", "422"} <= responses.keys()
    if "{" in label:
        assert "404" in responses or "history" in label
    for status, response in responses.items():
        if status >= "4" and label != "POST /embed_sparse":  # which errs as TEI does
            assert list(response["content"]) == ["application/problem+json"]
            codes = [code for code in KINDS if f"`{code}`" in response["description"]]
            assert codes
            assert {KINDS[code].status for code in codes} == {int(status)}


def test_every_problem_of_a_route_is_listed_for_programs_too() -> None:
    """And only what it can answer: no list names all the codes of a status."""
    search = OPERATIONS["POST /v1/indexes/{name}/search"]["responses"]
    assert search["410"][CODES] == ["cursor_expired"]
    assert search["404"][CODES] == ["unknown_index", "unknown_document", "invalid_name"]
    assert "409" not in search
    assert OPERATIONS["GET /v1/keys"]["responses"]["409"][CODES] == ["no_data_directory"]
    assert OPERATIONS["GET /livez"]["responses"].keys() >= {"421", "422"}
    assert "401" not in OPERATIONS["GET /livez"]["responses"]
    for operation in OPERATIONS.values():
        for response in operation["responses"].values():
            for code in response.get(CODES, ()):
                assert f"`{code}`" in response["description"]


def test_a_problem_that_its_route_does_not_list_is_noticed(undocumented: list[str]) -> None:
    """What makes every test of the service a test of these lists, at work on a planted fault."""
    app = create_app(Settings({}))
    with TestClient(app) as client:
        client.get("/problems/nothing")
        assert undocumented == []
        (route,) = (
            one
            for router in ROUTERS
            for one in router.routes
            if isinstance(one, APIRoute) and one.path == "/problems/{name}"
        )
        listed = dict(route.responses)
        route.responses.clear()
        try:
            client.get("/problems/nothing")
        finally:
            route.responses.update(listed)
    assert undocumented == ["GET /problems/{name}: unknown_problem"]
    undocumented.clear()


def examples() -> Iterator[tuple[str, Any, Any]]:
    """(where, schema, example) for every example in the document."""
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for at, example in enumerate(schema.get("examples", ())):
            yield f"{name}/{at}", schema, example


@pytest.mark.parametrize(
    ("schema", "example"), [pytest.param(s, e, id=i) for i, s, e in examples()]
)
def test_every_example_is_valid(schema: Any, example: Any) -> None:
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema_rs.validate(whole, example)


def test_every_request_has_an_example() -> None:
    for label, operation in OPERATIONS.items():
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            if media_type == "application/json":
                name = content["schema"]["$ref"].rpartition("/")[2]
                assert DOCUMENT["components"]["schemas"][name].get("examples"), label
