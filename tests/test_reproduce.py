"""The shipped table holds together; `lsr reproduce` says pass, fail or absent for good reason."""

import json
from pathlib import Path

import pytest

from lsr.__main__ import run
from lsr.datasets.catalogue import BEIR_13
from lsr.errors import RecipeError
from lsr.measures import evaluate
from lsr.published import Cell, Figure, Source, read_published

TABLE = read_published()

TOY = """
collection = [
  {{ name = "drinks", documents = 3, queries = 2 }},
  {{ name = "animals", documents = 3, queries = 2 }},
  {{ name = "both", mean_of = ["drinks", "animals"] }},
]
[[source]]
name = "paper"
where = "table 1"
read = "2026-11-28"
first_hand = true
[[source]]
name = "notes"
where = "notes on table 2"
read = "2026-11-28"
first_hand = false
[[system]]
name = "words"
title = "Matching words"
licence = "none"
encoder = "bm25"
trained_on = ["animals"]
[[system.reference]]
source = "paper"
measure = "RR@10"
tolerance = 0.01
values = {{ drinks = {drinks}, animals = 0.5, both = 0.75 }}
[[system.reference]]
source = "notes"
measure = "RR@10"
tolerance = 0.01
values = {{ animals = 0.3 }}
[[system]]
name = "network"
title = "A network"
licence = "none"
encoder = "nobody/nothing"
[[system.reference]]
source = "paper"
measure = "nDCG@10"
tolerance = 0.005
values = {{ drinks = 0.9 }}
[[system]]
name = "secret"
title = "Never published"
licence = "none"
absent = "its weights are not public"
[[system.reference]]
source = "paper"
measure = "nDCG@10"
tolerance = 0.005
values = {{ drinks = 0.9 }}
"""


