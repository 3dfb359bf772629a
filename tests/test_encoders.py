"""SPLADE and inference-free encoders: weights, batching, tables, and life without torch."""

import math
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from tokenizers import Tokenizer

from index import build_index
from lsr.encoders import (
    BM25Encoder,
    Card,
    InferenceFreeEncoder,
    QueryTable,
    SpladeEncoder,
    TextTokenizer,
    idf_table,
    learned_part,
    load_encoder,
)
from lsr.encoders.batching import encode_sorted, keep_largest, plan
from lsr.errors import EncoderError, MissingHead, UsageError
from lsr.types import Document, SparseMatrix, canonical

if TYPE_CHECKING:
    from lsr.encoders.splade import SpladeModel

TEXTS = ["the cat sat", "", "a big dog on the mat", "  \n", "cat cat cats", "x" * 200, "café 北京"]


@pytest.fixture
def splade(tiny_checkpoint: Path) -> "SpladeModel":
    from lsr.encoders.splade import SpladeModel

    return SpladeModel.from_checkpoint(tiny_checkpoint)


def assert_canonical(rows: SparseMatrix) -> None:
    """What an index takes as it is."""
    checked = canonical(rows)
    assert rows.dtype == np.float32
    assert rows.indices.tolist() == checked.indices.tolist()
    assert rows.data.tolist() == checked.data.tolist()


# --- the network -----------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_weights_follow_the_formula_position_by_position(
    tiny_checkpoint: Path, activation: str, pooling: str
) -> None:
    """Activation of every logit first, pooling after: the textbook order, without batches."""
    import torch
    from transformers import AutoModelForMaskedLM

    from lsr.encoders.splade import SpladeModel

    reference = AutoModelForMaskedLM.from_pretrained(tiny_checkpoint).eval()
    tokenizer = TextTokenizer.load(tiny_checkpoint)
    model = SpladeModel.from_checkpoint(
        tiny_checkpoint,
        activation=activation,  # type: ignore[arg-type]
        pooling=pooling,  # type: ignore[arg-type]
    )
    tokens = [ids for ids in tokenizer.ids(TEXTS, special=True) if len(ids) > 2]
    rows = model.encode_tokens(tokens).toarray()
    for ids, row in zip(tokens, rows, strict=True):
        with torch.no_grad():
            logits = reference(torch.tensor([ids])).logits[0].numpy()
        weights = np.log1p(np.maximum(logits, 0))
        if activation == "log1p_relu":
            weights = np.log1p(weights)
        wanted = weights.max(axis=0) if pooling == "max" else weights.sum(axis=0)
        # Padding changes the order of float32 sums inside attention.
        np.testing.assert_allclose(row, wanted, atol=2e-6)


