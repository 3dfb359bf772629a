"""The pages as the server gives them: every file named, no script but its own, no other host.

What a person does with them is tested in a browser, in test_page_browser.py.
"""

import re
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from service import Settings, create_app
from service.pages import FILES, FOLDER

SCRIPTS = sorted(path for path in FILES if path.endswith(".js"))
TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(Settings({}))) as client:
        yield client


def source(path: str) -> str:
    return (FOLDER / FILES[path]).read_text()


def without_comments(script: str) -> str:
    return re.sub(r"(^|\s)//.*", "", script)


@pytest.mark.parametrize("path", sorted(FILES))
def test_every_file_comes_with_headers_that_bar_what_is_not_its_own(
    client: TestClient, path: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.content == (FOLDER / FILES[path]).read_bytes()
    assert answer.headers["content-type"].partition(";")[0] == TYPES[FILES[path].partition(".")[2]]
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = dict(
        rule.strip().split(" ", 1) for rule in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert not re.search(r"unsafe|\*|https?:", answer.headers["content-security-policy"])


def test_every_file_of_the_folder_is_served_and_nothing_else(client: TestClient) -> None:
    assert sorted(FILES.values()) == sorted(path.name for path in FOLDER.iterdir())
    for path in ("/page/", "/page/none.js", "/page/../pages.py", "/page/%2e%2e/pages.py", "/docs/"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", sorted(FILES))
def test_no_file_names_another_host_or_makes_markup_of_text(path: str) -> None:
    """The address of the SVG name space is a name that nothing is loaded from."""
    text = source(path).replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|[\"'(]//\w", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text)
    assert not re.search(r"DOMParser|srcdoc|javascript:|new Function|setAttribute\(.style", text)


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_no_document_holds_a_script_a_style_or_a_handler_of_its_own(path: str) -> None:
    text = source(path)
    assert not re.search(r"<style|\sstyle=|\son\w+=", text)
    assert all(match == "" for match in re.findall(r"<script[^>]*>(.*?)</script>", text, re.S))
    for address in re.findall(r"(?:src|href)=\"([^\"#?]+)", text):
        if not address.startswith("data:"):
            assert address in FILES or address == "/openapi.json"


@pytest.mark.parametrize("path", SCRIPTS)
def test_scripts_import_what_the_named_module_exports_and_use_it(path: str) -> None:
    """No build step means that nobody else would notice before a browser does."""
    script = without_comments(source(path))
    folder = path.rpartition("/")[0]
    for names, module in re.findall(r"import\s*\{([^}]*)\}\s*from\s*\"([^\"]+)\"", script):
        at = module if module.startswith("/") else f"{folder}/{module.removeprefix('./')}"
        exported = set(
            re.findall(r"^export (?:async )?(?:function|const|let|class) (\w+)", source(at), re.M)
        )
        for name in (name.strip() for name in names.split(",")):
            assert name in exported, f"{path} imports {name} from {at}"
            assert len(re.findall(rf"\b{name}\b", script)) > 1, f"{path} does not use {name}"


@pytest.mark.parametrize("path", SCRIPTS)
def test_scripts_are_small_and_their_brackets_close(path: str) -> None:
    text = source(path)
    assert text.count("\n") < 300
    # Strings, templates and patterns hold brackets of their own.
    bare = re.sub(r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", '""', without_comments(text))
    bare = re.sub(r"(?<=[(=,:]\s)/(?:\\.|[^/\n])+/\w*|(?<=[(=])/(?:\\.|[^/\n])+/\w*", '""', bare)
    open_ones: list[str] = []
    for bracket in re.findall(r"[][(){}]", bare):
        if bracket in "([{":
            open_ones.append(bracket)
        else:
            assert open_ones, f"{path}: {bracket} closes nothing"
            assert open_ones.pop() + bracket in ("()", "[]", "{}"), path
    assert not open_ones


def test_ids_that_scripts_look_for_are_made_somewhere() -> None:
    everything = "".join(source(path) for path in FILES)
    for path in SCRIPTS:
        for name in re.findall(r"getElementById\(\"([\w-]+)\"\)", source(path)):
            made = rf"id=\"{name}\"|\bid: \"{name}\""
            assert re.search(made, everything), f"{path} looks for #{name}"
