"""Mining: rankings against brute force, windows, what is left out, files, recipes, rounds."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lsr.__main__ import run
from lsr.commands.mine import mine as mine_command
from lsr.encoders import BM25Encoder
from lsr.errors import DatasetError, EncoderError, MissingExtra, RecipeError, UsageError
from training import load_recipe, mine
from training.data import load_pairs
from training.mining import negatives
from training.mining.cleaning import Copies
from training.mining.judges import judged
from training.mining.negatives import Mined, MiningPlan, mine_texts
from training.mining.parts import OutOfTimeError, Parts
from training.mining.rankers import DenseMiner, DenseRanker, SparseRanker, open_miner
from training.mining.windows import Window, draw, parse_window
from training.rows import Rows

WORDS = ["red", "green", "blue", "fox", "owl", "bee", "tree", "sea", "sky", "sun", "moon"]
WORDS += ["star", "rain", "wind", "snow"]


def rows(*numbers: int) -> Rows:
    return np.asarray(numbers, np.int32)


def texts(n: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=6)) for _ in range(n)]


def test_the_engine_ranks_as_the_product_of_the_matrices_does() -> None:
    """Oracle: float scores of every pair. The engine rounds weights, so near ties may swap."""
    documents, queries = texts(80), ["red fox", "blue sea sky", "unknown"]
    encoder = BM25Encoder.fit(documents)
    scores = (encoder.encode_queries(queries) @ encoder.encode_documents(documents).T).toarray()
    asked = [rows(3, 7), rows(), rows(1)]
    ranked = SparseRanker(encoder, documents, quiet=True).search(queries, 20, asked)
    for i, answer in enumerate(ranked):
        n_found = min(20, int((scores[i] > 0).sum()))
        assert len(answer.rows) == n_found
        best = np.sort(scores[i])[::-1][:n_found]
        np.testing.assert_allclose(scores[i][answer.rows], best, rtol=0.01)
        np.testing.assert_allclose(answer.scores, scores[i][answer.rows], rtol=0.01)
        np.testing.assert_allclose(answer.asked, scores[i][asked[i]], rtol=1e-6)


class Projection:
    """A dense teacher that counts words and turns them by a fixed random matrix."""

    name = "projection"
    fingerprint = "0" * 16

    def _embed(self, batch: list[str]) -> np.ndarray:
        matrix = np.random.default_rng(5).normal(size=(len(WORDS), 8))
        counts = [[text.split().count(word) for word in WORDS] for text in batch]
        return (np.asarray(counts, np.float32) @ matrix).astype(np.float32)

    def embed_queries(self, batch: list[str], *, progress: bool = False) -> np.ndarray:
        return self._embed(batch)

    def embed_documents(self, batch: list[str], *, progress: bool = False) -> np.ndarray:
        return self._embed(batch)


def test_faiss_ranks_as_numpy_does() -> None:
    faiss = pytest.importorskip("faiss")
    documents, queries = texts(60), texts(5, seed=1)
    teacher = Projection()
    wanted = teacher.embed_queries(queries) @ teacher.embed_documents(documents).T
    asked = [rows(2)] * len(queries)
    ranker = DenseRanker(teacher, documents, faiss, quiet=True)
    for i, answer in enumerate(ranker.search(queries, 10, asked)):
        np.testing.assert_array_equal(np.sort(answer.rows), np.sort(np.argsort(-wanted[i])[:10]))
        np.testing.assert_allclose(answer.scores, np.sort(wanted[i])[::-1][:10], rtol=1e-4)
        np.testing.assert_allclose(answer.asked, wanted[i][[2]], rtol=1e-4, atol=1e-5)


def test_a_teacher_scores_the_asked_pairs() -> None:
    documents, queries = texts(9), texts(2, seed=1)
    teacher = Projection()
    wanted = teacher.embed_queries(queries) @ teacher.embed_documents(documents).T
    found = judged(teacher, queries, documents, [rows(4, 0), rows(4)], quiet=True)
    np.testing.assert_allclose(found[0], wanted[0][[4, 0]], rtol=1e-5)
    np.testing.assert_allclose(found[1], wanted[1][[4]], rtol=1e-5)


def test_windows_take_what_they_say_and_the_seed_decides() -> None:
    windows = [parse_window("0-5:5"), parse_window("5-100:7")]
    first = draw(100, windows, lambda rank: True, query="q", seed=1)
    assert first[:5] == [0, 1, 2, 3, 4]
    assert len(first) == 12 == len(set(first))
    assert all(5 <= rank < 100 for rank in first[5:])
    assert first == draw(100, windows, lambda rank: True, query="q", seed=1)
    assert first != draw(100, windows, lambda rank: True, query="q", seed=2)
    assert first != draw(100, windows, lambda rank: True, query="r", seed=1)
    even = draw(100, windows, lambda rank: rank % 2 == 0, query="q", seed=1)
    assert even[:3] == [0, 2, 4]
    assert len(even) == 3 + 7, "refused ranks are replaced by others of the window"
    assert draw(3, [Window(1, 9)], lambda rank: True, query="q", seed=1) == [1, 2]


@pytest.mark.parametrize("text", ["5", "5-5", "9-3", "0-9:0", "a-b", "-1-5"])
def test_a_window_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="FIRST-LAST"):
        parse_window(text)


def test_copies_and_near_copies_are_known_by_their_words() -> None:
    documents = ["The red fox!", "the RED  fox", "a red fox", "the red fox ran", "owl", "..."]
    copies = Copies(documents, near_copy=0.75)
    assert copies.copies_one_of(1, [0])
    assert not copies.copies_one_of(2, [0])  # 2 of 4 words shared
    assert copies.copies_one_of(3, [4, 0])  # 3 of 4
    assert not copies.copies_one_of(4, [0, 5])


def test_answers_their_copies_the_querys_own_document_and_repeats_are_left_out() -> None:
    documents = ["red fox", "red fox den", "Red fox den.", "red fox sea", "red fox moon"]
    documents += ["Red, fox", "fox of the red sky", "owl"]
    plan = MiningPlan.of(["bm25"], ["0-20"])
    (found,) = mine_texts(plan, ["red fox"], [rows(4)], documents, forbidden=[rows(3)], quiet=True)
    left = {documents[row] for row in found.rows}
    assert left & {"red fox", "Red, fox"} == set(), "the query itself is no document to learn from"
    assert len(left & {"red fox den", "Red fox den."}) == 1
    assert left - {"red fox den", "Red fox den."} == {"fox of the red sky"}
    assert np.all(np.diff(found.scores) <= 0)


def test_a_share_of_the_positives_score_leaves_out_likely_answers() -> None:
    documents = ["red fox", "red fox owl", "red sea sky sun", "fox bee tree moon"]
    encoder = BM25Encoder.fit(documents)
    scores = encoder.encode_queries(["red fox tail"]) @ encoder.encode_documents(documents).T
    line = float(scores.toarray()[0][1]) * 0.8
    plan = MiningPlan.of(["bm25"], ["0-9"], share=0.8)
    (found,) = mine_texts(plan, ["red fox tail"], [rows(1)], documents, quiet=True)
    assert set(found.rows.tolist()) == {
        row for row in (0, 2, 3) if 0 < scores.toarray()[0][row] < line
    }
    assert 0 not in found.rows


def test_a_teachers_scores_decide_where_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The teacher is BM25 here; a margin of 0 leaves what scores below the positive."""
    documents = texts(40)
    plan = MiningPlan.of(["bm25"], ["0-40"], margin=0.0, teacher="bm25")
    (found,) = mine_texts(plan, ["red fox"], [rows(11)], documents, quiet=True)
    encoder = BM25Encoder.fit(documents)
    scores = (encoder.encode_queries(["red fox"]) @ encoder.encode_documents(documents).T).toarray()
    np.testing.assert_allclose(found.scores, scores[0][found.rows], rtol=1e-5)
    assert np.all(found.scores < scores[0][11]) or scores[0][11] == 0
    with pytest.raises(RecipeError, match="nothing to decide"):
        MiningPlan.of(["bm25"], ["0-40"], teacher="bm25")


