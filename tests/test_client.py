"""The client says what the API takes, reads what it answers, and repeats only what may be."""

import asyncio
import dataclasses
import gzip
import inspect
import json
import random
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import httpx
import pytest
from starlette.testclient import TestClient

from lsr.__main__ import run
from lsr.client import (
    AddAlias,
    AsyncClient,
    AsyncRemoteIndex,
    Client,
    Gate,
    Like,
    Passages,
    Refused,
    RemoteIndex,
    RemoveAlias,
    Retry,
    Search,
    SwapAlias,
    Target,
    TaskFailed,
    UnexpectedAnswer,
    Unreachable,
    Vector,
    clients,
    comparing,
    documents,
    guarding,
    managing,
    resources,
    results,
    searching,
    tasks,
)
from lsr.client.clients import _Lines
from lsr.client.reading import json_name, read
from lsr.client.steps import Answer, Request, Sleep, call, patient
from lsr.errors import UsageError
from service import Settings, create_app

T = TypeVar("T")
PETS = [
    {"id": "a", "fields": {"title": "Cats", "text": "cats sleep all day", "lang": "en"}},
    {"id": "b", "fields": {"title": "Dogs", "text": "dogs bark all night", "lang": "en"}},
    {"id": "c/d é?", "fields": {"title": "Hunde", "text": "hunde bellen", "lang": "de"}},
    {"id": "..", "fields": {"title": "Dots", "text": "a relative id at night", "lang": "en"}},
]


class _IntoTheApp(httpx.BaseTransport):
    """What a blocking client sends, handed to the app under test."""

    def __init__(self, app: TestClient) -> None:
        self.app = app

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.app.request(
            request.method,
            str(request.url),
            content=request.read(),
            headers=list(request.headers.items()),
        )
        return httpx.Response(
            answer.status_code, headers=answer.headers.raw, content=answer.content
        )


@dataclasses.dataclass(frozen=True)
class Caller:
    """One of the two clients, and the way to the result of its methods."""

    client: Any
    result: Callable[[Any], Any]

    def __call__(self, operation: str, *args: Any, of: str | None = None, **rest: Any) -> Any:
        owner = self.client if of is None else self.client.index(of)
        return self.result(getattr(owner, operation)(*args, **rest))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home = tmp_path_factory.mktemp("client") / "home"
    with TestClient(create_app(Settings({}, home=home, work_inside=True))) as client:
        assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
        yield client


@pytest.fixture(scope="module", params=["blocking", "asynchronous"])
def caller(app: TestClient, request: pytest.FixtureRequest) -> Iterator[Caller]:
    if request.param == "blocking":
        with Client("http://testserver", transport=_IntoTheApp(app)) as client:
            yield Caller(client, lambda result: result)
        return

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = dict(app.app_state)
        await app.app(scope, receive, send)

    async def awaited(result: Awaitable[T]) -> T:
        return await result

    with asyncio.Runner() as runner:
        asynchronous = AsyncClient(
            "http://testserver", transport=httpx.ASGITransport(with_state, client=("t", 1))
        )
        yield Caller(asynchronous, lambda result: runner.run(awaited(result)))
        runner.run(asynchronous.close())


@pytest.fixture(scope="module")
def pets(caller: Caller) -> Iterator[Caller]:
    """A server that holds the pets."""
    info = caller("create_index", "pets", fields={"lang": "keyword"})
    assert (info.name, info.n_docs, info.fields) == ("pets", 0, {"lang": "keyword"})
    seen: list[int] = []
    added = caller("add", iter(PETS), of="pets", batch_bytes=150, progress=seen.append)
    assert (added.received, added.indexed, added.rejected) == (4, 4, 0)
    assert seen == [2, 4]
    assert len(added.tasks) == 2
    yield caller
    caller("delete_index", "pets")


