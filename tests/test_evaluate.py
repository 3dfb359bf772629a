"""Several systems on several collections: what is kept, refused, marked and averaged."""

import json
import shlex
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index import bulk, ingest
from lsr.__main__ import run
from lsr.commands import _suite
from lsr.commands._encoders import EncoderChoice
from lsr.commands._rows import Row, means
from lsr.commands._system_options import SystemOptions
from lsr.commands._systems import SparseStage, open_system
from lsr.conventions import CQADUPSTACK
from lsr.datasets import JudgedBy, load_dataset
from lsr.encoders.analysis import Analyser
from lsr.encoders.bm25 import BM25Encoder
from lsr.errors import DatasetError
from lsr.shipped import shipped
from lsr.systems import System
from lsr.trec import read_run
from lsr.vectors import pace, update_vectors

TEXTS = {"a": "green tea", "b": "black tea", "c": "coffee beans", "d": "people sleep"}


def collection(
    folder: Path, queries: dict[str, str], qrels: dict[str, dict[str, int]], split: str = "test"
) -> Path:
    """The four documents with queries and judgements, in BEIR's layout."""
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": name, "text": text} for name, text in TEXTS.items()]
    asked = [{"_id": name, "text": text} for name, text in queries.items()]
    for name, rows in (("corpus.jsonl", documents), ("queries.jsonl", asked)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [f"{q}\t{d}\t{g}\n" for q, grades in qrels.items() for d, g in grades.items()]
    (folder / "qrels" / f"{split}.tsv").write_text("".join(lines))
    return folder


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.delenv("LSR_DATA", raising=False)
    monkeypatch.setenv("LSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def drinks(tmp_path) -> Path:
    """Perfectly answered: one query, one document that has its word."""
    return collection(tmp_path / "drinks", {"q1": "coffee"}, {"q1": {"c": 1}})


@pytest.fixture
def rest(tmp_path) -> Path:
    """Half answered: no document has the second query's word."""
    return collection(
        tmp_path / "rest", {"q1": "sleep", "q2": "xyz"}, {"q1": {"d": 1}, "q2": {"a": 1}}
    )


@pytest.fixture
def systems(tmp_path) -> Path:
    """Two names for one retriever."""
    table = '[[system]]\nname = "{}"\nretrievers = ["bm25"]\n'
    path = tmp_path / "systems.toml"
    path.write_text(table.format("one") + table.format("two"))
    return path


def test_several_collections_make_rows_and_their_mean(drinks, rest, capsys):
    assert run(["evaluate", "drinks", "rest", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [row["dataset"] for row in answer["rows"]] == ["drinks", "rest"]
    assert [row["measures"]["nDCG@10"] for row in answer["rows"]] == [1.0, 0.5]
    (mean,) = answer["means"]
    assert mean["measures"]["nDCG@10"] == 0.75
    assert answer["rows"][1]["command"] == "lsr evaluate rest --encoder bm25"
    assert answer["no_mean_because"] == []


def test_people_see_one_table_with_the_mean_below(drinks, rest, capsys):
    assert run(["evaluate", "drinks", "rest", "-k", "10"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == (
        shlex.split("dataset system queries nDCG@10 95 % MRR@10 R@100 R@1000 MAP hole@10")
    )
    assert lines[2].split()[:5] == ["rest", "bm25", "2", "0.5000", "0.000-1.000"]
    assert lines[3].split()[:5] == ["mean", "of", "2", "bm25", "0.7500"]
    assert lines[-2].split() == [
        "command",
        *shlex.split("lsr evaluate drinks rest --encoder bm25 -k 10"),
    ]


def test_a_row_says_what_it_cost_and_what_nobody_judged(rest, capsys):
    assert run(["evaluate", "rest", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["hole_at_10"] == 0.0
    assert row["index_bytes"] > 1000
    for name in ("encode_docs_per_s", "encode_queries_per_s", "search_queries_per_s"):
        assert row[name] > 0
    assert run(["evaluate", "rest", "--json"]) == 0  # the index is found, and its pace with it
    assert json.loads(capsys.readouterr().out)["encode_docs_per_s"] == row["encode_docs_per_s"]


def test_what_the_first_query_of_a_process_loads_is_no_cost_of_searching(rest, monkeypatch):
    asked: list[int] = []
    encode = BM25Encoder.encode_queries

    def slow_at_first(self, texts):
        asked.append(len(texts))
        time.sleep(0.5 if len(asked) == 1 else 0)
        return encode(self, texts)

    monkeypatch.setattr(BM25Encoder, "encode_queries", slow_at_first)
    with open_system(System("s", ("bm25",)), load_dataset("rest")) as opened:
        (stage,) = opened.sparse
        assert isinstance(stage, SparseStage)
        run_ = opened.search({"q1": "sleep", "q2": "tea"}, 4)
        assert stage.facts["search_s"] < 0.4
        assert list(run_["q1"]) == ["d"]
        opened.search({"q1": "sleep", "q2": "tea"}, 4)
        assert asked == [1, 2, 2]
        assert len(opened.search({}, 4)) == 0


def test_the_printed_command_leaves_out_a_split_only_where_it_goes_without_saying(
    drinks, tmp_path, capsys
):
    def command(*words: str) -> list[str]:
        assert run(["evaluate", *words, "--json"]) == 0
        return shlex.split(json.loads(capsys.readouterr().out)["command"])

    collection(tmp_path / "msmarco", {"q1": "coffee"}, {"q1": {"c": 2}})
    assert command("msmarco", "--split", "test")[3:5] == ["--encoder", "bm25"]
    assert command("msmarco", "--split", "test")[-2:] == ["--split", "test"]  # it is dev, unsaid
    assert "--split" not in command("drinks", "--split", "test")
    Path("test").write_text("q1\tc\t1\n")
    assert command("drinks", "--qrels", "test")[-2:] == ["--qrels", "test"]


@pytest.mark.parametrize("name", ["drinks", "arguana"])
def test_a_given_run_is_cut_at_k_whatever_the_convention(name, tmp_path, capsys):
    collection(tmp_path / name, {"q1": "coffee"}, {"q1": {"c": 1}})
    ranked = "".join(f"q1 Q0 {d} {i} {-i} t\n" for i, d in enumerate(["a", "b", "c"]))
    Path("given.trec").write_text(ranked)
    words = ["evaluate", name, "--from-run", "given.trec", "--measure", "AP", "--json"]
    for k, found in ((2, 0.0), (3, 1 / 3)):
        assert run([*words, "-k", str(k), "--run", "cut.trec"]) == 0
        row = json.loads(capsys.readouterr().out)
        assert row["measures"]["AP"] == pytest.approx(found)
        assert row["k"] == k == len(read_run("cut.trec")["q1"])
        assert row["command"].endswith(f"--measure AP -k {k}")


def test_a_run_of_another_collection_is_refused(drinks, capsys):
    """Every measure was .0000, with exit code 0."""
    Path("other.trec").write_text("184 Q0 c 1 1 t\n")
    assert run(["evaluate", "drinks", "--from-run", "other.trec"]) == 1
    told = capsys.readouterr().err
    assert "other.trec: answers none of the 1 judged queries of drinks" in told
    assert "its first query is '184', a judged one 'q1'" in told


def test_a_run_of_another_collection_with_the_same_numbers_for_queries_is_refused(drinks, capsys):
    """Queries are called 1, 2, 3 in many collections."""
    Path("other.trec").write_text("q1 Q0 184 1 1 t\n")
    assert run(["evaluate", "drinks", "--from-run", "other.trec"]) == 1
    told = capsys.readouterr().err
    assert "drinks has none of the documents that are first in its rankings, such as '184'" in told


def test_a_run_that_found_nothing_judged_is_told(drinks, capsys):
    Path("poor.trec").write_text("q1 Q0 a 1 1 t\n")
    assert run(["evaluate", "drinks", "--from-run", "poor.trec"]) == 0
    assert "poor.trec: nothing that it found on drinks is judged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("found", "said"), [(["ab", "ba"], True), (["ab", "b"], False), (["abcd", "dcba"], False)]
)
def test_a_run_that_was_cut_before_k_is_told(found, said, tmp_path, capsys):
    """R@1000 was printed as ever, of rankings that ended after a hundred."""
    texts = {"q1": "coffee", "q2": "tea"}
    collection(tmp_path / "drinks", texts, {name: {"c": 1, "a": 1} for name in texts})
    lines = [
        f"{name} Q0 {doc_id} {i} {-i} t\n"
        for name, doc_ids in zip(texts, found, strict=True)
        for i, doc_id in enumerate(doc_ids)
    ]
    Path("given.trec").write_text("".join(lines))
    assert run(["evaluate", "drinks", "--from-run", "given.trec"]) == 0
    told = "given.trec: its rankings end after 2 documents"
    assert (told in capsys.readouterr().err) == said


def test_an_index_of_another_collection_is_refused(drinks, rest, capsys):
    Path("other.tsv").write_text("184\tcoffee beans\n")
    assert run(["index", "other.tsv", "other.index", "--encoder", "bm25"]) == 0
    assert run(["evaluate", "drinks", "--index", "other.index"]) == 1
    assert "holds none of the first 1 relevant documents of drinks" in capsys.readouterr().err


def test_judgements_that_call_nothing_relevant_are_refused(drinks, capsys):
    """As where the columns of a file are not those that were meant."""
    Path("ours.tsv").write_text("q1\tc\t0\nq1\ta\t-1\n")
    assert run(["evaluate", "drinks", "--qrels", "ours.tsv"]) == 1
    assert "has a grade above 0 (-1 to 0)" in capsys.readouterr().err


def test_what_lies_beyond_k_was_not_measured(drinks, rest, capsys):
    """R@1000 over 50 documents was printed as if a thousand had been searched for."""
    words = ["evaluate", "drinks", "-k", "50", "--output", "out", "--per-query", "--json"]
    for _ in range(2):  # measured, then found again
        assert run(words) == 0
        row = json.loads(capsys.readouterr().out)
        assert (row["measures"]["nDCG@10"], row["measures"]["AP"]) == (1.0, 1.0)
        assert row["measures"]["R@100"] is row["measures"]["R@1000"] is None
        assert "R@100" not in row["per_query"]
    assert run(["evaluate", "drinks", "-k", "50"]) == 0
    header, values, *_ = capsys.readouterr().out.splitlines()
    assert values.split()[header.split().index("R@1000")] == "-"
    assert run(["evaluate", "drinks", "rest", "-k", "50", "--json"]) == 0
    (mean,) = json.loads(capsys.readouterr().out)["means"]
    assert (mean["measures"]["nDCG@10"], mean["measures"]["R@1000"]) == (0.75, None)


def test_the_run_of_a_kept_cell_is_copied_out(rest, capsys):
    words = ["evaluate", "rest", "--output", "out", "--run"]
    assert run([*words, "first.trec"]) == 0
    assert run([*words, "second.trec"]) == 0
    assert "second.trec" in capsys.readouterr().out
    assert Path("second.trec").read_bytes() == Path("first.trec").read_bytes()
    assert dict(read_run("second.trec")["q1"]).keys() == {"d"}


def test_the_next_command_names_a_collection_as_it_was_asked_for(tmp_path, capsys):
    folder = collection(tmp_path / "deep" / "drinks", {"q1": "coffee"}, {"q1": {"c": 1}})
    Path("given.trec").write_text("q1 Q0 c 1 1 t\n")
    assert run(["evaluate", str(folder), "--from-run", "given.trec"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split() == ["next", "lsr", "evaluate", str(folder)]


def test_a_querys_own_text_is_left_out_of_arguana_and_of_no_other_set(tmp_path, capsys):
    """ "a" is asked for its counterpart "b"; found first is "a" itself."""
    for name in ("arguana", "drinks"):
        collection(tmp_path / name, {"a": "green tea"}, {"a": {"b": 1}})
    words = ["evaluate", "arguana", "drinks", "-k", "1", "--measure", "nDCG@1", "--json"]
    assert run(words) == 0
    ours, other = json.loads(capsys.readouterr().out)["rows"]
    assert (ours["measures"]["nDCG@1"], other["measures"]["nDCG@1"]) == (1.0, 0.0)
    assert ours["convention"] == ["a document with the query's id is left out"]
    assert other["convention"] == []


def test_related_passages_of_a_deep_learning_set_are_not_relevant(tmp_path, capsys):
    collection(tmp_path / "dl19-tiny", {"q": "green tea"}, {"q": {"a": 1, "b": 2}})
    assert run(["evaluate", "dl19-tiny", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["measures"]["RR@10"] == 0.5
    gains = np.array([1, 2]) / np.log2([2, 3])
    ideal = np.array([2, 1]) / np.log2([2, 3])
    assert row["measures"]["nDCG@10"] == pytest.approx(gains.sum() / ideal.sum(), abs=1e-9)
    assert run(["evaluate", "dl19-tiny"]) == 0
    assert "convention binary measures count grades from 2" in capsys.readouterr().out


class TestSuite:
    def test_cells_runs_and_tables_are_written(self, drinks, rest, systems, tmp_path, capsys):
        arguments = ["drinks", "rest", "--systems", "systems.toml", "--output", "out"]
        assert run(["evaluate", *arguments]) == 0
        out = tmp_path / "out"
        cells = sorted((out / "cells").iterdir())
        assert [path.name.split("--")[:2] for path in cells] == [
            ["drinks", "one"],
            ["drinks", "two"],
            ["rest", "one"],
            ["rest", "two"],
        ]
        assert len(list((out / "runs").iterdir())) == 4
        answered = read_run(out / "runs" / f"{cells[0].stem}.trec.gz")
        assert list(answered["q1"]) == ["c"]
        table = [line.split("\t") for line in (out / "per-query.tsv").read_text().splitlines()]
        assert table[0][:5] == ["dataset", "split", "system", "query_id", "nDCG@10"]
        assert [row[:5] for row in table[5:]] == [
            ["rest", "test", "two", "q1", "1"],
            ["rest", "test", "two", "q2", "0"],
        ]
        page = (out / "summary.md").read_text()
        assert "| mean of 2 | two |  | 0.7500 |" in page
        assert f"`lsr evaluate {' '.join(arguments)}`" in page
        summary = json.loads((out / "summary.json").read_text())
        assert [mean["system"] for mean in summary["means"]] == ["one", "two"]
        assert "less out/summary.md" in capsys.readouterr().out

    def test_a_cell_that_is_done_is_never_done_again(
        self, drinks, rest, systems, monkeypatch, capsys
    ):
        arguments = ["evaluate", "drinks", "rest", "--systems", "systems.toml", "--output", "out"]
        assert run(arguments) == 0
        first = json.loads(Path("out/summary.json").read_text())
        monkeypatch.setattr(_suite, "measure_cell", None)  # a call would fail
        capsys.readouterr()
        assert run(arguments) == 0
        assert capsys.readouterr().err.count("found ") == 4
        assert json.loads(Path("out/summary.json").read_text()) == first

    def test_after_a_kill_only_what_is_missing_is_done(
        self, drinks, rest, systems, monkeypatch, capsys
    ):
        arguments = ["evaluate", "drinks", "rest", "--systems", "systems.toml", "--output", "out"]
        measured: list[str] = []
        real = _suite.measure_cell

        def twice(collection, entrant, **settings):
            if len(measured) == 2:
                raise KeyboardInterrupt
            measured.append(f"{collection.source.name} {entrant.label}")
            return real(collection, entrant, **settings)

        monkeypatch.setattr(_suite, "measure_cell", twice)
        assert run(arguments) == 130
        assert not Path("out/summary.json").exists()
        measured.clear()
        monkeypatch.setattr(
            _suite, "measure_cell", lambda *a, **s: measured.append(1) or real(*a, **s)
        )
        assert run(arguments) == 0
        assert len(measured) == 2
        assert len(json.loads(Path("out/summary.json").read_text())["rows"]) == 4

    @pytest.mark.parametrize("change", ["corpus", "run", "cell", "k", "measure"])
    def test_a_cell_is_measured_again_when_what_it_depends_on_changes(
        self, change, drinks, monkeypatch, capsys
    ):
        arguments = ["evaluate", "drinks", "--output", "out"]
        assert run(arguments) == 0
        calls: list[int] = []
        real = _suite.measure_cell
        monkeypatch.setattr(
            _suite, "measure_cell", lambda *a, **s: calls.append(1) or real(*a, **s)
        )
        assert run(arguments) == 0
        assert calls == []
        if change == "corpus":
            with (drinks / "corpus.jsonl").open("a") as file:
                file.write('{"_id": "e", "text": "coffee"}\n')
        elif change in ("run", "cell"):
            (path,) = Path("out", f"{change}s").iterdir()
            path.unlink() if change == "run" else path.write_text("{")
        arguments += {"k": ["-k", "5"], "measure": ["--measure", "AP"]}.get(change, [])
        assert run(arguments) == 0
        assert calls == [1]

    def test_one_broken_system_costs_its_own_rows_and_every_mean(
        self, drinks, rest, systems, tmp_path, capsys
    ):
        systems.write_text(systems.read_text() + '[[system]]\nname = "x"\nretrievers = ["./no"]\n')
        assert (
            run(["evaluate", "drinks", "rest", "--systems", "systems.toml", "--output", "o"]) == 1
        )
        out, err = capsys.readouterr()
        assert out.count("0.5000") >= 2
        assert "mean of" not in out
        assert "No mean: x on drinks: " in out
        assert "2 cells failed, see above" in err


class TestMeans:
    ROW = Row("s", "test", "bm25", 10, 0, {"AP": 0.2}, "", "", "f")

    def rows(self, *changes: dict[str, object]) -> list[Row]:
        return [replace(self.ROW, **change) for change in changes]

    def test_systems_that_answered_other_sets_are_not_averaged(self):
        found = means(self.rows({}, {"dataset": "t"}, {"system": "x"}))
        assert found.rows == ()
        assert found.refused == ("x has no result on t",)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"split": "dev"}, "s was measured with different splits: dev, test"),
            ({"n_queries": 9}, "s was measured with different numbers of queries: 10, 9"),
            ({"dataset_fingerprint": "g"}, "s was measured with different fingerprints: f, g"),
            ({"relevant_from": 2}, "different grades that count as relevant: 1, 2"),
            ({"k": 100}, "different documents a query: 100, None"),
            ({"measures": {"RR": 0.2}}, "s was measured by different measures"),
        ],
    )
    def test_one_set_measured_in_two_ways_is_not_averaged(self, change, reason):
        found = means(self.rows({}, {"system": "x", **change}))
        assert found.rows == ()
        assert reason in found.refused[0]

    def test_two_collections_may_have_different_splits(self):
        (mean,) = means(
            self.rows({}, {"dataset": "t", "split": "dev", "measures": {"AP": 0.4}})
        ).rows
        assert mean.measures["AP"] == pytest.approx(0.3)

    def test_a_single_collection_has_no_mean_and_needs_no_excuse(self):
        assert means(self.rows({})) == means([])

    def test_cqadupstack_weighs_as_one_collection(self):
        """Twelve parts at .6 and one other set at .2: the mean is .4, not .57."""
        parts = [
            {"dataset": f"cqadupstack/{p}", "part_of": "cqadupstack", "measures": {"AP": 0.6}}
            for p in CQADUPSTACK
        ]
        whole, mean = means(self.rows({}, *parts)).rows
        assert (whole.over, whole.n_collections) == ("cqadupstack", 12)
        assert whole.measures["AP"] == pytest.approx(0.6)
        assert (mean.over, mean.n_collections) == ("mean", 2)
        assert mean.measures["AP"] == pytest.approx(0.4)
        short = means(self.rows({}, *parts[:4]))
        assert short.refused == ("4 of CQADupStack's 12 parts are no CQADupStack",)

    def test_a_mean_of_marked_rows_counts_them(self):
        (mean,) = means(self.rows({}, {"dataset": "t", "contamination": ("seen",)})).rows
        assert mean.n_marked == 1


class TestOwnJudgements:
    def test_they_take_the_place_of_the_collections_own(self, rest, capsys):
        Path("ours.tsv").write_text("q2\td\t1\n")
        assert run(["evaluate", "rest", "--qrels", "ours.tsv", "--json"]) == 0
        row = json.loads(capsys.readouterr().out)
        assert (row["split"], row["n_queries"], row["n_unanswered"]) == ("ours.tsv", 1, 1)
        assert row["command"] == "lsr evaluate rest --encoder bm25 --qrels ours.tsv"

    def test_own_queries_go_with_a_bare_corpus_and_share_its_index(self, rest, capsys):
        assert run(["evaluate", "rest"]) == 0
        Path("ours.tsv").write_text("n1\tb\t1\n")
        Path("ours.jsonl").write_text('{"_id": "n1", "text": "black"}\n')
        capsys.readouterr()
        options = ["--qrels", "ours.tsv", "--queries", "ours.jsonl", "--json"]
        assert run(["evaluate", "rest", *options]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["measures"]["nDCG@10"] == 1.0
        assert "indexed" not in err

    def test_a_judged_query_without_text_is_an_error(self, rest):
        Path("ours.tsv").write_text("n1\tb\t1\n")
        judged = JudgedBy(load_dataset("rest"), Path("ours.tsv"))
        with pytest.raises(DatasetError, match=r"1 of 1 judged queries have no text.*--queries"):
            judged.queries()
        Path("none.tsv").write_text("")
        with pytest.raises(DatasetError, match="holds no judgements"):
            JudgedBy(load_dataset("rest"), Path("none.tsv")).qrels()


def test_a_system_that_saw_the_collection_is_marked(drinks, rest, tmp_path, capsys):
    analyser = Analyser("porter", stop_words=True)
    BM25Encoder.fit(TEXTS.values(), k1=0.9, b=0.4, analyser=analyser).save(tmp_path / "enc")
    card = json.loads((tmp_path / "enc" / "lsr.json").read_text())
    source = {"name": "rest", "split": "train", "fingerprint": load_dataset("rest").fingerprint}
    card["training"] = {"data": [source], "recipe": {"model": {}}}
    (tmp_path / "enc" / "lsr.json").write_text(json.dumps(card))
    assert run(["evaluate", "drinks", "rest", "--encoder", "enc"]) == 0
    out = capsys.readouterr().out
    marked = [line.split()[0] for line in out.splitlines() if " * " in line and "0." in line]
    assert marked == ["rest", "mean"]
    assert "on rest is not zero-shot: trained on rest, its train split" in out
    assert run(["evaluate", "rest", "--encoder", "enc"]) == 0
    assert "* seen     trained on rest, its train split" in capsys.readouterr().out


def test_the_shipped_encoder_is_marked_by_its_name_too(tmp_path, capsys):
    """Its name is no folder here, so its record was not looked into."""
    collection(tmp_path / "scifact", {"q1": "coffee"}, {"q1": {"c": 1}})
    for name in ("lsr-mini", str(shipped("lsr-mini"))):
        assert run(["evaluate", "./scifact", "--encoder", name]) == 0
        assert "* seen     trained on scifact, its train split" in capsys.readouterr().out


def test_an_index_that_changed_without_counting_otherwise_is_measured_again(rest, capsys):
    words = ["evaluate", "rest", "--index", "my.index", "--output", "out", "--json"]
    figures = []
    for texts in (TEXTS, dict(zip(TEXTS, reversed(TEXTS.values()), strict=True))):
        lines = [json.dumps({"_id": name, "text": text}) for name, text in texts.items()]
        Path("corpus.jsonl").write_text("\n".join(lines) + "\n")
        index = ["index", "corpus.jsonl", "my.index", "--encoder", "bm25", "--overwrite"]
        assert run(index) == 0
        capsys.readouterr()
        assert run(words) == 0
        figures.append(json.loads(capsys.readouterr().out)["measures"]["nDCG@10"])
    assert figures[0] != figures[1]


def test_ids_that_no_run_can_hold_are_refused_before_anything_is_measured(
    tmp_path, capsys, monkeypatch
):
    collection(tmp_path / "blank", {"q 1": "coffee"}, {"q 1": {"c": 1}})
    assert run(["evaluate", "blank"]) == 0
    monkeypatch.setattr(_suite, "measure_cell", None)
    for words in (["--output", "out"], ["--run", "blank.trec"]):
        assert run(["evaluate", "blank", *words]) == 1
        assert "id 'q 1' holds a blank" in capsys.readouterr().err


def test_dense_and_hybrid_systems_have_costs_of_all_their_stages(
    tiny_checkpoint, drinks, rest, systems, capsys
):
    """Four vectors of 16 numbers, embedded once for both systems."""
    pytest.importorskip("faiss")
    dense = f'"dense:{tiny_checkpoint}"'
    table = '[[system]]\nname = "{}"\nretrievers = [{}]\n'
    systems.write_text(
        table.format("bm25", '"bm25"')
        + table.format("dense", dense)
        + table.format("hybrid", f'"bm25", {dense}')
    )
    assert run(["evaluate", "drinks", "--systems", "systems.toml", "--json"]) == 0
    sparse, vectors, hybrid = json.loads(capsys.readouterr().out)["rows"]
    assert vectors["index_bytes"] == 4 * 16 * 4
    assert hybrid["index_bytes"] == sparse["index_bytes"] + 4 * 16 * 4
    paces = [row["encode_docs_per_s"] for row in (sparse, vectors, hybrid)]
    assert 1 / paces[2] == pytest.approx(1 / paces[0] + 1 / paces[1])
    assert vectors["encode_queries_per_s"] > 0
    assert hybrid["encode_queries_per_s"] is None  # two encoders, one after the other
    assert hybrid["search_queries_per_s"] == pytest.approx(1 / hybrid["search_s"])
    assert hybrid["flops"] == sparse["flops"]


def test_options_ask_for_a_dense_encoder_alone_or_fused(tiny_checkpoint, drinks, capsys):
    pytest.importorskip("faiss")
    dense = ["--dense", str(tiny_checkpoint)]
    assert run(["evaluate", "drinks", *dense, "--fuse", "zscore", "--json"]) == 0
    fused = json.loads(capsys.readouterr().out)
    assert fused["system"] == f"bm25+{tiny_checkpoint.name}"
    assert fused["command"] == shlex.join(
        ["lsr", "evaluate", "drinks", "--encoder", "bm25", *dense, "--fuse", "zscore"]
    )
    assert run(["evaluate", "drinks", *dense, "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert alone["system"] == tiny_checkpoint.name
    assert alone["terms_per_query"] is None
    assert alone["command"] == shlex.join(["lsr", "evaluate", "drinks", *dense])


def test_a_reranker_is_a_cross_encoder_unless_it_says_otherwise():
    choice = EncoderChoice("bm25")
    system = SystemOptions(rerank="models/ce").system(choice)
    assert system == System("bm25>ce", ("bm25",), rerank="cross-encoder:models/ce")
    dense = SystemOptions(rerank="dense:models/gte").system(choice)
    assert dense == System("bm25>gte", ("bm25",), rerank="dense:models/gte")


def test_the_pace_of_embedding_counts_each_text_once_over_all_calls(tmp_path):
    def embed(texts):
        if "stop" in texts:
            raise KeyboardInterrupt
        time.sleep(0.01)
        return np.ones((len(texts), 2), np.float32)

    assert pace(tmp_path / "v") is None
    with pytest.raises(KeyboardInterrupt):
        update_vectors(tmp_path / "v", ["a", "b", "stop"], embed, desc="x", block=1)
    update_vectors(tmp_path / "v", ["a", "b", "c"], embed, desc="x", block=1)
    before = pace(tmp_path / "v")
    assert 0 < before <= 100  # three texts, each at least 10 ms
    update_vectors(tmp_path / "v", ["a", "b", "c"], embed, desc="x", block=1)
    assert pace(tmp_path / "v") == before


def test_an_interrupted_encoding_goes_on_where_it_was(rest, monkeypatch, capsys):
    """Documents of batches that were made durable are not encoded a second time."""
    monkeypatch.setattr(ingest, "BATCH_DOCUMENTS", 1)
    monkeypatch.setattr(bulk, "FLUSH_SECONDS", 0.0)
    encoded: list[str] = []
    real = BM25Encoder.encode_documents
    limit = 2

    def encode(self, texts):
        if len(encoded) >= limit:
            raise KeyboardInterrupt
        encoded.extend(texts)
        return real(self, texts)

    monkeypatch.setattr(BM25Encoder, "encode_documents", encode)
    assert run(["evaluate", "rest"]) == 130
    limit = 99
    encoded[:] = []
    assert run(["evaluate", "rest", "--json"]) == 0
    assert encoded == ["coffee beans", "people sleep"]
    assert json.loads(capsys.readouterr().out)["n_docs"] == 4


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["drinks", "rest", "--run", "r"], "--run r is one file for several runs"),
        (["drinks", "rest", "--index", "i"], "--index belongs to one collection"),
        (["drinks", "rest", "--qrels", "q"], "--qrels belongs to one collection"),
        (["drinks", "--queries", "q"], "--queries q goes with --qrels"),
        (["drinks", "--qrels", "q", "--split", "dev"], "a file of judgements has no split"),
        (["drinks", "--systems", "s", "--index", "i"], "two answers to one question"),
        (["drinks", "--systems", "s", "--k1", "2"], "names its encoders itself"),
        (["drinks", "--fuse", "rrf"], "--fuse rrf needs --dense FOLDER"),
        (["drinks", "--encoder", "e", "--dense", "d"], "are two retrievers; say how to fuse them"),
        (["drinks", "--encoder", "bm25", "--dense", "d"], "say how to fuse them with --fuse rrf"),
        (["drinks", "--from-run", "r", "-k", "0"], "-k 0: wanted at least 1"),
        (["drinks", "-k", "-1"], "-k -1: wanted at least 1"),
        (["drinks", "--page", "p", "--measure", "AP"], "--page is about nDCG@10, got --measure AP"),
        (["drinks", "--page", "p", "-k", "5"], "--page is about nDCG@10, which -k 5 does not"),
        (["drinks", "--measure", "P@10", "-k", "5"], "P@10 look at more documents than that"),
        (["drinks", "--k1", "2", "--dense", "d", "--fuse", "rrf"], "do not go with --dense"),
        (["drinks", "--dense", "d", "--index", "i"], "two answers to one question"),
    ],
)
def test_what_cannot_be_meant_is_misuse(arguments, complaint, drinks, rest, capsys):
    assert run(["evaluate", *arguments]) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "measure"),
    [
        (["evaluate", "drinks"], "nonsense"),
        (["evaluate", "drinks"], "nDCG@0"),
        (["evaluate", "drinks"], "RBP"),
        (["compare", "bm25", "bm25", "--names", "a,b", "--on", "drinks"], "nonsense"),
        (["tune", "drinks", "--with", "bm25", "--with", "m", "--output", "o"], "nonsense"),
    ],
)
def test_a_measure_is_checked_before_anything_is_encoded(
    verb, measure, drinks, tmp_path, monkeypatch, capsys
):
    """Hours of encoding and indexing came first, and were all there was to show for it."""
    monkeypatch.setattr("index.build_index", lambda *_, **__: pytest.fail("built an index"))
    assert run([*verb, "--measure", measure]) == 2
    assert f"measure {measure!r}" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_a_measure_may_be_typed_in_small_letters(drinks, capsys):
    assert run(["evaluate", "drinks", "--measure", "ndcg@10", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["measures"] == {"nDCG@10": 1.0}
    assert row["interval"] is not None


def test_a_page_has_the_reading_the_figures_and_the_plot_but_no_path(drinks, rest, systems, capsys):
    page = Path("page")
    page.mkdir()
    (page / "reading.md").write_text("Nothing to see here.")
    words = ["evaluate", "drinks", "rest", "--systems", str(systems), "--page", "page"]
    assert run(words) == 0
    text = (page / "README.md").read_text()
    assert "Nothing to see here." in text
    assert "| rest | **0.500** | **0.500** |" in text
    assert "| mean | 0.750 | 0.750 |" in text
    kept = json.loads((page / "results.json").read_text())
    assert [row["measures"]["nDCG@10"] for row in kept["rows"]] == [1.0, 1.0, 0.5, 0.5]
    assert str(Path.cwd() / "cache") not in text + json.dumps(kept)
    assert (page / "ndcg.png").stat().st_size > 1000
    assert "<svg" in (page / "ndcg.svg").read_text()
    assert "page/README.md" in capsys.readouterr().out
