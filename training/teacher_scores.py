"""What teachers think of the pairs of a batch: `TeacherScores.matrix` is the door for losses.

A member of the ensemble answers from vectors, which know every pair, or from the score cache, which
knows each query's candidates.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lsr.errors import ScoresError
from lsr.vectors import VectorStore

from .candidates import Candidates
from .ensemble import Moments, Normalize, Scores, combine, normalise
from .rows import Rows
from .scores import ScoreCache
from .teachers.protocol import dot

_BLOCK = 4_096  # queries whose targets are made at once for the moments


@dataclass(frozen=True)
class Vectors:
    """What a teacher that embeds thinks of any pair."""

    queries: VectorStore
    documents: VectorStore
    known: Rows
    """(n,) sorted rows of `Pairs.documents`: those that are some query's candidate."""

    def _of(self, documents: Rows) -> Rows:
        """Where these rows lie in the store; a row that is nobody's candidate is a bug of ours."""
        at = np.searchsorted(self.known, documents).astype(np.int32)
        assert (self.known[np.minimum(at, len(self.known) - 1)] == documents).all()
        return at

    def matrix(self, queries: Rows, documents: Rows) -> Scores:
        """(len(queries), len(documents)) float32 scores of every pair."""
        return dot(self.queries.rows(queries), self.documents.rows(self._of(documents)))

    def listed(self, queries: Rows, documents: Rows, lengths: npt.NDArray[np.int64]) -> Scores:
        """Dot products of each query with its own documents, end to end."""
        of_queries = self.queries.rows(queries)
        distinct, where = np.unique(documents, return_inverse=True)
        of_documents = self.documents.rows(self._of(distinct.astype(np.int32)))
        scores: list[Scores] = []
        at = 0
        for i, length in enumerate(lengths):
            own = where[at : at + length]
            scores.append(dot(of_queries[i : i + 1], of_documents[own])[0])
            at += int(length)
        return np.concatenate(scores)


@dataclass(frozen=True)
class Member:
    """One teacher of the ensemble: where its scores come from and how they count."""

    name: str
    weight: float
    normalize: Normalize
    temperature: float
    column: str = ""
    """Its column in the score cache; empty where `vectors` answer."""
    vectors: Vectors | None = None


@dataclass(frozen=True)
class TeacherScores:
    """The ensemble's opinion of pairs, on the scale the loss wants."""

    members: tuple[Member, ...]
    candidates: Candidates
    cache: ScoreCache | None
    in_batch: bool
    factor: float = 1.0
    offset: float = 0.0

    def matrix(self, queries: Rows, documents: Rows) -> Scores:
        """(len(queries), len(documents)) float32 targets; NaN where the ensemble has no opinion.

        `queries` and `documents` are rows of the `Pairs` it was made for; documents are distinct,
        in any order. With `in_batch`, every pair a member can score is known and each member is
        normalised over the documents it knows here. Without, only a query's own candidates are,
        normalised over all of them, drawn or not: min-max over the few that were drawn would make
        of any two 0 and 1.
        """
        if self.in_batch:
            ensemble = self._in_batch(queries, documents)
        else:
            lists, rows = self._listed(queries)
            ensemble = self._placed(self._ensemble_of(lists, queries), rows, documents)
        return (self.factor * ensemble + self.offset).astype(np.float32)

    def _in_batch(self, queries: Rows, documents: Rows) -> Scores:
        opinions = []
        for member in self.members:
            if member.vectors is not None:
                scores = member.vectors.matrix(queries, documents)
                opinions.append(normalise(scores, member.normalize, temperature=member.temperature))
                continue
            lists, rows = self._listed(queries)
            known = self._normalised(member, queries, lists)
            opinions.append(self._placed(known, rows, documents))
        weights = [member.weight for member in self.members]
        return self._logs(combine(opinions, weights, known_to_all=False))

    def _listed(self, queries: Rows) -> tuple[Candidates, Rows]:
        """The candidate lists of these queries, and a padded (n, longest) table of them; -1 = none.

        Of the lists only the offsets matter here: they say which columns of a row are real.
        """
        starts = self.candidates.offsets
        lengths = self.candidates.lengths[queries]
        table = np.full((len(queries), max(1, int(lengths.max(initial=0)))), -1, np.int32)
        for i, query in enumerate(queries):
            table[i, : lengths[i]] = self.candidates.documents[starts[query] : starts[query + 1]]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return Candidates(table[table >= 0], offsets), table

    def _raw(self, column: str, queries: Rows, lists: Candidates) -> Scores:
        """(n, longest) a member's cached scores of the candidates, padded with NaN."""
        if self.cache is None:
            raise ScoresError(f"column '{column}' is wanted, but there is no score cache")
        lengths = lists.lengths
        table = np.full((len(queries), max(1, int(lengths.max(initial=0)))), np.nan, np.float32)
        for i, query in enumerate(queries):
            table[i, : lengths[i]] = self.cache.scores(column, int(query), int(query) + 1)
        return table

    def _normalised(self, member: Member, queries: Rows, lists: Candidates) -> Scores:
        scores = self._raw(member.column, queries, lists)
        return normalise(scores, member.normalize, temperature=member.temperature)

    def _ensemble_of(self, lists: Candidates, queries: Rows) -> Scores:
        counted = [member for member in self.members if member.weight]
        opinions = [self._normalised(member, queries, lists) for member in counted]
        weights = [member.weight for member in counted]
        return self._logs(combine(opinions, weights, known_to_all=True))

    def _logs(self, ensemble: Scores) -> Scores:
        """A mixture of probabilities as logits, so that the loss's softmax gives it back."""
        if self.members[0].normalize != "softmax":
            return ensemble
        return np.log(np.maximum(ensemble, np.float32(1e-30)))

    def _placed(self, scores: Scores, rows: Rows, documents: Rows) -> Scores:
        """Scores of padded candidate lists, moved to the columns of these documents."""
        placed = np.full((len(scores), len(documents)), np.nan, np.float32)
        if not len(documents):
            return placed
        order = np.argsort(documents)
        at = np.minimum(np.searchsorted(documents, rows, sorter=order), len(documents) - 1)
        columns = order[at]
        here = (documents[columns] == rows) & (rows >= 0)
        query, position = np.nonzero(here)
        placed[query, columns[query, position]] = scores[query, position]
        return placed

    def moments(self, column: str = "") -> Moments:
        """Of a member's raw scores over all candidates; without a column, of the ensemble."""
        moments = Moments()
        if column and self.cache is not None:
            for block in self.cache.column_blocks(column):
                moments.add(block)
            return moments
        for first in range(0, self.candidates.n_queries, _BLOCK):
            last = min(first + _BLOCK, self.candidates.n_queries)
            queries = np.arange(first, last, dtype=np.int32)
            lists, _ = self._listed(queries)
            moments.add(self._ensemble_of(lists, queries))
        return moments
