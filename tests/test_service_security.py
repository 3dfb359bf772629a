"""Keys open what they say and nothing else, for every route there is.

The expectations are computed from what each route declares, by rules written anew here.
"""

import inspect
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from index import Index, build_index
from lsr.encoders import BM25Encoder
from lsr.errors import IndexNotFound, LsrError
from lsr.types import Document
from service import Settings, create_app
from service.access import Need, need_of
from service.home import Home, keys
from service.home.keys import Key, Scope
from service.logs import JsonFormatter, TextFormatter
from service.pages import FILES
from service.restricted import RestrictedIndex
from service.routes import ROUTERS, answering
from service.routes.guarding import GuardedRoute

DOCUMENTS = [
    Document("a1", {"text": "cats sleep", "tenant": "acme", "year": 2001}),
    Document("a2", {"text": "cats and dogs", "tenant": "acme", "year": 2020}),
    Document("b1", {"text": "cats sleep secretly", "tenant": "bmax", "year": 2020}),
    Document("n1", {"text": "cats of nobody"}),
]
FIELDS = {"tenant": "keyword", "year": "int"}


@dataclass(frozen=True)
class World:
    """A server with the indexes `docs`, `other` (undeclared fields) and keys of every kind."""

    client: TestClient
    home: Home
    secrets: dict[str, str]

    def ask(self, method: str, path: str, key: str | None = None, **options: Any) -> Any:
        headers = {"X-API-Key": self.secrets.get(key, key)} if key is not None else {}
        headers |= options.pop("headers", {})
        return self.client.request(method, path, headers=headers, **options)

    def search(self, key: str, index: str = "docs", **body: Any) -> Any:
        body.setdefault("query", {"text": "cats"})
        return self.ask("POST", f"/v1/indexes/{index}/search", key, json=body)


def opened(client: TestClient) -> TestClient:
    assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
    return client


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("security")
    encoder = BM25Encoder.fit(document.text() for document in DOCUMENTS)
    for name, fields in (("docs", FIELDS), ("other", {})):
        place = folder / f"{name}.index"
        build_index(place, DOCUMENTS, encoder, source="test", fields=fields, progress=False)
    return folder


@pytest.fixture(scope="module")
def world(folder: Path) -> Iterator[World]:
    with Home.open(folder / "server") as home:
        secrets = {}

        def make(name: str, *scopes: str, **rest: Any) -> Key:
            key, secrets[name] = keys.create(home, name, [Scope.read(s) for s in scopes], **rest)
            return key

        make("root", "admin:*")
        make("reader", "search:*")
        make("foreign", "search:other", "write:other", "admin:other")
        make("writer", "write:docs")
        make("monitor", "monitor:*")
        make("acme", "search:*", filter={"tenant": "acme"})
        keys.revoke(home, make("revoked", "admin:*").id)
        make("expired", "admin:*", expires=time.time() + 0.001)
        time.sleep(0.002)
        secrets["invented"] = secrets["root"][:-1] + ("A" if secrets["root"][-1] != "A" else "B")
        settings = Settings(
            {name: folder / f"{name}.index" for name in ("docs", "other")},
            home=home.path,
            work_inside=True,
        )
        with TestClient(create_app(settings), raise_server_exceptions=False) as client:
            yield World(opened(client), home, secrets)


ROUTES = [
    pytest.param(method, route.path_format, need_of(route.endpoint), id=f"{method} {route.path}")
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods or ())
]


def allowed(need: Need, key: str) -> bool | None:
    """Whether a key of `world` may use a route on the index `docs`; None: its body decides."""
    if need.public or key == "root" or (need.anonymous and key == "none"):
        return True
    if key in ("revoked", "expired", "invented", "none"):
        return False
    if need.action is None:
        return True
    if need.of == "some":
        return (
            None
            if need.action
            in {"reader": ["search"], "writer": ["write"]}.get(
                key, ["search", "write", "admin"] if key == "foreign" else []
            )
            else False
        )
    if need.of == "server":
        return key == "monitor" and need.action == "monitor"
    return need.action == {"reader": "search", "writer": "write", "monitor": "monitor"}.get(key)