def test_two_miners_add_up_without_repeats(tmp_path: Path) -> None:
    documents = texts(40)
    BM25Encoder.fit(documents).save(tmp_path / "enc")
    one = MiningPlan.of(["bm25"], ["0-5"])
    two = MiningPlan.of(["bm25", str(tmp_path / "enc")], ["0-5", "5-9"])
    (single,) = mine_texts(one, ["red fox"], [rows()], documents, quiet=True)
    (both,) = mine_texts(two, ["red fox"], [rows()], documents, quiet=True)
    assert len(set(both.rows.tolist())) == len(both.rows)
    assert set(single.rows.tolist()) < set(both.rows.tolist())


def test_what_is_missing_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EncoderError, match="is no folder"):
        open_miner("nowhere")
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"pip install 'lsr-search\[dense\]'"):
        open_miner(f"dense:{tmp_path}")


def collection(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": f"d{i}", "text": text}) for i, text in enumerate(texts(40))]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    queries = {"d5": texts(40)[5] + " tail", "q1": "blue sea", "q2": "owl bee"}
    lines = [json.dumps({"_id": i, "text": text}) for i, text in queries.items()]
    (folder / "queries.jsonl").write_text("\n".join(lines))
    judgements = "d5\td1\t1\nq1\td2\t1\nq1\td3\t2\nq2\td4\t1\n"
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + judgements)
    return folder


