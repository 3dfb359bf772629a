"""JSON into frozen dataclasses: by their annotations, forgiving what a newer server adds.

Unknown members are left out, because servers may say more in later releases; a member that is
missing or of another type is an error that names its place.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union

from .errors import UnexpectedAnswer

T = TypeVar("T")

Reader = Callable[[Any, str], Any]
"""What stands in the answer, and the JSON pointer to it -> the value."""


def read(kind: type[T], value: Any) -> T:
    """`value`, parsed JSON, as the dataclass `kind`. Raises `UnexpectedAnswer`.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Point:
    ...     x: int
    ...     label: str | None = None
    >>> read(Point, {"x": 1, "colour": "red"})
    Point(x=1, label=None)
    """
    found: T = _of(kind)(value, "")
    return found


def _reader(kind: Any) -> Reader:
    if kind is Any:
        return lambda value, _: value
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _optional(*(one for one in arguments if one is not type(None)))
    if origin is Literal:
        return _scalar(str)  # a newer server may know further words
    if origin is tuple:
        return _many(arguments[0])
    if origin is Mapping:
        return _members(arguments[1])
    return _scalar(kind)


_of: Callable[[Any], Reader] = cache(_reader)


def _dataclass(kind: Any) -> Reader:
    hints = typing.get_type_hints(kind)
    fields = [
        (one.name, json_name(one.name), _reader(hints[one.name]), _is_required(one))
        for one in dataclasses.fields(kind)
    ]

    def reader(value: Any, place: str) -> Any:
        _expect(isinstance(value, dict), value, place, "an object")
        found = {}
        for field, name, reader_of, required in fields:
            if name in value:
                found[field] = reader_of(value[name], f"{place}/{name}")
            elif required:
                raise UnexpectedAnswer(f"the answer lacks {place}/{name}")
        return kind(**found)

    return reader


def json_name(field: str) -> str:
    """How the API calls a field; what is a word of Python has an underscore behind it here.

    >>> json_name("as_")
    'as'
    """
    return field.removesuffix("_")


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _optional(*kinds: Any) -> Reader:
    """None, or the only other kind; of several scalars any."""
    if len(kinds) == 1:
        inner = _reader(kinds[0])
        return lambda value, place: None if value is None else inner(value, place)
    return lambda value, _: value


def _many(kind: Any) -> Reader:
    inner = _reader(kind)

    def reader(value: Any, place: str) -> Any:
        _expect(isinstance(value, list), value, place, "an array")
        return tuple(inner(one, f"{place}/{at}") for at, one in enumerate(value))

    return reader


def _members(kind: Any) -> Reader:
    inner = _reader(kind)

    def reader(value: Any, place: str) -> Any:
        _expect(isinstance(value, dict), value, place, "an object")
        return {name: inner(one, f"{place}/{name}") for name, one in value.items()}

    return reader


def _scalar(kind: type) -> Reader:
    wanted = (int, float) if kind is float else kind

    def reader(value: Any, place: str) -> Any:
        fits = isinstance(value, wanted) and (kind is bool or not isinstance(value, bool))
        _expect(fits, value, place, f"a {kind.__name__}")
        return value

    return reader


def _expect(holds: bool, value: Any, place: str, wanted: str) -> None:
    if not holds:
        raise UnexpectedAnswer(
            f"{place or '/'} of the answer is {repr(value)[:60]}, wanted {wanted}; is it a server "
            "of lsr-search, of this release?"
        )
