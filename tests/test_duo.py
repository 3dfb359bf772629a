"""Pairwise networks against stock transformers, one comparison at a time, on random weights."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: E402

from lsr.__main__ import run  # noqa: E402
from lsr.encoders.cross_encoder import CrossEncoder  # noqa: E402
from lsr.encoders.dense import DenseEncoder  # noqa: E402
from lsr.encoders.pairwise import DuoCrossEncoder, DuoT5, load_duo  # noqa: E402
from lsr.errors import EncoderError  # noqa: E402
from lsr.reranking import PreferenceModel  # noqa: E402
from lsr.trec import read_run, write_run  # noqa: E402
from lsr.types import Run  # noqa: E402

QUERY = "the big dog"
FIRST = ["a cat sat on the mat", "tree", "", "dogs and cats"]
SECOND = ["the dog", "a tree sat on a dog", "cat", ""]


def shaken(model, seed: int):
    """Weights large enough that the answers differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, weight in model.named_parameters():
            if name.endswith("weight") and weight.dim() == 2:
                torch.nn.init.normal_(weight, std=0.3)
    return model.eval()


@pytest.fixture(scope="module", params=[1, 2])
def duo(request, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = transformers.AutoConfig.from_pretrained(tiny_checkpoint, num_labels=request.param)
    folder = tmp_path_factory.mktemp("duo") / "tiny-duo"
    shaken(transformers.BertForSequenceClassification(config), 4).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(folder)
    return folder


def test_a_classifier_reads_query_first_and_second_in_one_sequence(duo: Path) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(duo).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(duo)
    wanted = []
    for first, second in zip(FIRST, SECOND, strict=True):
        text = f"[CLS] {QUERY} [SEP] {first} [SEP] {second} [SEP]"
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert len(ids) <= 32, "this test is about texts that fit"
        n_query = ids.index(tokenizer.sep_token_id) + 1
        inputs = {
            "input_ids": torch.tensor([ids]),
            "token_type_ids": torch.tensor([[0] * n_query + [1] * (len(ids) - n_query)]),
        }
        with torch.inference_mode():
            logits = model(**inputs).logits[0]
        p = logits.sigmoid()[0] if len(logits) == 1 else logits.softmax(dim=0)[1]
        wanted.append(float(p))
    ours = load_duo(duo, device="cpu")
    assert isinstance(ours, DuoCrossEncoder)
    assert isinstance(ours, PreferenceModel)
    got = ours.prefer(QUERY, FIRST, SECOND)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert np.ptp(got) > 0.01
    assert ours.prefer(QUERY, [], []).shape == (0,)


def test_long_documents_are_cut_alike_and_short_ones_leave_their_room(duo: Path) -> None:
    """32 positions, 4 of them special: beyond its half a text only reads what the other leaves."""
    model = load_duo(duo, device="cpu")
    long, short = "cat " * 40, "dog"

    def same(a: tuple[str, str], b: tuple[str, str], query: str = "the") -> bool:
        x, y = (float(model.prefer(query, [first], [second])[0]) for first, second in (a, b))
        return abs(x - y) < 1e-6

    assert same((long, long), ("cat " * 13, "cat " * 14))  # 28 - 1 = 27: 13 and 14
    assert not same((long, long), ("cat " * 12, "cat " * 14))
    assert same((long, short), ("cat " * 26, short))
    assert not same((long, short), ("cat " * 25, short))
    assert same((short, long), (short, "cat " * 26))
    # A query that leaves no room keeps an eighth of 28.
    x = model.prefer("tree " * 30, [long], [long])
    y = model.prefer("tree " * 3, [long], [long])
    np.testing.assert_allclose(x, y, atol=1e-6)


def test_the_fingerprint_moves_with_weights_and_length(duo: Path) -> None:
    assert load_duo(duo).fingerprint == load_duo(duo, name="other").fingerprint
    assert load_duo(duo).fingerprint != load_duo(duo, max_length=20).fingerprint
    with pytest.raises(EncoderError, match="leaves 6 for a query"):
        load_duo(duo, max_length=10).prefer(QUERY, FIRST, SECOND)


def test_a_classifier_of_three_labels_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    config = transformers.AutoConfig.from_pretrained(tiny_checkpoint, num_labels=3)
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="3 labels"):
        load_duo(tmp_path)


WORDS = (
    "<pad> </s> <unk> true false Query: Document0: Document1: Relevant: "
    "the big dog a cat sat on mat tree"
)


