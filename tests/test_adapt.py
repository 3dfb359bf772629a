"""Adapting an encoder: queries from documents, and the whole way on sixty documents."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from decoders import make_decoder

from lsr.conventions import convention_of
from lsr.datasets import load_dataset
from lsr.types import Document, Query
from training.adapting.pseudo_queries import Passage, take_queries, take_query

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from click.testing import CliRunner  # noqa: E402

from lsr.__main__ import run as run_lsr  # noqa: E402
from lsr.commands.adapt import adapt as adapt_command  # noqa: E402
from lsr.encoders import (  # noqa: E402
    BM25Encoder,
    InferenceFreeEncoder,
    JoinedEncoder,
    SeparateEncoder,
    SpladeEncoder,
    idf_table,
    load_encoder,
)
from lsr.encoders.joined import count_words  # noqa: E402
from lsr.encoders.onnx_side import OnnxSide  # noqa: E402
from lsr.encoders.splade import SpladeModel  # noqa: E402
from lsr.errors import DatasetError, EncoderError, RecipeError, UsageError  # noqa: E402
from training import adapt  # noqa: E402
from training.adapting.measure import interval, kept_measures  # noqa: E402
from training.adapting.run import AdaptReport  # noqa: E402
from training.adapting.writer import QuestionWriter  # noqa: E402
from training.mining.rankers import SparseRanker  # noqa: E402
from training.scratch import make_backbone  # noqa: E402
from training.sections import Scratch  # noqa: E402

ANIMALS = ["fox", "owl", "bee", "cat", "dog", "cow"]
PLACES = ["forest", "river", "desert", "island", "city", "swamp", "valley", "beach", "farm", "moor"]


def documents() -> list[Document]:
    """Sixty; each says its animal and its place in the text, too."""
    return [
        Document(
            f"d{animal}-{place}",
            {
                "title": f"The {animal} of the {place}",
                "text": f"Every {animal} lives in a {place}. It eats at night and sleeps all day "
                f"near the {place}, like any {animal} would.",
            },
        )
        for animal in ANIMALS
        for place in PLACES
    ]


def write_corpus(path: Path, corpus: list[Document]) -> Path:
    path.write_text("\n".join(json.dumps({"_id": d.doc_id, **d.fields}) for d in corpus))
    return path


def test_what_became_the_query_is_gone_from_the_text() -> None:
    long = "it has many words so that enough of them are left here"
    text = f"# A long heading\nThe first sentence is this. But {long}."
    origins = set()
    for seed in range(30):
        found = take_query(Passage("d", "Some title here", text), seed=seed)
        assert found is not None
        query, rest = found
        origins.add(query.origin)
        assert query.text not in rest.whole
        assert long in rest.text
        assert query.doc_id == rest.doc_id == "d"
    assert origins == {"title", "heading"}, "a text that begins with a heading has no sentence"
    found = take_query(Passage("d", "", f"The first one is this. But {long}."), seed=0)
    assert found is not None
    assert found[0].text == "The first one is this."
    assert found[1].text == f"But {long}."


def test_a_title_that_the_text_repeats_goes_from_both() -> None:
    found = take_query(Passage("d", "Red foxes", "Red foxes: " + "they eat " * 9), seed=0)
    assert found is not None
    assert found[1] == Passage("d", "", ("they eat " * 9))


@pytest.mark.parametrize(
    "passage",
    [
        Passage("d", "Title", "one word is no query and there is but one sentence in this text"),
        Passage("d", "A good title", "too short"),
        Passage("d", "", ""),
    ],
)
def test_a_document_with_nothing_to_ask_gives_no_query(passage: Passage) -> None:
    assert take_query(passage, seed=0) is None


def test_a_query_that_two_documents_would_give_is_none() -> None:
    body = "what follows has enough words to be an answer to something"
    passages = [
        Passage(f"d{i}", "Twice the same" if i < 2 else f"Title no {i}", body) for i in range(4)
    ]
    queries, left = take_queries(passages, seed=0)
    assert [query.doc_id for query in queries] == ["d2", "d3"]
    assert left[:2] == passages[:2], "their documents stay whole"
    assert [passage.title for passage in left[2:]] == ["", ""]


def test_the_interval_is_of_the_differences() -> None:
    before = {f"q{i}": 0.2 for i in range(50)}
    same = interval(before, {name: value + 0.1 for name, value in before.items()})
    np.testing.assert_allclose(same, (0.1, 0.1))
    rng = np.random.default_rng(3)
    noisy = {name: float(rng.normal(0.2, 0.3)) for name in before}
    low, high = interval(before, noisy)
    differences = np.asarray([noisy[name] - before[name] for name in before])
    error = differences.std() / np.sqrt(50)
    np.testing.assert_allclose(
        [low, high], differences.mean() + np.asarray([-1.96, 1.96]) * error, atol=0.2 * error
    )


def test_a_fresh_start_that_is_refused_loses_nothing(tmp_path: Path, encoder: Path) -> None:
    """What was made before was removed first, and then the name of the corpus looked at."""
    corpus = tmp_path / "corpus.jsonl"
    write_corpus(corpus, documents())
    kept = tmp_path / "out.adapt" / "collection" / "queries.jsonl"
    kept.parent.mkdir(parents=True)
    kept.write_text("hours of work")
    common = {"encoder": encoder, "resume": False, "progress": False}
    with pytest.raises(DatasetError):
        adapt(str(tmp_path / "typo.jsonl"), tmp_path / "out", **common)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "modules.json").write_text("[]")
    with pytest.raises(RecipeError, match="holds an encoder already"):
        adapt(str(corpus), tmp_path / "out", **common)
    assert kept.read_text() == "hours of work"


def test_a_judged_collection_is_measured_as_evaluate_does_it(tmp_path: Path) -> None:
    """ArguAna's queries stand in its corpus, first of every ranking, and are no answers."""
    texts = ["bees sting people", "bees sting", "cows eat grass"]
    encoder = BM25Encoder.fit(texts)
    queries = [Query("d0", texts[0])]
    means = {
        name: kept_measures(
            tmp_path / f"{name}.json",
            lambda: SparseRanker(encoder, texts, quiet=True),
            queries,
            ["d0", "d1", "d2"],
            {"d0": {"d1": 1}},
            convention=convention_of(name),
        )["means"]
        for name in ("arguana", "scifact")
    }
    assert (means["arguana"]["RR@10"], means["scifact"]["RR@10"]) == (1.0, 0.5)
    found = kept_measures(
        tmp_path / "graded.json",
        lambda: SparseRanker(encoder, texts, quiet=True),
        [Query("q", "bees sting")],
        ["d0", "d1", "d2"],
        {"q": {"d1": 1, "d0": 2}},
        convention=convention_of("trec-dl-2019"),
    )
    assert found["means"]["RR@10"] == 0.5, "a grade of 1 is not relevant there"


