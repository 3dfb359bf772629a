"""Teachers against stock libraries on tiny random networks, and the ensemble that asks them."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("pyarrow")

from safetensors.numpy import load_file, save_file  # noqa: E402

from lsr.__main__ import run  # noqa: E402
from lsr.encoders import (  # noqa: E402
    BM25Encoder,
    InferenceFreeEncoder,
    TextTokenizer,
    load_encoder,
)
from lsr.encoders.cross_encoder import CrossEncoder  # noqa: E402
from lsr.encoders.dense import DenseEncoder  # noqa: E402
from lsr.encoders.pairwise import load_duo  # noqa: E402
from lsr.encoders.splade import SpladeModel  # noqa: E402
from lsr.errors import EncoderError, RecipeError  # noqa: E402
from lsr.reranking import PairwiseReranker  # noqa: E402
from training import (  # noqa: E402
    distillation,
    load_recipe,
    train,
)
from training.batches import draw  # noqa: E402
from training.candidates import limited  # noqa: E402
from training.data import Pairs, load_pairs  # noqa: E402
from training.develop import load_learned  # noqa: E402
from training.distillation import load_teacher, teach  # noqa: E402
from training.steps import RankingSteps  # noqa: E402
from training.teachers import EmbeddingTeacher, PairTeacher  # noqa: E402
from training.teachers.bm25 import BM25Teacher  # noqa: E402
from training.teachers.pairwise import PairwiseTeacher  # noqa: E402
from training.teachers.sparse import SparseTeacher  # noqa: E402

TEXTS = ["the big dog", "a cat sat on the mat", "", "tree", "Café! " * 30, "dogs and cats"]


def _save(model, checkpoint: Path, folder: Path) -> Path:
    model.eval().save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(checkpoint).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dense(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare random BERT without head, as gte-small is published."""
    config = transformers.AutoConfig.from_pretrained(tiny_checkpoint)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = transformers.BertModel(config, add_pooling_layer=False)
    return _save(model, tiny_checkpoint, tmp_path_factory.mktemp("dense") / "tiny-dense")


