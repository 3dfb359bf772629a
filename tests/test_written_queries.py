"""Queries that a language model writes: what is kept of them, what a kill costs, which are good."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from decoders import make_decoder

from lsr.__main__ import run
from lsr.datasets import load_dataset
from lsr.errors import DatasetError, EncoderError
from training import pseudo_queries
from training.adapting.pseudo_queries import Passage
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
        [q.doc_id for q in Writing(Echo(said), tmp_path / "work", **how).queries(PASSAGES, seed=0)]
        for how in kept
    ]
    assert found == [list(NAMES[5:]), list(NAMES[4:])]
    assert not (tmp_path / "work").exists()


def test_a_kill_costs_a_block_and_damage_another(tmp_path: Path) -> None:
    passages = [Passage(str(n), "", f"The word{n} is here.") for n in range(3 * BLOCK + 5)]
    work = tmp_path / "work"
    with pytest.raises(KeyboardInterrupt):
        Writing(Echo(fail_after=2 * BLOCK), work, quiet=True).queries(passages, seed=0)
    with pytest.raises(OutOfTimeError):
        Writing(Echo(), work, deadline=0.0, quiet=True).queries(passages, seed=0)
    _, second = sorted(work.rglob("*.json"))
    second.write_bytes(second.read_bytes()[:-9])
    after = Echo()
    found = Writing(after, work, quiet=True).queries(passages, seed=0)
    assert len(after.asked) == 2 * BLOCK + 5  # the damaged one, and what was missing
    assert [q.doc_id for q in found] == [p.doc_id for p in passages]
    assert found == Writing(Echo(), work, quiet=True).queries(passages, seed=0)


@pytest.mark.parametrize("change", ["seed", "writer", "texts"])
def test_what_another_writing_left_is_not_taken(change: str, tmp_path: Path) -> None:
    passages = [Passage(str(n), "", f"The word{n} is here.") for n in range(2 * BLOCK)]
    with pytest.raises(KeyboardInterrupt):
        Writing(Echo(fail_after=BLOCK), tmp_path, quiet=True).queries(passages, seed=0)
    after = Echo(fingerprint="other" if change == "writer" else "echo")
    if change == "texts":
        passages[0] = Passage("0", "", "The word0 is elsewhere.")
    Writing(after, tmp_path, quiet=True).queries(passages, seed=int(change == "seed"))
    assert len(after.asked) == 2 * BLOCK


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    return make_decoder(tmp_path_factory.mktemp("models") / "tiny", positions=512)


TEXTS = ["the cat", "a dog of the team", "heart attack risk of aspirin the team goal a goal"]


def test_the_writer_goes_on_where_the_examples_and_the_passage_end(checkpoint: Path) -> None:
    """Against the model itself, without padding or what was read before: the likeliest token."""
    import torch

    from training.adapting.writer import QuestionWriter

    shown = {"cat risk": "the cat", "dog goal": "a dog of the team"}
    writer = QuestionWriter.load(checkpoint, shown=shown)
    seen: list[Any] = []
    real = writer.model.generate

    def generate(rows: Any, **settings: Any) -> Any:
        settings |= {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        found = real(rows, **settings)
        seen.extend(found[:, rows.shape[1] :].tolist())
        return found

    writer.model.generate = generate  # type: ignore[method-assign]
    written = writer.write(TEXTS, seed=0)
    examples = "".join(f"Passage: {p}\nSearch query: {q}\n\n" for q, p in shown.items())
    tokenizer = writer.tokenizer
    for text, numbers, told in zip(TEXTS, seen, written, strict=True):
        (ids,) = tokenizer.ids([f"{examples}Passage: {text}\nSearch query:"], special=True)
        wanted: list[int] = []
        for _ in range(20):
            logits = writer.model(torch.tensor([[*ids, *wanted]])).logits[0, -1]
            logits[tokenizer.n_tokens :] = -torch.inf
            wanted.append(int(logits.argmax()))
            if wanted[-1] in tokenizer.special_ids():
                break
        assert numbers[: len(wanted)] == wanted
        ended = wanted[-1] in tokenizer.special_ids()
        assert told == (tokenizer.tokenizer.decode(wanted[:-1]) if ended else "")


def test_the_seed_decides_what_is_written(checkpoint: Path) -> None:
    from training.adapting.writer import QuestionWriter

    writer = QuestionWriter.load(checkpoint)
    texts = TEXTS * 4
    assert writer.write(texts, seed=1) == writer.write(texts, seed=1)
    assert writer.write(texts, seed=1) != writer.write(texts, seed=2)
    other = QuestionWriter.load(checkpoint, shown={"goal": "team"})
    assert other.fingerprint != writer.fingerprint == QuestionWriter.load(checkpoint).fingerprint


def test_a_model_without_room_for_the_examples_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from training.adapting.writer import QuestionWriter

    with pytest.raises(EncoderError, match="reads 64 tokens; the examples"):
        QuestionWriter.load(make_decoder(tmp_path / "small"))


def test_the_command_makes_a_collection_whose_documents_are_whole(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "corpus.jsonl"
    rows = [
        {"_id": str(n), "title": f"cat {n}", "text": f"the dog {n} of a team"} for n in range(40)
    ]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["queries", str(corpus), str(tmp_path / "made"), "--generator", str(checkpoint)]
    assert run([*command, "--round-trip", "0", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["origins"] == {"written": report["n_train"] + report["n_held_out"]}
    made = load_dataset(tmp_path / "made")
    assert [d.text() for d in made.documents()] == [f"{r['title']} {r['text']}" for r in rows]
    assert all(len(query.text.split()) > 1 for query in made.queries("train"))
    assert {path.name for path in tmp_path.iterdir()} == {"corpus.jsonl", "made"}


def test_too_few_good_queries_are_an_error_and_nothing_is_left(
    checkpoint: Path, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "1", "text": "one two"}\n')
    with pytest.raises(DatasetError, match="leads back to them; wanted at least 4"):
        pseudo_queries(corpus, tmp_path / "made", generator=checkpoint, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.jsonl"]
