"""`lsr compare`: figures that can be checked by hand, sets that may not be mixed, reasons."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsr.__main__ import run
from lsr.commands._comparison import Compared, means
from lsr.commands._entrants import OfFile
from lsr.commands._judged import Judged, read_judged
from lsr.commands._sides import _seen
from lsr.conventions import Convention
from lsr.significance import paired
from lsr.systems import System

DOCUMENTS = {
    "tea": "tea leaves hold caffeine",
    "coffee": "coffee beans hold more caffeine than tea leaves",
    "night": "people sleep at night",
    "rail": "night trains carry people",
}
QUERIES = {"q1": "caffeine in tea", "q2": "people at night", "q3": "night trains", "q4": "beans"}
QRELS = {"q1": "tea", "q2": "night", "q3": "rail", "q4": "coffee"}
A = {"q1": ["tea"], "q2": ["night"], "q3": ["night", "rail"], "q4": ["coffee"]}
"""Reciprocal ranks 1, 1, 1/2, 1."""
B = {"q1": ["coffee", "tea"], "q2": ["night"], "q3": ["rail"], "q4": ["tea", "rail", "coffee"]}
"""Reciprocal ranks 1/2, 1, 1, 1/3."""


def write_run(path: Path, run: dict[str, list[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(
            f"{query} Q0 {doc} {rank} {10 - rank} x\n"
            for query, docs in run.items()
            for rank, doc in enumerate(docs, start=1)
        )
    )
    return path


def write_collection(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", DOCUMENTS), ("queries", QUERIES)):
        rows = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(rows))
    (folder / "qrels" / "test.tsv").write_text(
        "".join(f"{query}\t{doc}\t1\n" for query, doc in QRELS.items())
    )
    return folder


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LSR_DATA", str(tmp_path))
    write_collection(tmp_path / "drinks")
    write_run(tmp_path / "a.trec", A)
    write_run(tmp_path / "b.trec", B)


def report(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert run(["compare", *words, "--json"]) == 0, capsys.readouterr().err
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(["compare", *words]) in (1, 2)
    return capsys.readouterr().err


def test_the_figures_are_those_of_a_pencil(capsys: pytest.CaptureFixture[str]) -> None:
    """Differences -1/2, 0, 1/2, -2/3: 3 signs make 8 sums, 6 of them at least as far from 0."""
    answer = report(capsys, "a.trec", "b.trec", "--on", "drinks", "--measure", "RR@10")
    (row,) = answer["rows"]
    one = row["paired"]
    assert (one["mean_a"], one["mean_b"]) == (pytest.approx(3.5 / 4), pytest.approx(17 / 24))
    assert one["delta"] == pytest.approx(-1 / 6)
    assert (one["wins"], one["ties"], one["losses"]) == (1, 1, 2)
    assert (one["p_randomisation"], one["exact"]) == (pytest.approx(6 / 8), True)
    (ends,) = answer["extremes"]
    assert [(q["query_id"], q["delta"]) for q in ends["worst"]] == [
        ("q4", pytest.approx(-2 / 3)),
        ("q1", pytest.approx(-1 / 2)),
    ]
    assert [q["query_id"] for q in ends["best"]] == ["q3"]
    first = ends["worst"][0]
    assert first["text"] == "beans"
    assert first["reason"]["doc_id"] == "coffee"
    assert [view["rank"] for view in first["reason"]["views"]] == [1, 3]
    assert [view["rival"] for view in first["reason"]["views"]] == [
        None,
        {"doc_id": "tea", "rank": 1},
    ]


def test_all_measures_and_systems_are_corrected_together(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("a.trec", "b.trec", "--on", "drinks")
    (alone,) = report(capsys, *words, "--measure", "RR@10")["rows"]
    write_run(Path("c.trec"), B | {"q2": ["rail", "night"]})
    rows = report(capsys, "a.trec", "b.trec", "c.trec", "--on", "drinks")["rows"]
    assert len(rows) == 6
    p = sorted(row["paired"]["p_randomisation"] for row in rows)
    lowest = min(rows, key=lambda row: row["holm_randomisation"])
    assert lowest["holm_randomisation"] == pytest.approx(min(1, 6 * p[0]))
    assert alone["holm_randomisation"] == alone["paired"]["p_randomisation"]
    values = [[1, 1, 0.5, 1], [0.5, 0.5, 1, 1 / 3]]
    of_c = next(r for r in rows if (r["system"], r["measure"]) == ("c", "RR@10"))
    assert of_c["paired"]["p_t"] == pytest.approx(paired(*values).p_t)


def test_unequal_query_sets_are_refused_unless_told(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("short.trec"), {query: B[query] for query in ("q1", "q2", "q3")})
    words = ("a.trec", "short.trec", "--on", "drinks", "--measure", "RR@10")
    said = complaint(capsys, *words)
    assert "of 4 judged queries the runs answer a 4, short 3; short lacks 'q4'" in said
    assert "--missing zero" in said
    zero = report(capsys, *words, "--missing", "zero")
    assert zero["rows"][0]["paired"]["n"] == 4
    assert zero["rows"][0]["paired"]["mean_b"] == pytest.approx(2.5 / 4)
    shared = report(capsys, *words, "--missing", "shared")
    assert shared["rows"][0]["paired"]["n"] == 3
    assert shared["rows"][0]["paired"]["mean_b"] == pytest.approx(2.5 / 3)
    assert shared["notes"] == [
        "drinks: of 4 judged queries the runs answer a 4, short 3; short lacks 'q4': 3 compared"
    ]


@pytest.fixture
def indexes(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """The collection with words reduced to stems, and as they are without length normalisation."""
    assert run(["index", "drinks", "stems.index"]) == 0
    assert run(["index", "drinks", "words.index", "--stemmer", "none", "--k1", "0.1"]) == 0
    capsys.readouterr()
    return "stems.index", "words.index"


def test_live_indexes_say_why(indexes: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """The contributions shown add up to the score, and a zero-hit query counts, unlike in a run."""
    Path("drinks/queries.jsonl").write_text(
        "\n".join(
            json.dumps({"_id": q, "text": text})
            for q, text in (QUERIES | {"q3": "a train ride by night"}).items()
        )
    )
    answer = report(capsys, *indexes, "--on", "drinks", "--measure", "RR@10")
    worst = answer["extremes"][0]["worst"][0]
    assert (worst["query_id"], worst["reason"]["doc_id"]) == ("q3", "rail")
    stems, words = worst["reason"]["views"]
    assert (stems["system"], stems["rank"]) == ("stems", 1)
    assert {term for term, _ in stems["terms"]} == {"night", "train"}
    assert [term for term, _ in words["terms"]] == ["night"]
    assert words["rival"]["doc_id"] == "night"
    for view in (stems, words):
        assert sum(score for _, score in view["terms"]) == pytest.approx(view["score"])
    assert run(["compare", *indexes, "--on", "drinks"]) == 0
    printed = capsys.readouterr().out
    assert "rail (grade 1)  night trains carry people" in printed
    assert printed.splitlines()[-1] == (
        'next       lsr explain words.index "a train ride by night" rail --vs stems.index'
    )
    assert run(shlex.split(printed.splitlines()[-1])[2:]) == 0


def test_a_live_index_and_a_run_can_be_compared(
    indexes: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A query for which an index finds nothing was asked all the same, so it counts as 0."""
    queries = "\n".join(
        json.dumps({"_id": q, "text": t}) for q, t in (QUERIES | {"q4": "zzz"}).items()
    )
    Path("drinks/queries.jsonl").write_text(queries)
    answer = report(capsys, "a.trec", indexes[0], "--on", "drinks")
    values = [query["b"] for query in answer["extremes"][0]["worst"] if query["query_id"] == "q4"]
    assert values == [0.0]
    assert answer["places"] == {"drinks": {"a": "a.trec", "stems": "stems.index"}}


