"""Early stopping: which queries and documents are ranked, what is kept, that resuming is exact."""

import json
import sys
import types
from collections import namedtuple
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from safetensors.numpy import load_file  # noqa: E402

from lsr.errors import DatasetError, RecipeError  # noqa: E402
from training import load_recipe, train  # noqa: E402
from training.data import load_pairs  # noqa: E402
from training.develop import Development, Progress, load_development, mean_score, score  # noqa: E402
from training.sections import RunSettings  # noqa: E402
from training.stage_settings import StageSettings  # noqa: E402
from training.trainer import run_stage  # noqa: E402
from training.training_run import StopEarly  # noqa: E402

QUICK = {
    "stage.mlm.steps": 4,
    "stage.ranking.steps": 6,
    "stage.ranking.sparsity.ramp": 3,
    "run.log_every": 2,
    "run.checkpoint_every": 2,
}


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """A BEIR folder: 5 dev queries with one answer each, 40 documents."""
    folder = tmp_path / "birds"
    (folder / "qrels").mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w") as out:
        for row in range(40):
            out.write(json.dumps({"_id": f"d{row}", "title": "", "text": f"bird {row}"}) + "\n")
    with (folder / "queries.jsonl").open("w") as out:
        for row in range(6):
            out.write(json.dumps({"_id": f"q{row}", "text": f"which bird is {row}"}) + "\n")
    lines = ["query-id\tcorpus-id\tscore"] + [f"q{row}\td{row}\t1" for row in range(5)]
    (folder / "qrels" / "dev.tsv").write_text("\n".join([*lines, "q5\td9\t0"]) + "\n")
    return folder


def developing(**settings: object):
    return load_recipe("smoke", {f"develop.{key}": value for key, value in settings.items()})


def test_a_collection_gives_its_judged_documents_and_a_sample(collection: Path) -> None:
    recipe = developing(dataset=str(collection), documents=12)
    (development,), pairs = load_development(recipe, load_pairs(recipe))
    assert len(pairs.queries) == 48
    assert (development.name, development.split) == ("birds", "dev")
    # q5 has nothing relevant; the five answers are there whatever the sample.
    assert len(development.queries) == 5
    assert len(development.documents) == len(set(development.documents)) == 12
    for row, query in enumerate(development.queries):
        ((document, grade),) = development.qrels[str(row)].items()
        assert development.documents[int(document)] == f"bird {query.split()[-1]}"
        assert grade == 1
    (again,), _ = load_development(recipe, load_pairs(recipe))
    assert again == development


def test_the_queries_that_are_learned_from_choose_no_weights(
    collection: Path, tmp_path: Path
) -> None:
    """The same split under any name; it was accepted, and the card called it development."""
    renamed = tmp_path / "renamed"
    renamed.symlink_to(collection)
    settings = {"data.train": [str(collection)], "data.split": "dev"}
    for name in (collection, renamed):
        recipe = load_recipe("smoke", settings | {"develop.dataset": str(name)})
        with pytest.raises(RecipeError, match=r"split 'dev' has the very queries that data\.train"):
            train(recipe, tmp_path / "e", progress=False)
    assert not list(tmp_path.glob("e*"))
    (collection / "qrels" / "held.tsv").write_text("query-id\tcorpus-id\tscore\nq5\td9\t1\n")
    recipe = load_recipe(
        "smoke", settings | {"develop.dataset": str(collection), "develop.split": "held"}
    )
    (development,), _ = load_development(recipe, load_pairs(recipe))
    assert (development.split, development.queries) == ("held", ["which bird is 5"])


def test_held_out_queries_are_not_learned_from() -> None:
    recipe = developing(held_out=0.25, documents=20)
    before = load_pairs(recipe)
    (development,), left = load_development(recipe, before)
    assert len(development.queries) == 12
    assert sorted(development.queries + left.queries) == sorted(before.queries)
    assert len(left.positives) == len(left.negatives) == len(left.source_of) == 36
    (source,) = left.sources  # which the card tells
    assert (source.n_queries, source.n_positives) == (36, sum(map(len, left.positives)))
    assert len(development.documents) == 20
    for row, query in enumerate(development.queries):
        at = before.queries.index(query)
        answers = {before.documents[document] for document in before.positives[at]}
        assert {development.documents[int(d)] for d in development.qrels[str(row)]} == answers
    for query, positives in zip(left.queries, left.positives, strict=True):
        assert positives.tolist() == before.positives[before.queries.index(query)].tolist()