@pytest.mark.parametrize(("method", "path", "need"), ROUTES)
def test_every_route_opens_to_the_right_keys_only(
    world: World, method: str, path: str, need: Need
) -> None:
    address = path.replace("{name}", "docs").replace("{id}", "7")
    for key in ("none", "invented", "expired", "revoked", "reader", "foreign", "writer", "monitor"):
        response = world.ask(method, address, None if key == "none" else key, json={})
        expected = allowed(need, key)
        assert expected is None or (response.status_code not in (401, 403)) == expected, (
            key,
            response.text,
        )
        if expected is False:
            stranger = key in ("none", "invented", "expired", "revoked")
            assert response.status_code == (401 if stranger else 403), (key, response.text)
            assert response.headers["www-authenticate"].startswith("Bearer realm=")
            other_protocol = path == "/embed_sparse"
            assert other_protocol or response.json()["code"] in (
                "key_required",
                "invalid_key",
                "forbidden",
            )


@pytest.mark.parametrize(("method", "path", "need"), ROUTES)
def test_the_key_of_everything_opens_every_route(
    world: World, method: str, path: str, need: Need
) -> None:
    if method == "DELETE" and "keys" in path:
        path = path.replace("{id}", "0000000000")
    address = path.replace("{name}", "absent").replace("{id}", "7")
    assert world.ask(method, address, "root", json={}).status_code not in (401, 403)


def test_the_reference_and_the_pages_ask_for_no_key(world: World) -> None:
    for path in (*FILES, "/openapi.json", "/livez", "/problems/forbidden"):
        assert world.ask("GET", path).status_code == 200, path
    assert world.ask("GET", "/openapi.json").json()["security"] == [{"bearer": []}, {"key": []}, {}]


def test_there_is_no_route_beside_the_guarded_ones_and_the_pages(world: World) -> None:
    app = create_app(Settings({}))
    plain = {route.path for route in app.routes if hasattr(route, "path")}
    assert plain == {*FILES, "/openapi.json"}
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, GuardedRoute), route


def test_a_route_that_does_not_say_what_it_needs_cannot_be_made() -> None:
    router = APIRouter(route_class=GuardedRoute)

    def forgotten() -> None: ...

    with pytest.raises(AssertionError, match="forgotten does not say what it needs"):
        router.get("/v1/forgotten")(forgotten)


def test_handlers_have_their_indexes_from_nowhere_but_the_guarded_door() -> None:
    """`Engine.collection` knows nothing of keys; `collection_of` is the only one to call it."""
    folder = Path(GuardedRoute.__module__.replace(".", "/")).parent
    sources = (Path(__file__).parents[1] / folder).glob("*.py")
    callers = [one.name for one in sources if re.search(r"\.collection\(", one.read_text())]
    assert callers == ["answering.py"]


def test_both_ways_to_send_a_key_work(world: World) -> None:
    secret = world.secrets["reader"]
    for headers in (
        {"Authorization": f"Bearer {secret}"},
        {"authorization": f"bearer   {secret} "},
        {"X-API-Key": secret},
        {"Authorization": "Basic dXNlcjpwYXNz", "X-API-Key": secret},
    ):
        assert world.ask("GET", "/v1/indexes", headers=headers).status_code == 200
    for headers in (
        {"Authorization": secret},
        {"Authorization": f"Bearer {secret[:-1]}"},
        {"Authorization": "Bearer lsr_0000000000_" + "A" * 43, "X-API-Key": secret},
        {"X-API-Key": ""},
    ):
        assert world.ask("GET", "/v1/indexes", headers=headers).status_code == 401


def test_a_key_sees_the_names_that_it_has_to_do_with(world: World) -> None:
    def names(key: str) -> list[str]:
        return [one["name"] for one in world.ask("GET", "/v1/indexes", key).json()["indexes"]]

    assert names("root") == names("reader") == names("monitor") == ["docs", "other"]
    assert names("writer") == ["docs"]
    assert names("foreign") == ["other"]
    assert world.ask("GET", "/v1/info", "writer").json()["indexes"] == ["docs"]
    checks = world.ask("GET", "/readyz", "foreign").json()["checks"]
    assert [check["index"] for check in checks] == ["other"]
    probe = world.ask("GET", "/readyz", None)
    assert probe.status_code == 200  # for whoever balances loads: yes or no, and no names
    assert probe.json() == {"status": "ready", "checks": [], "data": None}