def test_an_index_is_made_filled_searched_and_described(pets: Caller) -> None:
    found = pets("search", "pets", "cat sleeping", limit=3, explain=True)
    assert [hit.id for hit in found.hits] == ["a"]
    assert (found.mode, found.exact) == ("exact", True)
    assert found.hits[0].fields["title"] == "Cats"
    assert found.hits[0].score == pytest.approx(found.hits[0].explain.sum)
    assert found == dataclasses.replace(
        pets("search", "cat sleeping", of="pets", limit=3, explain=True),
        timing_ms=found.timing_ms,
    )
    assert pets("info", of="pets").n_docs == 4
    assert [(one.name, one.n_docs) for one in pets("list_indexes")] == [("pets", 4)]
    assert pets("is_alive")
    assert pets("server_info").indexes == ("pets",)
    assert [check.index for check in pets("ready").checks] == ["pets"]
    assert "lsr_index_documents" in pets("metrics")


def test_every_kind_of_query_is_sent_as_the_api_takes_it(pets: Caller) -> None:
    tokens = pets("search", {"sleep": 1.0}, of="pets", fields=[])
    assert [hit.id for hit in tokens.hits] == ["a"]
    (explained,) = pets("search", {"sleep": 1.0}, of="pets", explain=True).hits[0].explain.terms
    vector = pets("search", Vector([explained.index], [1.0]), of="pets", fields=[])
    assert vector.hits == tokens.hits
    like = pets("search", Like("b"), of="pets")
    assert [hit.id for hit in like.hits] == ["..", "a"], "the same night, all the same"
    german = pets("search", "all hunde", of="pets", filter={"lang": "de"})
    assert [hit.id for hit in german.hits] == ["c/d é?"]


@pytest.mark.parametrize("doc_id", [one["id"] for one in PETS])
def test_documents_are_found_by_any_id(pets: Caller, doc_id: str) -> None:
    (given,) = (one for one in PETS if one["id"] == doc_id)
    found = pets("get", doc_id, of="pets")
    assert (found.id, found.fields) == (doc_id, given["fields"])


def test_a_document_is_written_only_in_the_version_that_was_read(pets: Caller) -> None:
    first = pets("put", "x", {"text": "one"}, of="pets", only_new=True)
    with pytest.raises(Refused) as refused:
        pets("put", "x", {"text": "two"}, of="pets", only_new=True)
    assert (refused.value.status, refused.value.code) == (412, "version_conflict")
    second = pets("put", "x", {"text": "two"}, of="pets", if_match=first.version)
    assert second.generation > first.generation
    with pytest.raises(Refused, match="version_conflict"):
        pets("delete", "x", of="pets", if_match=first.version)
    pets("delete", "x", of="pets", if_match=second.version)
    with pytest.raises(Refused) as gone:
        pets("get", "x", of="pets")
    assert gone.value.code == "unknown_document"
    assert gone.value.request_id


def test_a_refusal_carries_the_problem(pets: Caller) -> None:
    with pytest.raises(Refused) as refused:
        pets("search", "cats", of="pets", limit=0)
    error = refused.value
    assert (error.status, error.code) == (422, "invalid_request")
    assert error.faults[0].pointer == "/limit"
    assert error.faults[0].value == 0
    with pytest.raises(Refused, match="Did you mean 'pets'"):
        pets("search", "pet", "cats")


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
def test_rejected_documents_are_counted_by_their_number_in_all(
    pets: Caller, compression: Any
) -> None:
    lines: list[Mapping[str, Any]] = [
        *({"id": f"n{n}", "fields": {"text": "nothing"}} for n in range(5)),
        {"id": "", "fields": {}},
    ]
    added = pets("add", lines, of="pets", batch_bytes=100, compression=compression)
    assert (added.received, added.indexed, added.rejected) == (6, 5, 1)
    assert [reject.line for reject in added.rejects] == [6]
    (reject,) = pets("task_rejects", added.tasks[-1])
    assert json.loads(reject.text) == lines[-1]
    assert pets("task_rejects", added.tasks[0]) == ()
    task = pets("delete_many", of="pets", ids=[f"n{n}" for n in range(6)])
    assert task.details["deleted"] == 5


