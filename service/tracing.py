"""OpenTelemetry spans of requests, made when the answer is out; off unless configured.

The standard variables decide: OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_TRACES_EXPORTER turns it on,
OTEL_SDK_DISABLED off again; OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER and
OTEL_BSP_* are read by the SDK. A `traceparent` of the client is the parent. Needs the extra `otel`.

A request is one server span, each of its searches a child, each stage a child of that. Stages are
laid end to end, as they were measured. Texts of queries are left out unless they are logged too.
"""

import random
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from lsr.errors import MissingExtra, UsageError

from .metrics.observing import Finished, Searched

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_ON = (
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
)
_OTLP = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


class RequestTracer:
    """Makes spans of answered requests through a provider, which it shuts down at `close`."""

    def __init__(self, provider: "TracerProvider", *, query_share: float = 0.0) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("lsr-search")
        self._propagator = TraceContextTextMapPropagator()
        self._query_share = query_share

    def record(self, finished: Finished) -> str | None:
        """Make the spans of a request; its trace id, None where it is not sampled."""
        from opentelemetry.trace import SpanKind, Status, StatusCode

        headers = Headers(scope=finished.scope)
        carrier = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        end = time.time_ns()
        start = end - int(finished.seconds * 1e9)
        attributes: dict[str, str | int | float] = {
            "http.request.method": finished.method,
            "http.response.status_code": finished.status,
            "url.scheme": finished.scope.get("scheme", "http"),
        }
        if finished.route != "none":
            attributes["http.route"] = finished.route
        if request_id := finished.scope["state"].get("request_id"):
            attributes["lsr.request_id"] = request_id
        if finished.seen.problem is not None:
            attributes["lsr.problem"] = finished.seen.problem
        route = "" if finished.route == "none" else f" {finished.route}"
        span = self._tracer.start_span(
            finished.method + route,
            context=self._propagator.extract(carrier),
            kind=SpanKind.SERVER,
            start_time=start,
            attributes=attributes,
        )
        trace_id = None
        if span.is_recording():
            trace_id = f"{span.get_span_context().trace_id:032x}"
            if finished.status >= 500:
                span.set_attribute("error.type", str(finished.status))
                span.set_status(Status(StatusCode.ERROR))
            self._searches(span, finished, end)
        span.end(end_time=end)
        return trace_id

    def _searches(self, parent: "Span", finished: Finished, end: int) -> None:
        """Back from the end of the request: searches follow one another, the last ends last."""
        for one in reversed(finished.seen.searches):
            start = end - int(one.stages.get("total", 0.0) * 1e6)
            query = finished.seen.query
            if query is not None and random.random() >= self._query_share:
                query = None
            self._search(parent, one, start, end, query)
            end = start

    def _search(
        self, parent: "Span", one: Searched, start: int, end: int, query: str | None
    ) -> None:
        from opentelemetry.trace import set_span_in_context

        attributes: dict[str, str | int] = {
            "db.system.name": "lsr",
            "db.operation.name": "search",
            "db.collection.name": one.index,
            "lsr.hits": one.n_hits,
        }
        if query is not None:
            attributes["db.query.text"] = query
        span = self._tracer.start_span(
            f"search {one.index}",
            context=set_span_in_context(parent),
            start_time=start,
            attributes=attributes,
        )
        at = start
        for stage, milliseconds in one.stages.items():
            if stage == "total":
                continue
            child = self._tracer.start_span(stage, context=set_span_in_context(span), start_time=at)
            at = min(end, at + int(milliseconds * 1e6))
            child.end(end_time=at)
        span.end(end_time=end)

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()


def exporter_of(environment: Mapping[str, str]) -> str | None:
    """Where spans go as the environment wants it: `otlp`, `console`, or None for nowhere.

    Raises `MissingExtra` without the SDK, `UsageError` for any other exporter.
    """
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    exporter = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    if disabled or exporter == "none" or not any(environment.get(name) for name in _ON):
        return None
    if exporter not in ("otlp", "console"):
        raise UsageError(f"OTEL_TRACES_EXPORTER = {exporter!r}: wanted 'otlp', 'console' or 'none'")
    needed = {"opentelemetry.sdk": "opentelemetry-sdk"}
    if exporter == "otlp":
        needed[_OTLP] = "opentelemetry-exporter-otlp-proto-http"
    for module, package in needed.items():
        try:
            import_module(module)
        except ImportError as error:
            raise MissingExtra(
                "tracing, which an OTEL_* variable asks for,", extra="otel", package=package
            ) from error
    return exporter


def tracer_of(environment: Mapping[str, str], *, query_share: float = 0.0) -> RequestTracer | None:
    """A tracer as the environment wants it, None where it wants none; raises like `exporter_of`.

    It runs a thread, so make it after forking.
    """
    exporter = exporter_of(environment)
    if exporter is None:
        return None
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    named = "OTEL_SERVICE_NAME" in environment or "service.name=" in environment.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    provider = TracerProvider(
        resource=Resource.create({} if named else {SERVICE_NAME: "lsr-search"}),
        shutdown_on_exit=False,
    )
    made = (
        ConsoleSpanExporter(out=sys.stderr)
        if exporter == "console"
        else import_module(_OTLP).OTLPSpanExporter()
    )
    provider.add_span_processor(BatchSpanProcessor(made))
    return RequestTracer(provider, query_share=query_share)
