"""Requests generated from the OpenAPI document, valid ones and invalid ones, against the real app.

    python tests/contract.py --requests 100000 --minutes 20 --sequences 500   # or: make test-api

Names, document ids and task numbers are drawn from what the server holds, so that requests get past
404; sequences follow the document's links (sequences.py); everything else is schemathesis's choice.
Every answer is checked: no 5xx, a documented status and content type, a body of its schema, and
every error a problem document of a code that its route lists.
"""

import argparse
import collections
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from pydantic import ValidationError
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sequences import Walked, walk
from starlette.testclient import TestClient

from service import Settings, create_app
from service.problems import CODES, KINDS, type_of
from service.wire.problems import Problem

MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
STANDING = {
    "papers": {"name": "papers", "fields": {"lang": "keyword", "year": "int", "day": "date"}},
    "vectors": {"name": "vectors", "encoder": None, "n_terms": 8, "max_weight": 4.0},
    "spare": {"name": "spare"},
}
"""Indexes that are there whenever a batch of requests begins; the requests may delete them."""
ALIASES = ("best", "other")
IDS = ("d1", "d2", "a/b c?#%é", "..", "v1")
DOCUMENTS = {
    "papers": [
        {"id": "d1", "fields": {"text": "coffee and sleep", "lang": "en", "year": 1999}},
        {"id": "d2", "fields": {"text": "cats sleep all day", "day": "2020-01-01"}},
        {"id": "a/b c?#%é", "fields": {"text": "an odd id", "lang": "de"}},
        {"id": "..", "fields": {"text": "a relative id"}},
    ],
    "vectors": [{"id": "v1", "fields": {}, "vector": {"indices": [1, 2], "values": [1.0, 2.0]}}],
}

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
_WEIGHTS = st.dictionaries(st.sampled_from(("sleep", "cat", "x")), st.floats(), max_size=3)
_VECTORS = st.fixed_dictionaries(
    {
        "indices": st.lists(st.integers(-1, 9), max_size=4),
        "values": st.lists(st.floats(0, 5), max_size=4),
    }
)
_DOCUMENTS = st.fixed_dictionaries(
    {
        "id": st.sampled_from(IDS) | st.text(max_size=5),
        "fields": st.dictionaries(st.text(max_size=5), _JSON, max_size=3),
    },
    optional={"tokens": _WEIGHTS, "vector": _VECTORS},
)
_LINES = st.lists(
    (_DOCUMENTS | _JSON).map(lambda line: json.dumps(line).encode()) | st.binary(max_size=12),
    max_size=5,
).map(b"\n".join)


_MEANT = st.fixed_dictionaries(
    {},
    optional={
        "index": st.sampled_from((*STANDING, *ALIASES)),
        "filter": st.sampled_from(({"lang": "en"}, {"not": {"field": "year", "lt": 2000}}, {})),
        "query": st.sampled_from(
            (
                {"text": "cats that sleep"},
                {"tokens": {"sleep": 1.5}},
                {"vector": {"indices": [1, 0], "values": [1.0, 0.5]}},
                {"like": "d1"},
            )
        ),
        "like": st.sampled_from(IDS),
        "terms": st.just(["sleep", 1]),
        "require_terms": st.just([]),
        "exclude_terms": st.just([]),
        "cursor": st.none(),
        "min_score": st.sampled_from((0.1, {"relative": 0.5})),
    },
)
"""What a request must know to mean anything here; a schema cannot tell it."""


def _with_meaning(body: Any, meant: Mapping[str, Any]) -> Any:
    """The body with some of its members as this server knows them, at any depth."""
    if isinstance(body, dict):
        return {
            name: meant[name] if name in meant else _with_meaning(value, meant)
            for name, value in body.items()
        }
    return [_with_meaning(one, meant) for one in body] if isinstance(body, list) else body


@schemathesis.serializer("application/x-ndjson")
def _ndjson(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def errors_are_problems(context: Any, response: Any, case: Any) -> None:
    """Every error of every route is one of ours, whole, consistent, and listed for the route."""
    if response.status_code < 400 or case.path == "/embed_sparse":  # which speaks as TEI does
        return
    try:
        problem = Problem.model_validate_json(response.text)
    except ValidationError as error:
        raise Failure(
            operation=case.operation.label, title="No problem document", message=response.text[:300]
        ) from error
    headers = {name.lower(): values[0] for name, values in response.headers.items()}
    kind = KINDS.get(problem.code)
    responses = case.operation.definition.raw["responses"]
    holds = (
        headers["content-type"] == "application/problem+json"
        and kind is not None
        and problem.status == kind.status == response.status_code
        and problem.title == kind.title
        and problem.type == type_of(problem.code)
        and problem.request_id == headers["x-request-id"]
        and bool(problem.detail)
        # An id such as `..` makes an address that is none of the operation's.
        and problem.code in ("not_found", *responses[str(problem.status)].get(CODES, ()))
    )
    if not holds:
        raise Failure(
            operation=case.operation.label,
            title="Inconsistent problem",
            message=response.text[:300],
        )


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    errors_are_problems,
]