def test_logged_documents_are_searchable_when_their_tasks_are_over(pets: Caller) -> None:
    added = pets("add", [{"id": "late", "fields": {"text": "later"}}], of="pets", ack="logged")
    assert (added.received, added.indexed) == (1, 0)
    told: list[str] = []
    (number,) = added.tasks
    pets("wait", number, timeout=20, progress=lambda task: told.append(task.state))
    assert told[-1] == "succeeded"
    assert [hit.id for hit in pets("search", "later", of="pets").hits] == ["late"]
    assert pets("task", number).over
    assert pets("wait", pets("task", number)).over, "a task is meant by itself as well"
    assert number in [one.id for one in pets("list_tasks", index="pets", limit=100).tasks]
    assert pets("cancel_task", number).state == "succeeded", "what is over stays as it is"
    pets("delete", "late", of="pets")


def test_settings_change_for_what_comes(pets: Caller) -> None:
    assert pets("change", of="pets", passages=Passages(64, 8)).passages == Passages(64, 8)
    assert pets("change", of="pets", passages=None).passages is None


def test_an_alias_moves_through_a_gate_and_back(pets: Caller) -> None:
    pets("create_index", "empty")
    changed = pets("change_aliases", [AddAlias("best", "pets")])
    assert [(one.alias, one.index, one.previous) for one in changed.changes] == [
        ("best", "pets", None)
    ]
    gate = Gate(queries={"q": "cats"}, qrels={"q": {"a": 1}}, measure="nDCG@10")
    with pytest.raises(Refused, match="gate") as refused:
        pets("change_aliases", [SwapAlias("best", "empty")], gate=gate)
    assert refused.value.status == 409
    assert [(one.alias, one.index) for one in pets("list_aliases")] == [("best", "pets")]
    pets("change_aliases", [SwapAlias("best", "empty")])
    assert pets("search", "best", "cats").hits == ()
    assert pets("roll_back_alias", "best").index == "pets"
    assert [hit.id for hit in pets("search", "best", "cats").hits] == ["a"]
    assert [one.index for one in pets("alias_history", "best")[:3]] == ["pets", "empty", "pets"]
    pets("change_aliases", [RemoveAlias("best")])
    pets("delete_index", "empty")


def test_many_searches_are_answered_one_by_one(pets: Caller) -> None:
    found, refused, other = pets(
        "multi_search",
        [
            Search("pets", "cats", limit=1),
            Search("nowhere", "cats"),
            Search("pets", "cats", limit=0),
        ],
    )
    assert [hit.id for hit in found.hits] == ["a"]
    assert isinstance(refused, Refused)
    assert (refused.status, refused.code) == (404, "unknown_index")
    assert (other.status, other.faults[0].pointer) == (422, "/limit")


def test_a_document_is_explained_and_two_targets_compared(pets: Caller) -> None:
    why = pets("explain", "c/d é?", "cats sleeping", of="pets", k=1)
    assert (why.id, why.rank, why.score, why.cut.id) == ("c/d é?", None, 0.0, "a")
    assert {one.term for one in why.missing} == {"cat", "sleep"}
    compared = pets(
        "compare", "night", Target("pets"), Target("pets", filter={"lang": "de"}), limit=5
    )
    assert (len(compared.a.hits), len(compared.b.hits), compared.overlap.both) == (2, 0, 0)
    assert [one.b for one in compared.moves] == [None, None]
    with pytest.raises(Refused, match=r"bm25|network") as refused:
        pets("origins", "a", ["cat"], of="pets")
    assert refused.value.status in (409, 422)
    encoded = pets("encode", ["the cats"], of="pets")
    assert (encoded.as_, [one.term for one in encoded.results[0].tokens]) == ("query", ["cat"])


