"""Spans tell what the answer told, under the trace of the client."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from scipy import sparse
from starlette.testclient import TestClient

from index import Index
from lsr.errors import MissingExtra, UsageError
from lsr.types import Document
from service import Settings, create_app
from service.metrics import Telemetry
from service.tracing import RequestTracer, exporter_of, tracer_of

SEARCH = "/v1/indexes/live/search"
QUERY = {"query": {"vector": {"indices": [1], "values": [1.0]}}}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def index_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("traced") / "live.index"
    with Index.create(path, n_terms=2, max_weight=255.0) as index:
        index.add([Document("a")], sparse.csr_array(np.array([[0, 1]], np.float32)))
    return path


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def client(index_path: Path, spans: InMemorySpanExporter) -> Iterator[TestClient]:
    with traced(index_path, TracerProvider(shutdown_on_exit=False), spans) as client:
        yield client


def traced(
    index_path: Path, provider: TracerProvider, spans: InMemorySpanExporter, share: float = 0.0
) -> TestClient:
    provider.add_span_processor(SimpleSpanProcessor(spans))
    telemetry = Telemetry(tracer=RequestTracer(provider, query_share=share))
    return TestClient(
        create_app(Settings({"live": index_path}), telemetry=telemetry),
        raise_server_exceptions=False,
    )


def named(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans.get_finished_spans()}


def opened(client: TestClient) -> TestClient:
    assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
    return client


def test_a_search_is_a_span_with_its_stages_inside(
    client: TestClient, spans: InMemorySpanExporter
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "abc"}
    times = opened(client).post(SEARCH, json=QUERY, headers=headers).json()["timing_ms"]
    found = named(spans)
    server = found["POST /v1/indexes/{name}/search"]
    search = found["search live"]
    assert server.parent is not None
    assert f"{server.parent.trace_id:032x}" == TRACE
    assert f"{server.parent.span_id:016x}" == PARENT
    attributes: Any = server.attributes
    assert attributes["http.response.status_code"] == 200
    assert attributes["lsr.request_id"] == "abc"
    assert search.parent is not None
    assert search.parent.span_id == server.context.span_id
    assert dict(search.attributes or {}) == {
        "db.system.name": "lsr",
        "db.operation.name": "search",
        "db.collection.name": "live",
        "lsr.hits": 1,
    }
    for stage, milliseconds in times.items():
        span = search if stage == "total" else found[stage]
        assert span.start_time is not None
        assert span.end_time is not None
        assert (span.end_time - span.start_time) / 1e6 == pytest.approx(milliseconds, abs=0.01)
        assert server.start_time is not None
        assert server.end_time is not None
        # The clock of the spans is another one than that which the stages are measured by.
        assert server.start_time - 1e6 <= span.start_time <= span.end_time <= server.end_time
    stages = [found[stage] for stage in times if stage != "total"]
    assert all(one.parent and one.parent.span_id == search.context.span_id for one in stages)


def test_errors_and_unknown_addresses_have_spans_without_paths(
    client: TestClient, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(client).get("/secret-path")
    monkeypatch.setattr(Index, "search", lambda *_, **__: 1 / 0)
    assert client.post(SEARCH, json=QUERY).status_code == 500
    found = named(spans)
    assert (found["GET"].attributes or {})["lsr.problem"] == "not_found"
    failed = found["POST /v1/indexes/{name}/search"]
    assert not failed.status.is_ok
    assert "secret-path" not in str([span.to_json() for span in spans.get_finished_spans()])


@pytest.mark.parametrize(("share", "told"), [(0.0, False), (1.0, True)])
def test_texts_are_in_spans_only_where_they_are_logged(
    tmp_path: Path, spans: InMemorySpanExporter, share: float, told: bool
) -> None:
    from index import build_index
    from lsr.encoders import BM25Encoder

    documents = [Document("a", {"text": "cats sleep"})]
    encoder = BM25Encoder.fit(document.text() for document in documents)
    build_index(tmp_path / "live.index", documents, encoder, source="test", progress=False)
    with traced(
        tmp_path / "live.index", TracerProvider(shutdown_on_exit=False), spans, share
    ) as client:
        assert opened(client).post(SEARCH, json={"query": {"text": "cats"}}).status_code == 200
    assert ("cats" in str(named(spans)["search live"].attributes)) == told


def test_what_the_sampler_drops_costs_no_children(
    index_path: Path, spans: InMemorySpanExporter
) -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    with traced(index_path, provider, spans) as client:
        assert opened(client).post(SEARCH, json=QUERY).status_code == 200
    assert spans.get_finished_spans() == ()


@pytest.mark.parametrize(
    ("environment", "exporter"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "x"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, None),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"}, None),
    ],
)
def test_the_standard_variables_decide(environment: dict[str, str], exporter: str | None) -> None:
    if exporter == "otlp":
        pytest.importorskip("opentelemetry.exporter.otlp", reason="pip install 'lsr-search[otel]'")
    assert exporter_of(environment) == exporter
    tracer = tracer_of(environment)
    assert (tracer is None) == (exporter is None)
    if tracer is not None:
        tracer.close()


def test_an_unknown_exporter_and_a_missing_package_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UsageError, match="wanted 'otlp', 'console' or 'none'"):
        exporter_of({"OTEL_TRACES_EXPORTER": "zipkin"})
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    with pytest.raises(MissingExtra, match=r"lsr-search\[otel\]"):
        exporter_of({"OTEL_TRACES_EXPORTER": "console"})


def test_serving_needs_no_sdk() -> None:
    code = "import sys; sys.modules['opentelemetry.sdk'] = None\nimport service\n"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
