"""Pairs, batches and tensors: who is whose positive, and that a step number says everything."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lsr.errors import DatasetError, RecipeError
from training import load_recipe
from training.batches import draw, plan_batches, sample_terms
from training.data import Pairs, Source, load_pairs


def collection(folder: Path, *, negatives: dict[str, list[str]] | None = None) -> Path:
    """Five documents (d4 copies d0), three judged queries, one of them without a relevant one."""
    (folder / "qrels").mkdir(parents=True)
    texts = {"d0": "red fox", "d1": "blue whale", "d2": "green frog", "d3": "fox", "d4": "red fox"}
    lines = [json.dumps({"_id": i, "title": "", "text": t}) for i, t in texts.items()]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    queries = {"q0": "a red animal", "q1": "a big animal", "q2": "nothing"}
    lines = [json.dumps({"_id": i, "text": t}) for i, t in queries.items()]
    (folder / "queries.jsonl").write_text("\n".join(lines))
    (folder / "qrels" / "train.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq0\td0\t1\nq0\td3\t2\nq1\td1\t1\nq2\td2\t0\n"
    )
    if negatives is not None:
        with gzip.open(folder / "negatives.jsonl.gz", "wt") as file:
            for query, doc_ids in negatives.items():
                file.write(json.dumps({"_id": query, "neg": doc_ids}) + "\n")
    return folder


def recipe_for(folder: Path, train: list[str], **data: object):
    extra = "\n".join(f"{key} = {json.dumps(value)}" for key, value in data.items())
    path = folder / "recipe.toml"
    path.write_text(
        f'name = "t"\n[model]\nkind = "siamese"\n[model.scratch]\n[data]\n'
        f"train = {json.dumps(train)}\n{extra}\n[stage.ranking]\nsteps = 1\n"
    )
    return load_recipe(path)


def test_pairs_keep_only_documents_that_are_needed(tmp_path: Path) -> None:
    collection(tmp_path / "zoo")
    pairs = load_pairs(recipe_for(tmp_path, ["./zoo"]))
    assert sorted(pairs.documents) == ["blue whale", "fox", "red fox"]
    assert pairs.queries == ["a red animal", "a big animal"]
    found = [[pairs.documents[row] for row in rows] for rows in pairs.positives]
    assert [sorted(texts) for texts in found] == [["fox", "red fox"], ["blue whale"]]
    assert [len(rows) for rows in pairs.negatives] == [0, 0]
    (source,) = pairs.sources
    assert (source.n_queries, source.n_positives, source.split) == (2, 3, "train")


def test_a_share_of_the_queries_is_drawn_by_the_seed(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"query": f"q{i}", "pos": f"p{i}"}) + "\n" for i in range(30))
    (tmp_path / "pairs.jsonl").write_text(lines)
    assert len(load_pairs(recipe_for(tmp_path, ["pairs.jsonl"], max_queries=4)).queries) == 4
    folder = tmp_path / "zoo"
    collection(folder)
    with (folder / "queries.jsonl").open("a") as file:
        file.writelines("\n" + json.dumps({"_id": f"m{i}", "text": f"m {i}"}) for i in range(30))
    with (folder / "qrels" / "train.tsv").open("a") as file:
        file.writelines(f"m{i}\td1\t1\n" for i in range(30))
    recipe = recipe_for(tmp_path, ["./zoo"], max_queries=5)
    pairs = load_pairs(recipe)
    assert len(pairs.queries) == pairs.sources[0].n_queries == 5
    assert pairs.queries == load_pairs(recipe).queries
    assert set(pairs.queries) < set(load_pairs(recipe_for(tmp_path, ["./zoo"])).queries)


def test_a_corpus_is_learned_from_and_never_ranked(tmp_path: Path) -> None:
    collection(tmp_path / "zoo")
    lines = "".join(json.dumps({"_id": f"n{i}", "text": f"note {i}"}) + "\n" for i in range(9))
    (tmp_path / "notes.jsonl").write_text(lines)
    name = str(tmp_path / "notes.jsonl")
    pairs = load_pairs(recipe_for(tmp_path, ["./zoo"], corpora=[name], corpus_documents=4))
    assert len(pairs.corpus) == 4
    assert pairs.texts == pairs.documents + pairs.corpus
    assert not set(pairs.corpus) & set(pairs.documents)
    assert (pairs.sources[-1].split, pairs.sources[-1].n_texts) == ("corpus", 4)


def test_a_copy_of_a_positive_is_never_a_given_negative(tmp_path: Path) -> None:
    """d4 has the text of d0: taken as a negative it would teach the opposite of the judgement."""
    collection(tmp_path / "zoo", negatives={"q0": ["d4", "d2"], "q1": ["d3"]})
    pairs = load_pairs(recipe_for(tmp_path, ["./zoo"], negatives=1))
    texts = [[pairs.documents[row] for row in rows] for rows in pairs.negatives]
    assert texts == [["green frog"], ["fox"]]


def test_given_negatives_are_not_read_when_none_are_wanted(tmp_path: Path) -> None:
    collection(tmp_path / "zoo", negatives={"q0": ["d2"]})
    pairs = load_pairs(recipe_for(tmp_path, ["./zoo"]))
    assert "green frog" not in pairs.documents


def test_pair_files_hold_texts_and_need_no_collection(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(
        '{"query": "a", "pos": "x", "neg": "y"}\n{"query": "b", "pos": ["x", "z"]}\n'
        '{"query": " ", "pos": "x"}\n'
    )
    pairs = load_pairs(recipe_for(tmp_path, ["pairs.jsonl"]))
    assert pairs.documents == ["x", "y", "z"]
    assert [rows.tolist() for rows in pairs.positives] == [[0], [0, 2]]
    assert [rows.tolist() for rows in pairs.negatives] == [[1], []]


def test_a_query_of_several_lines_has_all_their_answers(tmp_path: Path) -> None:
    """With a line for each answer, the one of the other line was mined as a negative."""
    (tmp_path / "pairs.jsonl").write_text(
        '{"query": "a", "pos": "x", "neg": "y"}\n{"query": "b", "pos": "z"}\n'
        '{"query": "a", "pos": ["y", "w"], "neg": "z"}\n'
    )
    pairs = load_pairs(recipe_for(tmp_path, ["pairs.jsonl"]))
    assert pairs.queries == ["a", "b"]
    texts = [[pairs.documents[row] for row in rows] for rows in pairs.positives]
    assert [sorted(found) for found in texts] == [["w", "x", "y"], ["z"]]
    assert [[pairs.documents[row] for row in rows] for rows in pairs.negatives] == [["z"], []]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "pairs.jsonl:1: not JSON"),
        ("[]", "pairs.jsonl:1: wanted one JSON object"),
        ('{"query": "a"}', 'pairs.jsonl:1: wanted {"query": text'),
        ('{"query": "a", "pos": [1]}', "pairs.jsonl:1"),
    ],
)
def test_a_broken_pair_file_says_where(line: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(line + "\n")
    with pytest.raises(DatasetError) as error:
        load_pairs(recipe_for(tmp_path, ["pairs.jsonl"]))
    assert complaint in str(error.value)


def test_missing_and_useless_collections_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no such file"):
        load_pairs(recipe_for(tmp_path, ["none.jsonl"]))
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(RecipeError, match="has no query with a relevant document"):
        load_pairs(recipe_for(tmp_path, ["empty.jsonl"]))
    with pytest.raises(DatasetError, match="no dataset"):
        load_pairs(recipe_for(tmp_path, ["no-such-collection"]))


def synthetic(n_queries: int, per_source: int) -> Pairs:
    rows = np.arange(n_queries, dtype=np.int32)
    n_sources = n_queries // per_source
    return Pairs(
        documents=[f"text {i}" for i in range(2 * n_queries)],
        queries=[f"query {i}" for i in range(n_queries)],
        source_of=rows // per_source,
        positives=[np.asarray([i, n_queries + i], np.int32) for i in rows],
        negatives=[np.asarray([(i + 1) % n_queries], np.int32) for i in rows],
        sources=tuple(
            Source(str(i), "train", "f", per_source, per_source, 0) for i in range(n_sources)
        ),
    )


def test_a_pass_takes_every_query_and_a_batch_one_collection() -> None:
    pairs = synthetic(20, 10)
    plan = plan_batches(pairs, batch=4, n_batches=6, seed=1)
    assert all(len(set(pairs.source_of[row].tolist())) == 1 for row in plan)
    assert set(plan.ravel().tolist()) == set(range(20))
    again = plan_batches(pairs, batch=4, n_batches=11, seed=1)
    assert np.array_equal(plan, again[:6])
    assert not np.array_equal(plan, plan_batches(pairs, batch=4, n_batches=6, seed=2))
    doubled = plan_batches(pairs, batch=4, n_batches=9, seed=1, repeat={1: 2})
    assert sorted(pairs.source_of[doubled[:, 0]].tolist()) == [0] * 3 + [1] * 6


def test_a_draw_marks_every_other_positive_as_no_negative() -> None:
    pairs = synthetic(8, 8)
    queries = np.asarray([2, 3, 5], np.int32)
    drawn = draw(pairs, queries, negatives=1, seed=0, number=7)
    for i, query in enumerate(queries):
        chosen = drawn.documents[drawn.positives[i]]
        assert chosen in pairs.positives[query]
        expected = [document in pairs.positives[query] for document in drawn.documents]
        assert drawn.excluded[i].tolist() == expected
    assert len(set(drawn.documents.tolist())) == len(drawn.documents)
    again = draw(pairs, queries, negatives=1, seed=0, number=7)
    assert np.array_equal(drawn.documents, again.documents)


def test_a_spread_draw_takes_one_of_each_part_of_the_order() -> None:
    """Seven negatives in three parts: 0-1, 2-3, 4-6 of the order; everything comes up in time."""
    pairs = synthetic(2, 2)
    first, second = (np.asarray([row], np.int32) for row in (0, 1))
    order = np.asarray([9, 4, 7, 5, 8, 6, 3], np.int32)
    pairs = replace(pairs, negatives=[np.sort(order), order[:1]], positives=[first, second])
    lists = {0: order, 1: order[:1]}
    seen: list[set[int]] = [set(), set(), set()]
    for number in range(40):
        drawn = draw(pairs, first, negatives=3, seed=0, number=number, ordered=lists.__getitem__)
        found = sorted(order.tolist().index(row) for row in drawn.documents if row != 0)
        assert len(found) == 3
        for part, place in zip(seen, found, strict=True):
            part.add(place)
    assert seen == [{0, 1}, {2, 3}, {4, 5, 6}]
    few = draw(pairs, second, negatives=3, seed=0, number=0, ordered=lists.__getitem__)
    assert few.documents.tolist() == [1, 9]


def test_sampled_terms_hold_every_certain_one_and_weigh_the_rest_up() -> None:
    certain = np.asarray([5, 3, 5, 9])
    terms, weights = sample_terms(certain, n_terms=20, others=4, seed=0, number=1)
    assert np.all(np.diff(terms) > 0)
    assert set(certain) <= set(terms.tolist())
    assert weights[np.isin(terms, certain)].tolist() == [1, 1, 1]
    assert weights[~np.isin(terms, certain)].tolist() == [17 / 4] * 4
    everything, ones = sample_terms(certain, n_terms=20, others=99, seed=0, number=1)
    assert everything.tolist() == list(range(20))
    assert set(ones.tolist()) == {1.0}


def test_queries_of_one_text_have_all_their_answers(tmp_path: Path) -> None:
    """Under two ids, or in two collections, one's answer was the other's negative."""
    one = [
        {"query": "What flies?", "pos": "a bird", "neg": ["a bat", "a stone"]},
        {"query": "what sinks", "pos": "a stone", "neg": ["a bird"]},
    ]
    other = [{"query": "what  flies?", "pos": "a bat", "neg": ["a bird", "a boat"]}]
    for name, rows in (("one", one), ("other", other)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines)
    pairs = load_pairs(recipe_for(tmp_path, ["./one.jsonl", "./other.jsonl"], negatives=1))

    def texts(rows: list[np.ndarray]) -> list[list[str]]:
        return [sorted(pairs.documents[row] for row in some) for some in rows]

    flies = ["a bat", "a bird"]
    assert texts(pairs.positives) == [flies, ["a stone"], flies]
    assert texts(pairs.negatives) == [["a stone"], ["a bird"], ["a boat"]]
    assert [source.n_positives for source in pairs.sources] == [3, 2]
