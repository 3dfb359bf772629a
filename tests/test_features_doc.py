"""The table of features names modules, recipe keys, verbs and tests that exist."""

import ast
import re
import types
import typing
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from lsr.__main__ import VERBS
from training.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "training" / "FEATURES.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| feature")
]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def sections(kind: object) -> list[type]:
    """The dataclasses in a field's type: `Lora | None`, `tuple[Mining, ...]` or a plain one."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is not None:
        return [found for part in typing.get_args(kind) for found in sections(part)]
    return [kind] if isinstance(kind, type) and is_dataclass(kind) else []


def has_key(section: type, key: str) -> bool:
    first, _, rest = key.partition(".")
    hints = typing.get_type_hints(section)
    if first not in {field.name for field in fields(section)}:
        return False
    return not rest or any(has_key(inner, rest) for inner in sections(hints[first]))


def exists(where: str) -> bool:
    if where.startswith("lsr "):
        return where.removeprefix("lsr ") in VERBS
    return (ROOT / where).is_file() if "/" in where else has_key(Recipe, where)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_a_row_names_exists(row: list[str]) -> None:
    feature, want, here, where, test = row
    assert want in ("M", "S", "C")
    if here == "no":
        assert (where, test) == ("", "")
        return
    assert here in ("yes", "part")
    assert quoted(where), f"{feature} is nowhere"
    for name in quoted(where):
        assert exists(name), f"{feature}: there is no {name}"
    named = quoted(test)
    assert named, f"{feature} has no test"
    for name in named:
        file, _, function = name.partition("::")
        tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert function in defined, f"{feature}: {file} has no test {function}"
    assert (here == "part") == (";" in test), f"{feature}: part of what?"


def test_a_name_that_is_none_is_noticed() -> None:
    assert len(ROWS) > 60
    for wrong in ("lsr fly", "training/none.py", "model.none", "stage.ranking.losses.none", "x.y"):
        assert not exists(wrong)
