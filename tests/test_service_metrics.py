"""What the server counts is what happened, over all its processes, and nothing private is in it."""

import errno
import json
import logging
import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from scipy import sparse
from starlette.testclient import TestClient

from index import Index
from lsr.types import Document
from service import Limits, Settings, create_app
from service.logs import JsonFormatter, logging_to_stderr
from service.metrics import Board, History, Telemetry
from service.metrics.board import KEY_BYTES, read_all, read_board, retire
from service.metrics.history import percentile
from service.metrics.names import (
    FINE_BOUNDS,
    IN_FLIGHT,
    METRICS,
    REQUEST_SECONDS,
    REQUESTS,
    SEARCH_SECONDS,
    SERIES_DROPPED,
    STAGE_BOUNDS,
)
from service.wire.health import HealthHistory

SEARCH = "/v1/indexes/live/search"


@pytest.fixture(scope="module")
def index_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("counted") / "live.index"
    with Index.create(path, n_terms=3, max_weight=255.0) as index:
        index.add(
            [Document("a"), Document("b")],
            sparse.csr_array(np.array([[0, 1, 0], [0, 2, 0]], np.float32)),
        )
    return path


@pytest.fixture
def client(index_path: Path) -> Iterator[TestClient]:
    settings = Settings({"live": index_path}, limits=Limits(body_bytes=4096))
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
        yield client


def vector(*terms: int) -> dict[str, Any]:
    return {"query": {"vector": {"indices": list(terms), "values": [1.0] * len(terms)}}}


def scraped(client: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of /metrics, as Prometheus' own parser reads it."""
    text = client.get("/metrics").text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Any, name: str, **labels: str) -> float:
    return float(samples[name, frozenset(labels.items())])


def test_counts_are_those_of_the_requests(client: TestClient) -> None:
    for terms in ((1,), (1,), (0,)):
        assert client.post(SEARCH, json=vector(*terms)).status_code == 200
    client.post("/v1/indexes/secret-index/search", json=vector(1))
    client.post(SEARCH, content=b"x" * 5000, headers={"Content-Type": "application/json"})
    client.get("/no/such/secret-path")
    client.get("/v1/indexes/live/documents/secret-id")
    samples = scraped(client)
    route = "/v1/indexes/{name}/search"
    requests = "lsr_http_requests_total"
    assert value(samples, requests, route=route, method="POST", status="200") == 3
    assert value(samples, requests, route=route, method="POST", status="404") == 1
    assert value(samples, requests, route=route, method="POST", status="413") == 1
    assert value(samples, requests, route="none", method="GET", status="404") == 1
    assert value(samples, "lsr_http_request_duration_seconds_count", route=route) == 5
    assert value(samples, "lsr_search_duration_seconds_count", index="live") == 3
    for stage in ("encode", "score", "fetch"):
        assert value(samples, "lsr_search_stage_seconds_count", stage=stage) == 3
    assert value(samples, "lsr_zero_hit_queries_total", index="live") == 1
    assert value(samples, "lsr_rejected_total", reason="unknown_index") == 1
    assert value(samples, "lsr_rejected_total", reason="body_too_large") == 1
    assert value(samples, "lsr_inflight_requests") == 1, "the scrape itself"
    assert value(samples, "lsr_index_documents", index="live") == 2
    assert value(samples, "lsr_index_ready", index="live") == 1
    assert value(samples, "lsr_index_bytes", index="live", part="catalog") > 0
    assert 0 <= value(samples, "lsr_generation_age_seconds", index="live") < 3600
    assert not [key for key in samples if "secret" in str(key)], "labels come from us alone"


def test_blocks_that_searches_look_at_and_leave_alone_are_counted(tmp_path: Path) -> None:
    """The oracle is what the index itself reports of the same search."""
    rng = np.random.default_rng(1)
    with Index.create(tmp_path / "live.index", n_terms=40, max_weight=255.0) as index:
        rows = sparse.csr_array(np.floor(rng.random((3000, 40)) * 9).astype(np.float32))
        index.add([Document(str(i)) for i in range(3000)], rows)
        index.seal()
        query = sparse.csr_array((np.ones(2, np.float32), ([0, 0], [3, 4])), shape=(1, 40))
        report = index.search(query, 10).report
    with TestClient(create_app(Settings({"live": tmp_path / "live.index"}))) as client:
        assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
        client.post(SEARCH, json=vector(3, 4))
        client.post(SEARCH, json={**vector(3), "offset": 4000})  # empty, and no zero-hit query
        client.post(SEARCH, json={**vector(3), "filter": {"all": []}, "timing": True})
        samples = scraped(client)
    scored = value(samples, "lsr_blocks_scored_total", index="live")
    skipped = value(samples, "lsr_blocks_skipped_total", index="live")
    assert report.blocks > 0
    assert scored >= report.blocks_scored
    assert scored + skipped == 3 * report.blocks
    assert ("lsr_zero_hit_queries_total", frozenset({("index", "live")})) not in samples
    assert value(samples, "lsr_search_stage_seconds_count", stage="filter") == 3


