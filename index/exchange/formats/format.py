"""`Format`: one engine's way of taking sparse vectors."""

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import orjson

from ...columns import Kind
from ..records import Rows


@dataclass(frozen=True, slots=True)
class Example:
    """A query that an export's page shows: its text, if it has one, and its weights."""

    text: str | None
    terms: Sequence[int]
    weights: Sequence[int]


@dataclass(frozen=True)
class Facts:
    """What an engine must be told before the first row.

    `name` is of the collection to be made; `fields` the declared filter fields and their kinds;
    `vocabulary` the entry of each term number.
    """

    name: str
    n_docs: int
    n_terms: int
    fields: Mapping[str, Kind]
    vocabulary: Sequence[str]
    example: Example

    @cached_property
    def features(self) -> Sequence[str]:
        """The vocabulary as Lucene's feature fields can name it: without dots and empty names."""
        entries = enumerate(self.vocabulary)
        return [entry if entry and "." not in entry else f"#{n}" for n, entry in entries]

    def tokens(self) -> dict[str, int]:
        """The example's weights by vocabulary entry."""
        entries = [self.vocabulary[term] for term in self.example.terms]
        return dict(zip(entries, self.example.weights, strict=True))


@dataclass(frozen=True, slots=True)
class Format:
    """`lines` writes some rows into the file `documents`; `files` are the others by name.

    `integers` tells that the engine takes whole numbers only. `reserved` are names of fields that
    the export or the engine needs itself; declared fields lie beside them, and where `flat` all
    stored fields do.
    """

    name: str
    engine: str
    documents: str
    lines: Callable[[Rows, Facts], bytes]
    files: Callable[[Facts], Mapping[str, str]]
    integers: bool = False
    reserved: frozenset[str] = frozenset()
    flat: bool = False


def renaming(name: str) -> str:
    """The command that gives a field of JSON lines another name.

    >>> print(renaming("lsr"))
    jq -c 'with_entries(.key |= if . == "lsr" then "doc_lsr" else . end)'
    """
    old, new = json.dumps(name), json.dumps(f"doc_{name}")
    return "jq -c " + shlex.quote(f"with_entries(.key |= if . == {old} then {new} else . end)")


def pretty(value: Any) -> str:
    """Indented JSON with a newline at its end."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def identifier(name: str) -> str:
    """`name` as every engine lets a collection be called.

    >>> identifier("Sci-Fact.v2")
    'sci_fact_v2'
    """
    text = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_")
    return text if text and text[0].isalpha() else f"lsr_{text}".rstrip("_")


def by_number(rows: Rows) -> list[dict[str, Any]]:
    """The weights of each row by term number, as strings."""
    return _dicts(rows, list(map(str, rows.terms.tolist())))


def by_entry(rows: Rows, vocabulary: Sequence[str]) -> list[dict[str, Any]]:
    """The weights of each row by vocabulary entry."""
    return _dicts(rows, [vocabulary[term] for term in rows.terms.tolist()])


def _dicts(rows: Rows, names: list[str]) -> list[dict[str, Any]]:
    weights = rows.weights.tolist()
    return [
        dict(zip(names[a:b], weights[a:b], strict=True)) for a, b in pairwise(rows.starts.tolist())
    ]
