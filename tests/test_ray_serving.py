"""Shards behind Ray Serve answer as one index, also while replicas are slow, die or are missing."""

import asyncio
import os
import pickle
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from shards_world import N_DOCS, SECURED, LookedUp, bm25, build_one, build_set, questions, told
from starlette.testclient import TestClient

from index import Cancel, Index, ShardedIndex, ShardSet, SparseRetriever
from lsr.errors import IndexReplaced, QueryError, SearchCancelled, ShardMissing
from lsr.ray_cluster import MODE, TOKEN
from service import Settings, create_app
from service.ray_replicas import LEAN
from service.ray_shards import RayShards, open_on_ray
from service.settings import OnRay

FAST = OnRay(shard_timeout_s=0.3)
TWO = OnRay(max_replicas=2, shard_timeout_s=5.0)


# ---- how replicas are asked; they are objects here ----


class Answering:
    """A handle of Ray Serve whose replicas take these seconds for their questions, one by one.

    `by_value` is what it is with that option, by default itself; an error where there is none.
    """

    def __init__(
        self,
        index: Index,
        seconds: Sequence[float | BaseException] = (),
        *,
        by_value: "Answering | TypeError | None" = None,
    ) -> None:
        self.index = index
        self.seconds = list(seconds)
        self.by_value = by_value
        self.n_asked = 0
        self.n_cancelled = 0

    def options(self, *, _by_reference: bool) -> "Answering":
        assert not _by_reference
        if isinstance(self.by_value, TypeError):
            raise self.by_value
        return self.by_value or self

    def remote(self, set_name: str, question: Callable[[Index], Any]) -> "Response":
        self.n_asked += 1
        return Response(self, self.seconds.pop(0) if self.seconds else 0.0, question)


class Response:
    def __init__(
        self, handle: Answering, takes: float | BaseException, question: Callable[[Index], Any]
    ) -> None:
        self.handle = handle
        self.takes = takes
        self.question = question

    def cancel(self) -> None:
        self.handle.n_cancelled += 1

    def __await__(self) -> Iterator[Any]:
        return self._answer().__await__()

    async def _answer(self) -> Any:
        if isinstance(self.takes, BaseException):
            raise self.takes
        await asyncio.sleep(self.takes)
        return self.question(self.handle.index)


def ray_or_skip() -> None:
    os.environ.update(SECURED | LEAN)
    with warnings.catch_warnings(action="ignore"):  # of Ray about pydantic, while it is imported
        pytest.importorskip("ray.serve", reason="pip install 'lsr-search[ray]'")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("served")
    build_one(place / "one.index", LookedUp(1))
    build_set(place / "set.index", LookedUp(1), 2)
    return place


@pytest.fixture(scope="module")
def one(folder: Path) -> Index:
    return Index.open(folder / "one.index", read_only=True)


def sharded(
    folder: Path, settings: OnRay, *seconds: Sequence[float | BaseException]
) -> tuple[ShardedIndex, list[Answering]]:
    """The set behind handles; the seconds of each begin after the first question, of opening."""
    ray_or_skip()
    path = folder / "set.index"
    members = ShardSet.read(path)
    handles = [
        Answering(Index.open(path / shard.name, read_only=True), [0.0, *some])
        for shard, some in zip(members.shards, seconds, strict=True)
    ]
    return ShardedIndex(path, members, RayShards(path, members.name, handles, settings)), handles


def test_a_slow_replica_is_overtaken_by_a_second_one(folder: Path, one: Index) -> None:
    """Thirty quick answers say what is usual; the next takes 2 s, so another is asked."""
    index, handles = sharded(folder, TWO, [0.0] * 30 + [2.0], [])
    query = LookedUp(1).queries[[0], :]
    for _ in range(30):
        index.search(query, 5)
    assert handles[0].n_asked == 31
    started = time.monotonic()
    assert told(index.search(query, 20)) == told(one.search(query, 20))
    assert time.monotonic() - started < 1.5
    assert handles[0].n_asked == 33
    assert handles[0].n_cancelled == 1
    index.close()


def test_few_questions_are_asked_twice_even_if_all_are_slow(folder: Path) -> None:
    """After 41 questions three may be: then it is enough, however slow the others are."""
    index, handles = sharded(folder, TWO, [0.0] * 40 + [0.4] * 20, [])
    query = LookedUp(1).queries[[0], :]
    for _ in range(48):
        index.search(query, 5)
    shards = index.shards
    assert isinstance(shards, RayShards)
    n_asked, n_hedged = shards.hedged()
    assert n_asked == 2 * 49
    assert 1 <= n_hedged <= 6
    assert n_asked < sum(handle.n_asked for handle in handles) <= n_asked + n_hedged
    index.close()