def test_a_snapshot_is_taken_verified_and_restored(pets: Caller) -> None:
    name = pets("create_snapshot", "pets", timeout=30)
    assert pets("verify_snapshot", name).state == "succeeded"
    pets("restore_snapshot", name, index="again")
    assert [hit.id for hit in pets("search", "again", "cats").hits] == ["a"]
    described = pets("snapshot", name)
    assert (described.of, described.readable) == ("pets", True)
    assert described in pets("list_snapshots")
    pets("delete_snapshot", name)
    pets("delete_index", "again")
    with pytest.raises(Refused, match="unknown_snapshot"):
        pets("snapshot", name)


def test_an_index_is_rebuilt_and_rolled_back(pets: Caller) -> None:
    pets("create_index", "again")
    pets("add", PETS, of="again")
    assert pets("rebuild", of="again", order="none", timeout=60).state == "succeeded"
    (version,) = pets("list_versions", of="again")
    assert version.n_docs == 4
    pets("roll_back", of="again", timeout=60)
    pets("forget_versions", of="again")
    assert pets("list_versions", of="again") == ()
    assert [hit.id for hit in pets("search", "again", "cats").hits] == ["a"]
    pets("delete_index", "again")


def test_keys_open_what_their_scopes_say(tmp_path: Path) -> None:
    with TestClient(create_app(Settings({}, home=tmp_path / "home", work_inside=True))) as app:
        through = _IntoTheApp(app)
        with Client("http://testserver", transport=through) as anybody:
            admin = anybody.create_key("me", ["admin:*"])
            assert admin.key not in repr(admin)
            with pytest.raises(Refused) as refused:
                anybody.list_keys()
            assert refused.value.status == 401
        with Client("http://testserver", api_key=admin.key, transport=through) as client:
            client.create_index("pets")
            reader = client.create_key("page", ["search:pets"], expires_in_s=60)
            assert [one.name for one in client.list_keys()] == ["me", "page"]
            with Client("http://testserver", api_key=reader.key, transport=through) as reading:
                assert reading.search("pets", "cats").hits == ()
                with pytest.raises(Refused, match="forbidden"):
                    reading.delete_index("pets")
                assert client.revoke_key(reader.id).state == "revoked"
                with pytest.raises(Refused):
                    reading.search("pets", "cats")


