"""Pages of other sites get nothing, documents stay text, names stay names, errors tell no paths."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from index import build_index
from lsr.encoders import BM25Encoder
from lsr.errors import UsageError
from lsr.types import Document
from service import Settings, create_app
from service.access import need_of
from service.browsers import ASKED_HEADERS, LOOPBACK_NAMES
from service.names import inside, is_name
from service.pages import FILES
from service.routes import ROUTERS
from service.server import names_on

URL = "/v1/indexes/pets/search"
CATS = {"query": {"text": "cats"}}
FRIEND = "https://app.example.org"
ROUTES = [
    (method, route.path_format)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods or ())
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browsers")
    documents = [Document("a", {"text": "cats <script>alert(1)</script>"})]
    encoder = BM25Encoder.fit(document.text() for document in documents)
    build_index(folder / "pets.index", documents, encoder, source="test", progress=False)
    return folder


def client_of(folder: Path, home: str, **settings: Any) -> TestClient:
    """Of a server on loopback, as `serve` starts it."""
    settings = {"host_names": names_on("127.0.0.1"), "work_inside": True} | settings
    app = create_app(Settings({"pets": folder / "pets.index"}, home=folder / home, **settings))
    return TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with client_of(folder, "server") as client:
        assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
        yield client


@pytest.fixture(scope="module")
def friendly(folder: Path) -> Iterator[TestClient]:
    with client_of(folder, "friendly", origins=(FRIEND,)) as client:
        assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
        yield client


# ---- headers ----------------------------------------------------------------------------------


def policy(headers: Mapping[str, str]) -> dict[str, str]:
    parts = headers["content-security-policy"].split("; ")
    return {name: value for name, _, value in (part.partition(" ") for part in parts)}


@pytest.mark.parametrize("path", [*FILES, "/openapi.json", "/v1/indexes", "/nowhere", "/livez"])
def test_every_answer_bars_what_a_page_does_not_need(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers
    allowed = policy(headers)
    assert allowed["default-src"] == allowed["frame-ancestors"] == "'none'"
    for source in allowed.values():
        assert "unsafe" not in source
        assert "http" not in source
        assert "*" not in source
    if path not in FILES:
        assert headers["cache-control"].startswith("private")
        assert set(allowed) == {"default-src", "frame-ancestors"}


def test_a_header_is_said_once(client: TestClient) -> None:
    for path in ("/", "/v1/indexes", "/metrics"):
        names = [name.lower() for name, _ in client.get(path).headers.multi_items()]
        assert len(names) == len(set(names)), path


# ---- other origins ----------------------------------------------------------------------------


def test_pages_of_other_origins_get_nothing_unless_they_are_let_in(
    client: TestClient, friendly: TestClient
) -> None:
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    for one, origin, allowed in (
        (client, FRIEND, False),
        (friendly, FRIEND, True),
        (friendly, "https://evil.example", False),
        (friendly, "null", False),
        (friendly, "https://app.example.org.evil.example", False),
    ):
        asked = one.options(URL, headers={"Origin": origin, **asks})
        told = one.post(URL, json=CATS, headers={"Origin": origin})
        assert (asked.headers.get("access-control-allow-origin") == origin) == allowed
        assert (told.headers.get("access-control-allow-origin") == origin) == allowed
        assert told.status_code == (200 if allowed else 403)
        if not allowed:
            assert told.json()["code"] == "foreign_origin"
    answer = friendly.get("/nowhere", headers={"Origin": FRIEND})
    assert answer.headers["access-control-allow-origin"] == FRIEND, "errors can be read as well"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert "X-Request-Id" in answer.headers["access-control-expose-headers"]
    for header in ASKED_HEADERS:
        asks["Access-Control-Request-Headers"] = header
        assert friendly.options(URL, headers={"Origin": FRIEND, **asks}).status_code == 200


@pytest.mark.parametrize(("method", "path"), [r for r in ROUTES if r[0] not in ("GET", "HEAD")])
def test_no_route_that_changes_something_listens_to_a_foreign_page(
    client: TestClient, method: str, path: str
) -> None:
    """A browser sends these without asking first when they need no body."""
    address = re.sub(r"\{\w+\}", "7", path)
    answer = client.request(method, address, headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")
    own = client.request(method, address, headers={"Origin": "http://127.0.0.1:8000"})
    assert own.status_code != 403


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", None])
def test_what_a_form_can_send_is_no_request(client: TestClient, media_type: str | None) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}
    for path in (URL, "/v1/indexes", "/v1/keys", "/v1/indexes/pets/documents"):
        answer = client.post(path, content=json.dumps(CATS).encode(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type"), path


def test_an_origin_is_scheme_host_and_port_alone() -> None:
    for origin in ("*", "null", "https://a.example/", "app.example.org", "https://*.example.org"):
        with pytest.raises(UsageError, match="origin"):
            Settings({}, origins=(origin,))
    Settings({}, origins=("http://localhost:5173", "https://[::1]:8"))


# ---- names of hosts ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "answered"),
    [
        ("127.0.0.1:8000", True),
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("[::1]:8000", True),
        ("evil.example", False),
        ("evil.example:8000", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example:8000", False),
        ("[::1].evil.example", False),
        ("[::1]evil", False),
        ("", False),
    ],
)
def test_a_server_on_this_machine_answers_to_its_own_names(
    client: TestClient, host: str, answered: bool
) -> None:
    """A page that rebinds its own name to 127.0.0.1 is of the same origin as what it reads."""
    for path in ("/", "/v1/indexes", "/openapi.json"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == (200 if answered else 421), path
        assert answered or answer.json()["code"] == "foreign_host"


def test_names_bind_where_there_may_be_no_keys() -> None:
    assert names_on("127.0.0.1") == names_on("::1") == LOOPBACK_NAMES
    assert names_on("0.0.0.0") is None
    assert names_on("0.0.0.0", ["search.example.org"]) == (*LOOPBACK_NAMES, "search.example.org")


# ---- names ------------------------------------------------------------------------------------

HOSTILE = (
    "%2e",
    "%2e%2e",
    "..%2f..%2fetc%2fpasswd",
    "%2fetc%2fpasswd",
    "a%00b",
    "%00",
    "pets%00",
    "a%5cb",
    "..%5c..",
    "%252e%252e",
    "Pets",
    quote("pets\u200b"),
    quote("\uff0e\uff0e"),
    quote("\u2025"),
    quote("pe\u0301ts"),
    quote("рets"),  # a Cyrillic letter
    "-pets",
    "_pets",
    "a" * 64,
    "a" * 5000,
    "con.",
    "~root",
    "%ff%fe",
    "service.sqlite",
)


@pytest.mark.parametrize(("method", "path"), [r for r in ROUTES if "{" in r[1]])
def test_a_name_leads_nowhere_but_to_what_is_called_so(
    client: TestClient, folder: Path, method: str, path: str
) -> None:
    before = sorted(folder.rglob("*"))
    for name in HOSTILE:
        address = re.sub(r"\{(name|alias|snapshot|id)\}", name, path)
        answer = client.request(method, address, json={})
        assert 400 <= answer.status_code < 500, (address, answer.status_code, answer.text[:200])
        assert str(folder) not in answer.text
    assert sorted(folder.rglob("*")) == before


def test_a_name_in_a_body_is_held_to_the_same_rule(client: TestClient, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    for name in ("..", "../x", "a/b", "a\0b", "Pets", "", "a" * 64, "\uff0e\uff0e", "pets\u200b"):
        for path, body in (
            ("/v1/indexes", {"name": name}),
            ("/v1/aliases", {"actions": [{"add": {"alias": name, "index": "pets"}}]}),
            ("/v1/aliases", {"actions": [{"add": {"alias": "live", "index": name}}]}),
            ("/v1/snapshots", {"index": name}),
            ("/v1/snapshots/pets-1/restore", {"index": name}),
            ("/v1/multi-search", {"searches": [{"index": name, **CATS}]}),
            ("/v1/compare", {"a": {"index": name}, "b": {"index": "pets"}, **CATS}),
            ("/v1/encode", {"index": name, "texts": ["cats"]}),
        ):
            answer = client.post(path, json=body)
            if path == "/v1/multi-search":
                assert answer.json()["results"][0]["status"] in (404, 422)
            else:
                assert 400 <= answer.status_code < 500, (path, body, answer.text)
            assert str(folder) not in answer.text
    assert sorted(folder.rglob("*")) == before


def test_a_path_stays_inside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    assert inside(tmp_path / "in", "a", "b") == tmp_path / "in" / "a" / "b"
    for parts in (("..",), ("a", "..", ".."), ("/etc",), ("a/b",), ("",), ("a\0",), ("link",)):
        with pytest.raises(ValueError, match="leads out"):
            inside(tmp_path / "in", *parts)
    assert not any(is_name(name) for name in ("..", ".", "", "a/b", "a\n", "a\0", "é", "A"))


# ---- what errors tell -------------------------------------------------------------------------


def test_no_error_tells_a_path_a_trace_or_a_model(client: TestClient, folder: Path) -> None:
    """Every error that can be provoked here, of every route, also where files are damaged."""
    bodies: list[Any] = [{}, [], None, {"name": 1}, {"query": 7}, CATS, {"x": {"y": [[[[]]]]}}]
    told: list[str] = []
    for method, path in ROUTES:
        for name in ("pets", "absent", "7"):
            address = re.sub(r"\{(name|alias|snapshot|id)\}", name, path)
            if method == "DELETE" or address.endswith(("/cancel", "/restore")):
                address = address.replace("pets", "absent")
            for body in bodies:
                answer = client.request(method, address, json=body)
                if answer.status_code >= 400:
                    told.append(answer.text)
    for content in (b"{", b"\xff", b"[" * 5000, b'{"query": {"text": 1e999}}'):
        headers = {"Content-Type": "application/json"}
        told.append(client.post(URL, content=content, headers=headers).text)
    assert len(told) > 100
    (segment,) = (folder / "pets.index" / "segments").iterdir()
    held = segment.read_bytes()
    for damage in (b"", held[:100], bytes(len(held))):
        broken = folder / "broken"
        broken.mkdir(exist_ok=True)
        copy = broken / "pets.index"
        if not copy.exists():
            shutil.copytree(folder / "pets.index", copy)
        (copy / "segments" / segment.name).write_bytes(damage)
        with TestClient(create_app(Settings({"pets": copy})), raise_server_exceptions=False) as one:
            one.app_state["engine"].wait(30)  # type: ignore[attr-defined]
            for path in (URL, "/v1/indexes/pets", "/readyz"):
                answer = one.request("POST" if path == URL else "GET", path, json=CATS)
                assert answer.status_code >= 500
                told.append(answer.text)
    revealing = re.compile(
        rf"{re.escape(str(folder))}|/tmp/|/home/|/usr/|/root/|site-packages|Traceback|File \\?\"|"
        r"\.py\b|\.safetensors|tokenizer\.json|0x[0-9a-f]{8}|sqlite3?\.|SELECT "
    )
    for text in told:
        assert not revealing.search(text), text[:500]


def test_no_public_route_tells_what_is_served() -> None:
    """Those that ask for no key know nothing of indexes."""
    public = {
        route.path_format
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and need_of(route.endpoint).public
    }
    assert public == {"/livez", "/problems/{name}"}
