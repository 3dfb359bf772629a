"""From judged collections to pairs: queries, their relevant documents and their given negatives.

Only documents that some pair needs are kept in memory. Documents with equal text become one, so
that a copy of a relevant document is never taken for a negative. Everything is in the order of the
files: the same files give the same numbers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard, TypeVar

import numpy as np
import orjson

from lsr.datasets import Dataset, load_dataset
from lsr.datasets.dataset import fingerprint_files
from lsr.errors import DatasetError, RecipeError
from lsr.files import read_lines
from lsr.types import Query

from .mining.recipes import mined_negatives, mining_plan
from .recipe import Recipe
from .rows import Rows

T = TypeVar("T")

_NEGATIVES = ("negatives.jsonl", "negatives.jsonl.gz", "negatives.jsonl.zst")
_PAIR_FILES = (".jsonl", ".jsonl.gz", ".jsonl.zst")


@dataclass(frozen=True, slots=True)
class Source:
    """One collection that pairs came from, as the encoder's card will name it."""

    name: str
    split: str
    fingerprint: str
    n_queries: int
    n_positives: int
    n_negatives: int
    n_texts: int = 0
    """Documents of a plain corpus."""
    negatives: str = ""
    """The fingerprint of the collection's file of negatives, which `fingerprint` leaves out: it is
    the collection's own, and contamination is known by it. "" if none was read."""


@dataclass(frozen=True)
class Pairs:
    """Queries against the documents they need; documents are known by their row in `documents`."""

    documents: list[str]
    queries: list[str]
    source_of: Rows
    """(n_queries,) the collection each query came from."""
    positives: list[Rows]
    """Per query its relevant documents, sorted; never empty."""
    negatives: list[Rows]
    """Per query documents given or mined as not relevant, sorted, disjoint from the positives."""
    sources: tuple[Source, ...]
    corpus: list[str] = field(default_factory=list)
    """Further texts, for masked-LM and idf only."""

    @property
    def texts(self) -> list[str]:
        """Everything to learn the language from: the documents, then the corpora."""
        return [*self.documents, *self.corpus]


def load_pairs(
    recipe: Recipe,
    text_fields: Sequence[str] = ("title", "text"),
    *,
    cache: Path | None = None,
    deadline: float | None = None,
    quiet: bool = True,
) -> Pairs:
    """Read every collection of the recipe's [data] section.

    `cache` keeps mined negatives, and what mining has found when `deadline` (`time.monotonic`)
    ends it: an `OutOfTimeError`.
    """
    collected = _Collected()
    sources: list[Source] = []
    for name in recipe.data.train:
        first = len(collected.queries)
        negatives: Path | None = None
        file = _pair_file(name, recipe.path)
        if file is not None:
            fingerprint = fingerprint_files([file], root=file.parent)
            _read_pair_file(collected, file, recipe, cache=cache, deadline=deadline, quiet=quiet)
        else:
            dataset = load_dataset(beside(name, recipe.path))
            fingerprint = dataset.fingerprint
            negatives = _negatives_file(dataset) if recipe.data.negatives else None
            given = {} if negatives is None else _given_negatives(negatives)
            _read_judged(
                collected,
                dataset,
                recipe,
                given,
                text_fields,
                cache=cache,
                deadline=deadline,
                quiet=quiet,
            )
        n_queries = len(collected.queries) - first
        if n_queries == 0:
            raise RecipeError(
                f"{recipe.path}: data.train names '{name}', which has no query with a relevant "
                f"document in split '{recipe.data.split}'; leave it out or choose another split."
            )
        collected.source_of += [len(sources)] * n_queries
        sources.append(
            Source(
                name=Path(name).name if file else name,
                split=recipe.data.split,
                fingerprint=fingerprint,
                n_queries=n_queries,
                n_positives=sum(map(len, collected.positives[first:])),
                n_negatives=sum(map(len, collected.negatives[first:])),
                negatives=fingerprint_files([negatives], root=negatives.parent)
                if negatives
                else "",
            )
        )
    corpus: list[str] = []
    for name in recipe.data.corpora:
        sources.append(_read_corpus(corpus, name, recipe, text_fields))
    return _united(collected.freeze(tuple(sources), corpus))


def same_text(query: str) -> str:
    """What queries that ask the same have in common: neither case nor blanks tell them apart."""
    return " ".join(query.casefold().split())


def rows_of_texts(queries: Sequence[str]) -> list[list[int]]:
    """The rows of each text, in the order in which the texts first come."""
    rows_of: dict[str, list[int]] = {}
    for row, query in enumerate(queries):
        rows_of.setdefault(same_text(query), []).append(row)
    return list(rows_of.values())


