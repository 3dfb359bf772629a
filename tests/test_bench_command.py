"""`lsr bench`: what it counts is right whatever the clock says, and what it writes is whole."""

import json
from pathlib import Path

import numpy as np
import pytest
from oracle import SCALE, random_collection
from scipy import sparse

from index import Approximate, Index
from index.latency import Latency, overlap, sampled_queries, throughput, timed
from lsr.__main__ import run
from lsr.commands import _plots
from lsr.types import Document

N_TERMS = 400


@pytest.fixture(scope="module")
def index_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12,000 documents, a few of them deleted, some pending: more pages than a small budget."""
    path = tmp_path_factory.mktemp("bench") / "x.index"
    vectors = random_collection(np.random.default_rng(1), 12_000, N_TERMS, mean=15, levels=50)
    with Index.create(path, n_terms=N_TERMS, max_weight=SCALE * 255) as index:
        with index.bulk("corpus") as bulk:
            bulk.add([Document(f"d{i}") for i in range(12_000)], vectors)
        index.add([Document("late")], sparse.csr_array(vectors[[5]]))
        index.delete(["d3", "d4"])
    return path


class Ticking:
    """A clock that a search moves by its own number of nanoseconds."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def test_a_query_is_as_slow_as_its_fastest_pass() -> None:
    clock = Ticking()
    costs = {"a": [9000, 2000, 4000], "b": [5000, 6000, 5500]}
    passes = dict.fromkeys(costs, 0)

    def ask(query: str) -> str:
        clock.now += costs[query][passes[query] % 3]
        passes[query] += 1
        return query.upper()

    counted = []
    got = timed(ask, list(costs), wall_clock=clock, cpu_clock=lambda: 0, done=counted.append)
    assert got.wall.tolist() == [2.0, 5.0]  # microseconds; the warm-up before is not counted
    assert got.cpu.tolist() == [0.0, 0.0]
    assert got.answers == ["A", "B"]
    assert sum(counted) == 6


def test_percentiles_are_over_queries() -> None:
    wall = np.arange(1.0, 101.0)
    latency = Latency.of(wall, wall / 2)
    assert (latency.n, latency.mean, latency.p50, latency.max) == (100, 50.5, 50.5, 100.0)
    assert (latency.p90, latency.cpu_mean) == (pytest.approx(90.1), 25.25)


def test_throughput_is_the_best_of_rounds_that_take_turns() -> None:
    clock = Ticking()
    turns: list[int] = []

    def answer_all(threads: int) -> int:
        turns.append(threads)
        clock.now += 10**9 if len(turns) < 3 else 10**9 // (2 * threads)
        return 100

    assert throughput(answer_all, [1, 2], rounds=2, clock=clock) == {1: 200.0, 2: 400.0}
    assert turns == [1, 2, 1, 2]


def test_overlap_leaves_out_queries_without_answer() -> None:
    found = [np.array([1, 2, 3]), np.array([9]), np.array([], int)]
    wanted = [np.array([1, 2, 4]), np.array([], int), np.array([7])]
    assert overlap(found, wanted) == pytest.approx((2 / 3 + 0) / 2)


def test_sampled_queries_are_heaviest_terms_of_live_documents(index_path: Path) -> None:
    with Index.open(index_path, read_only=True) as index:
        queries = sampled_queries(index.refresh().views, 50, n_terms=N_TERMS, query_terms=4)
        assert queries.shape == (50, N_TERMS)
        assert int(np.diff(queries.indptr).max()) <= 4
        assert int(np.diff(queries.indptr).min()) >= 1
        again = sampled_queries(index.refresh().views, 50, n_terms=N_TERMS, query_terms=4)
        assert (queries != again).nnz == 0
        everything = sampled_queries(index.refresh().views, 10**6, n_terms=N_TERMS)
        assert everything.shape[0] == 11_999


def test_a_report_and_its_plots_are_written(
    index_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "report"
    arguments = ["bench", str(index_path), "--n", "12", "--k", "5,50", "--out", str(folder)]
    assert run(arguments) == 0
    printed = capsys.readouterr().out
    assert "heaviest terms of documents of the index" in printed
    names = ["latency.png", "latency.svg", "report.json", "report.md", "throughput.png"]
    names += ["throughput.svg", "trade-off.png", "trade-off.svg"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / "latency.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((folder / "report.json").read_text())
    rows = {(row["kind"], row["label"], row["k"]): row for row in report["rows"]}
    assert rows["exact", "exact", 5]["overlap"] == 1.0
    assert rows["exact", "exact", 50]["certified"] == 1.0
    assert rows["pruned", "unpruned", 5]["overlap"] == 1.0
    assert rows["pruned", "32 terms", 5]["n_bytes"] <= rows["pruned", "unpruned", 5]["n_bytes"]
    assert report["n_docs"] == 11_999


def test_json_holds_what_is_printed(index_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", str(index_path), "--n", "5", "--k", "3", "--no-pruning", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {row["kind"] for row in report["rows"]} == {"exact", "approximate"}
    assert set(report["queries_per_second"]) >= {"1"}


def test_judged_queries_show_what_less_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """nDCG@10 of the exact row is what `lsr evaluate` prints for the same index."""
    folder = tmp_path / "drinks"
    (folder / "qrels").mkdir(parents=True)
    texts = {"a": "tea leaves hold caffeine", "b": "people sleep at night", "c": "green tea"}
    lines = [json.dumps({"_id": i, "title": "", "text": text}) for i, text in texts.items()]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "tea"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\ta\t1\n")
    monkeypatch.setenv("LSR_CACHE", str(tmp_path / "cache"))
    assert run(["index", str(folder), str(tmp_path / "i")]) == 0
    capsys.readouterr()
    assert run(["bench", str(tmp_path / "i"), "--queries", str(folder), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert run(["evaluate", str(folder), "--index", str(tmp_path / "i"), "--json"]) == 0
    wanted = json.loads(capsys.readouterr().out)["measures"]["nDCG@10"]
    assert {row["ndcg_10"] for row in rows if row["kind"] != "pruned"} == {wanted}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--k", "ten"], "wanted whole numbers"),
        (["--k", "0"], "wanted whole numbers"),
        (["--n", "0"], "at least 1 query"),
        (["--filter", "lang=en"], "not declared"),
        (["--memory", "lots"], "KiB, MiB or GiB"),
        (["--queries", "no-such-thing"], "no-such-thing"),
    ],
)
def test_what_cannot_be_measured_is_said(
    arguments: list[str], says: str, index_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", str(index_path), "--n", "3", "--no-pruning", *arguments]) != 0
    assert says in capsys.readouterr().err


def test_a_plot_without_its_package_says_how_to_get_it(
    index_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    arguments = ["--n", "3", "--k", "3", "--no-pruning", "--out", str(tmp_path / "r")]
    assert run(["bench", str(index_path), *arguments]) == 2
    assert "pip install 'lsr-search[plot]'" in capsys.readouterr().err
    assert _plots.COLOURS  # the module itself imports without it


def test_approximate_rows_are_approximate(index_path: Path) -> None:
    with Index.open(index_path, read_only=True) as index:
        query = sampled_queries(index.refresh().views, 1, n_terms=N_TERMS)
        report = index.search(query, 5, approximate=Approximate(recall=0.9)).report
        assert report.mode == "approximate"