def tiny_encoder(folder: Path) -> Path:
    """An inference-free encoder of two random layers; its table is the idf of one sentence."""
    texts = [document.text() for document in documents()]
    sizes = Scratch(layers=2, hidden=32, heads=2, vocabulary=400)
    make_backbone(folder / "checkpoint", sizes, texts, max_length=48, seed=3)
    model = SpladeModel.from_checkpoint(folder / "checkpoint", max_length=48)
    table = idf_table(["the fox of the forest"], model.tokenizer)
    InferenceFreeEncoder.of(model, table, name="tiny").save(folder / "encoder")
    return folder / "encoder"


def graph_with_words(encoder: Path, place: Path) -> BM25Encoder:
    """Write that encoder in 8 bits, capped, with words beside it; the words."""
    from lsr.encoders.onnx_export import export_onnx

    learned = load_encoder(encoder)
    assert isinstance(learned, InferenceFreeEncoder)
    capped = replace(learned, settings=replace(learned.settings, max_active_dims=12))
    words = count_words(["the fox of the forest", "a bee", "the fox"] * 2, least=1)
    both = JoinedEncoder.of(capped, words, weight=1.5, name="both")
    texts = [document.text() for document in documents()[:20]]
    export_onnx(both, place, precision="int8", texts=texts)
    return words


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("adapt"))