def test_gradients_reach_embeddings_and_head(splade: "SpladeModel") -> None:
    """Training uses the same forward; pooling in place must not cut the graph."""
    import torch

    ids = torch.tensor([[2, 31, 33, 3], [2, 34, 3, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    weights = splade(ids, mask)
    assert weights.shape == (2, splade.n_terms)
    assert weights.dtype == torch.float32
    weights.sum().backward()
    head = splade.backbone.cls.predictions
    for parameter in (head.bias, head.transform.dense.weight, head.decoder.weight):
        assert parameter.grad is not None
        assert float(parameter.grad.abs().sum()) > 0


def test_a_checkpoint_without_head_is_refused_not_reinitialised(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """The classic silent failure: a random head gives nDCG near zero and no error."""
    from transformers import AutoModel

    from lsr.encoders.splade import SpladeModel

    AutoModel.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path)
    TextTokenizer.load(tiny_checkpoint).write(tmp_path)
    with pytest.raises(MissingHead, match=r"cls\.predictions"):
        SpladeModel.from_checkpoint(tmp_path)
    with pytest.raises(MissingHead, match="masked"):
        load_encoder(tmp_path)


def test_a_new_head_is_tied_and_the_same_for_the_same_seed(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModel

    from lsr.encoders.splade import SpladeModel

    AutoModel.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path)
    TextTokenizer.load(tiny_checkpoint).write(tmp_path)
    before = torch.random.get_rng_state()
    first, again, other = (
        SpladeModel.from_checkpoint(tmp_path, new_head=True, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    dense = [model.backbone.cls.predictions.transform.dense.weight for model in (first, again)]
    assert torch.equal(*dense)
    assert not torch.equal(dense[0], other.backbone.cls.predictions.transform.dense.weight)
    embeddings = first.backbone.get_input_embeddings().weight
    assert first.backbone.cls.predictions.decoder.weight is embeddings
    first.save_checkpoint(tmp_path / "saved")
    SpladeModel.from_checkpoint(tmp_path / "saved")


def test_missing_weights_of_the_body_are_never_new_even_with_a_new_head(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file, save_file

    from lsr.encoders.splade import SpladeModel

    weights = load_file(tiny_checkpoint / "model.safetensors")
    dropped = next(name for name in weights if "attention" in name)
    del weights[dropped]
    for path in tiny_checkpoint.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for new_head in (False, True):
        with pytest.raises(EncoderError, match="weights of the encoder itself are missing"):
            SpladeModel.from_checkpoint(tmp_path, new_head=new_head)


def test_weights_that_are_not_finite_are_refused(splade: "SpladeModel") -> None:
    """A training that diverged must not reach an index."""
    import torch

    with torch.no_grad():
        splade.backbone.cls.predictions.bias[10] = math.nan
    with pytest.raises(EncoderError, match="not finite"):
        SpladeEncoder.of(splade).encode_documents(["the cat"])


# --- encoding --------------------------------------------------------------------------------


def test_rows_come_back_in_order_and_empty_texts_are_empty_rows(
    splade: "SpladeModel",
) -> None:
    encoder = SpladeEncoder.of(splade)
    together = encoder.encode_documents(TEXTS)
    assert_canonical(together)
    for i, text in enumerate(TEXTS):
        alone = encoder.encode_documents([text])
        np.testing.assert_allclose(together[[i]].toarray(), alone.toarray(), atol=2e-6)
        assert (alone.nnz == 0) == (not text.strip())
    assert encoder.encode_documents([]).shape == (0, encoder.n_terms)


def test_text_longer_than_the_limit_is_cut(splade: "SpladeModel") -> None:
    encoder = SpladeEncoder.of(splade)
    assert encoder.side.tokenizer.max_length == 32
    a, b = (encoder.encode_documents(["cat " * 30 + tail]) for tail in ("", "dog " * 500))
    np.testing.assert_allclose(a.toarray(), b.toarray(), atol=2e-6)


def test_lone_surrogates_are_encoded_as_unknown_not_crashed_on(
    splade: "SpladeModel",
) -> None:
    """JSON may hold "\\ud800"; Python reads it into a string that UTF-8 cannot write."""
    rows = SpladeEncoder.of(splade).encode_documents(["cat \ud800", "cat \ufffd"])
    np.testing.assert_allclose(rows.toarray()[0], rows.toarray()[1], atol=2e-6)


@given(
    st.lists(st.integers(0, 600), max_size=80),
    st.integers(1, 2_000),
)
def test_a_plan_holds_every_text_once_and_keeps_the_budget(
    lengths: list[int], token_budget: int
) -> None:
    batches = plan(lengths, token_budget=token_budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert len(batch) == 1 or longest * len(batch) <= token_budget
    longest_of_each = [max(lengths[i] for i in batch) for batch in batches]
    assert longest_of_each == sorted(longest_of_each, reverse=True)


@given(st.lists(st.integers(0, 9), max_size=50), st.integers(1, 30), st.integers(1, 3))
def test_sorted_batches_give_the_rows_of_the_input_order(
    lengths: list[int], token_budget: int, callers: int
) -> None:
    """The network here writes the length of each text into a column: rows tell their text."""

    def forward(tokens: Sequence[Sequence[int]]) -> SparseMatrix:
        assert all(tokens)
        return sparse.csr_array(np.array([[len(ids), 1] for ids in tokens], np.float32))

    rows = encode_sorted(
        ["a" * length for length in lengths],
        tokenise=lambda window: [[1] * len(text) for text in window],
        forward=forward,
        n_terms=2,
        token_budget=token_budget,
        progress=False,
        callers=callers,
    )
    assert rows.shape == (len(lengths), 2)
    assert rows.toarray()[:, 0].tolist() == lengths


def test_a_batch_that_fails_keeps_those_behind_it_from_being_read() -> None:
    """The longest is first; of those that others had begun two may end."""
    begun = []

    def forward(tokens: Sequence[Sequence[int]]) -> SparseMatrix:
        begun.append(len(tokens[0]))
        if len(tokens[0]) == 1000:
            raise MemoryError("too long")
        time.sleep(0.05)
        return sparse.csr_array(np.ones((1, 2), np.float32))

    with pytest.raises(MemoryError, match="too long"):
        encode_sorted(
            ["a" * length for length in range(900, 1001)],
            tokenise=lambda window: [[1] * len(text) for text in window],
            forward=forward,
            n_terms=2,
            token_budget=1,
            progress=False,
            callers=2,
        )
    assert begun[0] == 1000
    assert len(begun) < 10


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_the_cap_keeps_the_largest_weights_of_each_row(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    dense = rng.integers(0, 4, size=(5, 6)).astype(np.float32)
    kept = keep_largest(sparse.csr_array(dense), k).toarray()
    for row, cut in zip(dense, kept, strict=True):
        best = sorted(range(6), key=lambda t: (-row[t], t))[:k]
        wanted = np.zeros(6, np.float32)
        wanted[best] = row[best]
        np.testing.assert_array_equal(cut, wanted)


# --- query tables ----------------------------------------------------------------------------


@pytest.fixture
def tokenizer(tiny_checkpoint: Path) -> Tokenizer:
    return Tokenizer.from_file(str(tiny_checkpoint / "tokenizer.json"))


def test_idf_counts_passages_that_hold_a_token(tokenizer: Tokenizer) -> None:
    """Against a count by hand; passages without a real token are not passages."""
    texts = ["the cat", "the the dog", "", "[SEP]", "big the"]
    table = idf_table(iter(texts), tokenizer)
    df = {"the": 3, "cat": 1, "dog": 1, "big": 1}
    for token, number in tokenizer.get_vocab().items():
        wanted = 0.0
        if not token.startswith("["):
            wanted = math.log(1 + (3 - df.get(token, 0) + 0.5) / (df.get(token, 0) + 0.5))
        assert table[number] == pytest.approx(wanted, rel=1e-6)
    assert table.dtype == np.float32
    assert table.max() == pytest.approx(math.log(2 * 3 + 2))


def test_idf_reads_whole_passages_whatever_the_tokenizer_file_cuts_or_pads(
    tokenizer: Tokenizer,
) -> None:
    """Many published tokenizer files pad to 128 and truncate; counts must not."""
    texts = ["the " * 50 + "dog", "cat"]
    plain = idf_table(texts, tokenizer)
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    np.testing.assert_array_equal(idf_table(texts, tokenizer), plain)
    assert tokenizer.truncation is not None


def test_idf_fills_outputs_beyond_the_tokenizer_with_zero(tokenizer: Tokenizer) -> None:
    n_tokens = tokenizer.get_vocab_size()
    table = idf_table(["cat"], tokenizer, n_terms=n_tokens + 3)
    assert table[n_tokens:].tolist() == [0, 0, 0]
    with pytest.raises(EncoderError, match="cannot hold"):
        idf_table(["cat"], tokenizer, n_terms=3)


def test_a_query_is_its_tokens_once_each_with_table_weights(tokenizer: Tokenizer) -> None:
    weights = np.arange(tokenizer.get_vocab_size(), dtype=np.float32)
    the, cat = tokenizer.token_to_id("the"), tokenizer.token_to_id("cat")
    weights[the] = -1.0
    encoder = InferenceFreeEncoder(
        QueryTable(TextTokenizer.of(tokenizer), weights), None, card_of("query side")
    )
    rows = encoder.encode_queries(["cat the cat", "", "The"])
    assert_canonical(rows)
    assert rows.toarray()[0].nonzero()[0].tolist() == [cat]
    assert rows[0, cat] == weights[cat]
    assert rows[[1, 2]].nnz == 0
    assert encoder.term_strings(rows.indices) == ["cat"]
    assert encoder.query_strategy == "lookup"


def test_a_prompt_says_nothing_of_a_text_that_says_nothing(tokenizer: Tokenizer) -> None:
    weights = np.ones(tokenizer.get_vocab_size(), np.float32)
    table = QueryTable(TextTokenizer.of(tokenizer), weights)
    rows = table.encode(["", " ", "\u200b", "mat"], prompt="the cat ", top_k=None)
    assert np.diff(rows.indptr).tolist() == [0, 0, 0, 3]


def card_of(name: str) -> Card:
    return Card(name)


def test_a_table_of_another_vocabulary_is_refused(
    tokenizer: Tokenizer,
    splade: "SpladeModel",
) -> None:
    n_tokens = tokenizer.get_vocab_size()
    with pytest.raises(EncoderError, match="belong to two encoders"):
        QueryTable(TextTokenizer.of(tokenizer), np.ones(n_tokens - 1, np.float32))
    with pytest.raises(EncoderError, match="belong to two encoders"):
        InferenceFreeEncoder.of(splade, np.ones(n_tokens + 5, np.float32))
    with pytest.raises(EncoderError, match="finite"):
        QueryTable(TextTokenizer.of(tokenizer), np.full(n_tokens, np.nan, np.float32))


def test_swapping_the_table_keeps_the_space(splade: "SpladeModel", tmp_path: Path) -> None:
    """The cheapest domain adaptation: new idf, same index."""
    ones = np.ones(splade.n_terms, np.float32)
    encoder = InferenceFreeEncoder.of(splade, ones, name="swap", max_weight=2.5)
    fresh = encoder.with_table(ones * 2)
    encoder.save(tmp_path / "a")
    fresh.save(tmp_path / "b")
    a, b = load_encoder(tmp_path / "a"), load_encoder(tmp_path / "b")
    assert a.space == b.space == encoder.space
    assert a.build != b.build
    assert (a.name, a.max_weight) == ("swap", 2.5)
    assert (a.encode_queries(["cat"]) * 2 != b.encode_queries(["cat"])).nnz == 0


def test_another_document_model_is_another_space(
    splade: "SpladeModel",
    tiny_checkpoint: Path,
) -> None:
    import torch

    from lsr.encoders.splade import SpladeModel

    changed = SpladeModel.from_checkpoint(tiny_checkpoint)
    with torch.no_grad():
        changed.backbone.cls.predictions.bias[10] += 1
    double = SpladeModel.from_checkpoint(tiny_checkpoint, activation="log1p_relu")
    spaces = {SpladeEncoder.of(model).space for model in (splade, changed, double)}
    assert len(spaces) == 3


# --- without torch ---------------------------------------------------------------------------

Program = Callable[[str], str]


@pytest.fixture
def without_torch() -> Program:
    """Run a program in an interpreter where importing torch or transformers fails."""

    def run(program: str) -> str:
        head = """
            import sys
            class Absent:
                def find_spec(self, name, path=None, target=None):
                    if name.split(".")[0] in ("torch", "transformers", "sentence_transformers"):
                        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            sys.meta_path.insert(0, Absent())
        """
        source = textwrap.dedent(head) + textwrap.dedent(program)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", source],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_queries_need_no_torch_and_documents_say_what_to_install(
    splade: "SpladeModel",
    tmp_path: Path,
    without_torch: Program,
) -> None:
    """A search service of an inference-free encoder installs a few megabytes, not two gigabytes."""
    encoder = InferenceFreeEncoder.of(splade, np.ones(splade.n_terms, np.float32))
    encoder.save(tmp_path / "whole")
    encoder.save(tmp_path / "queries", queries_only=True)
    printed = without_torch(f"""
        from lsr.encoders import BM25Encoder, load_encoder
        from lsr.errors import EncoderError, MissingExtra
        BM25Encoder.fit(["a cat"]).save({str(tmp_path / "bm25")!r})
        assert load_encoder({str(tmp_path / "bm25")!r}).encode_queries(["cat"]).nnz == 1
        queries = load_encoder({str(tmp_path / "queries")!r}, queries_only=True)
        whole = load_encoder({str(tmp_path / "whole")!r})
        assert queries.encode_queries(["the cat"]).nnz == 2
        assert whole.encode_queries(["the cat"]).nnz == 2
        assert queries.space == whole.space
        try:
            whole.encode_documents(["the cat"])
        except MissingExtra as error:
            print(error)
        try:
            queries.encode_documents(["the cat"])
        except EncoderError as error:
            print(error)
        assert not {{"torch", "transformers"}} & set(sys.modules)
    """)
    install, whole = printed.splitlines()
    assert "'torch'" in install
    assert "pip install 'lsr-search[train]'" in install
    assert "only the query side" in whole


def test_importing_encoders_imports_no_torch() -> None:
    """Where torch is installed it still must not be paid for by a BM25 search."""
    program = "import sys, lsr.encoders; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0


# --- other architectures ---------------------------------------------------------------------

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
BODY = {**SMALL, "intermediate_size": 32, "max_position_embeddings": 40}


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("DistilBert", {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}),
        ("Roberta", BODY | {"pad_token_id": 0}),
        ("MPNet", BODY | {"pad_token_id": 0}),
        ("ModernBert", BODY | {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3}),
        ("Electra", BODY | {"embedding_size": 16}),
    ],
)
def test_any_masked_lm_architecture_becomes_an_encoder(
    architecture: str, settings: dict[str, int], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Padding must not matter, the longest text must fit, and saving must keep the vectors."""
    import torch
    import transformers

    config = getattr(transformers, f"{architecture}Config")(vocab_size=67, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = getattr(transformers, f"{architecture}ForMaskedLM")(config)
        for name, parameter in model.named_parameters():
            if name.endswith("bias") and parameter.shape == (67,):
                torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path / "mlm")
    files = dict(TextTokenizer.load(tiny_checkpoint).files)
    del files["tokenizer_config.json"]
    for name, content in files.items():
        (tmp_path / "mlm" / name).write_bytes(content)

    encoder = load_encoder(tmp_path / "mlm")
    texts = [*TEXTS, "cat " * 600]
    together = encoder.encode_documents(texts)
    for i, text in enumerate(texts):
        alone = encoder.encode_documents([text])
        np.testing.assert_allclose(together[[i]].toarray(), alone.toarray(), atol=2e-6)
    encoder.save(tmp_path / "saved")
    assert (load_encoder(tmp_path / "saved").encode_documents(texts) != together).nnz == 0


def test_bfloat16_moves_weights_a_little_and_the_space_not_at_all(tiny_checkpoint: Path) -> None:
    """Faster products, the same encoder: an index built one way can be extended the other."""
    exact = load_encoder(tiny_checkpoint)
    quick = load_encoder(tiny_checkpoint, precision="bfloat16")
    texts = ["the cat sat on the mat", "a big dog"]
    difference = exact.encode_documents(texts) - quick.encode_documents(texts)
    # Eight bits of mantissa over logits of a few units.
    assert 0 < abs(difference).max() < 0.1
    assert exact.space == quick.space


def test_one_text_where_several_are_wanted_is_refused():
    """It would be read as a list of its letters."""
    bm25 = BM25Encoder.fit(["late fee", "refund"])
    network = learned_part(load_encoder("lsr-mini"))
    assert network is not None
    for read in (
        BM25Encoder.fit,
        bm25.encode_queries,
        bm25.encode_documents,
        network.encode_queries,
        network.encode_documents,
    ):
        with pytest.raises(UsageError, match="got one text, 'late fee', where a list of texts"):
            read("late fee")


def test_what_is_no_folder_of_an_encoder_is_told_what_it_is(tmp_path):
    with pytest.raises(EncoderError, match=r"BM25Encoder\.fit\(texts\)"):
        load_encoder("bm25")
    documents = [Document("1", {"text": "late fee"})]
    build_index(tmp_path / "a.index", documents, BM25Encoder.fit(["late fee"]), source="here")
    with pytest.raises(EncoderError, match=r"is an index, no encoder; .*index\.query_encoder"):
        load_encoder(tmp_path / "a.index")
