"""A TOML table becomes a frozen dataclass, or an error says which key of which file is wrong.

Fields may be whole numbers, numbers, strings, booleans, literals, lists of strings or of
numbers, tables of numbers or strings by name, further dataclasses, and lists of those
([[section]]). `number` gives a numeric field its range; infinity and NaN are no numbers unless it
names infinity as a bound. A field with the metadata key `internal` is set by the program and never
read from a file.
"""

import difflib
import math
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, field, fields, is_dataclass
from typing import Any, Literal, TypeVar

from .errors import RecipeError

T = TypeVar("T")
_LARGEST = sys.float_info.max


def number(default: Any = MISSING, *, low: float, high: float = _LARGEST) -> Any:
    """A numeric field whose value must lie in [low, high]."""
    return field(default=default, metadata={"low": low, "high": high})


def build(cls: type[T], table: Mapping[str, Any], file: str, where: str = "") -> T:
    """Make the dataclass `cls` from a TOML table; `where` is the dotted name of the table."""
    if not isinstance(table, dict):
        raise RecipeError(f"{file}: {where or 'the file'} must be a section, got {table!r}.")
    known = {f.name: f for f in fields(cls) if "internal" not in f.metadata}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise RecipeError(_unknown(key, known, file, where))
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, spec in known.items():
        dotted = f"{where}.{name}" if where else name
        if name in table:
            values[name] = _value(hints[name], table[name], file, dotted, spec)
        elif spec.default is MISSING and spec.default_factory is MISSING:
            raise RecipeError(f"{file}: {dotted} is missing; it has no default.")
    return cls(**values)


def _unknown(key: str, known: Mapping[str, Any], file: str, where: str) -> str:
    place = f"in [{where}]" if where else "at the top"
    close = difflib.get_close_matches(key, list(known), n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{file}: unknown key '{key}' {place}; {hint}Known here: {', '.join(known)}."


def _value(kind: Any, got: Any, file: str, where: str, spec: "Field[Any]") -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        (kind,) = (a for a in args if a is not type(None))
        return _value(kind, got, file, where, spec)
    if is_dataclass(kind):
        return build(typing.cast("type[Any]", kind), got, file, where)
    if origin is Literal:
        if got not in args:
            raise RecipeError(f"{file}: {where} = {got!r}; wanted one of {_words(args)}.")
        return got
    if origin is tuple:
        return _items(args[0], got, file, where)
    if origin is not None and issubclass(origin, Mapping):
        if args[1] is str:
            return _named_strings(got, file, where)
        return _named_numbers(args[1], got, file, where)
    if kind is float and type(got) is int and abs(got) <= _LARGEST:
        got = float(got)
    if type(got) is not kind:
        raise RecipeError(f"{file}: {where} = {got!r} is {_kind(type(got))}; wanted {_kind(kind)}.")
    low, high = spec.metadata.get("low"), spec.metadata.get("high", _LARGEST)
    if kind is float and not math.isfinite(got) and got not in (low, high):
        raise RecipeError(f"{file}: {where} = {got!r}; wanted a finite number.")
    if low is not None and not low <= got <= high:
        limits = f"{low} or more" if high >= _LARGEST else f"between {low} and {high}"
        raise RecipeError(f"{file}: {where} = {got!r}; wanted {limits}.")
    return got


def _items(kind: Any, got: Any, file: str, where: str) -> tuple[Any, ...]:
    """A list whose items are strings, numbers or tables."""
    if is_dataclass(kind):
        if not isinstance(got, list):
            raise RecipeError(f"{file}: {where} must be sections [[{where}]], got {got!r}.")
        cls = typing.cast("type[Any]", kind)
        return tuple(build(cls, item, file, f"{where}[{i}]") for i, item in enumerate(got))
    wanted = (int, float) if kind is float else (kind,)
    if not isinstance(got, list) or not all(type(v) in wanted and _finite(v) for v in got):
        names = {str: "strings", int: "whole numbers", float: "finite numbers"}
        raise RecipeError(f"{file}: {where} = {got!r}; wanted a list of {names[kind]}.")
    return tuple(kind(v) for v in got)


def _named_numbers(kind: type, got: Any, file: str, where: str) -> dict[str, Any]:
    """A table of numbers above 0; where fractions are wanted, whole numbers will do."""
    wanted = (int,) if kind is int else (int, float)
    for name in got if isinstance(got, dict) else ():
        if not _finite(got[name]):
            raise RecipeError(f"{file}: {where}.{name} = {got[name]!r}; wanted a finite number.")
    if not isinstance(got, dict) or not all(type(v) in wanted and v > 0 for v in got.values()):
        numbers = "whole numbers" if kind is int else "numbers"
        raise RecipeError(f"{file}: {where} = {got!r}; wanted {numbers} above 0 by name.")
    return {name: kind(value) for name, value in got.items()}


def _finite(value: object) -> bool:
    """Whether it is no number, or one that a float holds."""
    return not isinstance(value, int | float) or abs(value) <= _LARGEST


def _named_strings(got: Any, file: str, where: str) -> dict[str, str]:
    if not isinstance(got, dict) or not all(type(v) is str for v in got.values()):
        raise RecipeError(f"{file}: {where} = {got!r}; wanted strings by name.")
    return dict(got)


def _kind(kind: type) -> str:
    names = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}
    return names.get(kind, f"a {kind.__name__}")


def _words(values: Sequence[Any]) -> str:
    return " or ".join(f'"{v}"' for v in values)
