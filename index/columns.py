"""Filter columns: one typed value a document, kept as codes into the sorted distinct values.

A predicate is decided once per distinct value and then looked up per document, so a mask costs one
table look-up a document whatever the predicate says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from lsr.errors import QueryError, UsageError

Kind = Literal["keyword", "int", "float", "bool"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Value = str | int | float | bool

_DTYPES: dict[str, np.dtype[Any]] = {
    "keyword": np.dtype(object),
    "int": np.dtype("<i8"),
    "float": np.dtype("<f8"),
    "bool": np.dtype("?"),
}
WANTED = {
    "keyword": "a string",
    "int": "a whole number inside 64 bits",
    "float": "a finite number",
    "bool": "true or false",
}
_LARGEST = float(np.finfo(np.float64).max)
_RANGES = {"gt", "gte", "lt", "lte"}


@dataclass(frozen=True, slots=True)
class Column:
    """Sorted distinct `values`, and per position the index into them, or -1 where there is none."""

    kind: Kind
    values: npt.NDArray[Any]
    codes: npt.NDArray[np.int32]

    @classmethod
    def from_values(cls, kind: Kind, values: Sequence[Value | None]) -> "Column":
        """Build a column; None is an absent value. Raises `UsageError` for a value of another type.

        >>> Column.from_values("keyword", ["en", None, "de"]).codes
        array([ 1, -1,  0], dtype=int32)
        """
        if kind not in KINDS:
            raise UsageError(f"a filter field is one of {', '.join(KINDS)}, got {kind!r}")
        for position, value in enumerate(values):
            if value is not None and not belongs(kind, value):
                raise UsageError(
                    f"value {position} of a {kind} field is {value!r} ({type(value).__name__}), "
                    f"it must be {WANTED[kind]} or absent"
                )
        distinct = sorted({value for value in values if value is not None})
        code = {value: i for i, value in enumerate(distinct)}
        codes = np.fromiter(
            (-1 if value is None else code[value] for value in values), np.int32, len(values)
        )
        return cls(kind, np.array(distinct, _DTYPES[kind]), codes)

    def __len__(self) -> int:
        return len(self.codes)

    def value(self, position: int) -> Value | None:
        """The value at a position, or None."""
        code = int(self.codes[position])
        if code < 0:
            return None
        found = self.values[code]
        return found if isinstance(found, str) else found.item()

    def take(self, positions: npt.NDArray[np.int64]) -> list[Value | None]:
        """The values at `positions`, in their order."""
        return [self.value(int(position)) for position in positions]

    def mask(self, predicate: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
        """(n_docs,) one where the value satisfies every condition of `predicate`.

        Conditions: `eq`, `in`, `gt`, `gte`, `lt`, `lte`, `exists`. A document without a value
        satisfies only `{"exists": False}`. Raises `QueryError` for another condition or a value of
        another type.

        >>> years = Column.from_values("int", [1999, None, 2010])
        >>> years.mask({"gte": 2000})
        array([0, 0, 1], dtype=uint8)
        """
        if not predicate:
            raise QueryError("an empty condition; use eq, in, gt, gte, lt, lte or exists")
        allowed = np.ones(len(self.values) + 1, np.uint8)
        allowed[-1] = 0  # index -1: no value
        for condition, wanted in predicate.items():
            if condition == "exists":
                if not isinstance(wanted, bool):
                    raise QueryError(f"exists takes true or false, got {wanted!r}")
                if not wanted:
                    allowed[:-1] = 0
                    allowed[-1] = len(predicate) == 1
            else:
                allowed[:-1] &= self._satisfying(condition, wanted)
        return allowed[self.codes]

    def _satisfying(self, condition: str, wanted: Any) -> npt.NDArray[np.uint8]:
        """One byte a distinct value."""
        chosen = np.zeros(len(self.values), np.uint8)
        if condition == "eq" or condition == "in":
            if condition == "in" and (isinstance(wanted, str) or not isinstance(wanted, Sequence)):
                raise QueryError(f"in takes a list of values, got {wanted!r}")
            for value in [wanted] if condition == "eq" else wanted:
                value = self._operand(condition, value)
                at = int(np.searchsorted(self.values, value))
                if at < len(self.values) and self.values[at] == value:
                    chosen[at] = 1
            return chosen
        if condition not in _RANGES or self.kind == "bool":
            usable = "eq, in, exists" if self.kind == "bool" else "eq, in, gt, gte, lt, lte, exists"
            raise QueryError(f"no condition {condition!r} on a {self.kind} field; use {usable}")
        wanted = self._operand(condition, wanted)
        side: Literal["left", "right"] = "right" if condition in ("gt", "lte") else "left"
        at = int(np.searchsorted(self.values, wanted, side=side))
        if condition in ("gt", "gte"):
            chosen[at:] = 1
        else:
            chosen[:at] = 1
        return chosen

    def _operand(self, condition: str, value: Any) -> Any:
        """`value`, checked, in a type that numpy compares with the values."""
        # A whole-number field may be compared with any finite number: year < 2000.5 has a meaning.
        kind: Kind = "float" if self.kind == "int" else self.kind
        if not belongs(kind, value):
            raise QueryError(
                f"{condition} on a {self.kind} field takes {WANTED[kind]}, got {value!r}"
            )
        return float(value) if self.kind == "int" and not belongs("int", value) else value


def belongs(kind: Kind, value: object) -> bool:
    """Whether a column of this kind can hold the value."""
    if kind == "keyword":
        return isinstance(value, str)
    if kind == "bool":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind == "int":
        return isinstance(value, int) and -(2**63) <= value < 2**63
    # A whole number beyond a double's range compares like no finite number.
    return isinstance(value, int | float) and -_LARGEST <= value <= _LARGEST
