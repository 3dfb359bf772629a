"""`lsr keys` works on the file of a data directory, and says each secret once."""

import json
from pathlib import Path
from typing import Any

import pytest

from lsr.__main__ import run
from service.home import Home, keys


def out(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert run(["keys", *arguments]) == code
    said = capsys.readouterr()
    return said.out if code == 0 else said.err


def test_a_key_is_made_listed_and_revoked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(tmp_path / "server")
    first = out(capsys, "create", "--data", data, "--name", "ops", "--scope", "admin:*")
    secret = next(line.split()[1] for line in first.splitlines() if line.startswith("key "))
    assert first.count(secret) == 1
    assert "every request" in first
    made: dict[str, Any] = json.loads(
        out(capsys, "create", "--data", data, "--filter", '{"t": "a"}', "--expires", "2h", "--json")
    )
    assert (made["scopes"], made["filter"], made["state"]) == (["search:*"], {"t": "a"}, "active")
    assert made["expires"] - made["created"] == pytest.approx(7200, abs=5)
    with Home.open(data) as home:
        ring = keys.KeyRing(home)
        assert [str(s) for s in ring.find(secret, 0).scopes] == ["admin:*"]
        assert ring.find(made["key"], made["created"]).filter == {"t": "a"}
        listed = out(capsys, "list", "--data", data)
        assert "2 keys" in listed
        assert secret not in listed
        assert made["key"] not in listed
        assert "revoked" in out(capsys, "revoke", "--data", data, made["id"])
        states = [
            k["state"] for k in json.loads(out(capsys, "list", "--data", data, "--json"))["keys"]
        ]
        assert states == ["active", "revoked"]
        with pytest.raises(Exception, match="revoked"):  # by a ring that was there before
            ring.find(made["key"], made["created"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "--scope", "fly:*"), "no scope"),
        (("create", "--scope", "monitor:docs"), "whole server"),
        (("create", "--expires", "soon"), "such as 90d"),
        (("create", "--filter", "x"), "not JSON"),
        (("create", "--filter", "{}"), "keeps nothing back"),
        (("create", "--scope", "write:*", "--filter", '{"t": "a"}'), "can only search"),
        (("create", "--name", "a\nb"), "printable"),
        (("revoke", "0123456789"), "no key"),
    ],
)
def test_misuse_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    Home.open(tmp_path / "server").close()
    verb, *rest = arguments
    data = str(tmp_path / "server")
    assert said in out(capsys, verb, "--data", data, *rest, code=2)
    assert json.loads(out(capsys, "list", "--data", data, "--json"))["keys"] == []


def test_a_directory_without_a_server_has_no_keys_to_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no data directory" in out(capsys, "list", "--data", str(tmp_path), code=2)
    assert list(tmp_path.iterdir()) == []


def test_a_key_of_a_directory_that_no_server_uses_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip in --data made a directory, and was told that the server was closed, which it was not.
    A key may be made before the first start, so that it is told rather than refused.
    """
    data = tmp_path / "sever"
    assert "no scope" in out(capsys, "create", "--data", str(data), "--scope", "fly:*", code=2)
    assert not data.exists(), "misuse makes nothing"
    for arguments in ((), ("--json",)):
        assert run(["keys", "create", "--data", str(data), *arguments]) == 0
        said = capsys.readouterr()
        is_new = not arguments
        assert (f"{data}: a data directory that no server uses yet" in said.err) is is_new
        if is_new:
            assert f"server of {data} needs a key" in said.out
            assert f"next       lsr serve --data {data}" in said.out
    other = tmp_path / "empty"
    other.mkdir()
    assert run(["keys", "create", "--data", str(other), "--json"]) == 0
    said = capsys.readouterr()
    assert "no server uses yet" in said.err
    assert json.loads(said.out)["state"] == "active"