@dataclass(frozen=True)
class Finding:
    """One way in which an operation broke its word."""

    operation: str
    mode: str
    message: str


@dataclass
class Contract:
    """The app, its description, and what its operations answered so far."""

    schema: Any
    client: TestClient
    headers: Mapping[str, str]
    answers: dict[str, collections.Counter[int]] = field(
        default_factory=lambda: collections.defaultdict(collections.Counter)
    )

    @classmethod
    def begin(cls, home: Path) -> "Contract":
        """The app over a fresh data directory, with its worker as a thread."""
        client = TestClient(create_app(Settings({}, home=home, work_inside=True)))
        client.__enter__()
        assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]

        async def reached(scope: Any, receive: Any, send: Any) -> None:
            # Schemathesis would end the lifespan after every test, and open everything anew.
            if scope["type"] == "lifespan":
                await receive()
                await send({"type": "lifespan.startup.complete"})
                await receive()
                await send({"type": "lifespan.shutdown.complete"})
            else:
                await client.app({**scope, "state": dict(client.app_state)}, receive, send)

        schema = schemathesis.openapi.from_asgi("/openapi.json", reached)
        key = client.post("/v1/keys", json={"name": "contract", "scopes": ["admin:*"]}).json()[
            "key"
        ]
        return cls(schema, client, {"Authorization": f"Bearer {key}"})

    def end(self) -> None:
        """Stop the app."""
        self.client.__exit__()

    @property
    def n_requests(self) -> int:
        """Generated requests so far."""
        return sum(counts.total() for counts in self.answers.values())

    def operations(self) -> list[Any]:
        """Every operation of the document."""
        return [found.ok() for found in self.schema.get_all_operations()]

    def prepare(self) -> None:
        """Make what earlier requests deleted."""
        there = {one["name"] for one in self._call("GET", "/v1/indexes")["indexes"]}
        for name, body in STANDING.items():
            if name not in there:
                self._call("POST", "/v1/indexes", body=body)
            if name in DOCUMENTS:
                self._call(
                    "POST",
                    "/v1/indexes/{name}/documents",
                    path_parameters={"name": name},
                    body=b"\n".join(json.dumps(one).encode() for one in DOCUMENTS[name]),
                    media_type="application/x-ndjson",
                )
        actions = [
            {"swap": {"alias": alias, "index": "papers", "must_exist": False}} for alias in ALIASES
        ]
        self._call("POST", "/v1/aliases", body={"actions": actions})

    def _call(self, method: str, path: str, **parts: Any) -> Any:
        parts.setdefault("media_type", "application/json" if "body" in parts else None)
        answer = self.schema[path][method].Case(**parts).call(headers=dict(self.headers))
        assert answer.status_code < 300, answer.text
        return answer.json()

    def exercise(
        self, operation: Any, mode: GenerationMode, *, n: int, start: int, shrink: bool = True
    ) -> Finding | None:
        """Up to `n` generated requests of one operation; the first finding ends them."""
        label = f"{operation.method.upper()} {operation.path}"
        if mode is GenerationMode.NEGATIVE and not _can_be_invalid(operation):
            return None
        generated = operation.as_strategy(generation_mode=mode)
        lines_of = _LINES if operation.path.endswith("/documents") else st.just(b"")
        phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
        last: list[str] = []

        @seed(start)
        @settings(
            max_examples=n,
            deadline=None,
            database=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        @given(generated, self._real_parameters(operation), lines_of, _MEANT)
        def each(
            case: Any, parameters: Mapping[str, Any], lines: bytes, meant: Mapping[str, Any]
        ) -> None:
            case.path_parameters = {**(case.path_parameters or {}), **parameters}
            if mode is GenerationMode.POSITIVE:
                case.body = _with_meaning(case.body, meant)
            if case.media_type == "application/x-ndjson":
                case.body = lines
            response = case.call(headers=dict(self.headers))
            self.answers[label][response.status_code] += 1
            last[:] = [case.as_curl_command(), response.text]
            case.validate_response(response, checks=CHECKS)

        try:
            each()
        except Unsatisfiable:
            return None  # whatever is generated for it is valid
        except (Failure, FailureGroup) as failure:
            told = failure.exceptions if isinstance(failure, FailureGroup) else (failure,)
            why = "\n".join(f"{one.title}: {one}" for one in told)
            return Finding(label, mode.value, "\n".join([why[:1500], *(one[:700] for one in last)]))
        return None

    def walk(self, *, n: int, start: int, steps: int = 10) -> Walked:
        """About `n` sequences of requests along the links of the document."""

        def begin() -> None:
            for one in self._call("GET", "/v1/indexes")["indexes"]:
                if one["name"].startswith("made-"):
                    self.client.delete(f"/v1/indexes/{one['name']}", headers=dict(self.headers))
            self.prepare()

        def answered(label: str, status: int) -> None:
            self.answers[label][status] += 1

        return walk(
            self.schema,
            n=n,
            steps=steps,
            start=start,
            names=tuple(STANDING),
            begin=begin,
            headers=self.headers,
            checks=CHECKS,
            answered=answered,
        )

    def _real_parameters(self, operation: Any) -> Any:
        """Parameters of the path as the server knows them, or some of them, or none."""
        deletes = operation.method.upper() == "DELETE" and operation.path.endswith("/{name}")
        names = ("spare",) if deletes else (*STANDING, *ALIASES)
        known: dict[str, st.SearchStrategy[Any]] = {"name": st.sampled_from(names)}
        if "/tasks/" in operation.path:
            known["id"] = st.integers(1, 50)
        elif "/documents/" in operation.path or "/explain/" in operation.path:
            known["id"] = st.sampled_from(IDS)
        known["alias"] = st.sampled_from(ALIASES)
        here = {name: one for name, one in known.items() if "{" + name + "}" in operation.path}
        if operation.path.startswith("/problems/"):
            here["name"] = st.sampled_from([type_of(code).rpartition("/")[2] for code in KINDS])
        return st.one_of(st.fixed_dictionaries(here), st.fixed_dictionaries({}, optional=here))


def _can_be_invalid(operation: Any) -> bool:
    """Whether anything but free strings is asked for."""
    raw = operation.definition.raw
    plain = all(
        one["schema"].keys() <= {"type", "title", "description"}
        and one["schema"]["type"] == "string"
        for one in raw.get("parameters", ())
        if one["in"] != "header"
    )
    return "requestBody" in raw or not plain


def endless(contract: Contract) -> Iterator[tuple[Any, GenerationMode, int]]:
    """Every operation in both modes, again and again, each time with another seed."""
    start = 0
    while True:
        for operation in contract.operations():
            contract.prepare()
            for mode in MODES:
                yield operation, mode, start
        start += 1


def main(arguments: list[str], out: Callable[[str], None] = print) -> int:
    """Run until so many requests or minutes; a table of answers, then what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--sequences", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    findings: dict[tuple[str, str], Finding] = {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        contract = Contract.begin(Path(folder) / "home")
        walked = contract.walk(n=options.sequences, start=options.seed)
        for finding in dict.fromkeys(walked.findings):
            out(f"found      in a sequence: {finding}\n")
        for operation, mode, start in endless(contract):
            elapsed = time.monotonic() - began
            if contract.n_requests >= options.requests or elapsed > options.minutes * 60:
                break
            found = contract.exercise(operation, mode, n=100, start=options.seed + start)
            if found is not None and (found.operation, found.message[:80]) not in findings:
                findings[found.operation, found.message[:80]] = found
                out(f"found      {found.operation} ({found.mode})\n{found.message}\n")
        contract.end()
    for label, counts in sorted(contract.answers.items()):
        shown = "  ".join(f"{status}: {count:,}" for status, count in sorted(counts.items()))
        out(f"{label:<48} {shown}")
    errors = sum(
        count
        for counts in contract.answers.values()
        for status, count in counts.items()
        if status >= 500
    )
    out(
        f"sequences  {walked.n_sequences:,} of {walked.n_requests:,} requests, "
        f"{walked.n_linked:,} of them led to by {len(walked.links)} links"
    )
    out(f"requests   {contract.n_requests:,} in {time.monotonic() - began:.0f} s")
    n_findings = len(findings) + len(set(walked.findings))
    out(f"errors     {errors} answers of 5xx, {n_findings} findings")
    return 1 if n_findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