def test_the_readme_runs_against_a_server_in_a_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a client whose server is gone says so."""
    readme = Path(inspect.getfile(create_app)).with_name("README.md").read_text()
    (code,) = re.findall(r"```python\n(from lsr.client.*?)```", readme, re.DOTALL)
    serving = [sys.executable, "-m", "lsr", "serve", "--data", str(tmp_path / "server")]
    process = subprocess.Popen([*serving, "--port", "0"], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        ready = next(line for line in process.stderr if line.startswith("ready"))
        address, scope = ready.split()[1], dict[str, Any]()
        exec(code.replace("http://127.0.0.1:8000", address), scope)
        assert "ingest succeeded" in capsys.readouterr().out
        search = [f"{address}/pets", "cats", "-k", "1", "--filter", "year>=1998", "--explain"]
        assert run(["search", *search]) == 0
        told = capsys.readouterr().out
        assert "cat number 1998" in told
        assert "pets, exact" in told
        assert run(["search", f"{address}/pets", "cats", "--require", "x"]) == 2
        client = scope["client"]
        client.create_index("long", passages=Passages(8))
        text = "filler words " * 40 + "a zebra rests here " + "more words " * 40
        client.index("long").put("d", {"title": "Beasts", "text": text})
        assert run(["search", f"{address}/long", "zebra"]) == 0
        told = capsys.readouterr().out.splitlines()[2]
        assert "zebra" in told, "the passage that was found, not how the document begins"
        assert len(told) < 100
        client.create_key("me", ["admin:*"])
        capsys.readouterr()
        assert run(["search", f"{address}/pets", "cats"]) == 1
        assert "(401 key_required); give a key that may search by --api" in capsys.readouterr().err
        process.terminate()
        process.communicate(timeout=60)
        client._retry = Retry(attempts=2, base_s=0.01)
        with client, pytest.raises(Unreachable, match="no answer after 2 attempts"):
            client.search("pets", "cats")
    finally:
        process.kill()
        process.communicate()


# What follows needs no server: conversations are driven by hand.


def converse(
    outcomes: list[Any], request: Request, retry: Retry | None = None
) -> tuple[Any, list[Any]]:
    """The result of a request under `outcomes`, and every step that it took."""
    steps = patient(call(request, resources.Ready), retry or Retry(), random.Random(0))
    taken: list[Any] = []
    left = list(outcomes)
    step = next(steps)
    try:
        while True:
            taken.append(step)
            step = steps.send(None if isinstance(step, Sleep) else left.pop(0))
    except StopIteration as end:
        assert not left
        return end.value, taken


OK = Answer(200, httpx.Headers(), b'{"status": "ready", "checks": []}')
BUSY = Answer(503, httpx.Headers({"Retry-After": "2"}), b'{"code": "index_busy"}')
FULL = Answer(429, httpx.Headers({"Retry-After": "1"}), b'{"code": "too_many_requests"}')
GET = Request("GET", "/readyz", repeatable=True)
POST = Request("POST", "/v1/indexes", json={})


def test_a_busy_server_is_given_the_time_it_asks_for() -> None:
    ready, taken = converse([BUSY, FULL, OK], GET)
    assert ready.status == "ready"
    assert [step for step in taken if isinstance(step, Request)] == [GET] * 3
    first, second = (step.seconds for step in taken if isinstance(step, Sleep))
    assert 2.0 <= first <= 2.2
    assert 1.0 <= second <= 1.4


@pytest.mark.parametrize(
    ("outcome", "request_", "repeats"),
    [
        (httpx.ReadTimeout("slow"), GET, True),
        (httpx.ReadTimeout("slow"), POST, False),
        (httpx.RemoteProtocolError("broken"), POST, False),
        (httpx.ConnectError("refused"), POST, True),
        (FULL, POST, True),
        (BUSY, POST, False),
        (Answer(500, httpx.Headers(), b""), GET, False),
        (Answer(404, httpx.Headers(), b""), GET, False),
        (Answer(503, httpx.Headers({"Retry-After": "3600"}), b""), GET, False),
    ],
    ids=str,
)
def test_a_request_is_repeated_only_where_that_is_safe(
    outcome: Any, request_: Request, repeats: bool
) -> None:
    if repeats:
        assert converse([outcome, OK], request_)[0].status == "ready"
    else:
        with pytest.raises((Refused, Unreachable)):
            converse([outcome], request_)


def test_attempts_end(request: pytest.FixtureRequest) -> None:
    with pytest.raises(Unreachable, match="no answer after 3 attempts"):
        converse([httpx.ConnectError("refused")] * 3, GET, Retry(attempts=3))
    with pytest.raises(Refused, match="index_busy"):
        converse([BUSY] * 2, GET, Retry(attempts=2))


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_address_or_a_key_that_cannot_be_one_is_told_at_once(
    kind: type[Client] | type[AsyncClient],
) -> None:
    """They were tried five times, and the server was said not to run."""
    for url in ("127.0.0.1:8000", "localhost", ""):
        with pytest.raises(UsageError, match=r"no address of a server; wanted http://HOST:PORT"):
            kind(url)
    for key, what in (("", "is empty"), ("abc\n", "has '.n' as character 4"), ("ab…", "cter 3")):
        with pytest.raises(UsageError, match=f"the API key .*{what}"):
            kind("http://localhost:1", api_key=key)


def test_a_repeated_batch_bears_the_same_key_and_another_batch_another() -> None:
    lines = [{"id": str(n), "fields": {}} for n in range(4)]
    steps = patient(
        documents.add("x", lines, ack="logged", batch_bytes=40), Retry(), random.Random(0)
    )
    task = {
        "id": 1, "kind": "ingest", "index": "x", "state": "queued", "created": 0, "started": None,
        "finished": None, "progress": None, "details": None, "error": None, "cancelable": True,
    }  # fmt: skip
    done = Answer(202, httpx.Headers(), json.dumps(task).encode())
    outcomes: list[Any] = [httpx.ReadTimeout("lost"), done, done]
    requests: list[Request] = []
    step = next(steps)
    try:
        while True:
            if isinstance(step, Request):
                requests.append(step)
                step = steps.send(outcomes.pop(0))
            else:
                step = steps.send(None)
    except StopIteration as end:
        added = end.value
    assert added.received == 4
    keys = [one.headers["Idempotency-Key"] for one in requests]
    assert keys[0] == keys[1] != keys[2]
    sent = b"".join(gzip.decompress(one.content or b"") for one in requests[1:])
    assert [json.loads(line) for line in sent.splitlines()] == lines


def test_a_failed_task_is_an_error_and_a_slow_one_a_timeout() -> None:
    def events(state: str, finished: float | None) -> Iterator[str]:
        error = {"code": "disk_full", "detail": "No room.", "hint": "Make some."}
        yield "data: " + json.dumps(
            {
                "id": 7, "kind": "ingest", "index": "x", "state": state, "created": 0.0,
                "started": None, "finished": finished, "progress": None, "details": None,
                "error": error, "cancelable": False,
            }
        )  # fmt: skip

    talk = tasks.wait(7)
    request = next(talk)
    assert request.listen is not None
    assert [request.listen(line) for line in events("running", None)] == [False]
    request = talk.send(Answer(200, httpx.Headers(), b""))  # the stream ended before the task
    assert [request.listen(line) for line in events("failed", 1.0)] == [True]  # type: ignore[misc]
    with pytest.raises(TaskFailed, match=r"task 7 \(ingest\): No room; Make some"):
        talk.send(Answer(200, httpx.Headers(), b""))
    with pytest.raises(TimeoutError, match="task 7 is not over"):
        next(tasks.wait(7, timeout=0.0))


def test_a_task_that_goes_on_and_says_so_is_waited_for_no_longer_than_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every line of its stream began the time anew."""
    now = [0.0]
    monkeypatch.setattr(tasks, "time", SimpleNamespace(monotonic=lambda: now[0]))
    talk = tasks.wait(7, timeout=5.0)
    request = next(talk)
    assert request.listen is not None
    assert request.listen(": still here") is False
    now[0] = 5.0
    assert request.listen(": still here") is True
    with pytest.raises(TimeoutError, match="task 7 is not over"):
        talk.send(Answer(200, httpx.Headers(), b""))


