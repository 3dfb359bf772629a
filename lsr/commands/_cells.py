"""One system on one collection: measured, or found again where it was measured before.

A cell is a JSON file beside its run. It is written last and in one step, so that it vouches for the
run; its key says what it depends on, so that nothing stale is found again.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from .. import __version__
from ..conventions import Convention, convention_of, conventional, depth
from ..errors import UsageError
from ..files import atomic_write
from . import _printing as out
from ._belonging import note_unjudged, require_relevant
from ._entrants import Entrant
from ._rows import Row

if TYPE_CHECKING:
    from ..datasets import Dataset
    from ..sources import Sources
    from ..types import Qrels, Query, Run

FORMAT = 1
_MAIN = "nDCG@10"


@dataclass(frozen=True)
class Collection:
    """A judged collection with the convention it is measured by."""

    asked: str
    """The name or path it was asked for by."""
    source: "Dataset"
    convention: Convention
    split: str
    sources_path: Path | None = None
    """Which documents stand in for one another, for `AllSources@k` and `Sources@k`."""

    @classmethod
    def open(
        cls,
        name: str,
        *,
        split: str | None = None,
        qrels: Path | None = None,
        queries: Path | None = None,
        sources: Path | None = None,
    ) -> "Collection":
        """Find the collection; `qrels` and `queries` are files that replace its own."""
        from ..datasets import JudgedBy, load_dataset

        source = load_dataset(name)
        convention = convention_of(source.name, split)
        if qrels is None:
            if queries is not None:
                raise UsageError(f"--queries {queries} goes with --qrels, which judges them")
            return cls(name, source, convention, convention.split, sources)
        if split is not None:
            raise UsageError(
                f"--split {split} and --qrels {qrels}: a file of judgements has no split"
            )
        judged = JudgedBy(source, qrels, queries)
        return cls(name, judged, convention, judged.split, sources)

    @property
    def corpus(self) -> "Dataset":
        """The documents: what indexes are made of, whoever judges."""
        from ..datasets import JudgedBy
        from ..datasets.irds import IrDataset

        source = self.source.corpus if isinstance(self.source, JudgedBy) else self.source
        return source.corpus if isinstance(source, IrDataset) else source

    @cached_property
    def qrels(self) -> "Qrels":
        """The judgements."""
        return self.source.qrels(self.split)

    @cached_property
    def sources(self) -> "Sources | None":
        """The sources that queries need, where a file says."""
        from ..trec import read_sources

        return None if self.sources_path is None else read_sources(self.sources_path)

    @cached_property
    def queries(self) -> "list[Query]":
        """The judged queries."""
        return self.source.queries(self.split)


@dataclass(frozen=True)
class Cell:
    """The row, what every query contributed to it, and the run unless it was kept on the disk."""

    row: Row
    per_query: dict[str, dict[str, float]]
    """By measure, then by query; the holes are among them as hole@10."""
    run: "Run | None" = None
    kept: Path | None = None
    """The run's file, of a cell that was measured before."""

    def whole_run(self) -> "Run":
        """The run, read from its file where it is there alone."""
        from ..trec import read_run

        if self.run is not None:
            return self.run
        assert self.kept is not None, "a cell has its run or the file of it"
        return read_run(self.kept)


def measure_cell(
    collection: Collection,
    entrant: Entrant,
    *,
    k: int,
    measures: tuple[str, ...],
    command: str,
) -> Cell:
    """Search the judged queries as the convention wants it, and measure what was found."""
    from ..contamination import contamination
    from ..measures import evaluate, holes
    from ..significance import interval_of_mean

    convention = collection.convention
    require_relevant(collection.qrels, f"{collection.source.name} {collection.split}")
    texts = {query.query_id: query.text for query in collection.queries}
    answer = entrant.answer(collection.corpus, texts, depth(convention, k))
    run = conventional(answer.run, convention, k)
    note_unjudged(run, collection.qrels, label=entrant.label, name=collection.source.name)
    evaluation = evaluate(
        run,
        collection.qrels,
        measures,
        relevant_from=convention.relevant_from,
        sources=collection.sources,
    )
    measured = {name: v for name, v in evaluation.per_query.items() if not beyond(name, k)}
    unjudged = holes(run, collection.qrels)
    seen = contamination(
        entrant.folders(),
        dataset=collection.source.name,
        split=collection.split,
        fingerprint=collection.corpus.fingerprint,
    )
    known = {field.name for field in fields(Row)}
    facts = {name: value for name, value in answer.facts.items() if name in known}
    row = Row(
        dataset=collection.source.name,
        split=collection.split,
        n_queries=evaluation.n_queries,
        n_unanswered=evaluation.n_unanswered,
        measures=_within(evaluation.means, k),
        command=command,
        version=__version__,
        dataset_fingerprint=collection.source.fingerprint,
        hole_at_10=sum(unjudged.values()) / len(unjudged),
        interval=(
            interval_of_mean([np.array([*measured[_MAIN].values()])]) if _MAIN in measured else None
        ),
        convention=tuple(convention.words()),
        relevant_from=convention.relevant_from,
        contamination=tuple(map(str, seen)),
        part_of=convention.part_of,
        k=k,
        details={name: value for name, value in answer.facts.items() if name not in known},
        **facts,
    )
    return Cell(row, {**measured, "hole@10": unjudged}, run)


