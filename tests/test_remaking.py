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
    asking, mining = every[:3], every[12:20]
    warm, train, words, average, again, third, last, mean, before = every[3:12]
    teacher, taught, five, standing = every[20:24]
    mining_again = every[24:35]
    latest, final, onnx, join, evaluate = every[35:]
    assert [one[1] for one in every] == [
        *("queries", "queries", "queries", "train", "train", "train", "average"),
        *("train", "average", "train", "average", "join", *["mine"] * 8),
        *("train", "train", "average", "join", *["mine"] * 11),
        *("train", "average", "onnx", "join", "evaluate"),
    ]
    assert {one[1] for one in every} <= set(VERBS)

    def given(command: list[str]) -> dict[str, str]:
        return {key: value for text in command[5::2] for key, _, value in [text.partition("=")]}

    def learned(command: list[str]) -> set[str]:
        return set(tomllib.loads(f"train = {given(command)['data.train']}")["train"])

    for command in (words, again, last):
        assert {one[3] for one in asking} <= learned(command)
    assert all(one[2].startswith("there/") for one in asking)
    assert {one[3] for one in asking} <= {one[2] for one in mining}
    for command in (teacher, taught, latest):
        assert {one[-1] for one in mining} < learned(command)
    assert {one[-1] for one in mining_again} < learned(latest)
    assert {one[one.index("--seed") + 1] for one in mining} == {"0"}
    assert {one[one.index("--seed") + 1] for one in mining_again} == {"8"}
    assert given(warm)["model.backbone"] == '"mini lm"'
    for command in (train, words):
        start = Path(json.loads(given(command)["model.backbone"]))
        assert (start.parent.name, start.name) == (Path(warm[3]).name, "document_0_Transformer")
    assert [train[3], words[3]] == average[2:4]
    for command, start in (
        (again, average[4]),
        (last, third[4]),
        (taught, mean[4]),
        (latest, five[4]),
    ):
        assert json.loads(given(command)["model.backbone"]) == str(Path(start).absolute())
    assert [average[4], again[3]] == third[2:4]
    assert [third[4], last[3]] == mean[2:4]
    assert mean[4] == before[2]
    start = Path(json.loads(given(teacher)["model.backbone"]))
    assert start == Path(mean[4]).absolute() / "document_0_Transformer"
    for command, wanted in ((taught, (teacher[3], before[3])), (latest, (standing[3],))):
        teachers = tomllib.loads(f"teachers = {given(command)['teachers']}")["teachers"]
        sparse = [one["model"] for one in teachers if one["kind"] == "sparse"]
        assert sparse == [str(Path(folder).absolute()) for folder in wanted]
    assert [taught[3], mean[4]] == five[2:4]
    assert five[4] == standing[2]
    assert [latest[3], five[4]] == final[2:4]
    assert final[4] == onnx[2]
    assert onnx[3] == join[2]
    assert join[3] == evaluate[-1]


_TAUGHT = ("lsr-mini-teacher", "lsr-mini-asked", "lsr-mini-asked-again")


def test_the_stages_say_what_the_recipes_do() -> None:
    """But for where things lie: folders of runs, and files of pairs."""
    pytest.importorskip("torch")
    from training import load_recipe

    sources = Sources(
        Path("c"), "b", "thenlper/gte-small", "sentence-transformers/all-mpnet-base-v2"
    )
    for stage in stages(Path("runs/mini"), sources):
        if stage.command[1] not in _TAUGHT:
            continue
        recipe = load_recipe(stage.command[1])
        changes = dict(text.split("=", 1) for text in stage.command[4::2])
        names = tomllib.loads(f"x = {changes['data.train']}")["x"]
        assert [Path(name).name for name in names] == [Path(n).name for n in recipe.data.train]
        told = tomllib.loads(f"x = {changes['teachers']}")["x"]
        assert [(one["kind"], one.get("weight", 1.0), one.get("max_length")) for one in told] == [
            (one.kind, one.weight, one.max_length) for one in recipe.teachers
        ]
        assert [Path(one.get("model", "")).name for one in told] == [
            Path(one.model).name for one in recipe.teachers
        ]


def test_the_recipe_is_shipped() -> None:
    pytest.importorskip("torch")
    from training import load_recipe

    rounds = ("again", "again-words", "asked", "asked-again", "teacher", "words")
    for name in ("lsr-mini", *(f"lsr-mini-{end}" for end in rounds)):
        assert load_recipe(name).name == name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mini", "--stage", "41"], "wanted 1 to 40"),
        (["mini", "--all", "--stage", "2"], "leave --stage 2 out"),
        (["mini", "--all", "--json"], "leave --json out"),
        (["mini", "--teacher", "a/b", "--second-teacher", "c/b"], "are both called 'b'"),
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
            at = places.get(command[0]) or command.index("--output") + 1
            Path(command[at]).mkdir(parents=True)
        return 0

    arguments = ["reproduce", "mini", "--all", "--into", str(tmp_path)]
    monkeypatch.setattr("lsr.__main__.run", pretend)
    assert run(arguments) == 4
    assert [one[0] for one in ran] == ["queries"] * 3 + ["train"] * 2
    assert run(arguments) == 0
    assert "there" in capsys.readouterr().err
    assert [one[0] for one in ran[5:7]] == ["train", "train"]
    assert len(ran) == 5 + 36
    assert run(arguments) == 0
    assert [one[0] for one in ran[41:]] == ["evaluate"]


def test_a_rehearsal_has_the_same_commands_with_few_steps(
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, brief = listed(capsys), listed(capsys, "--rehearse")
    assert [one[1] for one in whole] == [one[1] for one in brief]
    results = [
        {str(one.result) for one in stages(place, Sources(Path("c"), "b", "t", "u"), briefly=few)}
        for place, few in ((Path("here"), False), (Path("here/rehearsal"), True))
    ]
    assert results[0] & results[1] == {"None"}, "a rehearsal never passes for the real thing"
    assert any("runs/mini/rehearsal/" in word for one in brief for word in one)
    assert not any("rehearsal" in word for one in whole for word in one)
    for command in brief:
        if command[1] == "train":
            assert "stage.ranking.steps=2" in command
            assert "data.max_queries=16" in command
