"""Systems with dense stages, opened over a collection: what the commands search with."""

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("faiss")

from lsr.__main__ import run  # noqa: E402
from lsr.commands._systems import encoder_choice, open_system  # noqa: E402
from lsr.datasets import Dataset, load_dataset  # noqa: E402
from lsr.errors import EncoderError, MissingExtra  # noqa: E402
from lsr.retrieval import Hnsw, fuse  # noqa: E402
from lsr.systems import System  # noqa: E402

TEXTS = ["the big dog", "a cat sat on the mat", "dogs and cats", "café tree"]
QUERIES = {"q1": "cat", "q2": "big tree"}


@pytest.fixture(scope="module")
def dense(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bare random BERT, as a retriever's name."""
    config = transformers.AutoConfig.from_pretrained(tiny_checkpoint)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = transformers.BertModel(config, add_pooling_layer=False)
    folder = tmp_path_factory.mktemp("dense") / "tiny-dense"
    model.eval().save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(folder)
    return f"dense:{folder}"


@pytest.fixture
def collection(tmp_path: Path) -> Dataset:
    path = tmp_path / "animals.jsonl"
    lines = (f'{{"_id": "d{i}", "text": "{text}"}}\n' for i, text in enumerate(TEXTS))
    path.write_text("".join(lines), encoding="utf-8")
    return load_dataset(path)


def test_a_hybrid_system_is_the_fusion_of_its_retrievers(collection: Dataset, dense: str) -> None:
    def answer(*retrievers: str, weights: tuple[float, ...] = ()) -> dict[str, dict[str, float]]:
        system = System("s", retrievers, fuse="minmax", weights=weights)
        with open_system(system, collection) as opened:
            return dict(opened.search(QUERIES, 4))

    with (
        open_system(System("a", ("bm25",)), collection) as a,
        open_system(System("b", (dense,)), collection) as b,
    ):
        runs = [a.search(QUERIES, 1000), b.search(QUERIES, 1000)]
        facts = b.facts()
        named = {name: facts[name] for name in ("system", "encoder", "n_docs", "index_bytes")}
        assert named == {"system": "b", "encoder": "tiny-dense", "n_docs": 4, "index_bytes": 256}
    assert answer("bm25", dense, weights=(1, 3)) == dict(fuse(runs, "minmax", [1, 3]))
    assert answer("bm25", dense) == dict(fuse(runs, "minmax"))


def test_the_first_embedding_of_a_process_is_not_timed(
    collection: Dataset, dense: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lsr.encoders.dense import DenseEncoder

    asked: list[int] = []
    embed = DenseEncoder.embed_queries

    def counted(self: DenseEncoder, texts: list[str]) -> object:
        asked.append(len(texts))
        return embed(self, texts)

    monkeypatch.setattr(DenseEncoder, "embed_queries", counted)
    with open_system(System("b", (dense,)), collection) as opened:
        opened.search(QUERIES, 4)
        opened.search(QUERIES, 4)
        opened.search({}, 4)
    assert asked[:3] == [1, 2, 2]


def test_vectors_in_the_cache_are_not_made_again(
    collection: Dataset, dense: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lsr.encoders.dense import DenseEncoder

    with open_system(System("b", (dense,)), collection) as opened:
        first = dict(opened.search(QUERIES, 4))
    monkeypatch.setattr(DenseEncoder, "embed_documents", None)  # not called again
    with open_system(System("b", (dense,)), collection) as opened:
        assert dict(opened.search(QUERIES, 4)) == first


def test_a_system_says_whether_long_documents_are_cut_and_how_exact_it_is(
    collection: Dataset, dense: str
) -> None:
    system = System("c", (dense,), chunk=8, overlap=2, dense_index="hnsw")
    with open_system(system, collection) as opened:
        (stage,) = opened.dense
        assert stage.retriever.index.how == Hnsw()
        assert stage.retriever.index.n_docs == len(TEXTS) < stage.retriever.index.n_vectors
        run = opened.search(QUERIES, 4)
        assert {query_id: len(run[query_id]) for query_id in run} == {"q1": 4, "q2": 4}


def test_what_a_dense_system_lacks_is_named(
    collection: Dataset, dense: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EncoderError, match="nothing"):
        open_system(System("b", (f"dense:{tmp_path / 'nothing'}",)), collection)
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"lsr-search\[dense\]"):
        open_system(System("b", (dense,)), collection)


def test_what_tune_writes_evaluate_measures(
    dense: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "toy"
    (folder / "qrels").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    ids = range(6)
    (folder / "corpus.jsonl").write_text(
        "".join(f'{{"_id": "d{i}", "text": "{"cat " * i} tree {i}"}}\n' for i in ids)
    )
    (folder / "queries.jsonl").write_text(
        "".join(f'{{"_id": "q{i}", "text": "tree {i}"}}\n' for i in ids)
    )
    for split, chosen in (("train", ids[:5]), ("test", ids[5:])):
        rows = "".join(f"q{i}\td{i}\t1\n" for i in chosen)
        (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")
    assert run(["tune", "toy", "--with", "bm25", "--with", dense, "--output", "w.toml"]) == 0
    assert (
        capsys.readouterr().out.splitlines()[-1] == "next       lsr evaluate toy --systems w.toml"
    )
    assert run(["evaluate", "toy", "--systems", "w.toml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["system"] == "bm25 + tiny-dense"


def test_a_dense_re_ranker_gives_the_head_the_scores_of_dense_search(
    collection: Dataset, dense: str
) -> None:
    """All four documents re-ranked are dense search; with fewer, the tail keeps bm25's order."""
    with (
        open_system(System("first", ("bm25",)), collection) as bm25,
        open_system(System("dense", (dense,)), collection) as whole,
        open_system(System("again", ("bm25",), rerank=dense), collection) as again,
        open_system(System("head", ("bm25",), rerank=dense, rerank_depth=1), collection) as head,
    ):
        first, everything = bm25.search(QUERIES, 4), whole.search(QUERIES, 4)
        for query_id in QUERIES:
            found = first[query_id]
            wanted = [pair for pair in everything.ranked(query_id) if pair[0] in found]
            assert again.search(QUERIES, 4).ranked(query_id) == wanted
            assert list(head.search(QUERIES, 4)[query_id]) == list(found)
        assert [len(row) for row in again.search(QUERIES, 1).values()] == [1, 1]


def test_a_cross_encoder_re_ranks_a_system(
    collection: Dataset, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    config = transformers.AutoConfig.from_pretrained(tiny_checkpoint, num_labels=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = transformers.BertForSequenceClassification(config)
    folder = tmp_path / "ce"
    model.eval().save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(folder)
    from lsr.encoders.cross_encoder import CrossEncoder

    system = System("ce", ("bm25",), rerank=f"cross-encoder:{folder}")
    with open_system(system, collection) as opened:
        answer = opened.search({"q1": "cat"}, 4)
    texts = {f"d{i}": text for i, text in enumerate(TEXTS)}
    judge = CrossEncoder.load(folder, name="ce", device="cpu")
    for doc_id, score in answer.ranked("q1"):
        assert score == pytest.approx(judge.score(["cat"], [texts[doc_id]])[0], abs=1e-5)


def test_an_onnx_graph_joins_a_system_whose_other_networks_are_in_bfloat16(tmp_path: Path) -> None:
    (tmp_path / "int8" / "document_0_OnnxTransformer").mkdir(parents=True)
    (tmp_path / "torch" / "0_Transformer").mkdir(parents=True)
    system = System("s", ("bm25",), precision="bfloat16")
    named = {name: encoder_choice(str(tmp_path / name), system) for name in ("int8", "torch")}
    assert {name: choice.precision for name, choice in named.items()} == {
        "int8": "float32",
        "torch": "bfloat16",
    }
    assert encoder_choice("lsr-mini", system).precision == "float32", "a graph inside a joined one"


def test_of_several_encoders_each_says_its_own_terms(collection: Dataset, dense: str) -> None:
    """Under the hybrid's own name stand those of its first stage."""
    with open_system(System("s", ("bm25", dense)), collection) as opened:
        opened.search(QUERIES, 4)
        facts = opened.facts()
    first, second = facts["stages"]
    assert (first["encoder"], second["encoder"]) == ("bm25", "tiny-dense")
    assert first["flops"] > 0
    assert facts["index_bytes"] == first["index_bytes"] + second["index_bytes"]