def test_a_single_replica_is_never_asked_twice(folder: Path) -> None:
    index, handles = sharded(folder, OnRay(), [0.0] * 30 + [0.1], [])
    for _ in range(32):
        index.search(LookedUp(1).queries[[0], :], 5)
    assert handles[0].n_asked == 33
    index.close()


def test_the_question_of_a_dead_replica_is_asked_again(folder: Path, one: Index) -> None:
    ray = pytest.importorskip("ray", reason="pip install 'lsr-search[ray]'")
    died = ray.exceptions.ActorDiedError()
    index, handles = sharded(folder, OnRay(), [died, died], [])
    query = LookedUp(1).queries[[0], :]
    assert told(index.search(query, 20)) == told(one.search(query, 20))
    assert handles[0].n_asked == 4
    index.close()


def said_by_grpc(code: str) -> Exception:
    grpc = pytest.importorskip("grpc", reason="pip install 'lsr-search[ray]'")
    nothing = grpc.aio.Metadata()
    error = grpc.aio.AioRpcError(grpc.StatusCode[code], nothing, nothing, details=code)
    assert isinstance(error, Exception)
    return error


def two_ways(
    folder: Path,
    settings: OnRay,
    by_value: Sequence[float | BaseException] | None,
) -> tuple[ShardedIndex, Answering, Answering]:
    """The set, and what answers for shard 0 by reference and by value; None: Ray has no such way.

    Question 1 is asked on opening.
    """
    ray_or_skip()
    path = folder / "set.index"
    members = ShardSet.read(path)
    first, second = (Index.open(path / shard.name, read_only=True) for shard in members.shards)
    quick = Answering(first, by_value or ())
    plain = Answering(first, by_value=TypeError() if by_value is None else quick)
    shards = RayShards(path, members.name, [plain, Answering(second)], settings)
    return ShardedIndex(path, members, shards), plain, quick