def test_a_line_of_a_stream_ends_at_a_line_feed_alone() -> None:
    """JSON may hold what Python takes for the end of a line."""
    text = '{"detail": "a\u2028b\u0085c"}'
    sent = f"data: {text}\r\n\r\n: ä\n".encode()
    for at in range(len(sent)):
        lines = _Lines()
        found = lines.of(sent[:at]) + lines.of(sent[at:])
        assert found == [f"data: {text}", "", ": ä"]


def test_answers_that_are_none_are_told_from_answers() -> None:
    with pytest.raises(Refused, match="Bad gateway") as refused:
        converse([Answer(400, httpx.Headers(), b"<html>Bad gateway")], POST)
    assert refused.value.code == "http_400"
    with pytest.raises(UnexpectedAnswer, match="no JSON"):
        converse([Answer(200, httpx.Headers(), b"<html>")], GET)
    with pytest.raises(UnexpectedAnswer, match="lacks /status"):
        converse([Answer(200, httpx.Headers(), b"{}")], GET)
    with pytest.raises(UnexpectedAnswer, match="/checks/0/index of the answer is 3"):
        read(resources.Ready, {"status": "ready", "checks": [{"index": 3}]})


# And the client keeps up with the API.

OPENAPI = json.loads(Path(inspect.getfile(create_app)).with_name("openapi.json").read_text())

ABSENT = {
    ("GET", "/problems/{name}"): "an exception carries the problem already",
    ("GET", "/v1/health-history"): "for the page",
    ("POST", "/embed_sparse"): "for clients of text-embeddings-inference",
}
"""Routes that the client leaves alone, and why."""

