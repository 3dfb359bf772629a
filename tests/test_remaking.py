"""`lsr reproduce mini`: its commands exist, and each reads what the one before wrote."""

import json
import tomllib

import pytest

from lsr.__main__ import VERBS, run
from lsr.errors import UsageError


def listed(capsys: pytest.CaptureFixture[str], *more: str) -> list[list[str]]:
    assert run(["reproduce", "mini", "--json", *more]) == 0
    return [one["command"] for one in json.loads(capsys.readouterr().out)["stages"]]


def test_each_stage_reads_what_the_one_before_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    every = listed(capsys, "--into", "here", "--corpora", "there", "--backbone", "mini lm")
    *asking, train, onnx, join, evaluate = every
    assert [one[1] for one in (*asking, train, onnx, join, evaluate)] == [
        *("queries", "queries", "queries", "train", "onnx", "join", "evaluate")
    ]
    assert {one[1] for one in every} <= set(VERBS)
    given = {key: value for text in train[5::2] for key, _, value in [text.partition("=")]}
    learned = tomllib.loads(f"train = {given['data.train']}")["train"]
    assert {one[3] for one in asking} <= set(learned)
    assert all(one[2].startswith("there/") for one in asking)
    assert given["model.backbone"] == '"mini lm"'
    assert train[3] == onnx[2] == "here/trained"
    assert onnx[3] == join[2]
    assert join[3] == evaluate[-1]


def test_the_recipe_is_shipped() -> None:
    pytest.importorskip("torch")
    from training import load_recipe

    assert load_recipe("lsr-mini").name == "lsr-mini"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["mini", "--stage", "9"], "wanted 1 to 7"), (["bm25", "--stage", "1"], "belongs to")],
)
def test_a_stage_that_is_none_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["reproduce", *arguments]) == UsageError.exit_code
    assert message in capsys.readouterr().err