def _united(pairs: "Pairs") -> "Pairs":
    """Queries of one text, in whichever collections and under whichever ids, have all their
    answers: else one's answer would be another's negative.
    """
    repeated = [rows for rows in rows_of_texts(pairs.queries) if len(rows) > 1]
    if not repeated:
        return pairs
    positives, negatives = list(pairs.positives), list(pairs.negatives)
    for rows in repeated:
        answers = np.unique(np.concatenate([pairs.positives[row] for row in rows]))
        for row in rows:
            positives[row] = answers
            negatives[row] = np.setdiff1d(pairs.negatives[row], answers)
    united = replace(pairs, positives=positives, negatives=negatives)
    return replace(united, sources=counted(united))


def counted(pairs: "Pairs") -> tuple[Source, ...]:
    """The sources of pairs with the counts of the queries that are in them now."""

    def total(rows: list[Rows], at: int) -> int:
        return sum(len(rows[row]) for row in np.flatnonzero(pairs.source_of == at).tolist())

    return tuple(
        replace(
            source,
            n_queries=int((pairs.source_of == at).sum()),
            n_positives=total(pairs.positives, at),
            n_negatives=total(pairs.negatives, at),
        )
        if source.split != "corpus"
        else source
        for at, source in enumerate(pairs.sources)
    )


def _read_corpus(
    corpus: list[str], name: str, recipe: Recipe, text_fields: Sequence[str]
) -> Source:
    """Append the texts of a corpus, or as many as the recipe allows, to `corpus`."""
    dataset = load_dataset(beside(name, recipe.path))
    texts = [t for document in dataset.documents() if (t := document.text(text_fields).strip())]
    kept = _some(texts, recipe.data.corpus_documents, recipe)
    corpus.extend(kept)
    return Source(Path(name).name, "corpus", dataset.fingerprint, 0, 0, 0, len(kept))


class _Collected:
    """Pairs while they are being read."""

    def __init__(self) -> None:
        self.queries: list[str] = []
        self.source_of: list[int] = []
        self.positives: list[list[int]] = []
        self.negatives: list[list[int]] = []
        self.documents: list[str] = []
        self._row_of: dict[str, int] = {}

    def document(self, text: str) -> int:
        row = self._row_of.setdefault(text, len(self.documents))
        if row == len(self.documents):
            self.documents.append(text)
        return row

    def add(self, query: str, positives: Iterable[int], negatives: Iterable[int]) -> None:
        relevant = sorted(set(positives))
        self.queries.append(query)
        self.positives.append(relevant)
        self.negatives.append(sorted(set(negatives).difference(relevant)))

    def freeze(self, sources: tuple[Source, ...], corpus: list[str]) -> Pairs:
        return Pairs(
            documents=self.documents,
            queries=self.queries,
            source_of=np.asarray(self.source_of, np.int32),
            positives=[np.asarray(rows, np.int32) for rows in self.positives],
            negatives=[np.asarray(rows, np.int32) for rows in self.negatives],
            sources=sources,
            corpus=corpus,
        )


def _read_judged(
    collected: _Collected,
    dataset: Dataset,
    recipe: Recipe,
    given: Mapping[str, Sequence[str]],
    text_fields: Sequence[str],
    *,
    cache: Path | None,
    deadline: float | None,
    quiet: bool,
) -> None:
    split, first = recipe.data.split, len(collected.queries)
    plan = None if given else mining_plan(recipe)
    relevant = {
        query_id: [doc_id for doc_id, grade in judged.items() if grade > 0]
        for query_id, judged in dataset.qrels(split).items()
    }
    queries = _some(dataset.queries(split), recipe.data.max_queries, recipe)
    relevant = {query.query_id: relevant[query.query_id] for query in queries}
    wanted = {doc_id for doc_ids in relevant.values() for doc_id in doc_ids}
    wanted.update(doc_id for query_id in relevant for doc_id in given.get(query_id, ()))
    row_of = {
        document.doc_id: collected.document(text)
        for document in dataset.documents()
        if (plan is not None or document.doc_id in wanted)
        and (text := document.text(text_fields).strip())
    }
    kept: list[Query] = []
    for query in queries:
        positives = [row_of[d] for d in relevant[query.query_id] if d in row_of]
        if positives and query.text.strip():
            negatives = [row_of[d] for d in given.get(query.query_id, ()) if d in row_of]
            collected.add(query.text, positives, negatives)
            kept.append(query)
    if plan is not None:
        rows = np.asarray(sorted(set(row_of.values())), np.int32)
        collected.negatives[first:] = mined_negatives(
            plan,
            collected.queries[first:],
            collected.positives[first:],
            [collected.documents[row] for row in rows],
            rows,
            own=[row_of.get(query.query_id) for query in kept],
            cache=cache,
            deadline=deadline,
            quiet=quiet,
        )


