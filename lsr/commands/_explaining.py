"""Scores taken apart for `search --explain`, `explain` and `compare`: terms, rank and gap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from . import _printing as out
from ._origins import described

if TYPE_CHECKING:
    from index import Explanation, Hits, Index
    from lsr.encoders import SparseEncoder
    from lsr.types import SparseMatrix

SNIPPET = 88
"""Characters of a title or a text on a line."""
NEAR, DEEP = 1000, 100_000
"""How deep a document's rank is looked for: at first, and when it is not there."""


@dataclass(frozen=True)
class Question:
    """One text put to one index, with the first `NEAR` documents of the answer."""

    name: str
    index: "Index"
    encoder: "SparseEncoder"
    vector: "SparseMatrix"
    hits: "Hits"

    @classmethod
    def put(cls, name: str, index: "Index", encoder: "SparseEncoder", text: str) -> "Question":
        """Encode and search."""
        vector = encoder.encode_queries([text])
        return cls(name, index, encoder, vector, index.search(vector, NEAR))

    def explained(self, doc_id: str, *, k: int = 10) -> dict[str, Any]:
        """Why this document has its score and rank, and what would lift it, ready for JSON.

        Every query term has a row in `terms` or, when the document lacks it, in `missing`, with
        `heaviest`, the largest weight it has in any document, and `needed`, the weight that alone
        would bring the document level with `target`: rank `k`, or the next one up from there; None
        where no document of the index has so much. Raises `UsageError` for an unknown document.
        """
        explanation = self.index.explain(self.vector, doc_id)
        document = self.index.get(doc_id)
        rank, ranked = self._rank_of(doc_id, explanation)
        target = None
        if rank is None or rank > 1:
            wanted = min(len(ranked), k) if rank is None or rank > k else rank - 1
            if wanted:
                other, score = ranked[wanted - 1]
                gap = score - explanation.score
                target = {"rank": wanted, "doc_id": other, "score": score, "gap": gap}
        rows = matched(self.encoder, explanation)
        absent = [part.term for part in explanation.missing]
        missing = [
            {
                "term": term,
                "query_weight": part.query_weight,
                "doc_weight": 0.0,
                "score": 0.0,
                "index": part.term,
            }
            for term, part in zip(
                self.encoder.term_strings(absent), explanation.missing, strict=True
            )
        ]
        everything = [*rows, *missing]
        heaviest = self.index.heaviest([row["index"] for row in everything])
        for row, most in zip(everything, heaviest.tolist(), strict=True):
            row["share"] = row["score"] / explanation.score if explanation.score else 0.0
            row["heaviest"] = most
            row["needed"] = None
            if target is not None:
                needed = row["doc_weight"] + target["gap"] / row["query_weight"]
                row["needed"] = needed if needed <= most else None
        return {
            "doc_id": doc_id,
            "fields": {} if document is None else document.fields,
            "score": explanation.score,
            "rank": rank,
            "n_docs": self.index.n_docs,
            "target": target,
            "terms": rows,
            "missing": missing,
        }

    def _rank_of(
        self, doc_id: str, explanation: "Explanation"
    ) -> tuple[int | None, list[tuple[str, float]]]:
        hits = self.hits
        if explanation.integer_score and doc_id not in hits.doc_ids and len(hits) >= NEAR:
            hits = self.index.search(self.vector, min(DEEP, self.index.n_docs))
        rank = hits.doc_ids.index(doc_id) + 1 if doc_id in hits.doc_ids else None
        return rank, list(hits)


def matched(encoder: "SparseEncoder", explanation: "Explanation") -> list[dict[str, Any]]:
    """The terms that query and document share, largest contribution first, ready for JSON."""
    terms = encoder.term_strings([part.term for part in explanation.terms])
    return [
        {
            "term": term,
            "query_weight": part.query_weight,
            "doc_weight": part.doc_weight,
            "score": part.score,
            "index": part.term,
        }
        for term, part in zip(terms, explanation.terms, strict=True)
    ]


def print_products(rows: Sequence[Mapping[str, Any]]) -> None:
    """One line a term: score = query weight x document weight."""
    for part in rows:
        click.echo(
            f"{'':16}{part['score']:8.3f} = {part['query_weight']:.3f} query x "
            f"{part['doc_weight']:.3f} document   {out.printable(part['term'])}"
            f"{described(dict(part))}"
        )


def title_of(fields: Mapping[str, Any], width: int = SNIPPET) -> str:
    """A document in a few words: its title, or else the beginning of its text."""
    texts = (fields.get(name) for name in ("title", "text"))
    return out.shortened(next((t for t in texts if isinstance(t, str) and t), ""), width)


def without_title(passage: str, start: int, title: str) -> str:
    """What a passage that begins at character `start` of its document says beside the title.

    >>> without_title("Cats purr", 0, "Cats"), without_title("Category theory", 5, "Cat")
    ('purr', 'Category theory')
    """
    if title and start == 0 and f"{passage} ".startswith(f"{title} "):
        passage = passage[len(title) :]
    return passage.strip()


def standing(explained: Mapping[str, Any]) -> str:
    """Rank and score in words."""
    n_docs = out.counted(explained["n_docs"], "document")
    if not explained["score"]:
        return f"not found: shares no term with the question ({n_docs})"
    if explained["rank"] is None:
        return f"score {explained['score']:.3f}, beyond rank {DEEP:,} of {n_docs}"
    return f"score {explained['score']:.3f}, rank {explained['rank']:,} of {n_docs}"


def top_terms(rows: Sequence[Mapping[str, Any]], n: int = 6) -> str:
    """`bone 5.20, density 3.11, 4 more`."""
    shown = ", ".join(f"{out.printable(row['term'])} {row['score']:.2f}" for row in rows[:n])
    return f"{shown}, {len(rows) - n} more" if len(rows) > n else shown or "none"


def differences(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> list[tuple[str, float, float]]:
    """(term, score in the first, score in the second) of two explanations, by term string, those
    that differ most first; each column adds up to its score."""
    columns: list[dict[str, float]] = [{}, {}]
    for column, one in zip(columns, (first, second), strict=True):
        for row in one["terms"]:
            column[row["term"]] = column.get(row["term"], 0.0) + row["score"]
    rows = [
        (term, columns[0].get(term, 0.0), columns[1].get(term, 0.0))
        for term in dict.fromkeys([*columns[0], *columns[1]])
    ]
    return sorted(rows, key=lambda row: -abs(row[2] - row[1]))