def test_only_declared_names_are_told_and_openmetrics_is_spoken(client: TestClient) -> None:
    client.post(SEARCH, json=vector(1))
    families = list(text_string_to_metric_families(client.get("/metrics").text))
    names = {f.name + ("_total" if f.type == "counter" else "") for f in families}
    assert names <= set(METRICS)
    response = client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


def test_boards_add_up_over_processes_and_survive_them(tmp_path: Path) -> None:
    """Two processes that count at once, one of which ends: sums stay, its gauge goes."""
    boards = [Board(tmp_path / f"http-{i}.board") for i in (1, 2)]
    for board, times in zip(boards, (3, 4), strict=True):
        with board.lock:
            board.add(IN_FLIGHT)
            for _ in range(times):
                board.add(REQUESTS, ("/a", "GET", "200"))
                board.observe(REQUEST_SECONDS, ("/a",), 0.002)
    key = (REQUESTS.name, "/a", "GET", "200")
    before = read_all(tmp_path)
    assert (before[key], before[IN_FLIGHT.name,]) == ([7.0], [2.0])
    for _ in range(2):  # and again, when a third one has ended
        retire(tmp_path, "http-1")
        after = read_all(tmp_path)
        assert (after[key], after[IN_FLIGHT.name,]) == ([7.0], [1.0])
        assert after[REQUEST_SECONDS.name, "/a"] == before[REQUEST_SECONDS.name, "/a"]
    retire(tmp_path, "http-2")
    assert read_all(tmp_path)[key] == [7.0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lock", "retired.board"]


def _count_until_killed(path: Path, ready: Any) -> None:
    board = Board(path)
    for i in range(1000):
        with board.lock:
            board.add(REQUESTS, (f"/{i % 7}", "GET", "200"))
    ready.set()
    threading.Event().wait(60)


def test_what_a_killed_process_counted_is_there(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_count_until_killed, args=(tmp_path / "http-9.board", ready))
    process.start()
    assert ready.wait(60)
    process.kill()
    process.join()
    retire(tmp_path, "http-9")
    totals = read_all(tmp_path)
    assert sum(v[0] for k, v in totals.items() if k[0] == REQUESTS.name) == 1000


def test_no_count_is_lost_between_threads() -> None:
    board = Board()

    def count() -> None:
        for _ in range(5000):
            with board.lock:
                board.add(IN_FLIGHT)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert board.values()[IN_FLIGHT.name,] == [20_000.0]


def test_a_full_board_drops_series_and_says_so(tmp_path: Path) -> None:
    board = Board(tmp_path / "http-1.board", capacity=4)
    for i in range(6):
        board.add(REQUESTS, (str(i), "GET", "200"))
    board.observe(REQUEST_SECONDS, ("/a",), 1.0)
    board.close()
    values = read_board(tmp_path / "http-1.board", capacity=4)
    assert values[SERIES_DROPPED.name,] == [4.0]
    assert len(values) == 4
    board = Board()
    for i in range(3):
        board.add(REQUESTS, (str(i) * (KEY_BYTES // 2), "GET", "200"))
    assert board.values()[SERIES_DROPPED.name,] == [2.0]


def test_a_full_disk_takes_counts_and_not_the_service(
    tmp_path: Path, index_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sparse file would end the process by SIGBUS later; this one has its blocks or is none."""
    with_blocks = Board(tmp_path / "http-1.board")
    status = (tmp_path / "http-1.board").stat()
    assert 512 * status.st_blocks >= status.st_size
    with_blocks.close()

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    telemetry = Telemetry(folder=tmp_path, name="http-2")
    assert not (tmp_path / "http-2.board").exists()
    with TestClient(create_app(Settings({"live": index_path}), telemetry=telemetry)) as client:
        assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
        assert client.post(SEARCH, json=vector(1)).status_code == 200
        assert client.get("/metrics").status_code == 200
    with pytest.raises(OSError, match="No space"):
        retire(tmp_path, "http-1")
    assert (tmp_path / "http-1.board").exists(), "what could not be retired is counted as it is"


def test_percentiles_are_within_a_bucket_of_the_true_ones() -> None:
    """The oracle is numpy on the raw times; FINE_BOUNDS grow by at most 28 %."""
    rng = np.random.default_rng(5)
    times = np.exp(rng.normal(-5.0, 1.0, 4000))
    board = Board()
    for time in times.tolist():
        board.observe(SEARCH_SECONDS, ("i",), time)
    counts = board.values()[SEARCH_SECONDS.name, "i"][:-1]
    for share in (0.5, 0.95, 0.99):
        assert percentile(counts, share) == pytest.approx(np.quantile(times, share), rel=0.28)
    assert list(FINE_BOUNDS) == sorted(set(FINE_BOUNDS))
    assert list(STAGE_BOUNDS) == sorted(set(STAGE_BOUNDS))


def test_history_has_a_row_for_each_minute_quiet_ones_included(tmp_path: Path) -> None:
    board = Board()
    history = History(board.values, file=tmp_path / "history.json", minutes=5)
    history.tick(60.0)
    for _ in range(3):
        board.observe(SEARCH_SECONDS, ("papers",), 0.009)
    history.tick(119.0)
    history.tick(120.0)
    board.observe(SEARCH_SECONDS, ("papers",), 0.5)
    rows = history.rows(250.0)
    assert [row["at"] for row in rows] == [60, 120, 180, 240]
    assert rows[0]["indexes"]["papers"]["searches"] == 3
    assert 8 < rows[0]["indexes"]["papers"]["p50_ms"] <= 10
    assert rows[1]["indexes"]["papers"]["searches"] == 1
    assert rows[2]["indexes"] == {}
    assert rows[3]["unfinished"]
    assert len(history.rows(60.0 * 500)) == 6, "five closed minutes and the running one"


def test_the_last_minutes_are_served(client: TestClient) -> None:
    client.post(SEARCH, json=vector(1))
    client.post(SEARCH, json=vector(0))
    answer = client.get("/v1/health-history").json()
    HealthHistory.model_validate(answer)
    minutes = [m["indexes"]["live"] for m in answer["minutes"] if "live" in m["indexes"]]
    assert sum(one["searches"] for one in minutes) == 2
    assert sum(one["searches"] * one["zero_hit_share"] for one in minutes) == 1
    assert answer["effectiveness"] == []


def test_processes_that_share_a_folder_tell_one_sum(index_path: Path, tmp_path: Path) -> None:
    """Two apps as two processes would be; either's page tells of both."""
    settings = Settings({"live": index_path})
    first = create_app(settings, telemetry=Telemetry(folder=tmp_path, name="http-1"))
    second = create_app(settings, telemetry=Telemetry(folder=tmp_path, name="http-2"))
    with TestClient(first) as one, TestClient(second) as two:
        for client in (one, two):
            assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
            client.post(SEARCH, json=vector(1))
        for client in (one, two):
            assert value(scraped(client), "lsr_search_duration_seconds_count", index="live") == 2


def test_json_logs_are_one_object_a_line_without_texts_or_secrets(
    index_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings({"live": index_path}, access_log=True)
    with (
        logging_to_stderr("json"),
        TestClient(create_app(settings), raise_server_exceptions=False) as client,
    ):
        assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
        client.post(SEARCH, json=vector(1), headers={"X-Request-Id": "abc-1"})
        client.post(SEARCH, json={"query": {"text": "a private question"}})
        logging.getLogger("lsr.service").warning(
            "odd header Authorization: Bearer lsr_0123456789abcdef0123\nX-API-Key: hunter2hunter2"
        )
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    requests = [line for line in lines if line["logger"] == "lsr.service.access"]
    assert requests[0]["route"] == "/v1/indexes/{name}/search"
    assert requests[0]["request_id"] == "abc-1"
    assert (requests[0]["status"], requests[0]["index"]) == (200, "live")
    assert requests[0]["hits"] == [2]
    assert set(requests[0]["stages_ms"][0]) == {
        "encode",
        "filter",
        "score",
        "fetch",
        "total",
    }
    assert requests[1]["problem"] == "no_encoder"
    text = json.dumps(lines)
    assert "private question" not in text
    assert "0123456789abcdef" not in text
    assert "hunter2" not in text
    assert {line["level"] for line in lines} == {"info", "warning"}


def test_texts_are_logged_where_the_operator_wants_them(
    index_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings({"live": index_path}, access_log=True, log_queries=1.0)
    with logging_to_stderr("json"), TestClient(create_app(settings)) as client:
        assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
        client.post(SEARCH, json={"query": {"text": "a private question"}})
    assert '"query":"a private question"' in capsys.readouterr().err


def test_a_traceback_in_a_json_log_stays_on_its_line() -> None:
    try:
        raise ValueError("token=abcdefgh12345 was wrong")
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "it\nfailed", None, None)
        record.exc_info = (ValueError, error, error.__traceback__)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == "it failed"
    assert "abcdefgh" not in json.loads(line)["traceback"]