@pytest.fixture
def nano(monkeypatch: pytest.MonkeyPatch) -> None:
    """ir_datasets with NanoBEIR alone: three texts a collection, one question, the second answers.

    It carries the collection's name, so that encoders can tell them apart.
    """
    Doc = namedtuple("Doc", "doc_id title text")
    Query = namedtuple("Query", "query_id text")
    Qrel = namedtuple("Qrel", "query_id doc_id relevance")

    class Nano:
        def __init__(self, name: str) -> None:
            self.name = name

        def has_docs(self) -> bool:
            return True

        has_qrels = has_queries = has_docs

        def docs_count(self) -> int:
            return 3

        def docs_iter(self):
            return iter([Doc(f"d{i}", "", f"text {i}") for i in range(3)])

        def queries_iter(self):
            return iter([Query("q", self.name)])

        def qrels_iter(self):
            return iter([Qrel("q", "d1", 1)])

    def load(irds_id: str) -> Nano:
        kind, _, name = irds_id.partition("/")
        if kind != "nano-beir" or "/" in name:
            raise KeyError(irds_id)
        return Nano(name)

    module = types.ModuleType("ir_datasets")
    module.__spec__ = ModuleSpec("ir_datasets", None)
    module.load = load  # type: ignore[attr-defined]
    module.docs_parent_id = lambda irds_id: irds_id  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ir_datasets", module)


@pytest.mark.usefixtures("nano")
def test_a_name_goes_through_the_resolver_to_ir_datasets() -> None:
    """The small judged samples people use for this, NanoBEIR, come from there."""
    recipe = developing(dataset="irds:nano-beir/scifact", split="test")
    (development,), _ = load_development(recipe, load_pairs(recipe))
    assert development.documents[int(*development.qrels["0"])] == "text 1"
    with pytest.raises(DatasetError, match="no judgements for split 'dev'"):
        recipe = developing(dataset="irds:nano-beir/scifact")
        load_development(recipe, load_pairs(recipe))


@pytest.mark.usefixtures("nano")
def test_the_collections_of_nanobeir_are_ranked_apart_and_averaged() -> None:
    """One of thirteen finds its answer first, one second, the others nothing: (1 + 1/2) / 13."""

    class Reader:
        def encode_queries(self, texts):
            row = {"scifact": [0, 1], "quora": [1, 1]}.get(texts[0], [0, 0])
            return sparse.csr_array(np.asarray([row], np.float32))

        def encode_documents(self, texts):
            rows = {"text 0": [2, 0], "text 1": [0, 1], "text 2": [0, 0]}
            return sparse.csr_array(np.asarray([rows[text] for text in texts], np.float32))

    recipe = developing(dataset="nanobeir", split="test")
    developments, _ = load_development(recipe, load_pairs(recipe))
    assert len(developments) == len({one.name for one in developments}) == 13
    assert developments[0].name == "nanobeir/arguana"
    assert mean_score(developments, Reader(), "RR@10") == pytest.approx(1.5 / 13)


@pytest.mark.usefixtures("nano")
def test_a_run_is_stopped_by_nanobeir_and_the_card_says_by_what(tmp_path: Path) -> None:
    recipe = load_recipe("smoke", QUICK | {"develop.dataset": "nanobeir", "develop.split": "test"})
    report = train(recipe, tmp_path / "e", progress=False)
    assert report.finished
    record = json.loads((tmp_path / "e" / "lsr.json").read_text())["training"]["development"]
    assert record["name"].split(", ")[::12] == ["nanobeir/arguana", "nanobeir/webis-touche2020"]
    assert (record["n_queries"], record["n_documents"], record["is_test"]) == (13, 39, True)


@pytest.mark.parametrize("settings", [{}, {"dataset": "scifact", "held_out": 0.1}])
def test_one_source_of_queries_must_be_named(settings: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match=r"wants either dataset .* or held_out"):
        developing(every=5, **settings)


def test_a_measure_that_is_none_is_refused_with_the_recipe() -> None:
    """It was read at the first look, hundreds of steps in."""
    wanted = r"smoke\.toml: develop\.measure: no measure 'nDGC@10'; wanted .* such as nDCG@10"
    with pytest.raises(RecipeError, match=wanted):
        developing(held_out=0.2, measure="nDGC@10")
    wanted = (
        r"smoke\.toml: develop\.measure: the measure 'RBP@10' cannot be computed; wanted one of"
    )
    with pytest.raises(RecipeError, match=wanted):
        developing(held_out=0.2, measure="RBP@10")
    for measure in ("RR@10", "AllSources@5"):
        assert developing(held_out=0.2, measure=measure).develop is not None


class Table:
    """An encoder whose vectors are given."""

    def __init__(self, queries: object, documents: object) -> None:
        self.queries = sparse.csr_array(np.asarray(queries, np.float32))
        self.documents = sparse.csr_array(np.asarray(documents, np.float32))

    def encode_queries(self, texts):
        return self.queries

    def encode_documents(self, texts):
        return self.documents


def test_the_score_is_that_of_the_exact_ranking() -> None:
    """Products 1, 6, 3: the answer is second, 1 / log2(3); the other query finds nothing, 0."""
    development = Development("t", "dev", "", ["a", "b"], ["x", "y", "z"], {})
    development = Development(
        "t", "dev", "", ["a", "b"], ["x", "y", "z"], {"0": {"2": 1}, "1": {"0": 1}}
    )
    encoder = Table([[1, 2], [0, 0]], [[1, 0], [0, 3], [1, 1]])
    assert score(development, encoder, "nDCG@10") == pytest.approx((1 / np.log2(3)) / 2)
    assert score(development, encoder, "RR@10") == pytest.approx(0.25)


