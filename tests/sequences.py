"""Sequences of requests along the links of the OpenAPI document: what one made, the next one uses.

The names of things come from answers; what a request is about is drawn here more often than not, as
a schema alone hardly ever makes a document that the next search finds.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import Flaky
from schemathesis.core.failures import Failure, FailureGroup

QUERY = {"query": {"text": "cats that sleep"}}
BODIES: Mapping[str, Sequence[Any]] = {
    "POST /v1/indexes": [{"name": f"made-{n}", "fields": {"lang": "keyword"}} for n in range(3)],
    "PUT /v1/indexes/{name}/documents/{id}": [{"fields": {"text": "cats sleep all day"}}],
    "POST /v1/indexes/{name}/search": [QUERY, QUERY | {"filter": {"lang": "en"}}],
    "POST /v1/indexes/{name}/explain/{id}": [QUERY],
    "POST /v1/indexes/{name}/documents/delete": [{"ids": ["d1"]}, {"filter": {"lang": "en"}}],
    "POST /v1/indexes/{name}/rebuild": [{}, {"order": "none"}],
    "POST /v1/snapshots/{snapshot}/restore": [{"index": f"made-{n}"} for n in range(3)],
    "POST /v1/snapshots": [{"index": "papers"}, {"index": "vectors", "archive": True}],
    "POST /v1/keys": [{"name": "walker", "scopes": ["search:*"]}],
    "POST /v1/aliases": [{"actions": [{"swap": {"alias": "best", "index": "spare"}}]}],
}
LINES = b"\n".join(
    json.dumps({"id": f"d{n}", "fields": {"text": "cats sleep", "lang": "en"}}).encode()
    for n in range(3)
)


@dataclass
class Walked:
    """What came of it: how many sequences and requests, which links led on, what was found."""

    n_sequences: int = 0
    n_requests: int = 0
    n_linked: int = 0
    links: set[str] = field(default_factory=set)
    findings: list[str] = field(default_factory=list)


def walk(
    schema: Any,
    *,
    n: int,
    steps: int,
    start: int,
    names: Sequence[str],
    begin: Callable[[], None],
    headers: Mapping[str, str],
    checks: Sequence[Callable[..., Any]],
    answered: Callable[[str, int], None],
) -> Walked:
    """About `n` sequences of up to `steps` requests.

    `begin` brings the server to where each sequence starts: it has the indexes `names`. `answered`
    hears label and status.
    """
    walked = Walked()
    # Ours alone: a guess that the list of keys leads to their deletion would take away our own.
    schema.config.phases.stateful.inference.algorithms = []
    machine = schema.as_state_machine()

    class Walk(machine):  # type: ignore[misc, valid-type]
        def setup(self) -> None:
            begin()
            walked.n_sequences += 1
            self.random = random.Random(start)

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": dict(headers)}

        def step(self, input: Any) -> Any:
            if input.transition is not None and input.is_applied:
                walked.n_linked += 1
                walked.links.add(input.transition.id)
            elif "name" in (input.case.path_parameters or {}):
                input.case.path_parameters["name"] = self.random.choice(names)
            return super().step(input)

        def before_call(self, case: Any) -> None:
            bodies = BODIES.get(case.operation.label)
            if case.media_type == "application/x-ndjson":
                case.body = LINES
            elif bodies and self.random.random() < 0.8:
                case.body = self.random.choice(bodies)

        def validate_response(self, response: Any, case: Any, *_: Any, **__: Any) -> None:
            walked.n_requests += 1
            answered(case.operation.label, response.status_code)
            try:
                case.validate_response(response, checks=list(checks))
            except (Failure, FailureGroup) as failure:
                told = failure.exceptions if isinstance(failure, FailureGroup) else (failure,)
                why = "\n".join(f"{one.title}: {one}" for one in told)
                walked.findings.append(
                    f"{case.operation.label}\n{why[:1500]}\n{response.text[:700]}"
                )

    limits = settings(
        max_examples=n,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    # The same request may be answered by 200 once and by 202 once: fewer sequences than `n` then.
    with suppress(Flaky):
        seed(start)(Walk).run(settings=limits)
    return walked