def _some(items: Sequence[T], most: int, recipe: Recipe) -> Sequence[T]:
    """All items, or `most` of them drawn by the recipe's seed, in their order; 0 means all."""
    if not most or len(items) <= most:
        return items
    rng = np.random.default_rng([recipe.run.seed, 0x7175])
    kept = np.sort(rng.choice(len(items), size=most, replace=False))
    return [items[row] for row in kept]


def _negatives_file(dataset: Dataset) -> Path | None:
    """The collection's negatives file, if it has one."""
    if dataset.path is None:
        return None
    return next((f for n in _NEGATIVES if (f := dataset.path / n).is_file()), None)


def _given_negatives(file: Path) -> dict[str, list[str]]:
    """query_id -> doc_ids from a negatives file."""
    given: dict[str, list[str]] = {}
    for line, record in _records(file):
        query_id, doc_ids = record.get("_id"), record.get("neg")
        if not isinstance(query_id, str) or not _are_strings(doc_ids):
            raise DatasetError(f'{file}:{line}: wanted {{"_id": query id, "neg": [doc ids]}}.')
        given[query_id] = doc_ids
    return given


def _read_pair_file(
    collected: _Collected,
    file: Path,
    recipe: Recipe,
    *,
    cache: Path | None,
    deadline: float | None,
    quiet: bool,
) -> None:
    """Read a file of pairs; for queries without negatives they are mined among all its texts."""
    plan, first = mining_plan(recipe), len(collected.queries)
    pairs = _by_query(_pair(file, line, record) for line, record in _records(file))
    read = _some(pairs, recipe.data.max_queries, recipe)
    for pair in read:
        positives = [collected.document(text) for text in pair.positives]
        if positives and pair.query.strip():
            collected.add(pair.query, positives, map(collected.document, pair.negatives))
    without = [i for i in range(first, len(collected.queries)) if not collected.negatives[i]]
    if plan is not None and without:
        texts = (text for pair in pairs for text in (*pair.positives, *pair.negatives))
        rows = np.asarray(sorted({collected.document(text) for text in texts}), np.int32)
        mined = mined_negatives(
            plan,
            [collected.queries[i] for i in without],
            [collected.positives[i] for i in without],
            [collected.documents[row] for row in rows],
            rows,
            own=[None] * len(without),
            cache=cache,
            deadline=deadline,
            quiet=quiet,
        )
        for i, found in zip(without, mined, strict=True):
            collected.negatives[i] = found


class _Pair(NamedTuple):
    query: str
    positives: list[str]
    negatives: list[str]


def _by_query(pairs: Iterable[_Pair]) -> list[_Pair]:
    """One pair a query: in files of a line for each answer, its other answers are none of its
    negatives, in no batch and by no mining, and it is held out with all of them or not at all.
    """
    found: dict[str, _Pair] = {}
    for pair in pairs:
        known = found.setdefault(pair.query, _Pair(pair.query, [], []))
        known.positives.extend(pair.positives)
        known.negatives.extend(pair.negatives)
    return list(found.values())


def _pair(file: Path, line: int, record: Mapping[str, Any]) -> _Pair:
    query = record.get("query")
    positives, negatives = _listed(record.get("pos")), _listed(record.get("neg", []))
    if not isinstance(query, str) or not _are_strings(positives) or not _are_strings(negatives):
        raise DatasetError(
            f'{file}:{line}: wanted {{"query": text, "pos": text or [texts], "neg": ...}}, '
            f"got the keys {', '.join(record)}."
        )
    return _Pair(query, [t for t in positives if t.strip()], [t for t in negatives if t.strip()])


def _records(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in read_lines(file):
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise DatasetError(f"{file}:{number}: not JSON: {error}") from error
        if not isinstance(record, dict):
            raise DatasetError(f"{file}:{number}: wanted one JSON object a line.")
        yield number, record


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _are_strings(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _pair_file(name: str, recipe: Path) -> Path | None:
    if not name.endswith(_PAIR_FILES):
        return None
    for file in (recipe.parent / name, Path(name).expanduser()):
        if file.is_file():
            return file
    raise RecipeError(
        f"{recipe}: data.train names '{name}', and there is no such file, neither beside the "
        "recipe nor in the working directory."
    )


def beside(name: str, recipe: Path) -> str:
    """A folder written relative to the recipe, else the name as it is."""
    folder = recipe.parent / name
    return str(folder) if "/" in name and folder.is_dir() else name
