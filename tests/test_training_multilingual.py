"""Vocabularies of many scripts: train, save, load, encode, explain, index, search, count."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from languages import PAIRS, TEXTS, Kind, make_backbone  # noqa: E402

from lsr import __main__ as command  # noqa: E402
from lsr.encoders import InferenceFreeEncoder, TextTokenizer, load_encoder  # noqa: E402
from lsr.encoders.windows import pieces  # noqa: E402
from lsr.errors import RecipeError  # noqa: E402
from training import load_recipe, train  # noqa: E402
from training.distillation import load_teacher  # noqa: E402
from training.mining.rankers import open_miner  # noqa: E402
from training.sections import TeacherSettings  # noqa: E402
from training.stage_sections import MlmStage  # noqa: E402
from training.steps import MlmSteps  # noqa: E402
from training.teachers.bm25 import BM25Teacher  # noqa: E402


@pytest.fixture(
    scope="module", params=["unigram", pytest.param("wordpiece", marks=pytest.mark.slow)]
)
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kind: Kind = request.param
    return make_backbone(tmp_path_factory.mktemp("languages") / kind, kind)


@pytest.fixture(scope="module")
def trained(backbone: Path) -> Path:
    """The folder of an encoder that learned the pairs, beside the corpus and an index of it."""
    folder = backbone.parent
    lines = [json.dumps({"query": query, "pos": text}) for query, text in PAIRS]
    (folder / "pairs.jsonl").write_text("\n".join(lines), encoding="utf-8")
    rows = [{"_id": str(row), "text": text} for row, (_, text) in enumerate(PAIRS)]
    corpus = folder / "corpus.jsonl"
    corpus.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    recipe = folder / "recipe.toml"
    recipe.write_text(
        f'name = "many"\n[model]\nkind = "inference-free"\nbackbone = "{backbone}"\n'
        'max_length = 48\n[data]\ntrain = ["pairs.jsonl"]\n'
        "[stage.mlm]\nsteps = 40\nbatch = 8\nmax_length = 48\nlearning_rate = 1e-2\n"
        "[stage.calibrate]\nactive_terms = 40\n"
        "[stage.ranking]\nsteps = 30\nbatch = 8\nmax_length = 48\nlearning_rate = 3e-3\n"
        "[run]\nwatch_pairs = 0\n"
    )
    output = train(load_recipe(recipe), folder / "encoder", progress=False).output
    index = ["index", str(corpus), str(folder / "many.index"), "--encoder", str(output)]
    assert command.run(index) == 0
    return output


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert command.run(list(words)) == 0
    return capsys.readouterr().out


def plain(text: str) -> str:
    """Without case, accents, width and the signs that tokenizers put at the edges of pieces."""
    parts = unicodedata.normalize("NFKD", text.removeprefix("##").lstrip("▁").strip())
    return "".join(c for c in parts if not unicodedata.combining(c)).lower()


def test_hidden_tokens_stand_behind_the_mask_of_the_vocabulary(backbone: Path) -> None:
    """RoBERTa's is called <mask>; padding took its place once, which no text ever shows."""
    tokenizer = TextTokenizer.load(backbone)
    stage = MlmStage(steps=1, batch=8, max_length=48, masked=1.0, kept=0.0)
    item = MlmSteps([text for _, text in PAIRS], tokenizer, stage, seed=0, n_steps=1)[0]
    given = item["input_ids"].ravel()[item["positions"]]
    names = (tokenizer.tokenizer.token_to_id(name) for name in ("<mask>", "[MASK]"))
    (mask,) = (number for number in names if number is not None)
    assert (given == mask).float().mean() > 0.7  # one in ten is swapped for another word
    assert not (given == tokenizer.pad_id).any()