def test_several_collections_in_every_spelling(capsys: pytest.CaptureFixture[str]) -> None:
    write_collection(Path("meals"))
    for name, system in (("a", A), ("b", B)):
        for collection in ("drinks", "meals"):
            write_run(Path(f"runs/{name}/{collection}.trec"), system)
    write_run(Path("runs/b/meals.trec"), A)
    on = ("--on", "drinks,meals", "--measure", "RR@10")
    wanted = [("drinks", -1 / 6), ("meals", 0.0)]
    for a, b in (
        ("runs/a/{}.trec", "runs/b/{}.trec"),
        ("runs/a", "runs/b"),
        ("runs/a/*.trec", "runs/b/*"),
        (
            "drinks=runs/a/drinks.trec,meals=runs/a/meals.trec",
            "drinks=runs/b/drinks.trec,meals=runs/b/meals.trec",
        ),
    ):
        answer = report(capsys, a, b, *on)
        found = [(row["dataset"], row["paired"]["delta"]) for row in answer["rows"]]
        assert found == [(name, pytest.approx(delta)) for name, delta in wanted]
        (mean,) = answer["means"]
        assert mean["delta"] == pytest.approx(-1 / 12)
        assert (mean["wins"], mean["ties"], mean["losses"]) == (0, 1, 1)
        assert mean["low"] <= mean["delta"] <= mean["high"]
    assert "answers one collection" in complaint(capsys, "a.trec", "runs/b", *on)
    assert "names no run for meals" in complaint(capsys, "runs/a", "drinks=b.trec", *on)
    write_run(Path("runs/b/meals.run"), A)
    assert "2 names hold 'meals'" in complaint(capsys, "runs/a", "runs/b", *on)