def test_an_error_tells_no_name_that_the_key_may_not_know(folder: Path) -> None:
    with Home.open(folder / "quiet") as home:
        _, secret = keys.create(home, "k", [Scope.read("search:public-*")])
        app = create_app(Settings({"secret-plans": folder / "docs.index"}, home=home.path))
        with TestClient(app) as client:
            opened(client)
            for name in ("public-x", "secret-plan"):
                response = client.post(
                    f"/v1/indexes/{name}/search",
                    json={"query": {"text": "cats"}},
                    headers={"X-API-Key": secret},
                )
                assert response.status_code == (404 if name == "public-x" else 403)
                assert "secret-plans" not in response.text
            _, secret = keys.create(home, "k", [Scope.read("admin:public-*")])
            for method, path in (("GET", "versions"), ("POST", "rollback"), ("POST", "rebuild")):
                response = client.request(
                    method,
                    f"/v1/indexes/public-x/{path}",
                    json={} if path == "rebuild" else None,
                    headers={"X-API-Key": secret},
                )
                assert response.status_code in (403, 404)
                assert "secret-plans" not in response.text


class TestATenant:
    """A key with a filter: no document outside of it exists, through any door."""

    def test_searches_and_counts_its_own(self, world: World) -> None:
        answer = world.search("acme", limit=100).json()
        assert sorted(hit["id"] for hit in answer["hits"]) == ["a1", "a2"]
        assert sorted(h["id"] for h in world.search("reader").json()["hits"]) == sorted(
            document.doc_id for document in DOCUMENTS
        )
        for filter in (
            {"tenant": "bmax"},
            {"any": [{"tenant": "bmax"}, {"tenant": {"exists": False}}]},
            {"not": {"tenant": "acme"}},
        ):
            assert world.search("acme", filter=filter).json()["hits"] == []
        narrower = world.search("acme", filter={"year": {"gte": 2010}}).json()["hits"]
        assert [hit["id"] for hit in narrower] == ["a2"]

    def test_pages_through_its_own_with_a_cursor(self, world: World) -> None:
        found, cursor = [], "start"
        while cursor:
            answer = world.search("acme", limit=1, cursor=cursor).json()
            found += [hit["id"] for hit in answer["hits"]]
            cursor = answer["next_cursor"]
        assert sorted(found) == ["a1", "a2"]

    def test_reads_its_own(self, world: World) -> None:
        assert world.ask("GET", "/v1/indexes/docs/documents/a1", "acme").status_code == 200
        for doc_id in ("b1", "n1", "nothing"):
            response = world.ask("GET", f"/v1/indexes/docs/documents/{doc_id}", "acme")
            assert response.status_code == 404
            problem = response.json()
            assert problem["code"] == "unknown_document"
            assert (
                problem["detail"].replace(doc_id, "") == "Index 'docs' holds no document with "
                "the id ''."
            )

    def test_finds_what_resembles_its_own_only(self, world: World) -> None:
        like_own = world.search("acme", query={"like": "a1"}).json()["hits"]
        assert [hit["id"] for hit in like_own] == ["a2"]
        assert world.search("reader", query={"like": "b1"}).json()["hits"]
        assert world.search("acme", query={"like": "b1"}).json()["code"] == "unknown_document"

    @pytest.mark.parametrize("count", ["estimate", "exact"])
    def test_counts_its_own(self, world: World, count: str) -> None:
        for query in ({"text": "cats"}, {"text": "sleep dogs secretly"}, {"like": "a1"}):
            for limit in (1, 100):
                body = {"query": query, "count": count, "limit": limit}
                total = world.search("acme", **body).json()["total"]
                assert total["value"] <= 2
                if count == "exact":
                    alike = {"filter": {"tenant": "acme"}, **body}
                    assert total == world.search("reader", **alike).json()["total"]

    def test_explains_its_own(self, world: World) -> None:
        body = {"query": {"text": "cats secretly"}}
        own = world.ask("POST", "/v1/indexes/docs/explain/a1", "acme", json=body)
        assert own.status_code == 200
        (missing,) = own.json()["missing"]
        assert missing["heaviest"] == 0, "no document that this key sees says it"
        reader = world.ask("POST", "/v1/indexes/docs/explain/a1", "reader", json=body)
        assert reader.json()["missing"][0]["heaviest"] > 0
        for doc_id in ("b1", "n1", "nothing"):
            other = world.ask("POST", f"/v1/indexes/docs/explain/{doc_id}", "acme", json=body)
            assert (other.status_code, other.json()["code"]) == (404, "unknown_document")

    def test_is_told_no_lift_by_a_term_that_only_others_use(self, world: World) -> None:
        """Whether a weight is plausible would tell that some document has the term."""
        body = {"query": {"text": "cats secretly"}, "k": 1}
        for key, seen in (("acme", False), ("reader", True)):
            answer = world.ask("POST", "/v1/indexes/docs/explain/a2", key, json=body).json()
            assert [one["term"] for one in answer["missing"]] == ["secretli"]
            assert (answer["missing"][0]["heaviest"] > 0) == seen
            assert [one["plausible"] for one in answer["lift"]["terms"]] == [seen]
            assert answer["lift"]["together"] == (["secretli"] if seen else None)

    def test_reads_no_vocabulary_of_others(self, world: World) -> None:
        """A query of every number was answered with the words of all tenants."""
        n_terms = world.ask("GET", "/v1/indexes/docs", "reader").json()["n_terms"]
        every = {"indices": list(range(min(n_terms, 4000))), "values": [1.0] * min(n_terms, 4000)}
        for key, secret in (("acme", False), ("reader", True)):
            body = {"query": {"vector": every}}
            told = world.ask("POST", "/v1/indexes/docs/explain/a1", key, json=body)
            assert told.status_code == 200
            assert ("secretli" in told.text) == secret, key
            assert '"dog"' in told.text, "a2, which both see, says it"
            unknown = world.search(key, require_terms=["secretlo"])
            assert unknown.status_code == 422
            assert ("secretli" in unknown.text) == secret, key

    def test_has_a_relative_threshold_of_its_own_documents(self, world: World) -> None:
        """The best possible score would tell the weight of a term in documents of others."""

        def best(key: str, text: str) -> float:
            answer = world.search(key, query={"text": text}, min_score={"relative": 0.1}).json()
            return float(answer["min_score"]["best_possible"])

        # Queries are rounded to 12 bits of their heaviest term, which differs.
        assert best("acme", "cats secretly") == pytest.approx(best("acme", "cats"), rel=1e-3)
        assert best("acme", "secretly") == 0
        assert best("reader", "cats secretly") > 1.5 * best("reader", "cats")

    def test_is_kept_in_where_the_body_names_the_index(self, world: World) -> None:
        cats = {"query": {"text": "cats"}}
        searches = [
            {"index": "docs", **cats},
            {"index": "docs", "filter": {"tenant": "bmax"}, **cats},
            {"index": "docs", "query": {"like": "b1"}},
            {"index": "other", **cats},
        ]
        own, narrowed, like, other = world.ask(
            "POST", "/v1/multi-search", "acme", json={"searches": searches}
        ).json()["results"]
        assert sorted(hit["id"] for hit in own["answer"]["hits"]) == ["a1", "a2"]
        assert narrowed["answer"]["hits"] == []
        assert (like["status"], other["status"]) == (404, 403)
        body = {"a": {"index": "docs"}, "b": {"index": "docs", "explain": True}, **cats}
        compared = world.ask("POST", "/v1/compare", "acme", json=body).json()
        for side in ("a", "b"):
            assert sorted(hit["id"] for hit in compared[side]["hits"]) == ["a1", "a2"]
        body["b"] = {"index": "other"}
        assert world.ask("POST", "/v1/compare", "acme", json=body).status_code == 403

    def test_has_bounds_of_scores_of_its_own_documents(self, folder: Path) -> None:
        """Against the best of each term among what it sees, looked up one by one."""
        with Index.open(folder / "docs.index") as index:
            restricted = RestrictedIndex(index, {"tenant": "acme"})
            expected = np.zeros(index.n_terms)
            for doc_id in ("a1", "a2"):
                expected = np.maximum(expected, index.vectors_of(doc_id).toarray().max(axis=0))
            found = restricted.heaviest(np.arange(index.n_terms))
            # Stored vectors are float16, weights in a search 8 bits of the largest.
            assert found == pytest.approx(expected, abs=index.max_weight / 255)
            assert ((found > 0) == (expected > 0)).all()

    def test_learns_no_counts_of_others(self, world: World) -> None:
        listed = world.ask("GET", "/v1/indexes", "acme").json()["indexes"]
        assert [(one["name"], one["n_docs"]) for one in listed] == [("docs", 2)]
        assert world.ask("GET", "/v1/indexes/docs", "acme").json()["code"] == "forbidden"

    def test_gets_nothing_from_an_index_that_its_filter_does_not_suit(self, world: World) -> None:
        response = world.search("acme", "other")
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
        assert "tenant" not in response.text

    def test_is_listed_what_can_be_read(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One index that was deleted in this moment hid all."""

        def gone(*_: Any) -> Any:
            raise IndexNotFound("deleted in this moment")

        monkeypatch.setattr("service.collection.RestrictedIndex", gone)
        for collection in world.client.app_state["engine"].collections():  # type: ignore[attr-defined]
            monkeypatch.setattr(collection, "_restricted", {})
        listed = world.ask("GET", "/v1/indexes", "acme")
        assert listed.status_code == 200
        assert "docs" in {one["name"] for one in listed.json()["indexes"]}

    def test_cannot_be_made_to_write(self, world: World) -> None:
        body = {"name": "x", "scopes": ["search:*", "write:docs"], "filter": {"tenant": "acme"}}
        response = world.ask("POST", "/v1/keys", "root", json=body)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_key_request")

    def test_is_told_another_entity_tag_than_others(self, world: World) -> None:
        tags = {key: world.search(key, timing=False).headers["etag"] for key in ("acme", "reader")}
        assert tags["acme"] != tags["reader"]

    def test_meets_no_method_of_the_index_that_forgets_the_filter(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever a later release adds to an index either fails or is written anew."""
        monkeypatch.chdir(tmp_path)
        with Index.open(folder / "docs.index") as index:
            restricted = RestrictedIndex(index, {"tenant": "acme"})
            public = {name for name in dir(Index) if not name.startswith("_")}
            inherited = {name for name in public if name not in vars(RestrictedIndex)}
            classmethods = {"open", "create"}
            of_the_build = {"rounded", "encoder_folder", "encoder_damage"}
            # Numbers about the whole, which no route tells that a key with a filter may use.
            numbers = {"n_pending", "n_segments", "float_overlap", "term_probabilities"}
            assert [part for _, part in restricted.parts()] == [restricted]  # with its filter
            harmless = {"search", "parts", *classmethods, *of_the_build, *numbers}
            for name in sorted(inherited - harmless):
                with pytest.raises(
                    (AttributeError, LsrError, OSError), match=r"RestrictedIndex|sees it"
                ):
                    looked_at = getattr(restricted, name)
                    parameters = inspect.signature(looked_at).parameters.values()
                    given = [p for p in parameters if p.default is p.empty]
                    positional = ["x" for p in given if p.kind is not p.KEYWORD_ONLY]
                    named = {p.name: 1 for p in given if p.kind is p.KEYWORD_ONLY}
                    looked_at(*positional, **named)
                    pytest.fail(f"Index.{name} works on a restricted index")


def test_a_revoked_key_is_worth_nothing_at_once_in_a_running_server(world: World) -> None:
    """Another process revokes it: the server looks at the file before it trusts what it knows."""
    key, secret = keys.create(world.home, "short", [Scope.read("search:docs")])
    assert world.search(secret).status_code == 200
    with Home.open(world.home.path) as elsewhere:
        keys.revoke(elsewhere, key.id)
    response = world.search(secret)
    assert response.status_code == 401
    assert "revoked" in response.json()["detail"]


def test_a_body_that_names_an_index_opens_no_other(world: World) -> None:
    """`foreign` may search and change `other` alone."""
    cats = {"query": {"text": "cats"}}
    searches = [{"index": name, **cats} for name in ("docs", "other")]
    answer = world.ask("POST", "/v1/multi-search", "foreign", json={"searches": searches}).json()
    assert [one["status"] for one in answer["results"]] == [403, 200]
    assert answer["results"][0]["problem"]["code"] == "forbidden"
    for a, b in (("docs", "other"), ("other", "docs")):
        body = {"a": {"index": a}, "b": {"index": b}, **cats}
        assert world.ask("POST", "/v1/compare", "foreign", json=body).status_code == 403
    for name, status in (("docs", 403), ("other", 200)):
        body = {"index": name, "texts": ["cats"]}
        assert world.ask("POST", "/v1/encode", "foreign", json=body).status_code == status
    for name in ("docs2", "*", "other2"):
        made = world.ask("POST", "/v1/indexes", "foreign", json={"name": name, "encoder": "bm25"})
        assert made.status_code == 403, made.text


def test_tasks_are_told_to_those_who_may_write_the_index(world: World) -> None:
    made = world.ask("POST", "/v1/indexes", "root", json={"name": "fresh", "encoder": "bm25"})
    assert made.status_code == 201
    line = b'{"id": "x", "fields": {"text": "cats"}}\nno document\n'
    headers = {"Content-Type": "application/x-ndjson"}
    address = "/v1/indexes/fresh/documents"
    task = world.ask("POST", address, "root", content=line, headers=headers).json()
    _, secret = keys.create(world.home, "fresh", [Scope.read("write:fresh")])
    for key, seen in ((secret, True), ("root", True), ("monitor", True), ("reader", False),
                      ("foreign", False), ("writer", False), ("acme", False)):  # fmt: skip
        found = [one["id"] for one in world.ask("GET", "/v1/tasks", key).json()["tasks"]]
        assert (task["id"] in found) == seen, key
        for path in (f"/v1/tasks/{task['id']}", f"/v1/tasks/{task['id']}/events"):
            assert world.ask("GET", path, key).status_code == (200 if seen else 404), (key, path)
        may_read_lines = seen and key != "monitor"
        if seen:  # reasons repeat what lines say
            told = world.ask("GET", f"/v1/tasks/{task['id']}", key).json()["details"]
            assert ("rejects" in told) == may_read_lines, key
            assert told["rejected"] == 1
        rejects = world.ask("GET", f"/v1/tasks/{task['id']}/rejects", key)
        assert rejects.status_code == (200 if may_read_lines else 404), key
        cancelled = world.ask("POST", f"/v1/tasks/{task['id']}/cancel", key)
        assert (cancelled.status_code != 404) == may_read_lines, key


def test_the_index_that_a_server_chooses_is_not_named_to_a_key_that_may_not_know_it(
    folder: Path,
) -> None:
    with Home.open(folder / "chosen") as home:
        _, secret = keys.create(home, "shop", [Scope.read("search:shop-*")])
        for chosen in (None, "docs"):
            indexes = {"docs": folder / "docs.index"}
            settings = Settings(indexes, home=home.path, work_inside=True, embed_index=chosen)
            with TestClient(create_app(settings)) as client:
                asking = opened(client)
                headers = {"X-API-Key": secret}
                refused = asking.post("/embed_sparse", json={"inputs": "a"}, headers=headers)
                assert refused.status_code >= 400
                assert "docs" not in refused.text


def test_whoever_may_rebuild_an_index_may_watch_it(world: World) -> None:
    assert world.ask("POST", "/v1/indexes", "root", json={"name": "watched"}).status_code == 201
    _, secret = keys.create(world.home, "watched", [Scope.read("admin:watched")])
    line = b'{"id": "x", "fields": {"text": "cats"}}\n'
    headers = {"Content-Type": "application/x-ndjson"}
    world.ask("POST", "/v1/indexes/watched/documents", "root", content=line, headers=headers)
    task = world.ask("POST", "/v1/indexes/watched/rebuild", secret, json={}).json()
    for key, seen in ((secret, True), ("root", True), ("writer", False), ("foreign", False)):
        found = [one["id"] for one in world.ask("GET", "/v1/tasks", key).json()["tasks"]]
        assert (task["id"] in found) == seen, key
        answer = world.ask("GET", f"/v1/tasks/{task['id']}", key)
        assert answer.status_code == (200 if seen else 404), key


def test_keys_are_made_listed_and_revoked_over_http(world: World) -> None:
    body = {"name": "shop", "scopes": ["search:d*"], "expires_in_s": 60}
    made = world.ask("POST", "/v1/keys", "root", json=body)
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    secret = made.json()["key"]
    assert world.search(secret).status_code == 200
    assert world.search(secret, "other").status_code == 403
    listed = world.ask("GET", "/v1/keys", "root").json()["keys"]
    assert secret not in str(listed)
    assert [one["state"] for one in listed if one["name"] == "shop"] == ["active"]
    gone = world.ask("DELETE", f"/v1/keys/{made.json()['id']}", "root")
    assert gone.json()["state"] == "revoked"
    assert world.search(secret).status_code == 401
    for scope in ("search", "search:", "fly:*", "search:Docs", "search:../x", "monitor:docs"):
        answer = world.ask("POST", "/v1/keys", "root", json={"name": "x", "scopes": [scope]})
        assert answer.json()["code"] == "invalid_scope", scope


def test_the_file_holds_no_secret(world: World) -> None:
    stored = b"".join(p.read_bytes() for p in world.home.path.glob("service.sqlite*"))
    for secret in world.secrets.values():
        assert secret.encode() not in stored
        assert secret.split("_", 2)[2].encode() not in stored


def test_without_a_key_a_server_on_this_machine_is_open(folder: Path) -> None:
    settings = Settings({"docs": folder / "docs.index"}, home=folder / "open")
    with TestClient(create_app(settings)) as client:
        opened(client)
        assert client.get("/v1/keys").status_code == 200
        assert client.get("/v1/indexes/docs").status_code == 200
        made = client.post("/v1/keys", json={"name": "first", "scopes": ["admin:*"]}).json()
        assert client.get("/v1/indexes/docs").status_code == 401
        client.delete(f"/v1/keys/{made['id']}", headers={"X-API-Key": made["key"]})
        assert client.get("/v1/indexes/docs").status_code == 401  # closed for good


def test_a_scope_covers_the_names_that_its_pattern_means() -> None:
    """Against a reference that tries every way to fill the stars."""

    def covers(pattern: str, name: str) -> bool:
        if not pattern:
            return not name
        if pattern[0] == "*":
            return any(covers(pattern[1:], name[i:]) for i in range(len(name) + 1))
        return bool(name) and name[0] == pattern[0] and covers(pattern[1:], name[1:])

    names = ["docs", "docs-1", "docs_2-x", "d", "my-docs", "docsx", "dd", "docs-docs", "aba"]
    patterns = ("*", "docs", "docs-*", "*-docs", "d*s*", "*o*", "do*cs", "*d*d*", "ab*ba", "**")
    for pattern in patterns:
        for name in names:
            assert Scope.read(f"search:{pattern}").covers(name) == covers(pattern, name)


def test_what_is_no_name_is_compared_with_no_pattern(world: World) -> None:
    """A name of a megabyte took a pattern with two stars minutes, in the event loop."""
    _, secret = keys.create(world.home, "stars", [Scope.read("search:*-docs-*-d*d*d*d*d*d*x")])
    long = "-docs-" * 16_000 + "\n"
    assert not Scope.read("search:*").covers(long)
    asked = world.ask("POST", "/v1/encode", secret, json={"index": long, "texts": ["x"]})
    assert asked.status_code == 403
    for name in ("Papers", "a b"):  # a slip of the pen is no lack of rights
        slip = world.ask("POST", f"/v1/indexes/{name}/search", "reader", json={})
        assert (slip.status_code, slip.json()["code"]) == (404, "invalid_name")


def test_an_alias_that_is_swapped_meanwhile_opens_no_other_index(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rights were those of one index, and the documents those of the next."""
    with Home.open(tmp_path / "swapped") as home:
        with home.transaction() as connection:
            connection.execute("INSERT INTO aliases VALUES('live', 'docs', 0)")
        _, secret = keys.create(home, "docs", [Scope.read("search:docs")])
        places = {name: folder / f"{name}.index" for name in ("docs", "other")}
        with TestClient(create_app(Settings(places, home=home.path))) as client:
            opened(client)
            real = answering.entry_of

            def swapping(*given: Any) -> Any:
                entry = real(*given)
                with home.transaction() as connection:
                    connection.execute("UPDATE aliases SET target='other' WHERE alias='live'")
                return entry

            monkeypatch.setattr(answering, "entry_of", swapping)
            headers = {"X-API-Key": secret}
            body = {"query": {"text": "cats"}}
            answer = client.post("/v1/indexes/live/search", json=body, headers=headers)
            assert (answer.status_code, answer.json()["index"]) == (200, "docs")
            again = client.post("/v1/indexes/live/search", json=body, headers=headers)
            assert again.status_code == 403


def test_odd_addresses_and_origins_are_refused_rather_than_faults(world: World) -> None:
    for origin in ("http://[", "http://[::1", "//"):
        asked = world.ask(
            "POST", "/v1/indexes/docs/search", "reader", json={}, headers={"Origin": origin}
        )
        assert (asked.status_code, asked.json()["code"]) == (403, "foreign_origin")
    for path in ("caf%e9", "%ff", "a%c3"):  # those of Latin-1 would all be one document
        asked = world.ask("GET", f"/v1/indexes/docs/documents/{path}", "reader")
        assert (asked.status_code, asked.json()["code"]) == (400, "bad_request")
    assert world.ask("GET", "/v1/indexes/docs/documents/caf%c3%a9", "reader").status_code == 404


def test_an_alias_is_covered_by_its_own_name_and_by_that_of_its_index(folder: Path) -> None:
    with Home.open(folder / "aliased") as home:
        with home.transaction() as connection:
            connection.execute("INSERT INTO aliases VALUES('live', 'docs', 0)")
        app = create_app(Settings({"docs": folder / "docs.index"}, home=home.path))
        secrets = {
            scope: keys.create(home, scope, [Scope.read(scope)])[1]
            for scope in ("search:live", "search:docs", "search:else")
        }
        with TestClient(app) as client:
            opened(client)

            def status(scope: str, name: str) -> int:
                headers = {"X-API-Key": secrets[scope]}
                body = {"query": {"text": "cats"}}
                address = f"/v1/indexes/{name}/search"
                return client.post(address, json=body, headers=headers).status_code

            for name in ("live", "docs"):
                assert status("search:live", name) == status("search:docs", name) == 200
                assert status("search:else", name) == 403


def test_no_key_reaches_the_log(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a client puts it, and whatever goes wrong; as the server's formatters write it."""
    with Home.open(tmp_path / "server") as home:
        _, secret = keys.create(home, "k", [Scope.read("search:*")])
    settings = Settings(
        {"docs": folder / "docs.index"}, home=tmp_path / "server", access_log=True, log_queries=1.0
    )
    caplog.set_level("DEBUG")
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        opened(client)
        url = "/v1/indexes/docs/search"
        for headers in ({"X-API-Key": secret}, {"Authorization": f"Bearer {secret}"}, {}):
            client.post(url, json={"query": {"text": f"cats {secret}"}}, headers=headers)
            client.get(f"/v1/indexes/{secret}?api_key={secret}", headers=headers)
        monkeypatch.setattr(Index, "search", lambda *_, **__: 1 / 0)
        failed = client.post(url, json={"query": {"text": secret}}, headers={"X-API-Key": secret})
        assert failed.status_code == 500
    for formatter in (TextFormatter("%(message)s"), JsonFormatter()):
        written = [formatter.format(record) for record in caplog.records if "lsr" in record.name]
        assert any("ZeroDivisionError" in line for line in written)
        assert not [line for line in written if secret.split("_", 2)[2] in line]
