"""`lsr search http://HOST/NAME TEXT...`: the same search, asked of a server."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import click

from ..client import Client, Refused, RemoteIndex, SearchOptions
from ..errors import ServiceError, UsageError
from . import _printing as out
from ._explaining import SNIPPET, without_title


def options_of(
    k: int, explain: bool, recall: float | None, pages: int | None, timeout: float | None
) -> SearchOptions:
    """The options of the verb as those of the API."""
    options = SearchOptions(limit=k, explain=explain)
    if recall is not None:
        options["mode"] = {"approx": {"recall": recall}}
    elif pages is not None:
        options["mode"] = {"approx": {"pages": pages}}
    if timeout is not None:
        options["timeout_ms"] = timeout * 1000
    return options


def search_over_http(
    address: str,
    texts: Sequence[str],
    *,
    api_key: str | None,
    options: SearchOptions,
    filter_of: Callable[[Mapping[str, str]], dict[str, Any] | None],
    json: bool,
) -> None:
    """Print what the server answers; `filter_of` makes a filter of the declared fields."""
    parts = urlsplit(address)
    name = parts.path.strip("/")
    if not name or "/" in name:
        raise UsageError(
            f"{address}: wanted the address of a server and the name of an index, such as "
            "http://127.0.0.1:8000/papers"
        )
    with Client(f"{parts.scheme}://{parts.netloc}", api_key=api_key) as client:
        index = client.index(name)
        try:
            options["filter"] = _filter(index, filter_of)
            answers = [index.search(text, **options) for text in texts]
        except Refused as error:
            if error.code not in ("key_required", "invalid_key"):
                raise
            raise ServiceError(
                f"{error.detail.rstrip('.')} ({error.status} {error.code}); give a key that may "
                "search by --api-key, or in LSR_API_KEY"
            ) from error
    if json:
        from dataclasses import asdict

        out.as_json({"index": address, "queries": [asdict(one) for one in answers]})
        return
    for text, answer in zip(texts, answers, strict=True):
        out.fact("query", out.printable(text))
        if not answer.hits:
            why = "that may be returned shares a term with this query"
            out.fact("found", "nothing yet: time ran out" if answer.timed_out else f"nothing {why}")
        for hit in answer.hits:
            title, body = (str(hit.fields.get(field) or "") for field in ("title", "text"))
            head = f"{hit.rank:>4}  {hit.score:8.3f}  {out.printable(hit.id)}"
            click.echo(f"{head}  {out.shortened(title, SNIPPET)}".rstrip())
            if hit.passage is not None and hit.passage.text:  # why it is here
                body = without_title(hit.passage.text, hit.passage.start, title)
            if body:
                click.echo(f"{'':16}{out.shortened(body, SNIPPET)}")
            for one in () if hit.explain is None else hit.explain.terms:
                product = f"{one.query:.3f} x {one.doc:.3f} = {one.score:.3f}"
                click.echo(f"{'':16}{one.term or one.index}  {product}  {one.origin}")
        for warning in answer.warnings:
            out.fact("note", warning.message)
        exact = "exact" if answer.exact else "not proven exact"
        took = "" if answer.timing_ms is None else f"{answer.timing_ms.total:.1f} ms on the server"
        out.fact("searched", out.columns(f"{answer.index}, {exact}", took))
    if not options.get("explain"):
        out.next_step("lsr", "search", address, out.printable(texts[0]), "--explain")


def _filter(
    index: RemoteIndex, filter_of: Callable[[Mapping[str, str]], dict[str, Any] | None]
) -> dict[str, Any] | None:
    try:
        return filter_of(index.info().fields)
    except Refused as refused:
        if refused.code != "forbidden":
            raise
    try:  # a key that sees some documents only is told nothing of the whole index
        return filter_of({})
    except UsageError as error:
        raise UsageError(
            "the key sees some documents only, so the server does not tell it which fields can be "
            "filtered by; leave --filter out, or use another key"
        ) from error