def beyond(measure: str, k: int) -> bool:
    """Whether a measure looks at more documents than the k that are searched for."""
    from ..measures import cutoff_of

    cutoff = cutoff_of(measure)
    return cutoff is not None and cutoff > k


def _within(values: Mapping[str, float | None], k: int) -> dict[str, float | None]:
    """None for what lies beyond k: the value of R@1000 over 50 documents is that of R@50."""
    return {name: None if beyond(name, k) else value for name, value in values.items()}


@dataclass(frozen=True)
class Place:
    """Where a cell and its run lie below the output folder, and what the cell depends on."""

    folder: Path
    collection: Collection
    entrant: Entrant
    k: int
    measures: tuple[str, ...]

    @cached_property
    def key(self) -> dict[str, Any]:
        """Everything that a figure depends on."""
        return {
            "format": FORMAT,
            "version": __version__,
            "dataset": self.collection.source.name,
            "dataset_fingerprint": self.collection.source.fingerprint,
            "split": self.collection.split,
            "convention": asdict(self.collection.convention),
            "system": self.entrant.label,
            "system_key": self.entrant.key,
            "k": self.k,
            "measures": list(self.measures),
            **self._sources(),
        }

    def _sources(self) -> dict[str, str]:
        from ..datasets.dataset import fingerprint_files

        path = self.collection.sources_path
        return {} if path is None else {"sources": fingerprint_files([path], root=path.parent)}

    @cached_property
    def stem(self) -> str:
        """A readable name that no other cell has."""
        digest = hashlib.sha256(orjson.dumps(self.key, option=orjson.OPT_SORT_KEYS)).hexdigest()
        names = (self.collection.source.name, self.entrant.label)
        readable = "--".join(re.sub(r"[^A-Za-z0-9._-]+", "-", name) for name in names)
        return f"{readable}--{digest[:12]}"

    @property
    def cell(self) -> Path:
        """The JSON file."""
        return self.folder / "cells" / f"{self.stem}.json"

    @property
    def run(self) -> Path:
        """The TREC file."""
        return self.folder / "runs" / f"{self.stem}.trec.gz"

    def read(self) -> Cell | None:
        """The cell as it was measured before, None if it has to be measured."""
        if not self.cell.is_file() or not self.run.is_file():
            return None
        try:
            kept = orjson.loads(self.cell.read_bytes())
            row = dict(kept["row"].items())
            for name in ("interval", "convention", "contamination"):
                row[name] = None if row[name] is None else tuple(row[name])
            if kept["key"] != self.key:
                return None
            # Cells that were kept by an earlier version hold a number beyond k as well.
            row["measures"] = _within(row["measures"], self.k)
            if beyond(_MAIN, self.k):
                row["interval"] = None
            return Cell(Row(**row), kept["per_query"], kept=self.run)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            out.note("measures", f"{self.cell} again, which cannot be read: {error}")
            return None

    def write(self, cell: Cell) -> None:
        """Write the run, then the cell, each in one step."""
        from ..trec import write_run

        assert cell.run is not None, "only a cell that was just measured has a run to write"
        write_run(self.run, cell.run, tag=re.sub(r"\s+", "-", self.entrant.label))
        kept = {"key": self.key, "row": asdict(cell.row), "per_query": cell.per_query}
        with atomic_write(self.cell) as file:
            file.write(orjson.dumps(kept, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
