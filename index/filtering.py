"""Filter expressions: which documents a search may return, as a small tree over declared fields.

    {"all": [EXPRESSION, ...]}        every part holds; of no parts: every document
    {"any": [EXPRESSION, ...]}        some part holds; of no parts: no document
    {"not": EXPRESSION}               the part does not hold, also where the field has no value
    {"field": NAME, "gte": 2020}      the conditions of `columns.py` on one field, all of them
    {NAME: VALUE, ...}                short for all: a value, a list of which any will do, or
                                      conditions

A field whose name is `all`, `any`, `not` or `field` is named the long way. Words are kept per
segment and expression: they know nothing of deletes, so they stay true while the segment lives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from lsr.errors import FilterError, UnknownField

from .columns import Conditions, Kind, checked_conditions
from .live import Live, everything, pack
from .segment import Segment

MAX_DEPTH = 32
"""Expressions inside one another; people write 3, programs that write more are in a loop."""
MAX_CLAUSES = 1_000
"""Conditions and combinations of one filter: each may cost a pass over all documents."""
MAX_VALUES = 100_000
"""Values of all `in` lists of one filter together."""

Filter = Mapping[str, Any]
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Leaf:
    """Conditions on one field."""

    field: str
    conditions: Conditions


@dataclass(frozen=True, slots=True)
class Every:
    """All parts hold."""

    parts: frozenset["Expression"]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one part holds."""

    parts: frozenset["Expression"]


@dataclass(frozen=True, slots=True)
class Negated:
    """The part does not hold."""

    part: "Expression"


Expression = Leaf | Every | Some | Negated


def parsed(filter: Filter | None, fields: Mapping[str, Kind]) -> Expression | None:
    """The checked tree, None where every document passes. Raises `FilterError`, of an undeclared
    field `UnknownField`; both say where.

    >>> parsed({"lang": "en"}, {"lang": "keyword"}) == parsed(
    ...     {"field": "lang", "in": ["en"]}, {"lang": "keyword"}
    ... )
    True
    """
    if filter is None or filter == {}:
        return None
    return _Reader(fields).expression(filter, (), 1)


def matching(expression: Expression, segment: Segment) -> Live:
    """The live words of the documents that pass, deleted ones included; not to be written to."""
    known = segment.masks.get(expression)
    if known is None:
        known = _words(expression, segment)
        segment.masks.keep(expression, known, n_values=_n_values(expression))
    return known


def _n_values(expression: Expression) -> int:
    if isinstance(expression, Leaf):
        return len(expression.conditions.values or ())
    if isinstance(expression, Negated):
        return _n_values(expression.part)
    return sum(map(_n_values, expression.parts))


def _words(expression: Expression, segment: Segment) -> Live:
    if isinstance(expression, Leaf):
        return pack(segment.column(expression.field).mask(expression.conditions))
    if isinstance(expression, Negated):
        return everything(segment.n_docs) & ~matching(expression.part, segment)
    parts = [matching(part, segment) for part in expression.parts]
    if isinstance(expression, Every):
        return reduce(np.bitwise_and, parts, everything(segment.n_docs))
    return reduce(np.bitwise_or, parts, np.zeros_like(everything(segment.n_docs)))


class _Reader:
    """One filter being read, within its budget."""

    def __init__(self, fields: Mapping[str, Kind]) -> None:
        self._fields = fields
        self._clauses_left = MAX_CLAUSES
        self._values_left = MAX_VALUES

    def expression(self, given: Any, path: Path, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise FilterError(f"a filter nests at most {MAX_DEPTH} levels", path=path)
        if not isinstance(given, Mapping):
            raise FilterError(
                f"a filter is an object such as {{'field': NAME, 'eq': VALUE}}, got {given!r}",
                path=path,
                got=given,
            )
        self._spend(path)
        for word in ("all", "any", "not"):
            if word in given:
                return self._combined(word, given, path, depth)
        if "field" in given:
            name = given["field"]
            kind = self._kind(name, (*path, "field"))
            predicate = {key: value for key, value in given.items() if key != "field"}
            return self._leaf(name, kind, predicate, path)
        if not given:
            raise FilterError("an empty object filters nothing; leave it out", path=path)
        leaves = []
        for name, value in given.items():
            here = (*path, name)
            kind = self._kind(name, here)
            self._spend(here)
            if isinstance(value, Mapping):
                leaves.append(self._leaf(name, kind, value, here))
            else:
                word = "in" if isinstance(value, list) else "eq"
                leaves.append(self._leaf(name, kind, {word: value}, here, short=True))
        return leaves[0] if len(leaves) == 1 else Every(frozenset(leaves))

    def _combined(self, word: str, given: Filter, path: Path, depth: int) -> Expression:
        if len(given) > 1:
            others = ", ".join(repr(key) for key in given if key != word)
            raise FilterError(
                f"{word!r} stands alone in its object, beside it are {others}; put them inside it, "
                f"or, if {word!r} names a field, write {{'field': {word!r}, ...}}",
                path=path,
            )
        inner = given[word]
        here = (*path, word)
        if word == "not":
            return Negated(self.expression(inner, here, depth + 1))
        if isinstance(inner, str | Mapping) or not isinstance(inner, Sequence):
            raise FilterError(
                f"{word!r} takes a list of filters, got {inner!r}; if it names a field, write "
                f"{{'field': {word!r}, 'eq': ...}}",
                path=here,
                got=inner,
            )
        parts = [self.expression(part, (*here, i), depth + 1) for i, part in enumerate(inner)]
        return Every(frozenset(parts)) if word == "all" else Some(frozenset(parts))

    def _leaf(
        self, name: str, kind: Kind, predicate: Filter, path: Path, *, short: bool = False
    ) -> Leaf:
        listed = predicate.get("in")
        self._values_left -= len(listed) if isinstance(listed, Sequence) else 0
        if self._values_left < 0:
            raise FilterError(f"a filter lists at most {MAX_VALUES:,} values", path=path)
        try:
            return Leaf(name, checked_conditions(kind, predicate))
        except FilterError as error:
            # The short form does not show the condition that it stands for.
            inside = error.path[1:] if short else error.path
            raise FilterError(
                f"field {name!r}: {error.reason}",
                path=(*path, *inside),
                got=error.got,
                allowed=error.allowed,
            ) from None

    def _kind(self, name: object, path: Path) -> Kind:
        if not isinstance(name, str) or name not in self._fields:
            raise UnknownField(name, declared=sorted(self._fields), path=path)
        return self._fields[name]

    def _spend(self, path: Path) -> None:
        self._clauses_left -= 1
        if self._clauses_left < 0:
            raise FilterError(f"a filter has at most {MAX_CLAUSES:,} clauses", path=path)