@pytest.fixture(scope="module")
def cross(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT with one logit."""
    config = transformers.AutoConfig.from_pretrained(tiny_checkpoint, num_labels=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = transformers.BertForSequenceClassification(config)
        for name, weight in model.named_parameters():
            if name.endswith("weight") and weight.dim() == 2:
                torch.nn.init.normal_(weight, std=0.3)  # so that pairs differ
    return _save(model, tiny_checkpoint, tmp_path_factory.mktemp("cross") / "tiny-cross")


def as_sentence_transformers(plain: Path, folder: Path, pooling: dict, *, unit: bool) -> Path:
    folder.mkdir()
    for path in plain.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    kinds = ["Transformer", "Pooling", "Normalize"][: 3 if unit else 2]
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": "" if i == 0 else f"{i}_{kind}",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    size = json.loads((plain / "config.json").read_text())["hidden_size"]
    config = {"word_embedding_dimension": size, **pooling}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    if unit:
        (folder / "2_Normalize").mkdir()
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 16}')
    card = {
        "prompts": {"query": "the tree ", "document": "a cat "},
        "similarity_fn_name": "cosine" if unit else "dot",
    }
    (folder / "config_sentence_transformers.json").write_text(json.dumps(card))
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize(
    "pooling",
    [
        {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
        {"pooling_mode_cls_token": True},
        {"pooling_mode": "mean"},
    ],
)
def test_a_dense_folder_gives_the_vectors_of_stock_sentence_transformers(
    dense: Path, tmp_path: Path, pooling: dict, unit: bool
) -> None:
    """Prompts, length, pooling and norm are read from where stock wrote them."""
    stock = pytest.importorskip("sentence_transformers").SentenceTransformer
    folder = as_sentence_transformers(dense, tmp_path / "st", pooling, unit=unit)
    theirs = stock(str(folder), device="cpu")
    ours = DenseEncoder.load(folder, name="t", device="cpu")
    for embed, their_embed in (
        (ours.embed_queries, theirs.encode_query),
        (ours.embed_documents, theirs.encode_document),
    ):
        # Batches of other shapes add up in another order.
        np.testing.assert_allclose(embed(TEXTS), their_embed(TEXTS), atol=1e-5)


def test_mean_and_cls_pooling_are_those_of_one_text_at_a_time(dense: Path) -> None:
    """No padding, no batch: the plainest forward pass there is."""
    model = transformers.AutoModel.from_pretrained(dense).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(dense)
    wanted: dict[str, list] = {"mean": [], "cls": []}
    for text in TEXTS:
        tokens = tokenizer(f"a {text}", return_tensors="pt", truncation=True, max_length=12)
        with torch.inference_mode():
            states = model(**tokens).last_hidden_state[0]
        for name, vector in (("mean", states.mean(dim=0)), ("cls", states[0])):
            wanted[name].append((vector / vector.norm()).numpy())
    for pooling in ("mean", "cls"):
        teacher = DenseEncoder.load(
            dense, name="t", pooling=pooling, document_prompt="a ", max_length=12, device="cpu"
        )
        assert isinstance(teacher, EmbeddingTeacher)
        vectors = teacher.embed_documents(TEXTS)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(vectors, np.stack(wanted[pooling]), atol=1e-5)


def test_a_cross_encoder_gives_raw_logits_of_one_pair_at_a_time(cross: Path) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(cross).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(cross)
    documents = list(reversed(TEXTS))
    wanted = []
    for query, document in zip(TEXTS, documents, strict=True):
        tokens = tokenizer([query], [document], return_tensors="pt", truncation=True, max_length=20)
        with torch.inference_mode():
            wanted.append(model(**tokens).logits.item())
    teacher = CrossEncoder.load(cross, name="t", max_length=20, device="cpu")
    assert isinstance(teacher, PairTeacher)
    assert not isinstance(teacher, EmbeddingTeacher)
    scores = teacher.score(TEXTS, documents)
    assert np.ptp(scores) > 0.1
    np.testing.assert_allclose(scores, wanted, atol=1e-5)
    half = CrossEncoder.load(cross, name="t", max_length=20, device="cpu", precision="bfloat16")
    # bfloat16 keeps eight bits; the logits are sums of some units
    np.testing.assert_allclose(half.score(TEXTS, documents), wanted, atol=0.2)
    assert half.fingerprint != teacher.fingerprint


def test_what_cannot_teach_is_refused(dense: Path, cross: Path, tmp_path: Path) -> None:
    """A head made up in silence would teach noise."""
    with pytest.raises(EncoderError, match="nope: no such folder"):
        CrossEncoder.load(tmp_path / "nope", name="t")
    with pytest.raises(EncoderError, match="nope: no such folder"):
        DenseEncoder.load(tmp_path / "nope", name="t")
    with pytest.raises(EncoderError, match="weights do not fit BertForSequence"):
        CrossEncoder.load(dense, name="t")
    config = json.loads((cross / "config.json").read_text())
    two = tmp_path / "two"
    labels = transformers.AutoConfig.from_pretrained(cross, num_labels=2)
    _save(transformers.BertForSequenceClassification(labels), cross, two)
    with pytest.raises(EncoderError, match="classifier of 2 labels"):
        CrossEncoder.load(two, name="t")
    assert config["num_hidden_layers"] == 1
    headless = tmp_path / "headless"
    headless.mkdir()
    with pytest.raises(EncoderError, match=r"no config\.json or no safetensors"):
        DenseEncoder.load(headless, name="t")
    folder = as_sentence_transformers(
        dense, tmp_path / "st", {"pooling_mode_max_tokens": True}, unit=True
    )
    with pytest.raises(EncoderError, match="pooling by pooling_mode_max_tokens"):
        DenseEncoder.load(folder, name="t")
    with pytest.raises(EncoderError, match="32 positions, max_length = 64"):
        DenseEncoder.load(dense, name="t", max_length=64)


def test_a_fingerprint_changes_with_all_that_changes_scores(dense: Path, tmp_path: Path) -> None:
    """Otherwise a cache would answer for a teacher that never scored it."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in dense.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())

    def fingerprint(folder: Path, **settings: object) -> str:
        return DenseEncoder.load(folder, name="t", **settings).fingerprint  # type: ignore[arg-type]

    plain = fingerprint(dense)
    assert fingerprint(copy) == plain
    variants = [
        fingerprint(dense, pooling="cls"),
        fingerprint(dense, query_prompt="q "),
        fingerprint(dense, document_prompt="q "),
        fingerprint(dense, max_length=16),
        fingerprint(dense, precision="bfloat16"),
    ]
    tensors = load_file(copy / "model.safetensors")
    name = next(key for key in tensors if key.endswith("weight"))
    tensors[name].flat[0] += 0.5
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    variants.append(fingerprint(copy))
    assert len({plain, *variants}) == 7


def test_bm25_and_sparse_teachers_give_the_scores_of_their_encoders(tmp_path: Path) -> None:
    documents = [text for text in TEXTS if text]
    encoder = BM25Encoder.fit(documents)
    wanted = (encoder.encode_queries(TEXTS) @ encoder.encode_documents(documents).T).toarray()
    encoder.save(tmp_path / "bm25")
    fitted = BM25Teacher.fit(documents)
    loaded = SparseTeacher.load(tmp_path / "bm25", name="again")
    for teacher in (fitted, loaded):
        assert isinstance(teacher, EmbeddingTeacher)
        scores = teacher.embed_queries(TEXTS) @ teacher.embed_documents(documents).T
        np.testing.assert_array_equal(scores.toarray(), wanted)
    assert fitted.fingerprint == loaded.fingerprint
    assert fitted.fingerprint != BM25Teacher.fit(documents[1:]).fingerprint


DATA = [
    {
        "query": f"the {a} {b}",
        "pos": [f"{a} sat on a {b}", f"big {a} {b} tree"][: 1 + i % 2],
        "neg": [f"{a} mat", f"big {b}", "caf tree", "a dog", "on the mat sat a"][: 3 + i % 3],
    }
    for i, (a, b) in enumerate([("cat", "mat"), ("dog", "tree"), ("big", "cat"), ("cafs", "dog")])
]


def recipe_of(tmp_path: Path, text: str):
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(r) + "\n" for r in DATA))
    path = tmp_path / "recipe.toml"
    path.write_text(
        'name = "t"\n[model]\nkind = "inference-free"\n[model.scratch]\n[data]\n'
        'train = ["pairs.jsonl"]\nnegatives = 2\n[stage.ranking]\nsteps = 1\n' + text
    )
    return load_recipe(path)


