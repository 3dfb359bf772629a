"""What a workload does to an index, step by step, and what must be there after each step.

A plan is the same for the same seed, so whoever verifies can work out what was to be expected
without having seen it run.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lsr.encoders.bm25 import BM25Encoder

from .model import Doc, Model

N_TERMS = 30
MAX_WEIGHT = 4.0


@dataclass(frozen=True, slots=True)
class Create:
    """Make the index."""


@dataclass(frozen=True, slots=True)
class Add:
    """One commit of these documents."""

    docs: tuple[Doc, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """One commit without these ids."""

    doc_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """One commit that adds, deletes and remembers a number."""

    docs: tuple[Doc, ...]
    doc_ids: tuple[str, ...]
    number: int


@dataclass(frozen=True, slots=True)
class Seal:
    """Pending rows become a segment."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Segments become one, in a new order; retired files go."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """A bulk build, each batch flushed by itself, published at the end."""

    source: str
    batches: tuple[tuple[Doc, ...], ...]


@dataclass(frozen=True, slots=True)
class Reopen:
    """Close the index and open it again."""


@dataclass(frozen=True, slots=True)
class Build:
    """`build_index` of these texts, in place of what is there."""

    source: str
    texts: tuple[tuple[str, str], ...]


Step = Create | Add | Delete | Group | Seal | Merge | Bulk | Reopen | Build


class Maker:
    """Documents and ids, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.version = 0

    def doc(self, name: int, *, padding: int = 0) -> Doc:
        """Few terms and few levels of weight, so that ties are common."""
        self.version += 1
        terms = self.rng.sample(range(N_TERMS), self.rng.randint(1, 6))
        vector = {term: self.rng.randint(1, 8) / 2 for term in sorted(terms)}
        text = f"version {self.version} " + "x" * padding
        return Doc(f"d{name}", vector, {"text": text, "lang": "en" if name % 3 else "de"})

    def docs(self, n: int, *, among: int = 60, padding: int = 0) -> tuple[Doc, ...]:
        """New versions of so many of the ids."""
        names = self.rng.sample(range(among), n)
        return tuple(self.doc(name, padding=padding) for name in names)

    def ids(self, n: int, *, among: int = 60) -> tuple[str, ...]:
        """Some of the ids, whether they are there or not."""
        return tuple(f"d{name}" for name in self.rng.sample(range(among), n))

    def change(self, *, padding: int = 0) -> Step:
        """One commit of any kind."""
        kind = self.rng.random()
        if kind < 0.55:
            return Add(self.docs(self.rng.randint(1, 5), padding=padding))
        if kind < 0.75:
            return Delete(self.ids(self.rng.randint(1, 8)))
        return Group(self.docs(2, padding=padding), self.ids(3), self.rng.randint(0, 99))


def writes(seed: int) -> list[Step]:
    """Commits of every kind, and closing between them."""
    make = Maker(seed)
    steps: list[Step] = [Create(), *(make.change() for _ in range(8)), Reopen()]
    return [*steps, *(make.change() for _ in range(5))]


def checkpoints(seed: int) -> list[Step]:
    """Commits of several pages, with the log written back to the catalog every few pages."""
    make = Maker(seed)
    return [Create(), *(make.change(padding=9000) for _ in range(14)), Reopen()]


def maintenance(seed: int) -> list[Step]:
    """Sealing, and merging with a new order, between commits."""
    make = Maker(seed)
    steps: list[Step] = [Create()]
    for _ in range(2):
        steps += [Add(make.docs(20)), Seal(), Add(make.docs(15)), make.change(), Seal()]
        steps += [Delete(make.ids(9)), Merge(), make.change()]
    return [*steps, Reopen(), Merge(), Reopen()]


def shrinking(seed: int) -> list[Step]:
    """Merges after most texts went, whose pages the catalog gives back, a few at a time."""
    make = Maker(seed)
    steps: list[Step] = [Create()]
    for _ in range(2):
        steps += [Add(make.docs(12, padding=9000)), Seal(), Delete(make.ids(45)), Merge()]
        steps += [make.change(padding=9000)]
    return [*steps, Reopen()]


def bulk(seed: int) -> list[Step]:
    """Bulk builds of several runs beside ordinary commits."""
    make = Maker(seed)
    steps: list[Step] = [Create(), Add(make.docs(10))]
    for source in ("first", "second"):
        docs = make.docs(36)
        steps += [Bulk(source, (docs[:12], docs[12:24], docs[24:])), make.change()]
    return [*steps, Reopen()]


def build(seed: int) -> list[Step]:
    """`lsr index --overwrite`, three times, with ordinary deletes between."""
    rng = random.Random(seed)
    steps: list[Step] = []
    for number in range(3):
        names = rng.sample(range(40), 25)
        texts = tuple((f"d{n}", f"common word{n % 5} only{n} take{number}") for n in names)
        steps += [Build(f"corpus {number}", texts), Delete((f"d{names[0]}", f"d{names[1]}"))]
    return steps


def encoder_of(texts: Sequence[tuple[str, str]]) -> BM25Encoder:
    """The encoder of a `Build`."""
    return BM25Encoder.fit(text for _, text in texts)


def after(model: Model | None, step: Step) -> Model | None:
    """What a step leads to."""
    if isinstance(step, Create):
        return Model(N_TERMS, MAX_WEIGHT)
    if isinstance(step, Build):
        return _built(step)
    assert model is not None
    if isinstance(step, Add):
        return model.added(step.docs)
    if isinstance(step, Delete):
        return model.without(step.doc_ids)
    if isinstance(step, Group):
        changed = model.added(step.docs).without(step.doc_ids)
        return replace(changed, remembered={**model.remembered, "number": step.number})
    if isinstance(step, Bulk):
        for docs in step.batches:
            model = model.added(docs)
    return model


def _built(step: Build) -> Model:
    encoder = encoder_of(step.texts)
    vectors = encoder.encode_documents([text for _, text in step.texts])
    docs = []
    for row, (doc_id, text) in enumerate(step.texts):
        at = slice(vectors.indptr[row], vectors.indptr[row + 1])
        terms, weights = vectors.indices[at].tolist(), vectors.data[at].tolist()
        docs.append(Doc(doc_id, dict(zip(terms, weights, strict=True)), {"text": text}))
    return Model(encoder.n_terms, encoder.max_weight).added(docs)
