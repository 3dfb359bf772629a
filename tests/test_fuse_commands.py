"""`lsr fuse` and `lsr tune` as people type them."""

import json
from pathlib import Path

import pytest

from lsr.__main__ import run
from lsr.retrieval import fuse
from lsr.systems import read_systems
from lsr.trec import read_run, write_run
from lsr.types import Run

N = 12


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LSR_DATA", raising=False)
    monkeypatch.setenv("LSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def toy() -> Path:
    """Each query is the word of its document; all but the last are training queries."""
    folder = Path("toy")
    (folder / "qrels").mkdir(parents=True)
    numbers = range(N)
    (folder / "corpus.jsonl").write_text(
        "".join(f'{{"_id": "d{i}", "text": "word{i} common{i % 3}"}}\n' for i in numbers)
    )
    (folder / "queries.jsonl").write_text(
        "".join(f'{{"_id": "q{i}", "text": "word{i}"}}\n' for i in numbers)
    )
    head = "query-id\tcorpus-id\tscore\n"
    rows = [f"q{i}\td{i}\t1\n" for i in numbers]
    (folder / "qrels" / "train.tsv").write_text(head + "".join(rows))
    (folder / "qrels" / "test.tsv").write_text(head + rows[-1])
    return folder


@pytest.fixture
def runs() -> list[str]:
    """The first finds every document, the second puts others before it."""
    good = [(f"q{i}", [f"d{i}", "d0x"], [2.0, 1.0]) for i in range(N)]
    bad = [(f"q{i}", ["d0x", "d1x", f"d{i}"], [3.0, 2.0, 1.0]) for i in range(N)]
    for name, rows in (("good.trec", good), ("bad.trec", bad)):
        write_run(name, Run.from_rows(rows))
    return ["good.trec", "bad.trec"]


@pytest.mark.parametrize("method", ["rrf", "minmax", "zscore", "combmnz"])
def test_fuse_writes_what_the_function_returns(runs: list[str], method: str, capsys) -> None:
    assert run(["fuse", *runs, "--method", method, "--weights", "1,0.5", "--output", "f.trec"]) == 0
    expected = fuse([read_run(path) for path in runs], method, [1, 0.5], k=1000, depth=1000)
    assert dict(read_run("f.trec")) == dict(expected)
    printed = capsys.readouterr().out
    assert f"by {method}, weights 1, 0.5" in printed
    assert printed.splitlines()[-1] == "next       lsr evaluate DATASET --from-run f.trec"


def test_what_tune_writes_fuse_reads(toy: Path, runs: list[str], capsys) -> None:
    options = ["--run", runs[1], "--run", runs[0], "--fuse", "minmax"]
    assert run(["tune", "toy", *options, "--output", "w.toml"]) == 0
    printed = capsys.readouterr().out
    assert "11 queries" in printed
    assert "1 left out that the test split has as well" in printed
    assert printed.splitlines()[-1].startswith("next       lsr fuse bad.trec good.trec --weights")
    (system,) = read_systems(Path("w.toml"))
    assert system.fuse == "minmax"
    assert system.weights[1] > 0.5
    assert system.tuned is not None
    assert (system.tuned.dataset, system.tuned.split, system.tuned.value) == ("toy", "train", 1.0)
    assert (
        run(["fuse", *reversed(runs), "--weights", "w.toml", "--output", "f.trec", "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["weights"] == list(system.weights)
    assert all(next(iter(row)) == f"d{q[1:]}" for q, row in read_run("f.trec").items())


def test_tune_is_reproducible_to_the_byte(toy: Path, runs: list[str]) -> None:
    words = ["tune", "toy", "--run", runs[0], "--run", runs[1], "--queries", "7"]
    for name in ("1.toml", "2.toml"):
        assert run([*words, "--seed", "3", "--output", name]) == 0
    assert Path("1.toml").read_bytes() == Path("2.toml").read_bytes()


def test_the_test_split_is_refused(toy: Path, runs: list[str], capsys) -> None:
    words = ["tune", "toy", "--run", runs[0], "--run", runs[1], "--split", "test"]
    assert run([*words, "--output", "w.toml"]) == 2
    assert "figures are published on split 'test'" in capsys.readouterr().err
    assert not Path("w.toml").exists()
    (toy / "qrels" / "train.tsv").unlink()
    assert run([*words[:-2], "--output", "w.toml"]) == 1
    assert "tune on a like collection" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fuse", "good.trec", "--output", "f"], "two runs or more"),
        (["fuse", "good.trec", "bad.trec", "--weights", "1", "--output", "f"], "1 weights for 2"),
        (["fuse", "good.trec", "bad.trec", "--weights", "no.toml", "--output", "f"], "cannot be"),
        (["tune", "toy", "--with", "bm25", "--output", "w"], "two or more retrievers"),
        (
            ["tune", "toy", "--with", "bm25", "--run", "good.trec", "--output", "w"],
            "two or more retrievers",
        ),
    ],
)
def test_misuse_is_told(toy: Path, runs: list[str], words: list[str], said: str, capsys) -> None:
    assert run(words) == 2
    assert said in capsys.readouterr().err


def test_options_that_contradict_the_file_are_refused(toy: Path, runs: list[str], capsys) -> None:
    assert run(["tune", "toy", "--run", runs[0], "--run", runs[1], "--output", "w.toml"]) == 0
    words = ["fuse", *runs, "--weights", "w.toml", "--output", "f.trec"]
    assert run([*words, "--method", "rrf"]) == 2
    assert "tuned for zscore" in capsys.readouterr().err
    assert run([*words, "--depth", "10"]) == 2
    assert run([*words, "--method", "zscore", "--depth", "1000"]) == 0
    assert run(["fuse", *runs, runs[0], "--weights", "w.toml", "--output", "f.trec"]) == 2
    assert "got 3 runs" in capsys.readouterr().err