def entry(kind: str, model: Path | None = None, **keys: object) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    lines += [f'model = "{model}"'] if model else []
    return "\n".join(["[[teachers]]", f'kind = "{kind}"', *lines, ""])


def test_a_sparse_teacher_with_two_sides_teaches_with_both(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Of an inference-free one the document network was asked for queries, too, as a backbone is
    taken out of such a folder: other scores than the encoder's own, and without a word.
    """
    model = SpladeModel.from_checkpoint(tiny_checkpoint, max_length=24)
    table = np.random.default_rng(0).random(model.n_terms).astype(np.float32)
    InferenceFreeEncoder.of(model, table, name="two").save(tmp_path / "two")
    recipe = recipe_of(tmp_path, entry("sparse", tmp_path / "two"))
    teacher = load_teacher(recipe, recipe.teachers[0], "two", [])
    encoder = load_encoder(tmp_path / "two")
    assert isinstance(teacher, EmbeddingTeacher)
    texts = [text for text in TEXTS if text]
    for got, wanted in (
        (teacher.embed_queries(texts), encoder.encode_queries(texts)),
        (teacher.embed_documents(texts), encoder.encode_documents(texts)),
    ):
        np.testing.assert_allclose(got.toarray(), wanted.toarray(), rtol=1e-5)


def min_max(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / (values.max() - values.min() + 1e-6)


def raw_scores(pairs: Pairs, dense: Path, cross: Path) -> dict[str, np.ndarray]:
    """(queries, documents) of each teacher, all pairs, straight from the models."""
    bm25, gte = BM25Teacher.fit(pairs.documents), DenseEncoder.load(dense, name="d")
    ce = CrossEncoder.load(cross, name="c")
    n, m = len(pairs.queries), len(pairs.documents)
    return {
        "bm25": (
            bm25.embed_queries(pairs.queries) @ bm25.embed_documents(pairs.documents).T
        ).toarray(),
        "dense": gte.embed_queries(pairs.queries) @ gte.embed_documents(pairs.documents).T,
        "cross": ce.score(
            [q for q in pairs.queries for _ in range(m)], list(pairs.documents) * n
        ).reshape(n, m),
    }


def test_the_ensemble_over_candidates_is_the_papers(dense: Path, cross: Path, tmp_path) -> None:
    """Min-max per query over all its candidates, weighted mean, x 30; other pairs unknown."""
    recipe = recipe_of(
        tmp_path,
        entry("bm25") + entry("dense", dense, weight=2.0) + entry("cross-encoder", cross),
    )
    pairs = load_pairs(recipe)
    scores = teach(recipe, pairs, tmp_path / "run", quiet=True)
    assert scores is not None
    raw = raw_scores(pairs, dense, cross)
    queries = np.array([2, 0, 3], np.int32)
    documents = np.arange(len(pairs.documents), dtype=np.int32)[::-1]
    matrix = scores.matrix(queries, documents)
    assert matrix.dtype == np.float32
    for row, q in enumerate(queries):
        own = np.concatenate([pairs.positives[q], pairs.negatives[q]])
        parts = [min_max(raw[name][q, own]) for name in ("bm25", "dense", "dense", "cross")]
        wanted = np.full(len(documents), np.nan)
        wanted[own] = 30 * np.mean(parts, axis=0)
        # vectors are kept in float16, and min-max magnifies what differs
        np.testing.assert_allclose(matrix[row], wanted[documents], atol=0.2)
    drawn = documents[::2]
    np.testing.assert_array_equal(scores.matrix(queries, drawn), matrix[:, ::2])
    assert scores.matrix(queries, documents[:0]).shape == (3, 0)


def test_in_batch_every_pair_is_scored_and_cross_encoders_join_where_they_know(
    dense: Path, cross: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(
        tmp_path,
        entry("bm25")
        + entry("cross-encoder", cross)
        + "[distillation]\nin_batch = true\nscale=1\n",
    )
    pairs = load_pairs(recipe)
    scores = teach(recipe, pairs, tmp_path / "run", quiet=True)
    assert scores is not None
    assert scores.cache is not None
    assert [t.kind for t in scores.cache.teachers] == ["cross-encoder"]
    raw = raw_scores(pairs, dense, cross)
    queries, documents = np.array([1, 2], np.int32), np.array([0, 3, 5, 6, 9], np.int32)
    matrix = scores.matrix(queries, documents)
    assert not np.isnan(matrix).any()
    for row, q in enumerate(queries):
        bm25 = min_max(raw["bm25"][q, documents])
        own = np.concatenate([pairs.positives[q], pairs.negatives[q]])
        cross_of = dict(zip(own.tolist(), min_max(raw["cross"][q, own]), strict=True))
        for column, d in enumerate(documents.tolist()):
            wanted = [bm25[column]] + ([cross_of[d]] if d in cross_of else [])
            assert matrix[row, column] == pytest.approx(np.mean(wanted), abs=1e-4)


@pytest.mark.parametrize("in_batch", [False, True])
def test_spread_negatives_come_from_every_part_of_the_teachers_order(
    in_batch: bool, dense: Path, tmp_path: Path
) -> None:
    """Two negatives of each query: one of the half that the teacher likes best, one not."""
    recipe_of(tmp_path, "batch = 1\nmax_length = 32\n" + entry("dense", dense))
    overrides = {"data.draw": "spread", "distillation.in_batch": in_batch}
    recipe = load_recipe(tmp_path / "recipe.toml", overrides)
    pairs = load_pairs(recipe)
    teacher = DenseEncoder.load(dense, name="d")
    scores = teacher.embed_queries(pairs.queries) @ teacher.embed_documents(pairs.documents).T
    tokenizer = TextTokenizer.load(dense)
    steps = RankingSteps(
        pairs,
        tokenizer,
        recipe,
        n_terms=tokenizer.n_tokens,
        n_batches=40,
        teachers=teach(recipe, pairs, tmp_path / "run", quiet=True),
    )
    row_of = {
        tuple(ids): row for row, ids in enumerate(tokenizer.ids(pairs.documents, special=True))
    }
    assert len(row_of) == len(pairs.documents)
    for number in range(len(steps)):
        (query,) = steps._plan[number]
        batch = steps[number]
        lengths = batch["document_mask"].sum(dim=1).tolist()
        drawn = {
            row_of[tuple(ids[:length])]
            for ids, length in zip(batch["document_ids"].tolist(), lengths, strict=True)
        }
        given = pairs.negatives[query]
        order = given[np.argsort(-scores[query, given], kind="stable")].tolist()
        places = sorted(order.index(row) for row in drawn & set(order))
        half = len(order) // 2
        assert len(places) == 2
        assert places[0] < half <= places[1]


def test_softmax_comes_back_as_the_mixture_of_the_teachers(
    dense: Path, cross: Path, tmp_path: Path
) -> None:
    """The loss's softmax of the target is the weighted mean of the teachers' distributions."""
    recipe = recipe_of(
        tmp_path,
        entry("dense", dense, temperature=0.1, weight=3.0)
        + entry("cross-encoder", cross)
        + '[distillation]\nnormalize = "softmax"\n',
    )
    pairs = load_pairs(recipe)
    scores = teach(recipe, pairs, tmp_path / "run", quiet=True)
    assert scores is not None
    raw = raw_scores(pairs, dense, cross)
    for q in range(len(pairs.queries)):
        own = np.sort(np.concatenate([pairs.positives[q], pairs.negatives[q]]))
        target = np.exp(scores.matrix(np.array([q], np.int32), own)[0].astype(np.float64))
        parts = []
        for name, temperature in (("dense", 0.1), ("cross", 1.0)):
            e = np.exp(raw[name][q, own].astype(np.float64) / temperature)
            parts.append(e / e.sum())
        np.testing.assert_allclose(target, (3 * parts[0] + parts[1]) / 4, atol=2e-3)


def test_affine_gives_the_ensemble_the_scale_of_the_reference(
    dense: Path, cross: Path, tmp_path: Path
) -> None:
    """SPLADE-v3: mean and deviation over all candidates are the cross-encoder's, here of weight
    0."""
    recipe = recipe_of(
        tmp_path,
        entry("bm25") + entry("dense", dense)
        + entry("cross-encoder", cross, weight=0, name="judge")
        + '[distillation]\naffine = "judge"\n',
    )  # fmt: skip
    pairs = load_pairs(recipe)
    scores = teach(recipe, pairs, tmp_path / "run", quiet=True)
    assert scores is not None
    assert [member.name for member in scores.members] == ["bm25", "tiny-dense"]
    raw = raw_scores(pairs, dense, cross)
    targets, reference = [], []
    for q in range(len(pairs.queries)):
        own = np.sort(np.concatenate([pairs.positives[q], pairs.negatives[q]]))
        targets.extend(scores.matrix(np.array([q], np.int32), own)[0])
        reference.extend(raw["cross"][q, own])
    assert np.mean(targets) == pytest.approx(np.mean(reference), abs=1e-4)
    assert np.std(targets) == pytest.approx(np.std(reference), abs=1e-4)


def test_candidates_limit_what_is_scored(dense: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, entry("dense", dense) + "[distillation]\ncandidates = 3\n")
    _, pairs = load_learned(recipe)
    scores = teach(recipe, pairs, tmp_path / "run", quiet=True)
    assert scores is not None
    everything = np.arange(len(pairs.documents), dtype=np.int32)
    known = ~np.isnan(scores.matrix(np.arange(4, dtype=np.int32), everything))
    assert known.sum(axis=1).tolist() == [3, 3, 3, 3]
    for q in range(4):
        drawn = draw(pairs, np.array([q], np.int32), negatives=9, seed=0, number=q).documents
        assert len(drawn) == 1 + len(pairs.negatives[q]) <= 3, "nor does training draw another"


def test_the_command_stops_resumes_extends_and_describes(
    dense: Path,
    cross: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One teacher, then a second beside it; `lsr info` reads the file; training uses it."""

    def call(*words: str) -> dict:
        assert run([*words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    output = tmp_path / "scores.arrow"
    recipe = recipe_of(tmp_path, entry("bm25"))
    stopped = call("score", str(recipe.path), str(output), "--stop-after", "0.000001s")
    assert not stopped["finished"]
    assert not output.exists()
    first = call("score", str(recipe.path), str(output))
    assert first["finished"]
    assert list(first["teachers"]) == ["bm25"]
    recipe = recipe_of(tmp_path, entry("bm25") + entry("cross-encoder", cross, name="judge"))
    second = call("score", str(recipe.path), str(output))
    assert list(second["teachers"]) == ["bm25", "judge"]
    assert second["teachers"]["bm25"] == first["teachers"]["bm25"]
    assert not output.with_name("scores.arrow.work").exists()
    told = call("info", str(output))
    assert (told["queries"], told["pairs"]) == (4, first["pairs"])
    assert told["teachers"] == second["teachers"]
    assert run(["info", str(output)]) == 0
    assert "distillation.cache=" in capsys.readouterr().out
    before = output.read_bytes()
    cached = load_recipe(recipe.path, {"distillation.cache": str(output)})
    assert teach(cached, load_pairs(cached), tmp_path / "run", quiet=True) is not None
    assert output.read_bytes() == before
    monkeypatch.chdir(tmp_path)  # where the command wrote it is where training looks for it
    elsewhere = tmp_path / "recipes" / "r.toml"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(recipe.path.read_bytes())
    (elsewhere.parent / "pairs.jsonl").write_bytes((tmp_path / "pairs.jsonl").read_bytes())
    cached = load_recipe(elsewhere, {"distillation.cache": "scores.arrow"})
    assert teach(cached, load_pairs(cached), tmp_path / "run", quiet=True) is not None
    assert not (elsewhere.parent / "scores.arrow").exists()
    recipe = recipe_of(tmp_path, "")
    assert run(["score", str(recipe.path), str(output)]) == 2
    assert "no [[teachers]]" in capsys.readouterr().err


def test_the_file_of_the_command_is_what_training_reads_with_queries_held_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command scored the queries that training held out, too, and training refused its file."""
    small = {"model.max_length": 32, "model.scratch.vocabulary": 300}
    learn = {"stage.ranking.max_length": 32, "stage.ranking.batch": 2}
    develop = "[develop]\nheld_out = 0.25\n[distillation]\ncandidates = 3\n"
    recipe = recipe_of(tmp_path, entry("bm25") + develop)
    output = tmp_path / "scores.arrow"
    assert run(["score", str(recipe.path), str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["queries"] == 3
    before = output.read_bytes()
    cached = {"distillation.cache": str(output), "stage.ranking.losses.kl": 1.0}
    taught = load_recipe(recipe.path, {**small, **learn, **cached})
    assert train(taught, tmp_path / "encoder", progress=False).finished
    assert output.read_bytes() == before


def test_a_pairwise_teacher_compares_candidates_and_an_encoder_learns_from_it(
    cross: Path, tmp_path: Path
) -> None:
    """The aggregated scores are in the cache, and train."""
    how = {"name": "duo", "aggregation": "additive", "budget": 1.0}
    recipe = recipe_of(tmp_path, entry("pairwise", cross, **how) + "[distillation]\nscale = 1\n")
    pairs = load_pairs(recipe)
    scores = teach(recipe, pairs, tmp_path / "run", quiet=True)
    assert scores is not None
    assert scores.cache is not None
    assert [(t.name, t.kind) for t in scores.cache.teachers] == [("duo", "pairwise")]
    assert scores.cache.teachers[0].settings["budget"] == 1.0
    duo = load_duo(cross)
    for q in range(len(pairs.queries)):
        own = np.concatenate([pairs.positives[q], pairs.negatives[q]]).tolist()
        texts = [pairs.documents[row] for row in own]
        wins = [0.0] * len(texts)
        for i, first in enumerate(texts):
            for j, second in enumerate(texts):
                if i != j:
                    p = float(duo.prefer(pairs.queries[q], [first], [second])[0])
                    wins[i] += p
                    wins[j] += 1 - p
        got = scores.cache.scores("duo", q, q + 1)
        np.testing.assert_allclose(got, wins, atol=1e-4)
        target = scores.matrix(np.array([q], np.int32), np.array(own, np.int32))[0]
        np.testing.assert_allclose(target, min_max(np.array(wins)), atol=1e-3)
    kept = list((tmp_path / "run" / "preferences").iterdir())
    assert len(kept) == 1, "comparisons are remembered beside the cache"
    small = {"model.max_length": 32, "model.scratch.vocabulary": 300}
    learn = {"stage.ranking.max_length": 32, "stage.ranking.losses.kl": 1.0}
    taught = load_recipe(recipe.path, {**small, **learn})
    report = train(taught, tmp_path / "encoder", progress=False)
    assert report.finished
    record = json.loads((tmp_path / "encoder" / "lsr.json").read_text())["training"]
    assert record["recipe"]["teachers"][0]["kind"] == "pairwise"


def test_a_pairwise_teacher_does_not_see_where_the_positive_stands(cross: Path) -> None:
    teacher = PairwiseTeacher(PairwiseReranker(load_duo(cross), budget=0.4), "t")
    texts = ["the big dog", "a cat", "tree on mat", "dogs", "a big tree", "the mat"]
    scores = teacher.score_lists(["dog", "cat"], [texts, texts[::-1]])
    again = teacher.score_lists(["cat", "dog"], [texts, texts[::-1]])
    np.testing.assert_allclose(scores[:6], again[6:][::-1], atol=1e-6)
    np.testing.assert_allclose(scores[6:], again[:6][::-1], atol=1e-6)
    assert teacher.score_lists([], []).shape == (0,)
    other = PairwiseTeacher(PairwiseReranker(load_duo(cross), budget=0.5), "t")
    assert teacher.fingerprint != other.fingerprint


def test_scores_that_are_kept_need_no_vectors(
    dense: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All texts were embedded again before anybody looked into the file of scores."""
    recipe = recipe_of(tmp_path, entry("dense", dense) + entry("bm25"))
    pairs = load_pairs(recipe)
    cached = load_recipe(recipe.path, {"distillation.cache": str(tmp_path / "scores.arrow")})
    first = teach(cached, pairs, tmp_path / "run", quiet=True)
    assert first is not None
    with monkeypatch.context() as patch:
        patch.setattr(distillation, "update_vectors", None)
        again = teach(cached, pairs, tmp_path / "other", quiet=True)
    assert again is not None
    assert [one.name for one in again.members] == [one.name for one in first.members]
    whole = load_recipe(cached.path, {"distillation.cache": "x", "distillation.in_batch": True})
    assert teach(whole, pairs, tmp_path / "third") is not None
    assert "x is not read: with in_batch" in capsys.readouterr().err


def test_few_candidates_are_warned_of(dense: Path, tmp_path: Path, capsys) -> None:
    recipe = recipe_of(tmp_path, entry("dense", dense) + "[distillation]\ncandidates = 3\n")
    teach(recipe, limited(load_pairs(recipe), 3), tmp_path / "run")
    assert "4 of 4 queries have fewer than 4 candidates" in capsys.readouterr().err


def test_a_deadline_stops_and_the_next_call_computes_no_text_again(
    dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(tmp_path, entry("dense", dense))
    pairs = load_pairs(recipe)
    assert teach(recipe, pairs, tmp_path / "run", quiet=True, deadline=0.0) is None
    assert teach(recipe, pairs, tmp_path / "run", quiet=True) is not None

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("embedded again")

    monkeypatch.setattr(DenseEncoder, "_embed", never)
    assert teach(recipe, pairs, tmp_path / "run", quiet=True) is not None


def test_kept_vectors_serve_other_recipes_and_teach_the_same(
    dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers = entry("bm25") + entry("dense", dense)
    plain = recipe_of(tmp_path, teachers + "[distillation]\nin_batch = true\nscale = 1\n")
    kept = load_recipe(plain.path, {"distillation.vectors": "vectors"})
    assert kept.fingerprint() == plain.fingerprint()
    pairs = load_pairs(plain)
    before, first = (
        teach(recipe, pairs, tmp_path / folder, quiet=True)
        for recipe, folder in ((plain, "plain"), (kept, "kept"))
    )
    asked: list[str] = []
    embed = DenseEncoder._embed

    def listening(self: DenseEncoder, texts: list[str], *more: str, **how: bool) -> object:
        asked.extend(texts)
        return embed(self, texts, *more, **how)

    monkeypatch.setattr(DenseEncoder, "_embed", listening)
    where = {"distillation.vectors": "vectors", "distillation.candidates": 2, "run.seed": 9}
    other = load_recipe(plain.path, where)
    assert teach(other, limited(load_pairs(other), 2), tmp_path / "other", quiet=True) is not None
    assert asked == []
    queries, documents = np.array([0, 1, 2, 3], np.int32), np.array([0, 1], np.int32)
    assert before is not None
    assert first is not None
    wanted = before.matrix(queries, documents)
    np.testing.assert_array_equal(first.matrix(queries, documents), wanted)
    assert {path.name.partition("-")[2] for path in (tmp_path / "vectors").iterdir()} == {
        "documents",
        "queries",
    }


def test_a_shipped_recipe_keeps_vectors_in_the_working_directory(
    dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    teachers = [{"kind": "dense", "model": str(dense)}]
    recipe = load_recipe("smoke", {"teachers": teachers, "distillation.vectors": "vectors"})
    pairs = load_pairs(recipe)
    assert teach(recipe, pairs, tmp_path / "run", quiet=True) is not None
    assert len(list((tmp_path / "vectors").iterdir())) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[distillation]\naffine = "x"\n', r"without any \[\[teachers\]\]"),
        (entry("bm25", Path("x")), "BM25 has no model"),
        (entry("dense"), "every other kind needs one"),
        (entry("bm25") + entry("bm25"), "two teachers are called 'bm25'"),
        (entry("bm25", weight=0), "every teacher has weight 0"),
        (entry("bm25", pooling="cls"), "pooling is for dense teachers"),
        (entry("dense", Path("x"), stemmer="german"), "stemmer is for BM25, this teacher is"),
        (entry("bm25", stemmer="klingon"), "stemmer = 'klingon' is none of porter, english"),
        (entry("bm25", stemmer=""), "stemmer = '' is none of porter, english"),
        (entry("sparse", Path("x"), max_length=64), "lengths of its own"),
        (entry("bm25", normalize="softmax") + entry("dense", Path("x")), "do not mix"),
        (entry("bm25") + '[distillation]\naffine = "ce"\n', "is no teacher; wanted one of bm25"),
        (entry("bm25") + '[distillation]\naffine = "bm25"\nscale = 2\n', "leave scale"),
        (
            entry("cross-encoder", Path("x")) + "[distillation]\nin_batch = true\n",
            "with cross-encoders and pairwise teachers alone",
        ),
        (entry("bm25", budget=0.5), r"\[0\].sampler, aggregation and budget are for pairwise"),
        (entry("pairwise", Path("x"), budget=0.0), "compares nothing"),
        (entry("pairwise", Path("x"), budget=1.5), "budget"),
        (entry("pairwise", Path("x"), query_prompt="q: "), "have no prompts"),
        (entry("oracle"), "teachers.*kind = 'oracle'; wanted one of"),
    ],
)
def test_a_recipe_that_cannot_mean_anything_is_refused(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe_of(tmp_path, text)


def test_a_run_learns_from_its_teachers_and_resumes_to_the_same_bits(
    dense: Path, tmp_path: Path
) -> None:
    """Stopped after every step, teachers' stage included; and it differs from untaught training."""
    text = (
        "max_length = 32\nbatch = 4\n[stage.ranking.losses]\nkl = 1.0\nmargin_mse = 0.01\n"
        + entry("bm25") + entry("dense", dense) + "[distillation]\nin_batch = true\n"
    )  # fmt: skip
    recipe_of(tmp_path, text)
    overrides = {"model.max_length": 32, "model.scratch.vocabulary": 300, "stage.ranking.steps": 3}
    recipe = load_recipe(tmp_path / "recipe.toml", overrides)
    assert train(recipe, tmp_path / "whole", progress=False).finished
    calls = 0
    while not train(recipe, tmp_path / "parts", progress=False, stop_after=0.2).finished:
        calls += 1
        assert calls < 40
    whole, parts = (
        load_file(tmp_path / name / "document_0_Transformer" / "model.safetensors")
        for name in ("whole", "parts")
    )
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)
    record = json.loads((tmp_path / "whole" / "lsr.json").read_text())["training"]
    assert record["recipe"]["teachers"][1]["model"] == "tiny-dense"
    assert record["last_log"]["loss"] > 0


@pytest.mark.shared
def test_real_teachers_prefer_the_answer(shared_data: Path) -> None:
    """gte-small, a published encoder in a bare folder: related texts are nearer than others."""
    folder = shared_data.parent / "models" / "gte-small"
    if not folder.is_dir():
        pytest.skip("gte-small is not beside the checkout")
    teacher = DenseEncoder.load(folder, name="gte-small", max_length=64, device="cpu")
    query = teacher.embed_queries(["how do bees tell each other where food is"])
    documents = teacher.embed_documents(
        ["A honeybee dances to show the way to flowers.", "Steel rusts when it is wet."]
    )
    scores = (query @ documents.T)[0]
    assert scores[0] > scores[1] + 0.05
