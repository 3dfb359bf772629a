"""Queries that a language model writes: what is kept of them, what a kill costs, which are good."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from decoders import make_decoder

from index.arrival import reserved
from lsr.__main__ import run
from lsr.datasets import load_dataset
from lsr.errors import DatasetError, EncoderError, IndexLocked, UsageError
from training import pseudo_queries
from training.adapting.pseudo_queries import Passage, PseudoQuery
from training.adapting.written import BLOCK, Writing
from training.mining.parts import OutOfTimeError

NAMES = (
    "spruce",
    "larch",
    "birch",
    "maple",
    "willow",
    "poplar",
    "cedar",
    "alder",
    "hazel",
    "rowan",
)
PASSAGES = [Passage(name, "", f"The {name} grows in woods.") for name in NAMES]


@dataclass
class Echo:
    """Asks after the second word of a passage."""

    said: dict[str, str] = field(default_factory=dict)
    """Other queries for some passages, by that word."""
    fail_after: int | None = None
    asked: list[str] = field(default_factory=list)
    fingerprint: str = "echo"

    def write(self, passages: Sequence[str], *, seed: int) -> list[str]:
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            raise KeyboardInterrupt
        self.asked += passages
        words = [passage.split()[1] for passage in passages]
        return [self.said.get(word, f"where does {word} grow") for word in words]


def written(writing: Writing, passages: Sequence[Passage], *, seed: int = 0) -> list[PseudoQuery]:
    with writing.queries(passages, seed=seed) as queries:
        return queries


def test_only_queries_that_lead_back_to_their_passage_are_kept(tmp_path: Path) -> None:
    said = {
        "spruce": "",  # did not end
        "larch": "larches",  # one word
        "birch": "Which trees are white?",
        "maple": "which TREES are white",  # the same words: of neither
        "willow": "where does poplar grow now",  # leads to another passage
    }
    kept = {"round_trip": 1}, {"round_trip": 0}
    found = [
        [query.doc_id for query in written(Writing(Echo(said), tmp_path / "work", **how), PASSAGES)]
        for how in kept
    ]
    assert found == [list(NAMES[5:]), list(NAMES[4:])]
    assert not (tmp_path / "work").exists()


def test_a_kill_costs_a_block_and_damage_another(tmp_path: Path) -> None:
    passages = [Passage(str(n), "", f"The word{n} is here.") for n in range(3 * BLOCK + 5)]
    work = tmp_path / "work"
    work.mkdir()
    (work / "thesis.txt").write_text("somebody's")
    with pytest.raises(KeyboardInterrupt):
        written(Writing(Echo(fail_after=2 * BLOCK), work, quiet=True), passages)
    with pytest.raises(OutOfTimeError):
        written(Writing(Echo(), work, deadline=0.0, quiet=True), passages)
    _, second = sorted(work.rglob("*.json"))
    second.write_bytes(second.read_bytes()[:-9])
    after = Echo()
    with pytest.raises(OSError, match="no room"), Writing(after, work).queries(passages, seed=0):
        raise OSError("no room for what becomes of them")
    assert len(after.asked) == 2 * BLOCK + 5  # the damaged one, and what was missing
    found = written(Writing(Echo(fail_after=0), work, quiet=True), passages)  # all is there
    assert [query.doc_id for query in found] == [passage.doc_id for passage in passages]
    assert [path.name for path in work.iterdir()] == ["thesis.txt"]
    assert found == written(Writing(Echo(), tmp_path / "quiet", quiet=True), passages)
    with reserved(work), pytest.raises(IndexLocked, match="to write queries there"):
        written(Writing(Echo(), work), passages)
    there = Writing(Echo(fail_after=0), tmp_path / "other").queries(passages, seed=0, unless=work)
    with pytest.raises(UsageError, match="exists; choose another path"), there:
        pass  # another process was done meanwhile
    assert not (tmp_path / "other").exists()


def test_scripts_without_blanks_have_queries_of_one_word(tmp_path: Path) -> None:
    said = {
        "spruce": "云杉长得有多高",
        "larch": "樹",
        "maple": "樹木",
        "willow": "Äpfel",
        "poplar": "? ?",
    }
    found = written(Writing(Echo(said), tmp_path / "work", round_trip=0), PASSAGES[:6])
    assert [query.doc_id for query in found] == ["spruce", "birch", "maple"]


@pytest.mark.parametrize("change", ["seed", "writer", "texts"])
def test_what_another_writing_left_is_not_taken(change: str, tmp_path: Path) -> None:
    passages = [Passage(str(n), "", f"The word{n} is here.") for n in range(2 * BLOCK)]
    with pytest.raises(KeyboardInterrupt):
        written(Writing(Echo(fail_after=BLOCK), tmp_path, quiet=True), passages)
    after = Echo(fingerprint="other" if change == "writer" else "echo")
    if change == "texts":
        passages[0] = Passage("0", "", "The word0 is elsewhere.")
    written(Writing(after, tmp_path, quiet=True), passages, seed=int(change == "seed"))
    assert len(after.asked) == 2 * BLOCK


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder of bytes and a few words, whose vocabulary has a hundred numbers to spare."""
    pytest.importorskip("torch")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig

    folder = make_decoder(tmp_path_factory.mktemp("models") / "tiny", positions=1024)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f"{text}\n\n" for text in TEXTS] * 9, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = LlamaConfig.from_pretrained(folder)
    config.vocab_size = tokenizer.get_vocab_size() + 100
    return random_weights(folder, config)


