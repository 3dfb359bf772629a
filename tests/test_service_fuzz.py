"""Whatever JSON comes, every reading route answers or refuses in its own shape; none fails."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from service_world import Served, build_world, ones, serving

ROUTES = [
    "/v1/indexes/numbers/search",
    "/v1/indexes/words/search",
    "/v1/indexes/papers/explain/d1",
    "/v1/indexes/numbers/explain/n01",
    "/v1/multi-search",
    "/v1/compare",
    "/v1/encode",
    "/embed_sparse",
]
WORDS = [
    "query", "text", "tokens", "vector", "like", "id", "terms", "indices", "values", "limit",
    "offset", "cursor", "start", "fields", "filter", "all", "any", "not", "field", "parity", "odd",
    "number", "gte", "in", "exists", "require_terms", "exclude_terms", "min_score", "relative",
    "highlight", "max_chars", "explain", "top_terms", "mode", "exact", "approx", "recall", "pages",
    "timeout_ms", "count", "estimate", "timing", "k", "searches", "index", "numbers", "papers",
    "words", "a", "b", "persistence", "texts", "as", "document", "inputs", "truncate", "cats",
    "n01", "\ud800", "cat",
]  # fmt: skip

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 100)
    | st.integers()
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)
    ),
    max_leaves=10,
)
valid_query = st.sampled_from(
    [ones(1, 4), {"text": "cats sleep"}, {"like": "n01"}, {"tokens": {"cat": 1.5}}]
)
requests = st.fixed_dictionaries(
    {"query": valid_query | values},
    optional={
        "index": st.sampled_from(["numbers", "papers", "words"]),
        "limit": st.integers(1, 20) | values,
        "offset": st.integers(0, 80) | values,
        "cursor": st.just("start") | values,
        "fields": st.lists(st.sampled_from(WORDS), max_size=2) | values,
        "filter": values,
        "require_terms": st.lists(st.integers(0, 14) | st.just("cat"), max_size=2) | values,
        "min_score": st.floats(0, 5) | st.just({"relative": 0.3}) | values,
        "highlight": st.just({"fields": ["text", "parity"]}) | values,
        "explain": st.just({"top_terms": 1}) | values,
        "mode": st.just({"approx": {"pages": 1}}) | values,
        "timeout_ms": st.floats(0.001, 100) | values,
        "count": st.sampled_from(["none", "estimate", "exact"]) | values,
        "k": st.integers(1, 80),
    },
)
bodies = (
    values
    | requests
    | st.fixed_dictionaries({"searches": st.lists(requests | values, max_size=3)})
    | st.fixed_dictionaries({"a": requests, "b": requests}, optional={"query": valid_query})
    | st.fixed_dictionaries(
        {"index": st.sampled_from(WORDS), "texts": st.lists(st.text(max_size=9) | values)},
        optional={"as": values, "top_terms": values},
    )
    | st.fixed_dictionaries({"inputs": values}, optional={"truncate": values})
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(build_world(tmp_path_factory.mktemp("fuzz"))) as served:
        yield served


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(path=st.sampled_from(ROUTES), body=bodies)
def test_any_json_is_answered_or_refused(served: Served, path: str, body: Any) -> None:
    headers = {"Content-Type": "application/json"}
    response = served.client.post(path, content=json.dumps(body), headers=headers)
    assert response.status_code in (200, 400, 404, 413, 422), (path, body, response.text)
    if response.status_code != 200:
        problem = response.json()
        assert set(problem) >= ({"error", "error_type"} if path == "/embed_sparse" else {"code"})