def test_one_command_from_documents_to_a_measured_encoder(encoder: Path, tmp_path: Path) -> None:
    """Stopped, resumed, measured on held-out and on judged queries; what was there is kept."""
    corpus = write_corpus(tmp_path / "corpus.jsonl", documents())
    judged = tmp_path / "judged"
    (judged / "qrels").mkdir(parents=True)
    write_corpus(judged / "corpus.jsonl", documents())
    lines = [{"_id": f"q{a}", "text": f"where does the {a} of the farm live"} for a in ANIMALS]
    (judged / "queries.jsonl").write_text("\n".join(map(json.dumps, lines)))
    qrels = "".join(f"q{a}\td{a}-farm\t1\n" for a in ANIMALS)
    (judged / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{qrels}")
    output = tmp_path / "out"
    arguments = [str(corpus), str(output), "--encoder", str(encoder), "--judged", str(judged)]
    arguments += ["--steps", "4", "--batch", "4", "--set", "run.checkpoint_every=2"]
    run = CliRunner()
    stopped = run.invoke(
        adapt_command, [*arguments, "--stop-after", "0.001"], catch_exceptions=False
    )
    assert "stopped" in stopped.stdout
    again = f"lsr adapt {corpus} {output} --encoder {encoder} --judged {judged} --steps 4 --batch 4"
    assert f"{again} --set run.checkpoint_every=2 --stop-after 0.001s" in stopped.stdout
    assert not output.exists()
    done = run.invoke(adapt_command, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "idf refresh only" in done.stdout
    work = tmp_path / "out.adapt"
    report = json.loads((work / "report.json").read_text())
    tables = report["collections"]
    assert list(tables) == ["held-out queries", "judged test"]
    for systems in tables.values():
        assert list(systems) == ["bm25", "before", "idf", "after"]
        assert all(0 <= row["means"]["nDCG@10"] <= 1 for row in systems.values())
    assert tables["judged test"]["bm25"]["n_queries"] == 6
    after = load_encoder(output)
    assert isinstance(after, InferenceFreeEncoder)
    refreshed = load_encoder(work / "refreshed" / "tiny")
    texts = [document.text() for document in documents()]
    wanted = idf_table(texts, after.queries.tokenizer, n_terms=after.n_terms)
    np.testing.assert_allclose(after.queries.weights, wanted, rtol=1e-6)
    assert refreshed.space == load_encoder(encoder).space != after.space
    before = load_encoder(encoder).encode_documents(texts[:3])
    assert abs(after.encode_documents(texts[:3]) - before).max() > 0, "training moved the network"
    card = json.loads((output / "lsr.json").read_text())
    assert card["adapted"]["from"] == "tiny"
    wanted_terms = card["training"]["recipe"]["stage"]["ranking"]["controller"]["documents"]
    assert wanted_terms == round(tables["held-out queries"]["before"]["document_terms"])

    stamps = {path: path.stat().st_mtime_ns for path in work.rglob("*.npz")}
    again = run.invoke(adapt_command, [*arguments, "--json"], catch_exceptions=False)
    assert json.loads(again.stdout)["table"] == tables
    assert stamps == {path: path.stat().st_mtime_ns for path in work.rglob("*.npz")}
    with pytest.raises(RecipeError, match="another corpus, encoder or settings"):
        adapt(str(corpus), output, encoder=encoder, steps=5, progress=False)


def test_given_queries_take_the_place_of_those_from_documents(
    encoder: Path, tmp_path: Path
) -> None:
    """Their answers are what BM25 and the encoder rank best together: the one that says both."""
    corpus = write_corpus(tmp_path / "corpus.jsonl", documents())
    pairs = [(animal, place) for animal in ANIMALS[:3] for place in PLACES[:2]]
    lines = [{"_id": f"x{i}", "text": f"{a} {p}"} for i, (a, p) in enumerate(pairs)]
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, lines)))
    report = adapt(
        str(corpus),
        tmp_path / "out",
        encoder=encoder,
        queries=tmp_path / "queries.jsonl",
        teacher="bm25",
        steps=2,
        batch=4,
        progress=False,
    )
    assert report.finished
    collection = tmp_path / "out.adapt" / "collection"
    rows = (collection / "qrels" / "train.tsv").read_text().splitlines()[1:]
    found = [row.split("\t")[1] for row in rows]
    right = sum(doc_id == f"d{a}-{p}" for doc_id, (a, p) in zip(found, pairs, strict=True))
    assert right == len(pairs)
    card = json.loads((tmp_path / "out" / "lsr.json").read_text())
    assert card["training"]["recipe"]["stage"]["ranking"]["losses"]["kl"] == 1.0


