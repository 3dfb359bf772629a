"""What `lsr index` and `lsr info` say of order, pruning and rounding."""

import json
from pathlib import Path

import pytest

from lsr.__main__ import run


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "words.jsonl"
    texts = ["one", "one two", "one two three", "one two three four", "five"]
    lines = [json.dumps({"_id": f"d{i}", "text": text}) for i, text in enumerate(texts)]
    path.write_text("\n".join(lines))
    return path


def facts(text: str) -> dict[str, str]:
    return {line.split()[0]: line for line in text.splitlines() if line.strip()}


def test_the_order_is_chosen_recorded_and_shown(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for order, more in (("none", ()), ("bp", ("--order-seconds", "5"))):
        options = ["--order", order, *more, "--threads", "1"]
        assert run(["index", str(corpus), order, *options]) == 0
        assert f"order {order}, " in facts(capsys.readouterr().out)["wrote"]
        assert run(["info", order]) == 0
        assert facts(capsys.readouterr().out)["order"].split() == ["order", order]


def test_pruning_is_reported_by_index_and_info(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eleven postings; two terms a document leave 8, two postings a term 6 (five, and one and two
    twice each, and whatever the third and fourth document kept of three and four).
    """
    options = ["--prune-terms", "2", "--prune-mass", "1", "--prune-postings", "2"]
    assert run(["index", str(corpus), "i", *options]) == 0
    line = facts(capsys.readouterr().out)["pruned"]
    assert " of 11 postings, " in line
    assert run(["info", "i", "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["pruning"] == {"terms": 2, "mass": 1.0, "postings": 2.0, "ratio": None}
    assert info["given_postings"] == 11
    assert line.split()[1:3] == ["kept", str(info["n_postings"])]
    assert info["n_postings"] < 8
    assert 0 < info["mass_kept"] < 1


def test_rounding_is_reported_by_index_and_info(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["index", str(corpus), "i", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert 0 < report["error_mean"] <= report["error_max"]
    assert report["error_max"] < 0.003  # half a step of 1 / 255 and the float16 of BM25 weights
    assert run(["info", "i"]) == 0
    shown = facts(capsys.readouterr().out)
    for name in ("error_mean", "error_max", "norm_error"):
        assert shown[name].split()[1] == f"{report[name]:.4g}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prune-mass", "2"], "mass of 2.0"),
        (["--prune-ratio", "0"], "ratio of 0.0"),
        (["--prune-postings", "-1"], "--prune-postings -1: wanted a share of every list"),
        (["--prune-postings", "half"], "--prune-postings half: wanted a share of every list"),
        # It was one posting a term, and read as all of them.
        (["--prune-postings", "1.0"], "the whole number of postings that each keeps, such as 100"),
    ],
)
def test_a_pruning_that_cannot_be_is_named(
    corpus: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert run(["index", str(corpus), "i", *options]) == 2
    assert message in capsys.readouterr().err
    assert not Path("i").exists()