class TestTheWayByValue:
    """Questions go by value, and by Ray's object store wherever that does not do."""

    def test_it_is_taken_where_there_is_one(self, folder: Path, one: Index) -> None:
        query = LookedUp(1).queries[[0], :]
        for by_value, asked in (((), (0, 2)), (None, (2, 0))):
            index, plain, quick = two_ways(folder, OnRay(), by_value)
            assert told(index.search(query, 20)) == told(one.search(query, 20))
            assert (plain.n_asked, quick.n_asked) == asked
            index.close()

    @pytest.mark.parametrize(
        "ends",
        [
            "UNAVAILABLE",
            "CANCELLED",
            asyncio.CancelledError(),
            RuntimeError("Unexpected error (StatusCode.UNAVAILABLE): gone."),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("settings", [OnRay(), TWO], ids=["one replica", "two"])
    def test_it_is_taken_again_when_a_replica_dies(
        self, folder: Path, one: Index, ends: str | BaseException, settings: OnRay
    ) -> None:
        error = said_by_grpc(ends) if isinstance(ends, str) else ends
        index, plain, quick = two_ways(folder, settings, [0.0, error, error])
        query = LookedUp(1).queries[[0], :]
        assert told(index.search(query, 20)) == told(one.search(query, 20))
        assert (plain.n_asked, quick.n_asked) == (0, 4)
        index.close()

    def test_it_is_given_up_when_it_cannot_carry_a_message(
        self, folder: Path, one: Index, caplog: pytest.LogCaptureFixture
    ) -> None:
        index, plain, quick = two_ways(folder, OnRay(), [0.0, said_by_grpc("RESOURCE_EXHAUSTED")])
        query = LookedUp(1).queries[[0], :]
        for _ in range(2):
            assert told(index.search(query, 20)) == told(one.search(query, 20))
        assert (plain.n_asked, quick.n_asked) == (2, 2)
        assert "through Ray's object store from now on" in caplog.text
        index.close()

    def test_it_is_given_up_when_nobody_was_ever_reached(self, folder: Path, one: Index) -> None:
        """As where a firewall lets Ray's own ports through and no others."""
        index, plain, quick = two_ways(folder, FAST, [9.0] * 9)
        query = LookedUp(1).queries[[0], :]
        assert told(index.search(query, 20)) == told(one.search(query, 20))
        assert (plain.n_asked, quick.n_asked) == (2, 1)
        index.close()

    def test_a_mistake_of_ours_is_not_taken_for_its(self, folder: Path) -> None:
        index, _, quick = two_ways(folder, OnRay(), [0.0, RuntimeError("ours")])
        with pytest.raises(RuntimeError, match="ours"):
            index.search(LookedUp(1).queries[[0], :], 5)
        assert quick.n_asked == 2
        index.close()


def test_replicas_of_another_set_are_asked_again_and_then_refused(folder: Path) -> None:
    index, _ = sharded(folder, FAST, [], [IndexReplaced("another set")] * 100)
    with pytest.raises(ShardMissing, match="do not answer: 1"):
        index.search(LookedUp(1).queries[[0], :], 5)
    index.close()


def test_a_shard_that_does_not_answer_fails_the_search_or_is_left_out(
    folder: Path, one: Index
) -> None:
    """Without shard 1 the ranking is that of the first half, and says that it is not exact."""
    index, handles = sharded(folder, FAST, [], [9.0] * 9)
    query = LookedUp(1).queries[[0], :]
    with pytest.raises(ShardMissing) as raised:
        index.search(query, 20)
    assert raised.value.shards == (1,)
    started = time.monotonic()
    found = index.search(query, 20, missing_ok=True)
    assert time.monotonic() - started < 0.3, "a shard that was given up is not waited for long"
    assert found.missing == (1,)
    assert not found.report.exact
    whole = told(one.search(query, N_DOCS))
    half = [place for place, docid in enumerate(whole[1]) if docid <= N_DOCS // 2][:20]
    assert found.doc_ids == [whole[0][place] for place in half]
    assert found.ranking.scores.tolist() == [whole[2][place] for place in half]
    handles[1].seconds.clear()
    assert told(index.search(query, 20)) == told(one.search(query, 20))
    assert index.search(query, 20).missing == ()
    index.close()


def test_when_all_shards_are_missing_there_is_no_partial_answer(folder: Path) -> None:
    index, _ = sharded(folder, FAST, [9.0] * 9, [9.0] * 9)
    with pytest.raises(ShardMissing, match="do not answer: 0, 1"):
        index.search(LookedUp(1).queries[[0], :], 5, missing_ok=True)
    index.close()


def test_a_search_is_cancelled_and_a_mistake_is_told(folder: Path) -> None:
    index, _ = sharded(folder, TWO, [3.0], [])
    cancel = Cancel()
    threading.Timer(0.1, cancel.set).start()
    started = time.monotonic()
    with pytest.raises(SearchCancelled):
        index.search(LookedUp(1).queries[[0], :], 5, cancel=cancel)
    assert time.monotonic() - started < 2.0
    with pytest.raises(QueryError, match="k = 0"):
        index.search(LookedUp(1).queries[[0], :], 0)
    index.close()


def test_a_key_with_a_filter_sees_a_set_as_it_sees_one_index(folder: Path, one: Index) -> None:
    from service.restricted import RestrictedIndex

    index, _ = sharded(folder, OnRay(), [], [])
    query = LookedUp(1).queries[[0], :]
    seen, wanted = (RestrictedIndex(whole, {"lang": "de"}) for whole in (index, one))
    assert told(seen.search(query, 20)) == told(wanted.search(query, 20))
    assert seen.n_docs == wanted.n_docs
    assert [seen.get(f"d{n}") for n in (0, 1, 599)] == [wanted.get(f"d{n}") for n in (0, 1, 599)]
    index.close()


# ---- over HTTP ----


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `folder`, of BM25: the service encodes the queries."""
    place = tmp_path_factory.mktemp("words")
    build_one(place / "one.index", bm25())
    build_set(place / "set.index", bm25(), 2)
    return place


def body(n: int, **options: Any) -> dict[str, Any]:
    text = f"w{n} w{(7 * n) % 30} w{(n + 3) % 30}"
    return {"query": {"text": text}, "limit": 20, "fields": [], "timing": False, **options}


def test_the_service_answers_from_a_set_as_from_one_index(words: Path) -> None:
    names = {"one": words / "one.index", "set": words / "set.index"}
    with TestClient(create_app(Settings(names)), base_url="http://localhost") as client:
        assert client.app_state["engine"].wait(30)
        for n in range(5):
            for options in (
                {"count": "exact"},
                {"explain": True, "fields": None},
                {"filter": {"lang": "de"}, "offset": 7},
                {"cursor": "start"},
            ):
                answers = []
                for name in names:
                    answer = client.post(f"/v1/indexes/{name}/search", json=body(n, **options))
                    assert answer.status_code == 200, answer.text
                    facts = answer.json()
                    for own in ("index", "generation", "next_cursor"):
                        facts.pop(own, None)
                    answers.append(facts)
                assert answers[0] == answers[1]
        start = client.post("/v1/indexes/set/search", json=body(0, cursor="start")).json()
        later = client.post(
            "/v1/indexes/set/search", json=body(0, cursor=start["next_cursor"])
        ).json()
        assert later["hits"][0]["rank"] == 21
        described = client.get("/v1/indexes/set").json()
        assert described["n_docs"] == N_DOCS
        assert client.get("/metrics").status_code == 200


# ---- with Ray ----


@pytest.fixture(scope="module")
def ray_here() -> Iterator[Any]:
    os.environ.update(SECURED | LEAN)
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    pytest.importorskip("ray", reason="pip install 'lsr-search[ray]'")
    from lsr.ray_cluster import cluster

    with cluster("this test", dashboard=True):
        import ray

        yield ray


def _with(index: Index, what: str) -> str:
    return what


def _channel(address: str) -> Any:
    """Without what Ray would put into it of itself."""
    import grpc

    return grpc.insecure_channel(address)


def _listening(parent: int) -> list[tuple[IPv4Address | IPv6Address, int, int]]:
    """Address, port and process of all TCP sockets that descendants of a process listen on."""
    sockets = {}
    for name in ("tcp", "tcp6"):
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A":
                packed, port = local.split(":")
                words = bytes.fromhex(packed)
                address = ip_address(
                    b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
                )
                sockets[f"socket:[{inode}]"] = (
                    getattr(address, "ipv4_mapped", None) or address,
                    port,
                )
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = []
    for pid in parents:
        above = pid
        while above in parents and above != parent:
            above = parents[above]
        if above != parent or pid == parent:
            continue
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if (one := sockets.get(str(descriptor.readlink()))) is not None:
                    found.append((one[0], int(one[1], 16), pid))
    return found


def _pid(index: Index) -> int:
    return os.getpid()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
class TestWithRay:
    def test_nothing_changes_under_load_while_replicas_are_killed(
        self, ray_here: Any, words: Path
    ) -> None:
        """Every search of four clients is answered as by one index; each kill hits a replica that
        answers."""
        settings = Settings(
            {"one": words / "one.index", "set": words / "set.index"},
            ray=OnRay(min_replicas=2, max_replicas=2, replica_cpus=0.1, shard_timeout_s=60.0),
        )
        with TestClient(create_app(settings), base_url="http://localhost") as client:
            assert client.app_state["engine"].wait(300)
            wanted = [
                client.post("/v1/indexes/one/search", json=body(n)).json()["hits"]
                for n in range(20)
            ]
            wrong: list[Any] = []
            answered = [0] * 4
            stop = threading.Event()

            def ask(who: int) -> None:
                n = who
                while not stop.is_set():
                    answer = client.post("/v1/indexes/set/search", json=body(n % 20))
                    if answer.status_code != 200 or answer.json()["hits"] != wanted[n % 20]:
                        wrong.append(answer.text)
                    answered[who] += 1
                    n += 1

            clients = [threading.Thread(target=ask, args=(who,)) for who in range(4)]
            for one_client in clients:
                one_client.start()
            shards = client.app_state["engine"].collection("set").index.shards
            killed = set()
            for number in (0, 1):
                time.sleep(2)
                pid = shards.ask(number, _pid)
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            time.sleep(4)
            stop.set()
            for one_client in clients:
                one_client.join()
            assert wrong == []
            assert min(answered) > 5
            assert killed.isdisjoint({shards.ask(number, _pid) for number in (0, 1)})

    def test_an_answer_may_be_longer_than_what_grpc_allows_by_default(
        self, ray_here: Any, folder: Path
    ) -> None:
        """5 MiB, by value and to the end: what a replica may receive and send is raised."""
        index = open_on_ray("long", folder / "set.index", OnRay(replica_cpus=0.1))
        shards = index.shards
        assert isinstance(shards, RayShards)
        long = "x" * (5 << 20)
        assert shards.ask_all(partial(_with, what=long)) == {0: long, 1: long}
        assert all(shard.by_value is not None for shard in shards._shards)
        index.close()

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
    def test_strangers_find_a_locked_door_or_none(self, ray_here: Any, folder: Path) -> None:
        """All listen on loopback but the replicas' gRPC, which refuses who has not the token; so
        do the head, the dashboard and its agent."""
        import grpc
        from ray import cloudpickle
        from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc
        from ray.serve._private.common import RequestMetadata
        from ray.serve.generated.serve_pb2 import ASGIRequest
        from ray.serve.generated.serve_pb2_grpc import ASGIServiceStub

        folder_of_ray = Path(ray_here.get_runtime_context().get_temp_dir())
        assert folder_of_ray.parent.stat().st_mode & 0o777 == 0o700
        index = open_on_ray("open", folder / "set.index", OnRay(replica_cpus=0.1))
        shards = index.shards
        assert isinstance(shards, RayShards)
        replicas = set(shards.ask_all(_pid).values())
        listening = _listening(os.getpid())
        wide = [(port, pid) for address, port, pid in listening if not address.is_loopback]
        assert len(listening) > len(wide) + 5
        assert {pid for _, pid in wide} <= replicas
        request = ASGIRequest(
            pickled_request_metadata=pickle.dumps(
                RequestMetadata(request_id="a", internal_request_id="b", call_method="__call__")
            ),
            request_args=cloudpickle.dumps([index.members.name, _pid]),
            request_kwargs=cloudpickle.dumps({}),
        )
        right = (("authorization", f"Bearer {os.environ[TOKEN]}"),)
        calls = [
            partial(ASGIServiceStub(_channel(f"127.0.0.1:{port}")).HandleRequest, request)
            for port, _ in wide
        ]
        head = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(
            _channel(ray_here.get_runtime_context().gcs_address)
        )
        calls.append(partial(head.GetAllNodeInfo, gcs_service_pb2.GetAllNodeInfoRequest()))
        assert len(calls) == 3
        for call in calls:
            for metadata in ((), (("authorization", "Bearer 0"),)):
                with pytest.raises(grpc.RpcError) as refused:
                    call(metadata=metadata, timeout=10)
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            call(metadata=right, timeout=10)
        for port in {port for _, port, _ in listening if port in (8265, 52365)}:
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/jobs/", timeout=10)
        index.close()

    def test_a_missing_shard_is_a_problem_or_a_partial_answer(
        self, ray_here: Any, words: Path
    ) -> None:
        from ray import serve

        settings = Settings(
            {"set": words / "set.index"}, ray=OnRay(replica_cpus=0.1, shard_timeout_s=2.0)
        )
        with TestClient(create_app(settings), base_url="http://localhost") as client:
            assert client.app_state["engine"].wait(300)
            assert client.post("/v1/indexes/set/search", json=body(0)).status_code == 200
            name = ShardSet.read(words / "set.index").name[:12]
            serve.delete(f"lsr-set-{name}-1")
            failed = client.post("/v1/indexes/set/search", json=body(0))
            assert failed.status_code == 503
            assert failed.json()["code"] == "shard_missing"
            assert failed.headers["retry-after"] == "1"
            partial_ = client.post(
                "/v1/indexes/set/search", json=body(0, on_missing_shard="partial", count="exact")
            )
            facts = partial_.json()
            assert (facts["partial"], facts["missing_shards"], facts["exact"]) == (True, [1], False)
            assert facts["total"]["relation"] == "gte"
            assert "etag" not in partial_.headers
            assert {int(hit["id"][1:]) < N_DOCS // 2 for hit in facts["hits"]} == {True}

    def test_a_set_that_is_built_again_is_served_instead(
        self, ray_here: Any, tmp_path: Path
    ) -> None:
        from ray import serve

        place = build_set(tmp_path / "papers.index", bm25(), 2)
        settings = Settings({"papers": place}, ray=OnRay(replica_cpus=0.1))
        with TestClient(create_app(settings), base_url="http://localhost") as client:
            assert client.app_state["engine"].wait(300)
            asked = {"query": {"text": "w1 w2"}, "limit": 5}
            assert client.post("/v1/indexes/papers/search", json=asked).status_code == 200
            build_set(place, bm25(), 3, overwrite=True)
            hits = client.post("/v1/indexes/papers/search", json=asked).json()["hits"]
            with SparseRetriever.open(place) as retriever:
                wanted = retriever.search({"q": "w1 w2"}, 5)["q"]
            assert [hit["id"] for hit in hits] == list(wanted)
            served = client.app_state["engine"].collection("papers").index
            assert len(served.members.shards) == 3
        until = time.monotonic() + 60
        while any("papers" in app for app in serve.status().applications):
            assert time.monotonic() < until, "the applications of both sets must go"
            time.sleep(0.2)


def test_questions_survive_the_way_to_a_replica(one: Index) -> None:
    """What is sent is a function by its name and its arguments."""
    query = questions(LookedUp(1))[[0], :]
    question = pickle.loads(pickle.dumps(partial(Index.search_batch, queries=query, k=9)))
    assert [told(hits) for hits in question(one)] == [told(one.search(query, 9))]


def test_token_mode_is_on_here() -> None:
    assert SECURED[MODE] == "token"