def write_collection(folder: Path, texts: dict[str, str], answers: dict[str, tuple[str, str]]):
    (folder / "qrels").mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w") as corpus:
        for doc_id, text in texts.items():
            corpus.write(json.dumps({"_id": doc_id, "text": text}) + "\n")
    with (folder / "queries.jsonl").open("w") as queries:
        for query_id, (text, _) in answers.items():
            queries.write(json.dumps({"_id": query_id, "text": text}) + "\n")
    rows = [f"{query_id}\t{doc_id}\t1" for query_id, (_, doc_id) in answers.items()]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]))


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A function that writes the table; RR@10 of BM25 is 1 on drinks and 1/2 on animals."""
    monkeypatch.setenv("LSR_DATA", str(tmp_path / "data"))
    write_collection(
        tmp_path / "data" / "drinks",
        {"a": "green tea", "b": "black coffee", "c": "apple juice"},
        {"q1": ("tea", "a"), "q2": ("coffee", "b")},
    )
    write_collection(
        tmp_path / "data" / "animals",
        {"a": "cat cat", "b": "cat and a dog", "c": "bird"},
        {"q1": ("cat", "b"), "q2": ("cats", "b")},
    )

    def write(drinks: float = 1.0) -> list[str]:
        (tmp_path / "table.toml").write_text(TOY.format(drinks=drinks))
        return ["--table", str(tmp_path / "table.toml")]

    return write


def cells(arguments: list[str], capsys) -> tuple[int, dict[tuple[str, str], dict]]:
    code = run(["reproduce", *arguments, "--json"])
    found = json.loads(capsys.readouterr().out)["cells"]
    return code, {(one["system"], one["collection"]): one for one in found}


class TestShippedTable:
    @pytest.mark.parametrize("system", TABLE.system, ids=lambda system: system.name)
    def test_the_mean_of_a_row_is_the_mean_its_source_prints(self, system):
        """A mistyped value moves the mean of thirteen by more than printing rounds it.

        Anserini ran SPLADE-v3 itself and prints no mean, so its row has none to agree with.
        """
        printed = [
            reference.values["beir-13"]
            for reference in system.reference
            if "beir-13" in reference.values and reference.measure == "nDCG@10"
        ]
        for reference in system.reference:
            if reference.measure == "nDCG@10" and reference.source != "anserini-beir":
                row = [reference.values[one] for one in BEIR_13 if one in reference.values]
                if len(row) == len(BEIR_13) and printed:
                    # Rounded to .001, of rows rounded to .001: half a thousandth each.
                    assert sum(row) / len(row) == pytest.approx(printed[0], abs=0.001)

    def test_most_means_are_checked_by_a_full_row(self):
        full = [
            system.name
            for system in TABLE.system
            for reference in system.reference
            if set(BEIR_13) <= set(reference.values)
        ]
        assert len(set(full)) >= 15

    def test_the_mean_is_over_the_thirteen_of_the_catalogue(self):
        assert TABLE.find_collection("beir-13").mean_of == BEIR_13

    def test_every_measure_is_one(self):
        measures = {reference.measure for one in TABLE.system for reference in one.reference}
        evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}}, sorted(measures))

    def test_the_sources_are_used_and_say_when_they_were_read(self):
        used = {reference.source for one in TABLE.system for reference in one.reference}
        assert used == {source.name for source in TABLE.source}
        assert all(len(source.read.split("-")) == 3 for source in TABLE.source)

    def test_its_size_is_what_the_pages_say(self):
        n_figures = sum(len(cell.figures) for cell in TABLE.cells())
        said = f"{n_figures} published figures of {len(TABLE.system)} systems"
        root = Path(__file__).parent.parent
        for page in ("data/README.md", "CHANGELOG.md"):
            assert said in (root / page).read_text(encoding="utf-8"), page

    def test_bm25_is_checked_on_fifteen_collections_and_more(self):
        lucene = [
            cell
            for cell in TABLE.cells(["bm25"])
            if any(figure.source.name == "lucene" for figure in cell.figures)
        ]
        assert len({cell.collection.name for cell in lucene}) >= 15

    def test_the_stop_word_free_nfcorpus_is_not_beirs(self):
        """Same questions, other texts: its figures are its own."""
        theirs, ours = (TABLE.find_collection(n) for n in ("nfcorpus", "nfcorpus-stopped"))
        assert (theirs.documents, theirs.queries) != (ours.documents, ours.queries)
        (cell,) = TABLE.cells(["bm25"], ["nfcorpus-stopped"])[:1]
        assert [figure.source.name for figure in cell.figures] == ["lucene"]


class TestCheck:
    def test_cells_pass_fail_or_are_absent_and_a_failure_is_the_exit_code(self, toy, capsys):
        code, found = cells([*toy(), "--check"], capsys)
        assert code == 0
        assert {key: one["status"] for key, one in found.items()} == {
            ("words", "drinks"): "pass",
            ("words", "animals"): "pass",
            ("words", "both"): "pass",
            ("network", "drinks"): "absent",
            ("secret", "drinks"): "absent",
        }
        assert found["words", "drinks"]["value"] == 1.0
        assert found["words", "both"]["value"] == 0.75
        assert "--model network=FOLDER" in found["network", "drinks"]["reason"]
        assert found["secret", "drinks"]["reason"] == "its weights are not public"
        assert found["secret", "drinks"]["command"] is None
        assert found["words", "animals"]["trained_on"]

        code, found = cells([*toy(drinks=0.98), "words", "--on", "drinks", "--check"], capsys)
        assert (code, found["words", "drinks"]["status"]) == (1, "fail")

    def test_the_printed_command_gives_the_value(self, toy, capsys):
        _, found = cells([*toy(), "words", "--check"], capsys)
        words = found["words", "animals"]["command"].split()
        assert words[0] == "lsr"
        assert run([*words[1:], "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        row = answer[0] if isinstance(answer, list) else answer
        assert row["measures"]["RR@10"] == found["words", "animals"]["value"] == 0.5

    def test_a_namesake_with_other_documents_is_not_the_collection(self, toy, tmp_path, capsys):
        """Figures about BEIR's NFCorpus say nothing about another release of its texts."""
        arguments = toy()
        with (tmp_path / "data" / "drinks" / "corpus.jsonl").open("a") as corpus:
            corpus.write(json.dumps({"_id": "d", "text": "water"}) + "\n")
        code, found = cells([*arguments, "words", "--check"], capsys)
        assert code == 0
        assert found["words", "drinks"]["status"] == "absent"
        assert "4 documents and 2 judged queries" in found["words", "drinks"]["reason"]
        assert found["words", "both"]["status"] == "absent"
        assert found["words", "animals"]["status"] == "pass"

    def test_without_check_nothing_is_searched_and_all_is_shown(self, toy, tmp_path, capsys):
        page = tmp_path / "page.md"
        assert run(["reproduce", *toy(), "--markdown", str(page)]) == 0
        text = capsys.readouterr().out
        assert (
            "words on animals, RR@10, published .5000 (paper), .3000 (notes, second-hand)" in text
        )
        assert "5 cells             3 can be checked here, 2 cannot be here" in text
        assert text.splitlines()[-1].endswith("--check")
        assert "from notes on it" in page.read_text()
        assert "| words | animals (not zero-shot) | RR@10 |" in page.read_text()
        assert not (tmp_path / "cache").exists()

    def test_the_list_names_licences_and_how_to_run(self, toy, capsys):
        assert run(["reproduce", *toy(), "--list"]) == 0
        text = capsys.readouterr().out
        assert "network: A network" in text
        assert "1 cell, licence none, --encoder nobody/nothing" in text

    @pytest.mark.parametrize(
        ("arguments", "what"),
        [
            (["nobody"], "no published figures of a system 'nobody'"),
            (["--on", "nowhere"], "no published figures on a collection 'nowhere'"),
            (["--model", "words"], "wanted NAME=FOLDER"),
            (["--model", "words=not/there"], "no such folder"),
        ],
    )
    def test_a_name_nobody_knows_is_misuse(self, toy, capsys, arguments, what):
        assert run(["reproduce", *toy(), *arguments]) == 2
        assert what in capsys.readouterr().err


