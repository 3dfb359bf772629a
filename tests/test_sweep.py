"""`lsr sweep`: its figures are those of the commands it prints, and it goes on where it stopped."""

import json
import re
import shlex
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from index import Approximate, Index, Pruning
from lsr.__main__ import run
from lsr.commands import _sweep
from lsr.commands._sweep import Point, coarser, questions
from lsr.commands._sweep_grid import PRESETS, Build, Grid, read_grid
from lsr.commands._sweep_page import write_page
from lsr.commands._sweep_plot import draw
from lsr.commands._sweep_report import COSTS, Findings, as_report
from lsr.datasets import load_dataset
from lsr.errors import QueryError, RecipeError, UsageError

WORDS = [f"{a}{b}" for a in ("ba", "ke", "mi", "so", "tu") for b in ("da", "le", "ni", "ro", "vu")]


@pytest.fixture
def collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """600 documents of few words, so that caps and cuts change answers; 9 dev, 3 test queries."""
    monkeypatch.setenv("LSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    folder = tmp_path / "syllables"
    (folder / "qrels").mkdir(parents=True)
    rows = [
        {"_id": f"d{i}", "text": " ".join(rng.choice(WORDS, rng.integers(4, 40)))}
        for i in range(600)
    ]
    asked = [{"_id": f"q{i}", "text": " ".join(rng.choice(WORDS, 5))} for i in range(12)]
    for name, records in (("corpus", rows), ("queries", asked)):
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / f"{name}.jsonl").write_text(lines)
    for split, numbers in (("dev", range(9)), ("test", range(9, 12))):
        judged = [f"q{i}\td{d}\t1\n" for i in numbers for d in rng.choice(600, 40, replace=False)]
        head = "query-id\tcorpus-id\tscore\n"
        (folder / "qrels" / f"{split}.tsv").write_text(head + "".join(judged))
    return folder