def test_pairs_of_many_languages_are_learned_and_found(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In memory and by the engine; special tokens weigh nothing."""
    encoder = load_encoder(trained)
    queries = encoder.encode_queries([query for query, _ in PAIRS])
    documents = encoder.encode_documents([text for _, text in PAIRS])
    assert (queries @ documents.T).toarray().argmax(axis=1).tolist() == list(range(len(PAIRS)))
    assert (queries.toarray() > 0).sum(axis=1).min() >= 2
    assert isinstance(encoder, InferenceFreeEncoder)
    assert documents.toarray()[:, encoder.queries.tokenizer.special_ids()].sum() == 0
    index = str(trained.parent / "many.index")
    for row, (query, text) in enumerate(PAIRS):
        hits = json.loads(run(capsys, "search", index, query, "--json"))["queries"][0]["hits"]
        assert hits[0]["doc_id"] == str(row)
        assert hits[0]["fields"]["text"] == text


def test_explanations_show_the_characters_that_a_token_stands_for(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The token, which comes from the vocabulary, is the oracle: without accents, case and signs it
    is what the span of the stored text says, no space before it and no accent left behind."""
    index, seen = str(trained.parent / "many.index"), set()
    for row, (query, _) in enumerate(PAIRS):
        printed = run(capsys, "search", index, query, "--json", "--explain")
        hit = json.loads(printed)["queries"][0]["hits"][0]
        text = hit["fields"]["text"]
        for origin in (term["origin"] for term in hit["terms"]):
            if origin["span"] is None or origin["token"] == "▁":
                continue
            start, end = origin["span"]
            assert text[start:end] == origin["text"]
            assert plain(origin["token"]) == plain(origin["text"])
            assert not origin["text"][0].isspace()
            assert end == len(text) or not unicodedata.combining(text[end])
            seen.add(row)
    assert len(seen) >= 6


@pytest.mark.parametrize("kind", ["unigram", "wordpiece", "bytes"])
def test_windows_cover_texts_of_any_script_between_characters(kind: Kind, tmp_path: Path) -> None:
    """Bytes make three tokens of a Chinese character, which share its one place in the text."""
    tokenizer = TextTokenizer.load(make_backbone(tmp_path, kind)).limited(16)
    text = " ".join(TEXTS * 2)
    unlimited = tokenizer.limited(None)
    for one in (text, text.replace(" ", ""), "\U00020b9f" * 40 + "字"):
        (spans,) = pieces([one], tokenizer, overlap=4)
        assert len(spans) > 2 or kind != "bytes"  # to others a rare script is one unknown token
        assert spans[0][0] == 0
        assert spans[-1][1] == len(one)
        assert all(after[0] <= before[1] for before, after in zip(spans, spans[1:], strict=False))
        sizes = [len(ids) for ids in unlimited.ids([one[a:b] for a, b in spans], special=True)]
        assert max(sizes) <= 16


def test_idf_counts_the_texts_of_every_script(
    trained: Path, backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`lsr idf` against a loop over what transformers' own tokenizer makes of each text."""
    new = tmp_path / "new"
    corpus = str(trained.parent / "corpus.jsonl")
    run(capsys, "idf", corpus, "--encoder", str(trained), "--output", str(new))
    tokenizer = transformers.AutoTokenizer.from_pretrained(backbone)
    df = np.zeros(len(tokenizer))
    for _, text in PAIRS:
        df[list(set(tokenizer(text, add_special_tokens=False)["input_ids"]))] += 1
    expected = np.log(1 + (len(PAIRS) - df + 0.5) / (df + 0.5))
    expected[tokenizer.all_special_ids] = 0
    encoder = load_encoder(new)
    assert isinstance(encoder, InferenceFreeEncoder)
    np.testing.assert_allclose(encoder.queries.weights, expected, rtol=1e-6)


def test_bm25_mines_and_teaches_with_the_stems_of_another_language() -> None:
    """Dative plural and nominative are one word to Snowball's German, two to English stems."""
    texts = ["den alten Häusern", "das Auto", "ein Baum"]
    found = {
        name: open_miner(name).rank(texts, quiet=True).search(["altes Haus"], 3, [[]])[0].rows
        for name in ("bm25", "bm25:german")
    }
    assert list(found["bm25:german"]) == [0]
    assert not len(found["bm25"])
    recipe = load_recipe("smoke")
    for stemmer, known in (("german", True), (None, False)):
        teacher = load_teacher(recipe, TeacherSettings("bm25", stemmer=stemmer), "bm25", texts)
        assert isinstance(teacher, BM25Teacher)
        scores = teacher.embed_queries(["altes Haus"]) @ teacher.embed_documents(texts).T
        assert (scores.nnz == 1) == known


def test_positions_before_the_first_are_not_counted(backbone: Path, tmp_path: Path) -> None:
    """XLM-RoBERTa numbers them from 2 on: a length of all of them ended in an index error."""
    config = json.loads((backbone / "config.json").read_text())
    offset = 2 if config["model_type"] == "xlm-roberta" else 0
    there = config["max_position_embeddings"] - offset
    settings = {"model.backbone": str(backbone), "model.scratch": None}
    for length in {there + 1, config["max_position_embeddings"] + 1}:
        recipe = load_recipe("smoke", settings | {"model.max_length": length})
        with pytest.raises(RecipeError, match=f"has {there} positions; lower max_length"):
            train(recipe, tmp_path / "out", progress=False)
