"""`lsr keys`: who may do what on a server with a data directory, also while it runs."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from ..errors import UsageError
from ._printing import as_json, columns, command_line, counted, fact, next_step, note

if TYPE_CHECKING:
    from service.home import Home

EXAMPLES = """\b
Examples:
  lsr keys create --data server --name ops --scope 'admin:*'
  lsr keys create --data server --name shop --scope 'search:docs-*' --expires 90d
  lsr keys create --data server --name acme --filter '{"tenant": "acme"}'
  lsr keys list --data server
  lsr keys revoke --data server 4f1c09a2be
"""
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_DATA = click.option(
    "--data",
    "home",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The data directory of the server.",
)
_JSON = click.option("--json", "json_output", is_flag=True, help="Print JSON.")


@click.group(epilog=EXAMPLES, subcommand_metavar="create|list|revoke ...")
def keys() -> None:
    """Make, list and revoke the keys of a server.

    Without any key a server on this machine is open to whoever is on it. From the first key on,
    every request needs one, as `Authorization: Bearer KEY` or `X-API-Key: KEY`.
    """


@keys.command(epilog=EXAMPLES)
@_DATA
@click.option("--name", help="Who has the key, or what it is for.  [default: the scopes]")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="ACTION:PATTERN",
    help="What it opens; actions are search, write, admin and monitor, in a pattern * stands for "
    "any characters. Repeatable.  [default: search:*]",
)
@click.option(
    "--expires", metavar="TIME", help="Worth nothing after this time, such as 90d or 12h."
)
@click.option(
    "--filter",
    "filter_text",
    metavar="JSON",
    help="A filter that holds in all its searches: nothing else exists for it.",
)
@_JSON
def create(
    *,
    home: Path,
    name: str | None,
    scopes: tuple[str, ...],
    expires: str | None,
    filter_text: str | None,
    json_output: bool,
) -> None:
    """Make a key; it is shown this once, the server keeps only its SHA-256.

    DIR may be new or empty, so that a server has a key before it first listens: a data directory
    is made then, which is said.
    """
    from service.home import FILE_NAME, Home
    from service.home import keys as store

    until = None if expires is None else time.time() + _seconds(expires)
    with _misused():
        wanted = [store.Scope.read(text) for text in scopes or ("search:*",)]
    is_new = not (home / FILE_NAME).is_file()
    with _misused(), Home.open(home) as opened:
        is_first = not store.listed(opened)
        key, secret = store.create(
            opened,
            name or ", ".join(map(str, wanted)),
            wanted,
            expires=until,
            filter=None if filter_text is None else _filter(filter_text),
        )
    if is_new:
        serving = command_line("lsr", "serve", "--data", str(home))
        note("new", f"{home.resolve()}: a data directory that no server uses yet; {serving} does")
    if json_output:
        as_json({"key": secret, **key.as_info(time.time())})
        return
    fact("key", secret)
    fact("created", columns(key.id, _described(key.as_info(time.time()))))
    if is_first:
        fact("closed", f"every request to the server of {home.resolve()} needs a key from now on")
    if is_new:
        next_step("lsr", "serve", "--data", str(home))
    else:
        next_step("curl", "-H", "X-API-Key: KEY", "http://127.0.0.1:8000/v1/indexes")


@keys.command("list", epilog=EXAMPLES)
@_DATA
@_JSON
def list_keys(*, home: Path, json_output: bool) -> None:
    """All keys without their secrets, the oldest first."""
    from service.home import keys as store

    now = time.time()
    with _opened(home) as opened:
        found = [key.as_info(now) for key in store.listed(opened)]
    if json_output:
        as_json({"keys": found})
        return
    for key in found:
        fact(key["state"], columns(key["id"], _described(key)))
    fact("total", counted(len(found), "key"))
    if found:
        next_step("lsr", "keys", "revoke", "--data", str(home), found[0]["id"])
    else:
        next_step("lsr", "keys", "create", "--data", str(home), "--scope", "admin:*")


@keys.command(epilog=EXAMPLES)
@_DATA
@click.argument("number", metavar="ID")
@_JSON
def revoke(*, home: Path, number: str, json_output: bool) -> None:
    """Make a key worth nothing, at once and for good, in every process of the server."""
    from service.home import keys as store

    with _misused(), _opened(home) as opened:
        key = store.revoke(opened, number).as_info(time.time())
    if json_output:
        as_json(key)
        return
    fact("revoked", columns(key["id"], _described(key)))
    next_step("lsr", "keys", "list", "--data", str(home))


def _opened(home: Path) -> "Home":
    from service.home import FILE_NAME, Home

    if not (home / FILE_NAME).is_file():
        raise UsageError(f"{home}: no data directory of a server; `lsr serve --data DIR` makes one")
    return Home.open(home)


@contextmanager
def _misused() -> Iterator[None]:
    """What the server would answer as a problem, as an error of the command line."""
    from service.problems import ProblemError

    try:
        yield
    except ProblemError as error:
        raise UsageError(" ".join(filter(None, (error.detail, error.hint)))) from error


def _described(key: dict[str, Any]) -> str:
    parts = [key["name"], *(s for s in key["scopes"] if s not in key["name"])]
    if key["filter"] is not None:
        parts.append(f"where {orjson.dumps(key['filter']).decode()}")
    if key["expires"] is not None:
        parts.append(f"until {time.strftime('%Y-%m-%d %H:%M', time.localtime(key['expires']))}")
    return "   ".join(parts)


def _seconds(text: str) -> float:
    """
    >>> _seconds("90d")
    7776000
    """
    found = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text)
    if not found:
        raise UsageError(f"--expires {text}: wanted a number and s, m, h or d, such as 90d")
    return int(found[1]) * _SECONDS[found[2]]


def _filter(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except ValueError as error:
        raise UsageError(f"--filter {text}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise UsageError(f'--filter {text}: wanted an object such as {{"tenant": "acme"}}')
    return value