def test_parts_of_one_collection_weigh_as_one() -> None:
    """Two parts with +.4 and +.2 and one other with -.1: the mean is (.3 - .1) / 2."""

    def one(name: str, delta: float, part_of: str | None = None) -> Compared:
        judged = Judged(name, "test", {}, {}, Convention(part_of=part_of))
        values = {
            "a": {"P@1": dict.fromkeys("xy", 0.5)},
            "b": {"P@1": dict.fromkeys("xy", 0.5 + delta)},
        }
        return Compared(judged, values, {})

    collections = [one("p/1", 0.4, "p"), one("p/2", 0.2, "p"), one("other", -0.1)]
    (mean,) = means(collections, ["P@1"], resamples=100, seed=0)
    assert mean.n_collections == 2
    assert mean.delta == pytest.approx(0.1)
    assert np.allclose([mean.low, mean.high], 0.1)


def test_reports_and_plots_are_written_whole(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    words = ["compare", "a.trec", "b.trec", "--on", "drinks", "--output", "report"]
    assert run(words) == 0
    printed = capsys.readouterr().out
    names = {path.name for path in Path("report").iterdir()}
    plots = {f"{p}.{s}" for p in ("forest", "deltas-drinks-b", "scatter-drinks-b")
             for s in ("png", "svg")}  # fmt: skip
    assert names == plots | {"report.md", "report.json", "per-query.tsv"}
    assert "wrote      report              9 files" in printed
    page = Path("report/report.md").read_text()
    assert "| drinks | nDCG@10 |" in page
    for name in ("forest", "deltas-drinks-b", "scatter-drinks-b"):
        assert f"![{name}]({name}.svg)" in page
        assert b"</svg>" in Path(f"report/{name}.svg").read_bytes()
    rows = [line.split("\t") for line in Path("report/per-query.tsv").read_text().splitlines()]
    assert rows[0] == ["dataset", "measure", "query_id", "a", "b"]
    assert ["drinks", "RR@10", "q3", "0.5", "1"] in rows
    kept = json.loads(Path("report/report.json").read_bytes())
    assert kept["command"] == "lsr compare a.trec b.trec --on drinks"
    assert kept["rows"] == report(capsys, "a.trec", "b.trec", "--on", "drinks")["rows"]


def test_judgements_alone_are_enough_for_runs(capsys: pytest.CaptureFixture[str]) -> None:
    qrels = ("--qrels", "drinks/qrels/test.tsv")
    answer = report(capsys, "a.trec", "b.trec", *qrels, "--measure", "RR@10")
    assert answer["rows"][0]["paired"]["delta"] == pytest.approx(-1 / 6)
    assert answer["extremes"][0]["worst"][0]["text"] == "q4"
    texts = ("--queries", "drinks/queries.jsonl")
    answer = report(capsys, "a.trec", "b.trec", *qrels, *texts)
    assert answer["extremes"][0]["worst"][0]["text"] == "beans"


def test_what_does_not_belong_is_refused(
    indexes: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    on = ("--on", "drinks")
    write_run(Path("foreign.trec"), {"x1": ["tea"]})
    assert "answers none of the 4 judged queries" in complaint(
        capsys, "a.trec", "foreign.trec", *on
    )
    Path("other.tsv").write_text("z\tnothing of it\n")
    assert run(["index", "other.tsv", "other.index"]) == 0
    assert "holds none of the first 4 relevant documents" in complaint(
        capsys, "a.trec", "other.index", *on
    )
    assert "compare on what?" in complaint(capsys, "a.trec", "b.trec")
    assert "named twice" in complaint(capsys, "a.trec", "a.trec", *on)
    assert "there is no such thing; wanted a TREC run" in complaint(capsys, "a.trec", "nope", *on)
    assert "wanted 2 different names" in complaint(
        capsys, "a.trec", "b.trec", *on, "--names", "x,x"
    )
    assert "add --queries FILE" in complaint(
        capsys, "a.trec", indexes[0], "--qrels", "drinks/qrels/test.tsv"
    )


def test_an_encoder_and_bm25_are_indexed_in_the_cache(
    indexes: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`bm25` by name is the index built by hand: every query ties."""
    answer = report(capsys, indexes[0], "bm25", "--on", "drinks")
    for row in answer["rows"]:
        assert (row["paired"]["ties"], row["paired"]["p_randomisation"]) == (4, 1.0)
    Path("systems.toml").write_text('[[system]]\nname = "plain"\nretrievers = ["bm25"]\n')
    answer = report(capsys, indexes[0], "systems.toml:plain", "--on", "drinks")
    assert answer["systems"] == ["plain"]
    assert {row["paired"]["ties"] for row in answer["rows"]} == {4}


@pytest.fixture
def results(capsys: pytest.CaptureFixture[str]) -> Path:
    """Two systems on two collections, as `lsr evaluate` keeps them."""
    write_collection(Path("meals"))
    assert run(["evaluate", "drinks", "meals", "--output", "results"]) == 0
    assert run(["evaluate", "drinks", "meals", "--stemmer", "none", "--output", "words"]) == 0
    capsys.readouterr()
    return Path("results")


def test_kept_results_are_compared_on_what_they_share(
    results: Path, indexes: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The same figures as live, without saying on what; a run of theirs was asked everything."""
    answer = report(capsys, "results:bm25", "words", "--names", "stems,words")
    assert [row["dataset"] for row in answer["rows"]] == ["drinks"] * 3 + ["meals"] * 3
    live = report(capsys, indexes[0], "words", "--on", "drinks")
    assert [r["paired"] for r in live["rows"]] == [r["paired"] for r in answer["rows"][:3]]
    on = ("--on", "drinks")
    assert report(capsys, "results:bm25", "a.trec", *on)["rows"]
    assert "holds 0 results of nope" in complaint(capsys, "results:nope", "a.trec", *on)


def test_results_of_different_systems_of_one_name_are_refused(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The newest of them was taken, whatever the folder's own summary said."""
    on = ("--on", "drinks")
    assert run(["evaluate", "drinks", "-k", "10", "--output", "results"]) == 0
    capsys.readouterr()
    assert report(capsys, "results:bm25", "a.trec", *on)["rows"], "of two depths the deeper"
    assert run(["evaluate", "drinks", "--k1", "5", "--output", "results"]) == 0
    capsys.readouterr()
    told = complaint(capsys, "results:bm25", "a.trec", *on)
    assert "different systems that are all called bm25" in told


def test_kept_results_over_unequal_collections_are_refused(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (results / "cells").glob("meals*"):
        path.unlink()
    said = complaint(capsys, "results:bm25", "words:bm25", "--names", "a,b")
    assert "results:bm25 has no result on meals" in said
    words = ("results:bm25", "words:bm25", "--names", "a,b", "--on", "drinks")
    assert {row["dataset"] for row in report(capsys, *words)["rows"]} == {"drinks"}


def test_results_of_another_state_of_the_collection_are_refused(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("drinks/corpus.jsonl").open("a") as corpus:
        corpus.write('\n{"_id": "new", "text": "one more"}')
    assert "evaluate again" in complaint(capsys, "results:bm25", "a.trec", "--on", "drinks")


def test_a_mark_for_contamination_is_passed_on(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = (results / "cells").glob("drinks*")
    cell = json.loads(path.read_text())
    cell["row"]["contamination"] = ["seen it (card)"]
    path.write_text(json.dumps(cell))
    notes = report(capsys, "results:bm25", "a.trec", "--on", "drinks")["notes"]
    assert "bm25 on drinks is not zero-shot: seen it (card)" in notes


def test_cells_of_other_software_beside_a_run_are_ignored(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_file = write_run(Path("other/runs/a.trec"), A)
    Path("other/cells").mkdir()
    for name in ("notebook", "a.trec"):
        Path(f"other/cells/{name}.json").write_text('{"cell_type": "code"}')
    assert report(capsys, str(run_file), "b.trec", "--on", "drinks")["rows"]


def test_a_model_known_by_its_name_on_the_hub_is_marked_as_in_an_evaluation() -> None:
    write_collection(Path("scifact"))
    (judged,) = read_judged(["scifact"], split=None, qrels=None, queries=None)
    hub = "opensearch-project/opensearch-neural-sparse-encoding-doc-v3-gte"
    (reason,) = _seen(OfFile(System("s", (hub,))).folders(), judged)
    assert "was trained on scifact" in reason


def test_a_run_cut_earlier_than_the_other_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("deep.trec"), {query: [*DOCUMENTS] for query in QUERIES})
    write_run(Path("cut.trec"), {query: [*DOCUMENTS][:2] for query in QUERIES})
    (note,) = report(capsys, "deep.trec", "cut.trec", "--on", "drinks")["notes"]
    assert note.startswith("drinks: documents a query differ (deep 4, cut 2)")
    # Results of unequal length without a cut are how sparse retrieval answers.
    assert report(capsys, "deep.trec", "b.trec", "--on", "drinks")["notes"] == []


def test_a_dense_system_and_a_hybrid_of_a_file_take_part(
    tiny_checkpoint: Path, indexes: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """They have no terms to show, and their ranks are told all the same."""
    pytest.importorskip("faiss")
    Path("systems.toml").write_text(
        '[[system]]\nname = "hybrid"\n'
        f'retrievers = ["bm25", "dense:{tiny_checkpoint}"]\nweights = [1.0, 0.0]\n'
        'fuse = "minmax"\n'
    )
    dense = f"dense:{tiny_checkpoint}"
    answer = report(capsys, indexes[0], dense, "systems.toml:hybrid", "--on", "drinks")
    assert answer["systems"] == ["tiny-mlm", "hybrid"]
    of_hybrid = [row["paired"] for row in answer["rows"] if row["system"] == "hybrid"]
    assert {row["delta"] for row in of_hybrid} == {0.0}  # all its weight is on bm25
    reasons = [q["reason"] for one in answer["extremes"] for q in one["worst"] if q["reason"]]
    assert reasons
    for why in reasons:
        live, dense_view = why["views"]
        assert live["terms"]
        assert dense_view["terms"] == []
        assert dense_view["rank"] is None or dense_view["rank"] > live["rank"]


def test_k_cuts_no_run_file_whatever_its_collection_is_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It cut those of ArguAna and Quora alone, whose queries are taken out of their answers."""
    found = []
    for name in ("drinks", "arguana"):
        judged = "".join(f"{query} 0 {doc} 1\n" for query, doc in QRELS.items())
        (tmp_path / f"{name}.qrels").write_text(judged)
        words = ("a.trec", "b.trec", "--qrels", f"{name}.qrels", "--measure", "AP", "-k", "1")
        (row,) = report(capsys, *words)["rows"]
        found.append((row["paired"]["mean_a"], row["paired"]["mean_b"]))
    assert found[0] == found[1] == (pytest.approx(3.5 / 4), pytest.approx(17 / 24))
