"""The reference: which documents an index must hold and how it must rank them, in plain Python.

It knows the definitions of architecture (impacts of 8 bits, query weights of 12, ties by insertion)
and nothing of files, segments or transactions.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

Vector = Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Doc:
    """A document as the workload gives it: id, weights by term, fields."""

    doc_id: str
    vector: Vector
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Model:
    """What an index holds: documents in order of insertion, and what was remembered."""

    n_terms: int
    max_weight: float
    documents: Mapping[str, Doc] = field(default_factory=dict)
    remembered: Mapping[str, int] = field(default_factory=dict)

    def added(self, docs: Sequence[Doc]) -> "Model":
        """With these, the newest last; an id that was there goes to the end."""
        documents = dict(self.documents)
        for doc in docs:
            documents.pop(doc.doc_id, None)
            documents[doc.doc_id] = doc
        return replace(self, documents=documents)

    def without(self, doc_ids: Sequence[str]) -> "Model":
        """Without these ids."""
        kept = {i: doc for i, doc in self.documents.items() if i not in doc_ids}
        return replace(self, documents=kept)

    def ranked(self, query: Vector, k: int, lang: str | None = None) -> list[tuple[str, int]]:
        """The top k as (id, integer score): score descending, then insertion."""
        heaviest = max(query.values())
        integers = {
            term: max(1, math.floor(4095 * (weight / heaviest) + 0.5))
            for term, weight in query.items()
        }
        step = float(np.float32(self.max_weight / 255))
        scored = []
        for number, doc in enumerate(self.documents.values()):
            if lang is not None and doc.fields["lang"] != lang:
                continue
            score = 0
            for term, weight in doc.vector.items():
                if term in integers:
                    half = float(np.float16(weight))
                    impact = min(255, max(1, math.floor(half / step + 0.5)))
                    score += impact * integers[term]
            if score:
                scored.append((-score, number, doc.doc_id))
        return [(doc_id, -score) for score, _, doc_id in sorted(scored)[:k]]