def test_the_file_is_what_training_reads(tmp_path: Path) -> None:
    folder = collection(tmp_path / "zoo")
    output = folder / "negatives.jsonl.gz"
    arguments = [str(folder), "--window", "0-8:6", "--output", str(output), "--json"]
    result = CliRunner().invoke(mine_command, arguments, catch_exceptions=False)
    report = json.loads(result.stdout)
    with gzip.open(output, "rt") as file:
        mined = {record["_id"]: record for record in map(json.loads, file)}
    assert set(mined) == {"d5", "q1", "q2"}
    assert report["n_negatives"] == sum(len(record["neg"]) for record in mined.values()) > 0
    assert "d5" not in mined["d5"]["neg"], "a query that is a document does not find itself"
    assert not {"d2", "d3"} & set(mined["q1"]["neg"])
    assert all(len(record["neg"]) == len(record["scores"]) <= 6 for record in mined.values())
    recipe = recipe_for(tmp_path, "negatives = 2")
    pairs = load_pairs(recipe)
    negatives = {
        query: {pairs.documents[row] for row in found}
        for query, found in zip(pairs.queries, pairs.negatives, strict=True)
    }
    documents = texts(40)
    wanted = {documents[int(name[1:])] for name in mined["q1"]["neg"]}
    assert negatives["blue sea"] == wanted
    with pytest.raises(UsageError, match="--overwrite"):
        CliRunner().invoke(mine_command, arguments, catch_exceptions=False)
    with pytest.raises(DatasetError):
        mine(folder, tmp_path / "x.jsonl", split="dev")


def test_questions_that_nobody_judged_get_candidates_for_teachers(tmp_path: Path) -> None:
    folder, output = collection(tmp_path / "zoo"), tmp_path / "asked.jsonl"
    asked = tmp_path / "questions.jsonl"
    asked.write_text('{"_id": "d1", "text": "red fox"}\n{"_id": "b", "text": "no such words"}\n')
    arguments = [str(folder), "--window", "0-1:1", "--window", "1-8:3", "--output", str(output)]
    call = [*arguments, "--queries", str(asked), "--json"]
    report = json.loads(CliRunner().invoke(mine_command, call, catch_exceptions=False).stdout)
    (line,) = map(json.loads, output.read_text().splitlines())
    documents = texts(40)
    encoder = BM25Encoder.fit(documents)
    scores = (
        encoder.encode_queries(["red fox"]) @ encoder.encode_documents(documents).T
    ).toarray()[0]
    assert line["query"] == "red fox"
    best = scores[documents.index(line["pos"][0])]
    assert best == pytest.approx(scores.max(), rel=0.01)
    eighth = np.sort(scores)[-8]
    others = [scores[documents.index(text)] for text in line["neg"]]
    assert len(set(line["neg"])) == 3
    assert all(0.99 * eighth <= score <= 1.01 * best for score in others)
    assert (report["n_queries"], report["n_negatives"], report["n_without"]) == (2, 4, 1)
    (pairs,) = load_pairs(recipe_for(tmp_path, "negatives = 3", train="asked.jsonl")).queries
    assert pairs == "red fox"


def test_of_a_collections_own_queries_the_answers_are_left_out(tmp_path: Path) -> None:
    folder, output = collection(tmp_path / "zoo"), tmp_path / "asked.jsonl"
    report = mine(folder, output, queries=folder, windows=["0-40:30"], progress=False)
    found = {line["query"]: line for line in map(json.loads, output.read_text().splitlines())}
    documents = texts(40)
    line = found["blue sea"]
    assert not {documents[2], documents[3]} & {*line["pos"], *line["neg"]}
    assert report.n_queries == len(found) == 3
    mine(folder, output, queries=folder, most=1, progress=False)
    assert len(output.read_text().splitlines()) == 1
    with pytest.raises(UsageError, match="judged answers"):
        mine(folder, output, queries=folder, share=0.9)
    with pytest.raises(UsageError, match="most"):
        mine(folder, output, most=3)


