"""TOML tables as dataclasses: every kind of field, and what is said of a wrong one."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from lsr.errors import RecipeError
from lsr.typed_toml import build


@dataclass(frozen=True)
class Part:
    name: str
    weight: float = 1.0


@dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...] = ()
    numbers: tuple[int, ...] = ()
    shares: Mapping[str, float] | None = None


def test_lists_of_tables_and_of_numbers_and_named_fractions() -> None:
    table = {
        "parts": [{"name": "a"}, {"name": "b", "weight": 2}],
        "numbers": [1, 2],
        "shares": {"x": 1, "y": 0.5},
    }
    assert build(Whole, table, "f") == Whole(
        (Part("a"), Part("b", 2.0)), (1, 2), {"x": 1.0, "y": 0.5}
    )


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"parts": {"name": "a"}}, r"parts must be sections \[\[parts\]\]"),
        ({"parts": [{"nmae": "a"}]}, r"unknown key 'nmae' in \[parts\[0\]\]; did you mean 'name'"),
        ({"parts": ["a"]}, r"parts\[0\] must be a section"),
        ({"numbers": [1.5]}, "wanted a list of whole numbers"),
        ({"shares": {"x": 0}}, "wanted numbers above 0 by name"),
    ],
)
def test_wrong_lists_and_tables_are_refused(table: dict[str, object], complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint):
        build(Whole, table, "f")