def test_it_stops_while_negatives_are_mined_and_goes_on(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline was not looked at before all negatives were there, and a kill lost them all."""
    corpus = write_corpus(tmp_path / "corpus.jsonl", documents())
    looks = iter([0.0, 0.0])

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return next(looks, float("inf"))

    def once(output: Path) -> AdaptReport:
        return adapt(
            str(corpus),
            output,
            encoder=encoder,
            teacher="bm25",
            steps=1,
            batch=4,
            progress=False,
            stop_after=3600,
        )

    monkeypatch.setattr("training.mining.negatives._BLOCK", 16)
    with monkeypatch.context() as patched:
        patched.setattr("training.mining.parts.time", Clock)
        stopped = once(tmp_path / "stormy")
    assert (stopped.finished, stopped.step) == (False, "negatives")
    assert len(list((tmp_path / "stormy.adapt" / "negatives").glob("*.npz"))) == 2
    assert once(tmp_path / "stormy").finished
    assert once(tmp_path / "quiet").finished
    mined = [
        (tmp_path / f"{name}.adapt" / "collection" / "negatives.jsonl.gz").read_bytes()
        for name in ("stormy", "quiet")
    ]
    assert mined[0] == mined[1]
    assert not (tmp_path / "stormy.adapt" / "negatives").exists()


def test_a_language_model_may_write_the_queries(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked once for each document drawn, in blocks between which a deadline ends it."""
    made = make_decoder(tmp_path / "decoder", positions=512)
    corpus = write_corpus(tmp_path / "corpus.jsonl", documents())
    asked: list[str] = []

    def write(_: QuestionWriter, passages: Sequence[str], *, seed: int) -> list[str]:
        asked.extend(passages)
        return [" ".join(passage.split()[:6]) for passage in passages]

    monkeypatch.setattr(QuestionWriter, "write", write)
    monkeypatch.setattr("training.adapting.written.BLOCK", 16)

    def once(stop_after: float | None = None) -> AdaptReport:
        return adapt(
            str(corpus),
            tmp_path / "out",
            encoder=encoder,
            generator=str(made),
            steps=1,
            batch=4,
            progress=False,
            stop_after=stop_after,
        )

    looks = iter([0.0, 0.0])

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return next(looks, float("inf"))

    with monkeypatch.context() as patched:
        patched.setattr("training.adapting.written.time", Clock)
        stopped = once(stop_after=3600)
    assert (stopped.finished, stopped.step, len(asked)) == (False, "queries", 32)
    assert once().finished
    assert sorted(asked) == sorted(document.text() for document in documents())
    collection = load_dataset(tmp_path / "out.adapt" / "collection")
    whole = [document.text() for document in collection.documents()]
    assert whole == [document.text() for document in documents()]
    assert all(query.text in "\n".join(whole) for query in collection.queries("train"))


@pytest.mark.parametrize("kind", ["siamese", "separate"])
def test_encoders_whose_queries_go_through_a_network_are_adapted_too(
    encoder: Path, kind: str, tmp_path: Path
) -> None:
    """There is no table to refresh, both sides learn, and both keep their lengths."""
    checkpoint = encoder.parent / "checkpoint"
    made: SpladeEncoder | SeparateEncoder
    documents_model = SpladeModel.from_checkpoint(checkpoint, max_length=48)
    if kind == "siamese":
        made = SpladeEncoder.of(documents_model)
    else:
        queries_model = SpladeModel.from_checkpoint(checkpoint, max_length=48)
        made = SeparateEncoder.of(queries_model, documents_model)
    made.save(tmp_path / "start")
    corpus = write_corpus(tmp_path / "corpus.jsonl", documents())
    report = adapt(
        str(corpus), tmp_path / "out", encoder=tmp_path / "start", steps=2, batch=4, progress=False
    )
    assert list(report.table["held-out queries"]) == ["bm25", "before", "after"]
    after = load_encoder(tmp_path / "out")
    assert type(after) is type(made)
    before = load_encoder(tmp_path / "start").encode_queries(["the fox"])
    assert abs(after.encode_queries(["the fox"]) - before).max() > 0


def test_a_graph_with_words_beside_it_comes_out_as_one(encoder: Path, tmp_path: Path) -> None:
    """The kind of the encoder that comes with the package: thawed, trained with its words in the
    score, rounded again, and joined again with words counted in the corpus."""
    pytest.importorskip("onnxscript")
    texts = [document.text() for document in documents()]
    words = graph_with_words(encoder, tmp_path / "start")
    corpus = write_corpus(tmp_path / "corpus.jsonl", documents())
    report = adapt(
        str(corpus),
        tmp_path / "out",
        encoder=tmp_path / "start",
        steps=2,
        batch=4,
        learning_rate=1e-3,
        progress=False,
    )
    assert list(report.table["held-out queries"]) == ["bm25", "before", "idf", "after"]
    before, after = load_encoder(tmp_path / "start"), load_encoder(tmp_path / "out")
    assert isinstance(before, JoinedEncoder)
    assert isinstance(after, JoinedEncoder)
    assert isinstance(after.learned.documents, OnnxSide)
    assert after.learned.documents.precision == "int8"
    assert after.learned.settings.max_active_dims == 12
    assert (after.name, after.weight) == ("out", 1.5)
    np.testing.assert_array_equal(after.learned.queries.weights, before.learned.queries.weights)
    assert after.words.statistics.terms == before.words.statistics.terms
    wanted = dict(zip(words.statistics.terms, words.count(texts)[0].tolist(), strict=False))
    got = after.words.statistics
    assert got.df.tolist() == [wanted[term] for term in got.terms]
    moved = before.learned.encode_documents(texts[:3]) - after.learned.encode_documents(texts[:3])
    assert abs(moved).max() > 0.01
    card = json.loads((tmp_path / "out" / "lsr.json").read_text())
    ranking = card["training"]["recipe"]["stage"]["ranking"]
    assert ranking["words"] == 1.5
    assert ranking["controller"]["documents"] > 12, "training sees the terms before the cap"
    assert card["adapted"]["from"] == before.name
    assert card["idf"]["n_passages"] == 60
    assert after.learned.text_fields == after.text_fields == before.text_fields
    assert card["training"]["backbone"]["name"] == before.name
    assert (tmp_path / "out" / "README.md").is_file()
    assert run_lsr(["thaw", str(tmp_path / "out"), str(tmp_path / "thawed")]) == 0


@pytest.mark.parametrize("form", [pytest.param("graph", marks=pytest.mark.slow), "words"])
def test_what_an_encoder_had_seen_is_told_of_what_it_became(
    encoder: Path, form: str, tmp_path: Path
) -> None:
    """By its name, its README and its licence, also where training starts from a copy of it."""
    pytest.importorskip("onnxscript")
    from lsr.contamination import contamination
    from lsr.encoders.onnx_export import export_onnx

    texts = [document.text() for document in documents()]
    start = tmp_path / "splade-v3-mine"
    if form == "graph":
        model = SpladeModel.from_checkpoint(encoder.parent / "checkpoint", max_length=48)
        made = SpladeEncoder.of(model, name="splade-v3")
        export_onnx(made, start, precision="float32", texts=texts[:20])
    else:
        free = load_encoder(encoder)
        assert isinstance(free, InferenceFreeEncoder)
        words = count_words(texts[:9], least=1)
        JoinedEncoder.of(free, words, weight=2.0, name="splade-v3-mine").save(start)
    readme = "---\nlicense: cc-by-nc-sa-4.0\ndatasets:\n- ms_marco\n---\n# A model\n"
    (start / "README.md").write_text(readme)

    def seen(folder: Path) -> set[str]:
        found = contamination([folder], dataset="msmarco-dl19-mini", split="test", fingerprint="")
        return {one.what.split()[-1] for one in found}

    before = seen(start)
    assert before
    corpus = write_corpus(tmp_path / "corpus.jsonl", documents())
    adapt(str(corpus), tmp_path / "out", encoder=start, steps=1, batch=4, progress=False)
    assert seen(tmp_path / "out") >= before
    card = json.loads((tmp_path / "out" / "lsr.json").read_text())
    assert card["training"]["backbone"]["licence"] == "cc-by-nc-sa-4.0"
    assert "cc-by-nc-sa-4.0" in (tmp_path / "out" / "README.md").read_text()


def test_what_cannot_be_adapted_is_refused(encoder: Path, tmp_path: Path) -> None:
    from lsr.encoders import BM25Encoder

    corpus = write_corpus(tmp_path / "corpus.jsonl", documents())
    BM25Encoder.fit(["a", "b"]).save(tmp_path / "bm25")
    with pytest.raises(EncoderError, match="nothing to train"):
        adapt(str(corpus), tmp_path / "out", encoder=tmp_path / "bm25")
    bare = write_corpus(tmp_path / "bare.jsonl", [Document("d", {"text": "one"})])
    with pytest.raises(DatasetError, match="Give queries"):
        adapt(str(bare), tmp_path / "none", encoder=encoder, progress=False)
    (tmp_path / "asked.txt").write_text("fox\n")
    with pytest.raises(UsageError, match="leave out one"):
        adapt(
            str(corpus),
            tmp_path / "out",
            encoder=encoder,
            generator="decoder",
            queries=tmp_path / "asked.txt",
        )
    with pytest.raises(EncoderError, match="neither a checkpoint folder"):
        adapt(str(corpus), tmp_path / "out", encoder=encoder, generator=str(corpus))
    assert not (tmp_path / "out.adapt").exists()  # the corrected command is not another one