def t5(folder: Path, words: str = WORDS) -> Path:
    vocabulary = {word: i for i, word in enumerate(words.split())}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    config = transformers.T5Config(
        vocab_size=len(vocabulary),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
    )
    shaken(transformers.T5ForConditionalGeneration(config), 5).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_t5_goes_on_with_true_or_false(tmp_path: Path) -> None:
    folder = t5(tmp_path)
    model = transformers.T5ForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    wanted = []
    for first, second in zip(FIRST, SECOND, strict=True):
        prompt = f"Query: {QUERY} Document0: {first} Document1: {second} Relevant:"
        with torch.inference_mode():
            logits = model(
                input_ids=torch.tensor([tokenizer.encode(prompt).ids]),
                decoder_input_ids=torch.tensor([[0]]),
            ).logits[0, 0]
        wanted.append(float(logits[[3, 4]].softmax(dim=0)[0]))
    ours = load_duo(folder, device="cpu")
    assert isinstance(ours, DuoT5)
    assert isinstance(ours, PreferenceModel)
    got = ours.prefer(QUERY, FIRST, SECOND)
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert np.ptp(got) > 0.01


def test_a_t5_without_true_and_false_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="true and false"):
        load_duo(t5(tmp_path, WORDS.replace("true", "yes").replace("false", "no")))


TEXTS = {f"d{i}": text for i, text in enumerate([*FIRST[:2], *SECOND, "big cat", "the mat"])}


@pytest.fixture
def collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two queries over eight documents, and a first stage that knows nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LSR_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", TEXTS), ("queries", {"q": QUERY, "r": "a tree"})):
        lines = (json.dumps({"_id": i, "text": text}) + "\n" for i, text in rows.items())
        (folder / f"{name}.jsonl").write_text("".join(lines))
    (folder / "qrels" / "test.tsv").write_text("q\td1\t1\nr\td1\t1\n")
    rows = [(q, list(TEXTS), np.arange(len(TEXTS), 0, -1)) for q in ("q", "r")]
    write_run(tmp_path / "first.trec", Run.from_rows(rows))
    return tmp_path


def ranked(capsys: pytest.CaptureFixture[str], model: str, *words: str) -> tuple[list[str], dict]:
    words = ("first.trec", "--on", "tiny", "--with", model, "--output", "new.trec", *words)
    assert run(["rerank", *words, "--json"]) == 0
    return list(read_run("new.trec")["q"]), json.loads(capsys.readouterr().out)


def test_the_command_keeps_what_a_network_said(duo: Path, collection: Path, capsys) -> None:
    every = ("--budget", "1", "--aggregation", "additive")
    order, told = ranked(capsys, f"duo:{duo}", *every)
    assert (told["comparisons"], told["computed"]) == (2 * 8 * 7, 2 * 8 * 7)
    model = load_duo(duo)
    wins = dict.fromkeys(TEXTS, 0.0)
    for a in TEXTS:
        for b in TEXTS:
            if a != b:
                p = float(model.prefer(QUERY, [TEXTS[a]], [TEXTS[b]])[0])
                wins[a] += p
                wins[b] += 1 - p
    assert order == sorted(TEXTS, key=lambda d: -wins[d])
    again, told = ranked(capsys, f"duo:{duo}", *every)
    assert again == order
    assert told["computed"] == 0
    assert run(["rerank", "first.trec", "--on", "tiny", "--with", f"duo:{duo}"]) == 0
    assert "of all, 0 of them new" in capsys.readouterr().out


def test_the_command_scores_with_cross_encoders_and_dense_encoders(
    tiny_checkpoint: Path, collection: Path, capsys
) -> None:
    """One by one they order by score; compared without noise, in the same order."""
    config = transformers.AutoConfig.from_pretrained(tiny_checkpoint, num_labels=1)
    models = {
        "cross-encoder": shaken(transformers.BertForSequenceClassification(config), 4),
        "dense": shaken(transformers.BertModel(config, add_pooling_layer=False), 3),
    }
    for kind, model in models.items():
        folder = collection / kind
        model.save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(folder)
        if kind == "dense":
            encoder = DenseEncoder.load(folder, name="d")
            scores = (
                encoder.embed_documents(list(TEXTS.values())) @ encoder.embed_queries([QUERY])[0]
            )
        else:
            cross = CrossEncoder.load(folder, name="c")
            scores = cross.score([QUERY] * len(TEXTS), list(TEXTS.values()))
        wanted = [f"d{i}" for i in np.argsort(-scores)]
        assert ranked(capsys, f"{kind}:{folder}")[0] == wanted
        compared, told = ranked(capsys, f"{kind}:{folder}", "--method", "pairwise", "--budget", "1")
        assert compared == wanted
        assert told["share"] == 1.0
