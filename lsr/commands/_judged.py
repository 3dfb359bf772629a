"""What runs are compared on: judgements, the texts of the queries, and how they are measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..conventions import Convention, convention_of
from ..errors import UsageError

if TYPE_CHECKING:
    from ..datasets import Dataset
    from ..types import Qrels


@dataclass(frozen=True)
class Judged:
    """The judged queries of one collection; without `source` there are no documents to index."""

    name: str
    split: str
    qrels: "Qrels"
    texts: dict[str, str]
    """Of the judged queries; lacks what no file holds."""
    convention: Convention
    source: "Dataset | None" = None
    fingerprint: str | None = None
    """Of documents, queries and judgements together."""

    @property
    def short(self) -> str:
        """The last part of the name: what files are named by.

        >>> Judged("../beir/scifact", "test", {}, {}, Convention()).short
        'scifact'
        """
        return self.name.rstrip("/").rsplit("/", 1)[-1]

    def text(self, query_id: str) -> str:
        """The query, or its id where there are no texts."""
        return self.texts.get(query_id, query_id)


def read_judged(
    names: Sequence[str], *, split: str | None, qrels: Path | None, queries: Path | None
) -> list[Judged]:
    """Open every collection in `names`, or the one that the files `qrels` and `queries` make."""
    from ..datasets import JudgedBy, load_dataset, read_queries
    from ..trec import read_qrels

    if queries is not None and qrels is None:
        raise UsageError(f"--queries {queries} goes with --qrels FILE, which judges them")
    if qrels is not None and (split is not None or len(names) > 1):
        raise UsageError(
            f"--qrels {qrels} judges one collection and has no split; leave --split out and name "
            "at most one with --on"
        )
    if not names:
        if qrels is None:
            raise UsageError("compare on what? wanted --on DATASET[,DATASET] or --qrels FILE")
        name = qrels.name.split(".")[0]
        texts = {} if queries is None else {q.query_id: q.text for q in read_queries(queries)}
        return [Judged(name, qrels.name, read_qrels(qrels), texts, convention_of(name))]
    found = []
    for name in names:
        source = load_dataset(name)
        convention = convention_of(source.name, split)
        judged = source if qrels is None else JudgedBy(source, qrels, queries)
        chosen = convention.split if qrels is None else qrels.name
        texts = {query.query_id: query.text for query in judged.queries(chosen)}
        found.append(
            Judged(
                source.name,
                chosen,
                judged.qrels(chosen),
                texts,
                convention,
                source,
                judged.fingerprint,
            )
        )
    shorts = [one.short for one in found]
    if len(set(shorts)) < len(shorts):
        raise UsageError(f"--on {','.join(names)}: two collections have one name; name each once")
    return found
