"""Token counts and idf tables: the same for any number of processes, kept, added, swapped."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from index import Index, build_index, check_same_space
from lsr.commands.idf import idf
from lsr.datasets import load_dataset
from lsr.encoders import (
    InferenceFreeEncoder,
    TextTokenizer,
    blend_idf,
    count_tokens,
    idf_table,
    load_encoder,
)
from lsr.encoders.token_counts import TokenCounts
from lsr.errors import EncoderError

TEXTS = ["the cat sat", "the dog", "", "[SEP]", "a big cat on the mat"]


@pytest.fixture
def tokenizer(tiny_checkpoint: Path) -> TextTokenizer:
    return TextTokenizer.load(tiny_checkpoint)


def write_corpus(path: Path, texts: list[str]) -> Path:
    lines = [json.dumps({"_id": f"d{i}", "text": text}) for i, text in enumerate(texts)]
    path.write_text("\n".join(lines))
    return path


def test_counts_are_those_of_a_plain_loop(tokenizer: TextTokenizer) -> None:
    counts = count_tokens(iter(TEXTS), tokenizer)
    wanted = np.zeros(tokenizer.n_tokens, np.int64)
    for text in TEXTS:
        for number in set(tokenizer.ids([text], special=False)[0]):
            wanted[number] += 1
    assert counts.df.dtype == np.int64
    np.testing.assert_array_equal(counts.df, wanted)
    assert counts.n_passages == 3


def test_any_number_of_processes_counts_the_same(
    tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lsr.encoders.token_counts._BATCH", 3)
    texts = [f"{TEXTS[i % 5]} {'cafes' * (i % 2)}" for i in range(40)]
    alone, two = (count_tokens(iter(texts), tokenizer, processes=n) for n in (1, 2))
    np.testing.assert_array_equal(alone.df, two.df)
    assert alone.n_passages == two.n_passages


def test_counts_of_two_halves_add_up_to_those_of_the_whole(tokenizer: TextTokenizer) -> None:
    first = count_tokens(TEXTS[:2], tokenizer, corpus="a")
    second = count_tokens(TEXTS[2:], tokenizer, corpus="b")
    both, whole = first + second, count_tokens(TEXTS, tokenizer)
    np.testing.assert_array_equal(both.df, whole.df)
    assert (both.n_passages, both.corpora) == (whole.n_passages, ("a", "b"))
    with pytest.raises(EncoderError, match="counted twice"):
        both + second
    with pytest.raises(EncoderError, match="same numbers, other words"):
        first + replace(second, tokenizer="0" * 16)


def test_kept_counts_come_back_and_damage_is_named(
    tokenizer: TextTokenizer, tmp_path: Path
) -> None:
    counts = count_tokens(TEXTS, tokenizer, corpus="a")
    counts.save(tmp_path / "counts")
    again = TokenCounts.load(tmp_path / "counts")
    np.testing.assert_array_equal(again.idf(), idf_table(TEXTS, tokenizer))
    assert (again.special, again.corpora) == (counts.special, ("a",))
    card = tmp_path / "counts" / "idf.json"
    card.write_text(card.read_text().replace('"n_passages": 3', '"n_passages": 1'))
    with pytest.raises(EncoderError, match="contradict"):
        TokenCounts.load(tmp_path / "counts")


def test_smoothing_and_clip_do_what_the_formula_says(tokenizer: TextTokenizer) -> None:
    counts = count_tokens(TEXTS, tokenizer)
    the = tokenizer.tokenizer.token_to_id("the")
    never = tokenizer.tokenizer.token_to_id("tree")
    assert counts.idf(smoothing=1.0)[the] == pytest.approx(math.log(1 + 1 / 4))
    assert counts.idf(smoothing=1.0)[never] == pytest.approx(math.log(1 + 4 / 1))
    clipped = counts.idf(clip=1.5)
    assert clipped[never] == clipped.max() == np.float32(1.5)
    assert clipped[the] == counts.idf()[the]
    with pytest.raises(EncoderError, match="infinitely"):
        counts.idf(smoothing=0.0)


def test_blending_tables_is_blending_document_frequencies(tokenizer: TextTokenizer) -> None:
    """Two corpora of one size, half of each: the table of the corpora together, in the limit.

    exp(-idf) = (df + 1/2) / (N + 1), so the mean of two is (df1 + df2 + 1) / (2 N + 2).
    """
    old, new = count_tokens(["the cat"] * 9, tokenizer), count_tokens(["the dog"] * 9, tokenizer)
    blended = blend_idf(old.idf(), new.idf(), 0.5)
    real = np.delete(np.arange(tokenizer.n_tokens), old.special)
    wanted = np.log((2 * 9 + 2) / (old.df + new.df + 1.0))
    np.testing.assert_allclose(blended[real], wanted[real], rtol=1e-6)
    assert not blended[list(old.special)].any()
    np.testing.assert_allclose(blend_idf(old.idf(), new.idf(), 0.0), old.idf(), rtol=1e-6)


@pytest.fixture
def encoder(tiny_checkpoint: Path, tokenizer: TextTokenizer, tmp_path: Path) -> Path:
    """An inference-free encoder whose table is the idf of other texts, and a training record."""
    from lsr.encoders.splade import SpladeModel

    model = SpladeModel.from_checkpoint(tiny_checkpoint)
    made = InferenceFreeEncoder.of(model, idf_table(TEXTS, tokenizer))
    made.save(tmp_path / "encoder")
    card = tmp_path / "encoder" / "lsr.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "training": {"recipe": "r"}}))
    return tmp_path / "encoder"


def test_an_index_accepts_the_swapped_table_and_ranks_by_it(encoder: Path, tmp_path: Path) -> None:
    """The whole path: index, count, swap, search; the scores are worked out by hand."""
    corpus = write_corpus(tmp_path / "c.jsonl", ["cat cat dog", "cat mat", "dog on the mat"] * 2)
    before = load_encoder(encoder)
    build_index(
        tmp_path / "i.index",
        load_dataset(str(corpus)).documents(),
        before,
        source="c",
        progress=False,
    )
    arguments = [str(corpus), "--encoder", str(encoder), "--output", str(tmp_path / "new")]
    result = CliRunner().invoke(idf, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["passages"] == 6
    after = load_encoder(tmp_path / "new")
    assert isinstance(after, InferenceFreeEncoder)
    assert after.space == before.space
    assert after.build != before.build
    assert json.loads((tmp_path / "new" / "lsr.json").read_text())["training"] == {"recipe": "r"}
    vocabulary = after.queries.tokenizer.tokenizer.get_vocab()
    assert after.queries.weights[vocabulary["cat"]] == pytest.approx(math.log(1 + 2.5 / 4.5))
    with Index.open(tmp_path / "i.index") as index:
        check_same_space(index, after)
        found = {}
        for name, side in (("before", before), ("after", after)):
            found[name] = dict(index.search(side.encode_queries(["the dog"]), k=6))
        documents = before.encode_documents(["cat cat dog", "cat mat", "dog on the mat"] * 2)
        wanted = (documents @ after.encode_queries(["the dog"]).T).toarray()[:, 0]
        for i, score in enumerate(wanted):
            assert found["after"].get(f"d{i}", 0.0) == pytest.approx(score, abs=0.1)  # 8-bit
    assert found["before"] != found["after"]


def test_counts_of_another_tokenizer_are_refused(encoder: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", ["cat", "dog"])
    run = CliRunner()
    kept = ["--tokenizer", str(encoder), "--output", str(tmp_path / "kept")]
    assert run.invoke(idf, [str(corpus), *kept], catch_exceptions=False).exit_code == 0
    card = tmp_path / "kept" / "idf.json"
    raw = json.loads(card.read_text())
    assert raw["n_passages"] == 2
    swap = ["--encoder", str(encoder), "--output", str(tmp_path / "new"), "--blend", "0.5"]
    result = run.invoke(idf, [str(tmp_path / "kept"), *swap], catch_exceptions=False)
    assert result.exit_code == 0
    assert "as before" in result.stdout
    card.write_text(json.dumps({**raw, "tokenizer": "0" * 16}))
    with pytest.raises(EncoderError, match="same numbers, other words"):
        run.invoke(idf, [str(tmp_path / "kept"), *swap, "--overwrite"], catch_exceptions=False)