NAMES = {
    results.SearchResult: "SearchResponse",
    resources.Task: "TaskInfo",
    comparing.Explanation: "ExplainResponse",
    comparing.Comparison: "CompareResponse",
    comparing.Encoded: "EncodeResponse",
    comparing.Origins: "OriginsResponse",
}
"""Schemas that are called otherwise here."""
OWN = {resources.Added, resources.Reject}
"""Made by the client, or not described by a schema."""


def operations() -> dict[str, Callable[..., Any]]:
    """Every conversation that the client has a method for."""
    return {
        name: method.__wrapped__
        for owner in (Client, RemoteIndex)
        for name, method in vars(owner).items()
        if hasattr(method, "__wrapped__")
    }


def test_every_route_is_reached_or_left_alone_on_purpose() -> None:
    samples = {
        "index": "i", "name": "i", "id": "d", "task": 1, "query": "q", "fields": {},
        "documents": [{"id": "d"}], "passages": None,
        "alias": "a", "actions": [], "texts": ["t"], "terms": [1], "searches": [], "scopes": [],
        "a": Target("i"), "b": Target("i"),
    }  # fmt: skip
    reached = set()
    for name, talk in operations().items():
        needed = {
            parameter.name: samples[parameter.name]
            for parameter in inspect.signature(talk).parameters.values()
            if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
        }
        request = next(talk(**needed))
        path = request.path.removesuffix("/events") if name == "wait" else request.path
        reached |= {(request.method, request.path), (request.method, path)}
    routes = {
        (method.upper(), path) for path, methods in OPENAPI["paths"].items() for method in methods
    }
    example = {"name": "i", "id": "d", "alias": "a", "snapshot": "i"}
    concrete = {
        (method, path.format(**(example | ({"id": "1"} if "/tasks/" in path else {})))): path
        for method, path in routes
    }
    missing = {
        (method, concrete[method, path])
        for method, path in concrete
        if (method, path) not in reached
    }
    assert missing == set(ABSENT)
    assert reached <= set(concrete)


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    for blocking, asynchronous in ((Client, AsyncClient), (RemoteIndex, AsyncRemoteIndex)):
        ours = {name for name, one in vars(blocking).items() if hasattr(one, "__wrapped__")}
        assert ours == {n for n, one in vars(asynchronous).items() if hasattr(one, "__wrapped__")}
        for name in ours:
            one, other = getattr(blocking, name), getattr(asynchronous, name)
            assert one.__wrapped__ is other.__wrapped__
            assert inspect.signature(one) == inspect.signature(other)
            assert one.__doc__, name


def test_what_is_read_is_what_the_api_describes() -> None:
    """Each dataclass has the members of its schema, and none of its own."""
    schemas = OPENAPI["components"]["schemas"]
    kinds = {
        kind
        for module in (results, resources, comparing, guarding)
        for kind in vars(module).values()
        if dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__
    }
    for kind in kinds - OWN:
        schema = schemas[NAMES.get(kind, kind.__name__)]
        fields = {json_name(one.name): one for one in dataclasses.fields(kind)}
        assert fields.keys() == schema["properties"].keys(), kind.__name__
        required = {name for name, one in fields.items() if one.default is dataclasses.MISSING}
        assert required <= set(schema["required"]) | _defaulted(schema), kind.__name__


def _defaulted(schema: Mapping[str, Any]) -> set[str]:
    return {name for name, one in schema["properties"].items() if "default" in one}


def test_the_options_of_a_search_are_those_of_the_api() -> None:
    wanted = OPENAPI["components"]["schemas"]["SearchRequest"]["properties"].keys() - {"query"}
    assert searching.SearchOptions.__annotations__.keys() == wanted


def test_help_shows_what_a_method_takes() -> None:
    assert str(inspect.signature(Client.search)).startswith("(self, /, index: str, query:")
    assert str(inspect.signature(RemoteIndex.get)).startswith("(self, /, id: str) ->")
    assert clients.__doc__
    assert managing.list_indexes.__doc__ == Client.list_indexes.__doc__