class Walk(torch.nn.Module):
    """One number that grows by about the learning rate a step."""

    def __init__(self) -> None:
        super().__init__()
        self.x = torch.nn.Parameter(torch.zeros(()))

    def forward(self, one: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": -self.x * one}


def walk(folder: Path, looks: list[float], *, patience: int, deadline: float | None = None):
    """20 steps with a look every two; `looks` are what the looks will find, by step."""
    objective = Walk()
    seen: list[float] = []

    def look() -> float:
        step = 2 * (len(stop.progress.scores) + 1)
        seen.append(float(objective.x.detach()))
        return looks[step // 2 - 1]

    stop = StopEarly(objective, look, folder, every=2, patience=patience, exact=True)
    settings = StageSettings(
        "ranking",
        steps=20,
        learning_rate=0.1,
        warmup_steps=0,
        run=RunSettings(log_every=2, checkpoint_every=100),
    )
    items = [{"one": torch.tensor(1.0)}] * 20
    done = run_stage(
        objective,
        items,
        settings,
        folder,
        deadline=deadline,
        asides=[stop.say],
        callbacks=[stop],
        quiet=True,
    )
    stop.restore_best()
    return objective, stop.progress, seen, done


def test_it_stops_when_patience_is_out_and_ends_with_the_best_weights(tmp_path: Path) -> None:
    objective, progress, seen, done = walk(tmp_path, [0.1, 0.5, 0.4, 0.5, 0.3], patience=3)
    assert not done
    assert progress.stopped
    assert [step for step, _ in progress.scores] == [2, 4, 6, 8, 10]
    assert progress.best == (4, 0.5)  # an equal score is no better one
    assert float(objective.x.detach()) == seen[1] != seen[-1]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_bytes().splitlines()]
    assert [line["develop"] for line in lines] == [0.1, 0.5, 0.4, 0.5, 0.3]


def test_without_patience_it_runs_to_the_end_and_takes_the_best(tmp_path: Path) -> None:
    scores = [0.1, 0.2, 0.9, *[0.3] * 7]
    objective, progress, seen, done = walk(tmp_path, scores, patience=0)
    assert done
    assert not progress.stopped
    assert len(seen) == 10
    assert float(objective.x.detach()) == seen[2]


@pytest.mark.slow
def test_an_interrupted_walk_remembers_its_best(tmp_path: Path) -> None:
    """Stopped after every step; looks and weights are those of a walk without interruptions."""
    scores = [0.1, 0.5, 0.4, 0.5, 0.3]
    whole, *_ = walk(tmp_path / "whole", scores, patience=3)
    for _ in range(12):
        objective, progress, _, done = walk(tmp_path / "parts", scores, patience=3, deadline=0.0)
        if done or progress.stopped:
            break
    assert progress.scores == [(2 * n + 2, value) for n, value in enumerate(scores)]
    assert torch.equal(objective.x, whole.x)
    assert Progress.read(tmp_path / "parts" / "develop.json") == progress


@pytest.mark.slow
def test_early_stopping_in_a_run_is_exact_over_interruptions(tmp_path: Path) -> None:
    """With held-out queries, a look at every second step, and stops in between."""
    recipe = load_recipe(
        "smoke", QUICK | {"develop.held_out": 0.2, "develop.every": 2, "develop.patience": 2}
    )
    whole = train(recipe, tmp_path / "whole", progress=False)
    assert whole.n_queries == 38
    report = None
    while report is None or not report.finished:
        report = train(recipe, tmp_path / "parts", progress=False, stop_after=0.0)
    name = Path("document_0_Transformer") / "model.safetensors"
    first, second = load_file(tmp_path / "whole" / name), load_file(tmp_path / "parts" / name)
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_no_copy_of_a_development_query_is_learned_from(tmp_path: Path, collection: Path) -> None:
    """Held out were rows: the same text stayed in another file, or under another id."""
    rows = [{"query": f"which bird is {row}", "pos": f"bird {row}"} for row in range(20)]
    for name, mark in (("one", ""), ("other", " ")):
        lines = "".join(
            json.dumps({"query": row["query"].upper() + mark, "pos": row["pos"]}) + "\n"
            for row in rows
        )
        (tmp_path / f"{name}.jsonl").write_text(lines)
    train = [str(tmp_path / "one.jsonl"), str(tmp_path / "other.jsonl")]
    settings = {"data.train": train, "data.negatives": 0, "data.mining": None}
    for develop in (
        {"develop.held_out": 0.25, "develop.documents": 12},
        {"develop.dataset": str(collection), "develop.documents": 12},
    ):
        recipe = load_recipe("smoke", {**settings, **develop})
        pairs = load_pairs(recipe)
        (development,), left = load_development(recipe, pairs)
        asked = {query.lower().strip() for query in development.queries}
        learned = {query.lower().strip() for query in left.queries}
        assert asked
        assert not asked & learned
        assert len(asked | learned) == 20
        assert len(asked) == len(development.queries) == 5
        assert sum(source.n_queries for source in left.sources) == len(left.queries)