class TestEncoders:
    """Marked by what they need: torch, to make and to load a network."""

    @pytest.fixture
    def encoder(self, tiny_checkpoint, tmp_path):
        pytest.importorskip("torch")
        from lsr.encoders import SpladeEncoder
        from lsr.encoders.splade import SpladeModel

        folder = tmp_path / "tiny"
        SpladeEncoder.of(SpladeModel.from_checkpoint(tiny_checkpoint), name="tiny").save(folder)
        return folder

    def test_a_folder_is_measured_in_the_place_of_a_name(self, toy, encoder, capsys):
        arguments = [*toy(), "network", "--model", f"network={encoder}", "--check"]
        code, found = cells(arguments, capsys)
        one = found["network", "drinks"]
        assert one["status"] in ("pass", "fail")
        assert code == (one["status"] == "fail")
        assert str(encoder) in one["command"]

    def test_the_hubs_cache_is_looked_at_and_the_command_says_the_name(
        self, toy, encoder, tmp_path, monkeypatch, capsys
    ):
        constants = pytest.importorskip("huggingface_hub").constants
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        repository = tmp_path / "hub" / "models--nobody--nothing"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("1" * 40)
        (repository / "snapshots").mkdir()
        encoder.rename(repository / "snapshots" / ("1" * 40))
        _, found = cells([*toy(), "network", "--check"], capsys)
        one = found["network", "drinks"]
        assert one["value"] is not None
        assert one["command"] == "lsr evaluate drinks --encoder nobody/nothing --measure nDCG@10"

    def test_a_present_encoder_that_cannot_be_loaded_fails(self, toy, tmp_path, capsys):
        """Not absent: whoever gave the folder wants to know."""
        (tmp_path / "broken").mkdir()
        code, found = cells(
            [*toy(), "network", "--model", f"network={tmp_path / 'broken'}", "--check"], capsys
        )
        assert (code, found["network", "drinks"]["status"]) == (1, "fail")
        assert "broken" in found["network", "drinks"]["reason"]


def test_the_nearest_figure_is_nearest_in_its_tolerance_and_the_edge_belongs_to_it():
    source = Source("s", "t", "2026-11-28", True)
    figures = (Figure(0.5, 0.01, source), Figure(0.52, 0.001, source))
    cell = Cell(TABLE.system[0], TABLE.collection[0], "AP", figures)
    assert cell.closest(0.512).value == 0.5
    assert cell.is_met_by(0.51)
    assert cell.is_met_by(0.521)
    assert not cell.is_met_by(0.512)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('source = "paper"', 'source = "hearsay"', "no source 'hearsay'"),
        ("animals = 0.3", "cats = 0.3", "cats = 0.3; wanted a collection"),
        ("animals = 0.3", "animals = 30.0", "wanted a collection of the table and a value"),
        ('encoder = "bm25"', 'absent = "x"\nencoder = "bm25"', "either an encoder or why"),
        ('name = "animals", documents = 3,', 'name = "drinks", documents = 3,', "occurs twice"),
        ("first_hand = false", 'first_hand = false\ncolour = "red"', "unknown key 'colour'"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(tmp_path, old, new, what):
    text = TOY.format(drinks=1.0)
    assert old in text
    (tmp_path / "table.toml").write_text(text.replace(old, new))
    with pytest.raises(RecipeError, match=what):
        read_published(tmp_path / "table.toml")


@pytest.mark.shared
def test_bm25_reproduces_lucene_on_small_collections(shared_data, monkeypatch, capsys):
    monkeypatch.setenv("LSR_DATA", str(shared_data))
    arguments = ["bm25", "--on", "medline", "--on", "xquad-en", "--check"]
    code, found = cells(arguments, capsys)
    assert code == 0
    assert {one["status"] for one in found.values()} == {"pass"}