def recipe_for(folder: Path, data: str, rest: str = "", *, train: str = "./zoo"):
    path = folder / "recipe.toml"
    path.write_text(
        'name = "t"\n[model]\nkind = "siamese"\nmax_length = 16\nquery_length = 8\n'
        "[model.scratch]\nlayers = 1\nhidden = 16\nheads = 2\nvocabulary = 300\n"
        f'[data]\ntrain = ["{train}"]\n{data}\n'
        "[stage.ranking]\nsteps = 2\nbatch = 2\nmax_length = 16\n[run]\ncheckpoint_every = 50\n"
        + rest
    )
    return load_recipe(path)


def test_a_recipe_mines_by_itself_once_a_run(tmp_path: Path) -> None:
    collection(tmp_path / "zoo")
    section = 'negatives = 1\n[data.mining]\nwindows = ["0-4:2", "4-30:3"]\nshare = 0.99\n'
    recipe = recipe_for(tmp_path, section)
    pairs = load_pairs(recipe, cache=tmp_path / "cache")
    assert 0 < max(map(len, pairs.negatives)) <= 5
    for given, mined in zip(pairs.positives, pairs.negatives, strict=True):
        assert not set(given) & set(mined)
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_text("[0]\n[]\n[1]\n")
    again = load_pairs(recipe, cache=tmp_path / "cache")
    assert [found.tolist() for found in again.negatives] == [[0], [], [1]]


@pytest.mark.parametrize(
    "data", ["[data.mining]\nwindows = ['0-9']", "mined_from = 0\nmined_depth = 9"]
)
def test_pairs_without_negatives_are_mined_among_the_texts_of_their_file(
    data: str, tmp_path: Path
) -> None:
    """Mining did nothing for them, and said nothing; given negatives stay what they are."""
    documents = texts(20)
    # Told apart by a word that no text has.
    records = [{"query": f"{t.split()[0]} q{i}", "pos": t} for i, t in enumerate(documents)]
    records += [{"query": "red fox", "pos": "red fox den", "neg": "old owl"}]
    records += [{"query": "blue", "pos": ["blue sea", "blue sky"], "neg": []}]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "pairs.jsonl").write_text(lines)
    recipe = recipe_for(tmp_path, f"negatives = 1\n{data}\n", train="pairs.jsonl")
    pairs = load_pairs(recipe)
    assert [pairs.documents[row] for row in pairs.negatives[20]] == ["old owl"]
    for i, query in enumerate(pairs.queries):
        found = {pairs.documents[row] for row in pairs.negatives[i]}
        assert found
        assert not found & {pairs.documents[row] for row in pairs.positives[i]}
        assert i == 20 or all(query.split()[0] in text.split() for text in found)
    assert pairs.sources[0].n_negatives == sum(map(len, pairs.negatives))
    drawn = f"negatives = 1\nmax_queries = 3\n{data}\n"
    few = load_pairs(recipe_for(tmp_path, drawn, train="pairs.jsonl"))
    assert len(few.queries) == 3
    assert set(few.documents) == set(pairs.documents), (
        "those of the queries left out are ranked too"
    )


def test_every_part_of_mining_is_heard_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """28,000 queries were a minute of silence: words were counted and documents put into order."""
    collection(tmp_path / "zoo")
    recipe = recipe_for(tmp_path, "negatives = 1\nmined_depth = 20\nmined_from = 0")
    monkeypatch.setenv("LSR_QUIET", "")
    monkeypatch.setattr("lsr.progress._LINE_SECONDS", 0.0)
    load_pairs(recipe, quiet=True)
    assert capsys.readouterr().err == ""
    load_pairs(recipe, quiet=False)
    last = {line.split()[0]: line for line in capsys.readouterr().err.splitlines()}
    assert list(last) == ["words", "bm25", "indexing", "mining"]
    assert all(" 100 %" in line for line in last.values())


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ("negatives = 1\nmined_depth = 9\n[data.mining]\n", "leave one of them out"),
        ("[data.mining]\n", "data.negatives = 0"),
        ('negatives = 1\n[data.mining]\nwindows = ["9-3"]\n', "data.mining.windows"),
        ('negatives = 1\n[data.mining]\nminers = ["bm25:"]\n', r"miners\[0\] = 'bm25:': ''"),
    ],
)
def test_contradictions_in_a_recipe_are_refused(data: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=complaint):
        recipe_for(tmp_path, data)