def swept(capsys: pytest.CaptureFixture[str], *options: str, output: str = "out") -> dict:
    assert run(["sweep", "syllables", "--output", output, "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_printed_commands_build_and_search_what_was_measured(
    collection: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Derived from cached vectors or encoded by `lsr index`: the same postings and answers."""
    monkeypatch.setattr(_sweep, "GRID_MINIMUM", 0)  # so few documents are searched exactly
    report = swept(
        capsys, *["--prune-terms", "6", "--prune-postings", "0.5", "--quantise", "8bit,binary"],
        *["--query-terms", "2", "--pages", "1"],
    )  # fmt: skip
    assert len(report["points"]) == 2 * 2 * 5  # lists of a binary index are not cut
    corpus = (collection / "queries.jsonl").read_text().splitlines()[:9]
    Path("asked.jsonl").write_text("\n".join(corpus))
    built: list[str] = []
    for point in report["points"]:
        build, search = (shlex.split(command) for command in point["commands"])
        build[3] = f"index{'-'.join(build[4:])}"
        if build[3] not in built:
            built.append(build[3])
            assert run(build[1:]) == 0
        asks = ["search", build[3], *search[4:]]
        more = ["--queries", "asked.jsonl", "--output", "run.trec", "-k", "100"]
        assert run([*asks, *more]) == 0
        with Index.open(build[3]) as index:
            facts = index.info()
        capsys.readouterr()
        measures = ["--measure", "nDCG@10", "--measure", "R@100"]
        given = ["--from-run", "run.trec", "--split", "dev", "--json"]
        assert run(["evaluate", "syllables", *given, *measures]) == 0
        wanted = json.loads(capsys.readouterr().out)["measures"]
        assert point["ndcg_10"] == pytest.approx(wanted["nDCG@10"], abs=1e-12), point["name"]
        assert point["r_100"] == pytest.approx(wanted["R@100"], abs=1e-12), point["name"]
        assert point["search_bytes"] == facts["search_bytes"]
        assert point["terms_per_document"] == facts["postings_per_passage"]


def test_an_interrupted_sweep_goes_on_and_measures_nothing_twice(
    collection: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--prune-terms", "4,6", "--query-terms", "2"]
    searched = _sweep._searched
    done: list[str] = []

    def killed(*arguments: object) -> Point:
        if len(done) == 4:
            raise KeyboardInterrupt
        point = searched(*arguments)  # type: ignore[arg-type]
        done.append(point.label)
        return point

    monkeypatch.setattr(_sweep, "_searched", killed)
    assert run(["sweep", "syllables", "--output", "out", *options]) == 130
    assert not list(Path("out").glob("building/*"))
    monkeypatch.setattr(_sweep, "_searched", lambda *a: done.append("again") or searched(*a))
    whole = swept(capsys, *options)
    assert (whole["n_resumed"], whole["n_points"], done[4:]) == (4, 6, ["again"] * 2)
    monkeypatch.setattr(_sweep, "encoded", lambda *a: pytest.fail("nothing is left to encode"))
    assert swept(capsys, *options)["points"] == whole["points"]
    fewer = swept(capsys, "--prune-terms", "4", "--query-terms", "2")
    assert fewer["n_resumed"] == fewer["n_points"] == 4


def test_what_leaves_nothing_out_is_not_measured_again(
    collection: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = "--prune-terms 6 --pages 1"  # below 8,192 documents searches are exact anyway
    assert swept(capsys, *options.split(), output="few")["n_alike"] == 2
    monkeypatch.setattr(_sweep, "GRID_MINIMUM", 0)
    assert swept(capsys, *options.split(), output="many")["n_alike"] == 0
    options = "--prune-terms 6,1000 --query-terms 50 --recall 0.9"  # 3 pages: always exact
    report = swept(capsys, *options.split())
    assert [point["label"] for point in report["points"]].count("whole") == 1
    assert (report["n_points"], report["n_alike"]) == (2, 10)


def test_builds_that_repeat_another_in_one_grid_are_measured_in_the_next(
    collection: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A binary encoder has one quantisation; which of the grid stands for it is the grid's say."""
    monkeypatch.setattr(_sweep, "is_binary", lambda encoder: True)
    for names in ("8bit,binary", "binary", "binary,8bit", "8bit"):
        report = swept(capsys, "--quantise", names)
        assert (report["n_points"], report["n_alike"]) == (1, names.count(",")), names


def test_printed_commands_multiply_in_what_the_sweep_did(
    collection: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [point(0.5, 1.0), point(0.4, 2.0, encoder="bm25")]
    monkeypatch.setattr(_sweep.Sweep, "run", lambda sweep: found)
    network, bm25 = (
        one["commands"][0] for one in swept(capsys, "--precision", "bfloat16")["points"]
    )
    assert network == ("lsr index syllables syllables.index --encoder enc --precision bfloat16")
    assert bm25 == "lsr index syllables syllables.index --encoder bm25"
    assert "--precision" not in swept(capsys)["points"][0]["commands"][0]


def test_files_and_page_hold_every_point_and_load_nothing(
    collection: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sweep", "syllables", "--output", "out", "--prune-terms", "6,12"]) == 0
    printed = capsys.readouterr().out
    assert "cheapest   in FLOPS" in printed
    assert printed.splitlines()[-1].startswith("next       lsr index syllables syllables.index")
    assert "caution" not in printed  # there is a dev split
    report = json.loads(Path("out/sweep.json").read_text())
    assert (report["split"], report["n_queries"]) == ("dev", 9)
    lines = Path("out/sweep.tsv").read_text().splitlines()
    values = dict(zip(lines[0].split("\t"), lines[1].split("\t"), strict=True))
    assert (len(lines), float(values["ndcg_10"])) == (4, report["points"][0]["ndcg_10"])
    assert Path("out/sweep.md").read_text().count("| bm25, ") == 3
    page = Path("out/trade-off.html").read_text()
    embedded = re.search(r'id="results">(.*?)</script>', page, re.DOTALL)
    assert embedded is not None
    assert json.loads(embedded[1])["points"] == report["points"]
    assert not re.search(r"(src|href)\s*=|@import|url\(", page.replace("http://www.w3.org", ""))
    assert "default-src 'none'" in page
    assert Path("out/trade-off.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_browser_draws_every_dot_and_row(tmp_path: Path) -> None:
    """A script that stops at its first line leaves a page of headings: that happened once."""
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if browser is None:
        pytest.skip("no chromium or chrome on the PATH")
    points = [point(0.3 + 0.01 * i, 1.0 + i % 5, encoder=f"e{i % 2}") for i in range(9)]
    found = Findings.of("x", points)
    frame = {"dataset": "x", "split": "test", "n_queries": 3, "k": 100, "n_points": 9}
    page = tmp_path / "page.html"
    write_page(page, as_report(found, {**frame, "machine": "m", "version": "0", "command": "c"}))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'p'}"]
    done = subprocess.run(
        [browser, *options, "--dump-dom", page.as_uri()], capture_output=True, text=True, check=True
    )
    assert len(re.findall(r"<(?:circle|polygon) ", done.stdout)) == 3 * 9
    assert done.stdout.count("<tr data-point=") == 9
    assert done.stdout.count("<svg ") == len(COSTS)


def point(ndcg: float, flops: float, **changes: object) -> Point:
    values = Point(
        "enc", f"{ndcg}-{flops}", False, [], [], ndcg, 0.5, flops, int(flops * 1000), 9999, flops,
        flops, 1.0, 1.0, 0.0, 0.1, 9.0, 3.0, 1.0,
    )  # fmt: skip
    return replace(values, **changes)  # type: ignore[arg-type]


def test_simulated_points_are_in_no_front_and_have_no_commands() -> None:
    points = [point(0.5, 3.0), point(0.499, 2.0), point(0.6, 1.0, simulated=True), point(0.3, 1.0)]
    found = Findings.of("some/scifact", points)
    plain = point(0.5, 3.0, label="z")
    capped = point(0.5, 3.0, search_options=["--pages", "4"])
    assert Findings.of("x", [capped, plain]).points == [plain, capped]
    cheapest = found.cheapest(COSTS[0])
    assert cheapest == points[1]
    assert found.front(COSTS[0]) == [points[3], points[1], points[0]]
    assert found.commands(points[2]) == []
    assert found.commands(points[1])[0] == "lsr index some/scifact scifact.index --encoder enc"


def test_a_hostile_name_stays_inside_the_page(tmp_path: Path) -> None:
    write_page(tmp_path / "x.html", {"points": [], "dataset": "</script><script>alert(1)"})
    page = (tmp_path / "x.html").read_text()
    assert page.count("<script") == 2
    assert "\\u003c/script>\\u003cscript>alert(1)" in page


def test_the_figure_is_drawn_whatever_the_points(tmp_path: Path) -> None:
    """One point, equal costs, several encoders, simulated dots and dots too low to show."""
    frame = {"dataset": "x", "split": "test"}
    many = [point(0.01 * i, 1.0 + i % 7, encoder=f"e{i % 3}") for i in range(1, 40)]
    for i, points in enumerate(([point(0.5, 1.0)], [point(0.5, 1.0), point(0.4, 1.0)], many)):
        more = [*points, point(0.45, 2.0, simulated=True)]
        files = draw(tmp_path, Findings.of("x", more), frame)
        assert [file.suffix for file in files] == [".png", ".svg"]
        assert f"e{2}" in files[1].read_text() or i < 2


def test_coarser_weights_are_the_nearest_of_so_many_levels() -> None:
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.01, 5, (20, 30)).astype(np.float32)
    got = coarser(sparse.csr_array(weights), 15, 4.0).toarray()
    levels = np.arange(1, 16) * 4.0 / 15
    wanted = levels[np.abs(weights[..., None] - levels).argmin(axis=-1)]
    assert np.allclose(got, wanted)  # a level is 4/15 in float32 here, in float64 there


def test_the_split_is_dev_where_there_is_one_and_the_draw_follows_the_seed(
    collection: Path,
) -> None:
    source = load_dataset("syllables")
    assert questions(source, None, n=1000, seed=0, k=100).split == "dev"
    drawn = [list(questions(source, None, n=4, seed=s, k=100).texts) for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(ids) == 4 and ids == sorted(ids) for ids in drawn)
    (collection / "qrels" / "dev.tsv").unlink()
    assert questions(load_dataset("syllables"), None, n=9, seed=0, k=100).split == "test"
    (collection / "qrels" / "test.tsv").rename(collection / "qrels" / "train.tsv")
    with pytest.raises(UsageError, match=r"no split dev or test \(has: train\)"):
        questions(load_dataset("syllables"), None, n=9, seed=0, k=100)


def test_a_grid_crosses_builds_with_searches_and_refuses_what_cannot_be(tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.write_text(
        'encoder = ["bm25"]\nprune_terms = [8]\nquantise = ["8bit", "binary"]\npages = [4]\n'
        "[[prune]]\nterms = 8\npostings = 0.5\n"
    )
    grid = read_grid(str(file))
    assert [(b.pruning, b.quantise) for b in grid.builds("bm25")] == [
        (Pruning(), "8bit"),
        (Pruning(terms=8), "8bit"),
        (Pruning(terms=8, postings=0.5), "8bit"),
        (Pruning(), "binary"),
        (Pruning(terms=8), "binary"),
    ]
    assert [search.approximate for search in grid.searches()] == [None, Approximate(pages=4)]
    assert Build("x", Pruning(mass=0.9, postings=100.0), "8bit").options() == [
        "--prune-mass", "0.9", "--prune-postings", "100"
    ]  # fmt: skip
    file.write_text("prune_term = [8]\n")
    with pytest.raises(RecipeError, match="did you mean 'prune_terms'"):
        read_grid(str(file))
    with pytest.raises(RecipeError, match="wanted small, full or a TOML file"):
        read_grid("smal")
    with pytest.raises(UsageError, match="prune to a mass of 2"):
        Grid(prune_mass=(2.0,))
    with pytest.raises(UsageError, match="quantise '1bit'"):
        Grid(quantise=("1bit",))
    with pytest.raises(QueryError, match=r"recall = 1\.5"):
        Grid(recall=(1.5,))
    assert all(asdict(preset) for preset in PRESETS.values())