def random_weights(folder: Path, config: Any, kind: str = "LlamaForCausalLM") -> Path:
    import torch
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        getattr(transformers, kind)(config).save_pretrained(folder)
    return folder


LONG = " ".join(f"team {n} of the dog" for n in range(200))
TEXTS = ["the cat", "a dog\n of the\tteam", "heart attack risk of aspirin the team", LONG]


@pytest.mark.parametrize("seed", range(6))
def test_the_writer_goes_on_where_the_examples_and_the_passage_end(
    seed: int, checkpoint: Path
) -> None:
    """Against the model itself, without padding or what was read before: the likeliest token."""
    import torch

    from training.adapting.writer import QuestionWriter

    shown = {"cat risk": "the cat", "dog goal": f"a dog of the team {seed}"}
    writer = QuestionWriter.load(checkpoint, shown=shown)
    seen: list[Any] = []
    real = writer.model.generate

    def generate(rows: Any, **settings: Any) -> Any:
        settings |= {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        found = real(rows, **settings)
        seen.extend(found[:, rows.shape[1] :].tolist())
        return found

    writer.model.generate = generate  # type: ignore[method-assign]
    told = writer.write(TEXTS, seed=0)
    examples = "".join(f"Passage: {p}\nSearch query: {q}\n\n" for q, p in shown.items())
    tokenizer = writer.tokenizer.tokenizer
    ends = {n for n in range(tokenizer.get_vocab_size()) if "\n" in tokenizer.decode([n])} | {0, 1}
    assert len(ends) > 3  # one alone, two, and those that are special
    for text, numbers, query in zip(TEXTS, seen, told, strict=True):
        start = tokenizer.encode("Passage: " + " ".join(text.split()[:300])).ids[:100]
        behind = tokenizer.encode("\nSearch query:").ids
        ids = [*tokenizer.encode(examples).ids, *start, *behind]
        wanted: list[int] = []
        while len(wanted) < 20 and not ends & set(wanted):
            logits = writer.model(torch.tensor([[*ids, *wanted]])).logits[0, -1]
            wanted.append(int(logits[: tokenizer.get_vocab_size()].argmax()))
        assert numbers[: len(wanted)] == wanted
        text = " ".join(tokenizer.decode(wanted[:-1]).split()) if wanted[-1] in ends else ""
        assert query == text


def test_queries_that_were_shown_or_did_not_end_are_none(checkpoint: Path) -> None:
    import torch

    from training.adapting.writer import QuestionWriter

    writer = QuestionWriter.load(checkpoint, shown={"Cat risk?": "the cat"})
    tokenizer = writer.tokenizer.tokenizer
    written = [f"{text}\n\n" for text in ("cat risk", "dog \t risk", "Cat Risk")] + ["dog goal" * 9]
    rows = [tokenizer.encode(text).ids for text in written]
    longest = max(map(len, rows))

    def generate(given: Any, **_: Any) -> Any:
        return torch.cat(
            [given, torch.tensor([row + (longest - len(row)) * row[-1:] for row in rows])], dim=1
        )

    writer.model.generate = generate  # type: ignore[method-assign]
    assert writer.write(TEXTS, seed=0) == ["", "dog risk", "", ""]


@pytest.mark.parametrize("problem", ["masked", "small", "missing"])
def test_what_cannot_write_is_refused(
    problem: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from transformers import BertConfig

    from training.adapting.writer import QuestionWriter

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "model"
    wanted = "no folder"
    if problem == "small":
        folder, wanted = make_decoder(folder), "reads 64 tokens; the examples"
    elif problem == "masked":
        shutil.copytree(checkpoint, folder)
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = BertConfig(vocab_size=500, max_position_embeddings=1024, **sizes)
        config.initializer_range = 0.5
        wanted = "sees the words behind a word"
        random_weights(folder, config, "BertForMaskedLM")
    with pytest.raises(EncoderError, match=wanted):
        QuestionWriter.load(folder)


def test_a_checkpoints_own_ways_of_writing_are_not_followed(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were, and nothing told queries of one from those of another."""
    import shutil

    from training.adapting.writer import QuestionWriter

    folder = shutil.copytree(checkpoint, tmp_path / "model")
    (folder / "generation_config.json").write_text('{"repetition_penalty": 9.5, "min_p": 0.9}')
    told = []
    for path in (checkpoint, folder):
        writer = QuestionWriter.load(path)
        real = writer.model.generate
        monkeypatch.setattr(
            writer.model,
            "generate",
            lambda *args, real=real, **more: told.append(real(*args, **more)) or told[-1],
        )
        writer.write(TEXTS, seed=3 + 2**70)
    assert told[0].tolist() == told[1].tolist()


def test_a_book_is_not_cut_into_tokens_whole(checkpoint: Path) -> None:
    from training.adapting.writer import QuestionWriter

    writer = QuestionWriter.load(checkpoint)
    seen: list[int] = []
    real = type(writer.tokenizer).ids

    def ids(self: Any, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        seen.extend(map(len, texts))
        return real(self, texts, special=special)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(writer.tokenizer), "ids", ids)
        assert writer._numbers("the cat " * 100_000) == writer._numbers("the cat " * 400)
    assert max(seen) < 2_000


def test_the_seed_decides_what_is_written(checkpoint: Path) -> None:
    from training.adapting.writer import QuestionWriter

    writer = QuestionWriter.load(checkpoint)
    texts = TEXTS * 4
    assert writer.write(texts, seed=1) == writer.write(texts, seed=1)
    assert writer.write(texts, seed=1) != writer.write(texts, seed=2)
    other = QuestionWriter.load(checkpoint, shown={"goal": "team"})
    assert other.fingerprint != writer.fingerprint == QuestionWriter.load(checkpoint).fingerprint


def test_the_command_makes_a_collection_whose_documents_are_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    decoder = make_decoder(tmp_path / "decoder", positions=512)  # of words, and it ends
    corpus = tmp_path / "corpus.jsonl"
    rows = [
        {"_id": str(n), "title": f"cat {n}", "text": f"the dog {n} of a team"} for n in range(40)
    ]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["queries", str(corpus), str(tmp_path / "made"), "--generator", str(decoder)]
    assert run([*command, "--round-trip", "0", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["origins"] == {"written": report["n_train"] + report["n_held_out"]}
    made = load_dataset(tmp_path / "made")
    assert [d.text() for d in made.documents()] == [f"{r['title']} {r['text']}" for r in rows]
    assert all(len(query.text.split()) > 1 for query in made.queries("train"))
    assert {path.name for path in tmp_path.iterdir()} == {"corpus.jsonl", "decoder", "made"}


def test_too_few_good_queries_are_an_error_and_what_was_written_is_kept(
    checkpoint: Path, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "1", "text": "one two"}\n')
    with pytest.raises(DatasetError, match=r"wanted at least 4\..*\(--round-trip 0\)"):
        pseudo_queries(corpus, tmp_path / "made", generator=checkpoint, progress=False)
    assert {path.name for path in tmp_path.iterdir()} == {"corpus.jsonl", "made.work"}
    assert run(["queries", str(corpus), str(tmp_path / "other"), "--round-trip", "3"]) == 2
