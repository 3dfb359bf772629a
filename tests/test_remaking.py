"""`lsr reproduce mini`: its commands exist, and each reads what the one before wrote."""

import json
import tomllib
from pathlib import Path

import pytest

from lsr.__main__ import VERBS, run
from lsr.commands._remaking import Sources, stages
from lsr.errors import UsageError


def listed(capsys: pytest.CaptureFixture[str], *more: str) -> list[list[str]]:
    assert run(["reproduce", "mini", "--json", *more]) == 0
    return [one["command"] for one in json.loads(capsys.readouterr().out)["stages"]]


def test_each_stage_reads_what_the_one_before_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    every = listed(capsys, "--into", "here", "--corpora", "there", "--backbone", "mini lm")
    *asking, warm, train, words, average, again, third, last, mean, onnx, join, evaluate = every
    assert [one[1] for one in every] == [
        *("queries", "queries", "queries", "train", "train", "train", "average"),
        *("train", "average", "train", "average", "onnx", "join", "evaluate"),
    ]
    assert {one[1] for one in every} <= set(VERBS)

    def given(command: list[str]) -> dict[str, str]:
        return {key: value for text in command[5::2] for key, _, value in [text.partition("=")]}

    for command in (words, again, last):
        learned = tomllib.loads(f"train = {given(command)['data.train']}")["train"]
        assert {one[3] for one in asking} <= set(learned)
    assert all(one[2].startswith("there/") for one in asking)
    assert given(warm)["model.backbone"] == '"mini lm"'
    for command in (train, words):
        start = Path(json.loads(given(command)["model.backbone"]))
        assert (start.parent.name, start.name) == (Path(warm[3]).name, "document_0_Transformer")
    assert [train[3], words[3]] == average[2:4]
    for command, start in ((again, average[4]), (last, third[4])):
        assert json.loads(given(command)["model.backbone"]) == str(Path(start).absolute())
    assert [average[4], again[3]] == third[2:4]
    assert [third[4], last[3]] == mean[2:4]
    assert mean[4] == onnx[2]
    assert onnx[3] == join[2]
    assert join[3] == evaluate[-1]


def test_the_recipe_is_shipped() -> None:
    pytest.importorskip("torch")
    from training import load_recipe

    for name in ("lsr-mini", "lsr-mini-words", "lsr-mini-again", "lsr-mini-again-words"):
        assert load_recipe(name).name == name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mini", "--stage", "15"], "wanted 1 to 14"),
        (["mini", "--all", "--stage", "2"], "leave --stage 2 out"),
        (["mini", "--all", "--json"], "leave --json out"),
        (["bm25", "--stage", "1"], "--stage 1 belongs to"),
        (["bm25", "--all"], "--all belongs to"),
        (["--rehearse"], "--rehearse belongs to"),
    ],
)
def test_a_stage_that_is_none_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["reproduce", *arguments]) == UsageError.exit_code
    assert message in capsys.readouterr().err


def test_all_goes_on_after_the_results_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []

    def pretend(command: list[str]) -> int:
        """Leaves the result of a command, except that the first training fails."""
        ran.append(command)
        if command[1] == "lsr-mini" and len(ran) < 6:
            return 4
        if command[0] != "evaluate":
            places = {"train": 2, "average": 3, "queries": 2, "onnx": 2, "join": 2}
            Path(command[places[command[0]]]).mkdir(parents=True)
        return 0

    arguments = ["reproduce", "mini", "--all", "--into", str(tmp_path)]
    monkeypatch.setattr("lsr.__main__.run", pretend)
    assert run(arguments) == 4
    assert [one[0] for one in ran] == ["queries"] * 3 + ["train"] * 2
    assert run(arguments) == 0
    assert "there" in capsys.readouterr().err
    assert [one[0] for one in ran[5:7]] == ["train", "train"]
    assert len(ran) == 5 + 10
    assert run(arguments) == 0
    assert [one[0] for one in ran[15:]] == ["evaluate"]


def test_a_rehearsal_has_the_same_commands_with_few_steps(
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, brief = listed(capsys), listed(capsys, "--rehearse")
    assert [one[1] for one in whole] == [one[1] for one in brief]
    results = [
        {str(one.result) for one in stages(place, Sources(Path("c"), "b", "t"), briefly=few)}
        for place, few in ((Path("here"), False), (Path("here/rehearsal"), True))
    ]
    assert results[0] & results[1] == {"None"}, "a rehearsal never passes for the real thing"
    assert any("runs/mini/rehearsal/" in word for one in brief for word in one)
    assert not any("rehearsal" in word for one in whole for word in one)
    for command in brief:
        if command[1] == "train":
            assert "stage.ranking.steps=2" in command
            assert "data.max_queries=16" in command