def test_the_short_form_is_bm25_between_two_ranks(tmp_path: Path) -> None:
    collection(tmp_path / "zoo")
    short = load_pairs(recipe_for(tmp_path, "negatives = 1\nmined_from = 2\nmined_depth = 9"))
    long = load_pairs(recipe_for(tmp_path, 'negatives = 1\n[data.mining]\nwindows = ["2-9"]\n'))
    assert [r.tolist() for r in short.negatives] == [r.tolist() for r in long.negatives]
    assert any(len(r) for r in short.negatives)


def test_a_score_cache_is_that_of_the_first_round(tmp_path: Path) -> None:
    """The second has other candidates: it refused the file, after a whole round of training."""
    from training.rounds import round_recipe

    collection(tmp_path / "zoo")
    section = "negatives = 1\n[data.mining]\nrounds = 2\n"
    rest = '[[teachers]]\nkind = "bm25"\n[distillation]\ncache = "scores.arrow"\n'
    recipe = recipe_for(tmp_path, section, rest)
    caches = [round_recipe(recipe, tmp_path / "rounds", n).distillation.cache for n in (1, 2)]
    assert caches == ["scores.arrow", ""]


class Ticks:
    """A clock that goes on by one whenever somebody looks, so that deadlines fall where we say."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now

    perf_counter = staticmethod(time.perf_counter)


class Reader:
    """A teacher of pairs: the words that both texts have, and how long the document is."""

    name = "reader"
    fingerprint = "1" * 16

    def score(
        self, queries: list[str], documents: list[str], *, progress: bool = False
    ) -> np.ndarray:
        shared = [
            len(set(query.split()) & set(document.split())) + len(document) / 100
            for query, document in zip(queries, documents, strict=True)
        ]
        return np.asarray(shared, np.float32)


@pytest.mark.parametrize("teacher", [Projection(), Reader()], ids=["vectors", "pairs"])
def test_mining_stopped_after_every_part_finds_what_it_finds_at_once(
    teacher: Projection | Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop or a kill lost hours of mining: nothing was kept before all of it was done."""
    faiss = pytest.importorskip("faiss")
    documents, queries = texts(40), texts(7, seed=1)
    embedded: list[str] = []

    class Counting(Projection):
        def embed_documents(self, batch: list[str], *, progress: bool = False) -> np.ndarray:
            embedded.extend(batch)
            return super().embed_documents(batch)

    BM25Encoder.fit(documents).save(tmp_path / "enc")
    real = open_miner
    dense = DenseMiner(Counting(), faiss)
    monkeypatch.setattr(
        negatives, "open_miner", lambda name, folder: dense if name == "dense" else real(name)
    )
    monkeypatch.setattr(negatives, "open_judge", lambda *_, **__: teacher)
    monkeypatch.setattr(negatives, "_BLOCK", 2)
    monkeypatch.setattr("training.mining.judges._PART_PAIRS", 25)
    miners = ["bm25", str(tmp_path / "enc"), "dense"]
    plan = MiningPlan.of(miners, ["0-9:4", "9-30:3"], margin=0.1, teacher="any")

    def mined(parts: Parts) -> list[Mined]:
        asked = [rows(i) for i in range(7)]
        return mine_texts(plan, queries, asked, documents, quiet=True, parts=parts)

    wanted = mined(Parts(tmp_path / "quiet"))
    assert len(embedded) == 40
    clock = Ticks()
    monkeypatch.setattr("training.mining.parts.time", clock)
    monkeypatch.setattr("lsr.vectors.time", clock)
    stops = 0
    found = None
    while found is None:
        try:
            # Looked at before a part, and before vectors that it needs.
            found = mined(Parts(tmp_path / "stormy", deadline=clock.now + 3))
        except OutOfTimeError:
            stops += 1
            assert stops < 99
        broken = sorted((tmp_path / "stormy").glob("found-*"))[-1:]
        if stops == 4:
            raw = bytearray(broken[0].read_bytes())
            raw[len(raw) // 2] ^= 1
            broken[0].write_bytes(raw)  # and is made again
    assert stops > 6, "each call made two parts"
    assert len(embedded) == 80
    for one, other in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(one.rows, other.rows)
        np.testing.assert_array_equal(one.scores, other.scores)
    assert sum(len(one.rows) for one in found) > 7


def test_parts_of_another_ranker_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder trained anew lies in the folder of the old one."""
    documents, queries = texts(40), texts(7, seed=1)
    plan = MiningPlan.of([str(tmp_path / "enc"), "bm25"], ["0-9:4"])
    nothing = [rows()] * len(queries)

    def mined(parts: Parts) -> list[list[int]]:
        found = mine_texts(plan, queries, nothing, documents, quiet=True, parts=parts)
        return [one.rows.tolist() for one in found]

    results = []
    for corpus in (documents, texts(9, seed=2)):
        shutil.rmtree(tmp_path / "enc", ignore_errors=True)
        BM25Encoder.fit(corpus).save(tmp_path / "enc")
        results.append(mined(Parts(tmp_path / "parts")))
        assert results[-1] == mined(Parts()) == mined(Parts(tmp_path / "parts"))
    assert results[0] != results[1]


KILLED = """
import sys, time
from training import mine
from training.mining import negatives
from training.mining.rankers import SparseRanker
negatives._BLOCK = 1
search = SparseRanker.search
def slow(self, queries, depth, asked):
    print(queries[0], flush=True)
    time.sleep(0.02)
    return search(self, queries, depth, asked)
SparseRanker.search = slow
mine(sys.argv[1], sys.argv[2], windows=["0-9:3"], progress=False)
"""


def test_sigkill_loses_at_most_the_part_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real process, really killed: the next call asks for what is missing and no more."""
    folder = collection(tmp_path / "zoo")
    with (folder / "queries.jsonl").open("a") as file:
        file.writelines(
            "\n" + json.dumps({"_id": f"m{i}", "text": texts(20)[i]}) for i in range(20)
        )
    with (folder / "qrels" / "train.tsv").open("a") as file:
        file.writelines(f"m{i}\td{i}\t1\n" for i in range(20))
    mine(folder, tmp_path / "quiet.jsonl", windows=["0-9:3"], progress=False)
    output = tmp_path / "out.jsonl"
    command = [sys.executable, "-c", KILLED, str(folder), str(output)]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        begun = [process.stdout.readline() for _ in range(6)]
        os.kill(process.pid, signal.SIGKILL)
        begun += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    assert not output.exists()
    kept = len(list((tmp_path / "out.jsonl.work").glob("*/found-*.npz")))
    assert kept >= len(begun) - 1 >= 5
    asked: list[str] = []
    search = SparseRanker.search

    def counted(self: SparseRanker, queries: list[str], depth: int, rest: list[Rows]) -> list:
        asked.extend(queries)
        return search(self, queries, depth, rest)

    monkeypatch.setattr(SparseRanker, "search", counted)
    monkeypatch.setattr(negatives, "_BLOCK", 1)
    report = mine(folder, output, windows=["0-9:3"], progress=False)
    assert report.finished
    assert len(asked) == 23 - kept
    assert output.read_bytes() == (tmp_path / "quiet.jsonl").read_bytes()
    assert not (tmp_path / "out.jsonl.work").exists()
    (tmp_path / "out.jsonl.work").mkdir()
    (tmp_path / "out.jsonl.work" / "thesis.txt").write_text("somebody's")
    mine(folder, output, windows=["0-9:3"], progress=False)
    assert [path.name for path in (tmp_path / "out.jsonl.work").iterdir()] == ["thesis.txt"]


def test_the_commands_stop_while_mining_and_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--stop-after` was not looked at before the mining was done."""
    pytest.importorskip("transformers")
    folder = collection(tmp_path / "zoo")
    teacher = '[[teachers]]\nkind = "bm25"\n[stage.ranking.losses]\nkl = 1.0\n'
    recipe = recipe_for(tmp_path, "negatives = 1\nmined_from = 0\nmined_depth = 9\n", teacher)
    calls = [
        ("mine", str(folder), "--output", str(tmp_path / "n.jsonl"), "--window", "0-9"),
        ("score", str(recipe.path), str(tmp_path / "scores.arrow")),
        ("train", str(recipe.path), str(tmp_path / "encoder")),
    ]
    for verb, *words in calls:
        assert run([verb, *words, "--stop-after", "0.000001"]) == 0
        assert "stopped" in capsys.readouterr().out
        assert run([verb, *words, "--stop-after", "0.000001", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["finished"] is False
        assert run([verb, *words, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["finished"] is True
    left = ["encoder", "n.jsonl", "recipe.toml", "scores.arrow", "zoo"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left


@pytest.mark.slow
def test_rounds_start_from_the_last_encoder_and_mine_with_it(tmp_path: Path) -> None:
    """Stopped between rounds or not, the result is one encoder, and nothing is left behind."""
    pytest.importorskip("transformers")
    from training import train
    from training.rounds import round_recipe

    collection(tmp_path / "zoo")
    section = 'negatives = 1\n[data.mining]\nwindows = ["0-9:3"]\nrounds = 2\n'
    teacher = '[[teachers]]\nkind = "bm25"\n[distillation]\ncache = "scores.arrow"\n'
    recipe = recipe_for(tmp_path, section, teacher + "[stage.ranking.losses]\nkl = 1.0\n")
    second = round_recipe(recipe, tmp_path / "rounds", 2)
    assert second.data.mining is not None
    assert second.data.mining.miners == ("bm25", str(tmp_path / "rounds" / "1"))
    assert (second.model.backbone, second.model.scratch) == (str(tmp_path / "rounds" / "1"), None)
    output = tmp_path / "out"
    stopped = train(recipe, output, progress=False, stop_after=0.01)
    assert not stopped.finished
    report = train(recipe, output, progress=False)
    assert report.finished
    assert report.seconds > stopped.seconds
    left = ["out", "recipe.toml", "scores.arrow", "zoo"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left


def test_the_card_of_several_rounds_tells_of_the_recipe_asked_for(tmp_path: Path) -> None:
    """It told of the last round alone: a backbone named "1", one round, no [stage.mlm], a
    fingerprint that depended on the folder, and the seconds and tokens of that round.
    """
    pytest.importorskip("transformers")
    from training import train

    settings = {
        "model.pool_special": False,  # its network lies in another folder than most
        "data.mining.rounds": 2,
        "data.mining.windows": ["0-5"],
        "develop.held_out": 0.25,
        "develop.every": 2,
        "stage.mlm.steps": 2,
        "stage.ranking.steps": 2,
        "run.checkpoint_every": 2,
    }
    recipe = load_recipe("smoke", settings)
    assert train(recipe, tmp_path / "out", progress=False).finished
    record = json.loads((tmp_path / "out" / "lsr.json").read_text())["training"]
    written = record["recipe"]
    mining = written["data"]["mining"]
    assert (mining["rounds"], mining["miners"]) == (2, ["bm25"])
    assert (written["model"]["backbone"], written["model"]["scratch"]["layers"]) == ("", 2)
    assert written["stage"]["mlm"]["steps"] == 2
    assert record["recipe_fingerprint"] == recipe.fingerprint()
    assert record["development"]["fingerprint"] == recipe.fingerprint()
    start = {"name": "random weights", "licence": "none needed: random weights"}
    assert record["backbone"] == start
    assert record["stages"].keys() >= {"mlm", "ranking"}
    assert record["tokens"].keys() == {"mlm", "ranking"}
    readme = " ".join((tmp_path / "out" / "README.md").read_text().split())
    assert "Start: random weights." in readme
    assert "2 ranking steps of 16 queries in the last of 2 rounds, in " in readme


def test_the_last_round_counts_the_time_of_all(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from training.rounds import Round

    first = {
        "seconds": 9,
        "stages": {"mlm": 4, "ranking": 5},
        "tokens": {"mlm": 40, "ranking": 50},
        "resumes": {"exact": 1, "weights": 0},
    }
    (tmp_path / "lsr.json").write_text(json.dumps({"training": first}))
    last = {
        "seconds": 7,
        "stages": {"ranking": 7},
        "tokens": {"ranking": 70},
        "resumes": {"exact": 0, "weights": 2},
        "last_log": {"loss": 0.5},
    }
    recipe = load_recipe("smoke")
    assert Round(recipe, recipe, (tmp_path,)).with_before(last) == {
        "seconds": 16,
        "stages": {"mlm": 4, "ranking": 12},
        "tokens": {"mlm": 40, "ranking": 120},
        "resumes": {"exact": 1, "weights": 2},
        "last_log": {"loss": 0.5},
    }
    assert Round(recipe, recipe).with_before(last) == last
