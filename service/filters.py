"""Filters of a request against the fields that an index declared, and where each mistake is."""

from collections.abc import Iterable, Mapping
from typing import Any

from .problems import Fault, ProblemError, did_you_mean, pointer, shown
from .wire.search import Condition, FieldFilter

_RANGES = ("gt", "gte", "lt", "lte")
_WANTED = {
    "keyword": "a string",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "date": "an ISO 8601 date or date-time with offset",
}


def index_filter(
    wanted: Mapping[str, FieldFilter] | None, declared: Mapping[str, str]
) -> dict[str, Any] | None:
    """`filter` of `Index.search`. Raises `ProblemError` for an undeclared field or an operand of
    another kind.
    """
    if not wanted:
        return None
    for name in wanted:
        if name not in declared:
            raise _undeclared(name, declared)
    translated: dict[str, Any] = {}
    faults: list[Fault] = []
    for name, value in wanted.items():
        conditions = _conditions(value)
        faults += _faults(name, declared[name], value, conditions)
        translated[name] = conditions
    if faults:
        kinds = {name: declared[name] for name in wanted}
        raise ProblemError(
            "invalid_filter",
            f"The filter does not suit the declared kinds {kinds}.",
            faults=faults,
        )
    return translated


def _conditions(value: FieldFilter) -> dict[str, Any]:
    if isinstance(value, Condition):
        return value.conditions()
    return {"in": value} if isinstance(value, list) else {"eq": value}


def _faults(
    name: str, kind: str, value: FieldFilter, conditions: Mapping[str, Any]
) -> Iterable[Fault]:
    for condition, operand in conditions.items():
        path = ["filter", name, condition] if isinstance(value, Condition) else ["filter", name]
        if condition == "exists":
            continue
        if condition in _RANGES and kind == "bool":
            yield Fault(
                pointer(path), "true and false have no order", allowed=["eq", "in", "exists"]
            )
            continue
        operands = enumerate(operand) if condition == "in" else [(None, operand)]
        for position, one in operands:
            if not _suits(kind, one):
                place = path if position is None else [*path, str(position)]
                yield Fault(
                    pointer(place), f"a field of kind {kind} takes {_WANTED[kind]}", shown(one)
                )


def _suits(kind: str, operand: object) -> bool:
    if kind in ("keyword", "date"):
        return isinstance(operand, str)
    if kind == "bool":
        return isinstance(operand, bool)
    return isinstance(operand, int | float) and not isinstance(operand, bool)


def _undeclared(name: str, declared: Mapping[str, str]) -> ProblemError:
    known = ", ".join(f"'{one}'" for one in sorted(declared)) or "none"
    return ProblemError(
        "unknown_filter_field",
        f"Field '{name[:100]}' was not declared when the index was built; declared: {known}.",
        hint=did_you_mean(name, declared)
        or f"Build the index again with --field {name[:100]}:keyword to filter by it.",
        faults=[
            Fault(pointer(["filter", name]), "not declared", shown(name), allowed=sorted(declared))
        ],
    )
