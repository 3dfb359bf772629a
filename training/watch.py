"""Looks at the vectors now and then while a network learns to rank: dead terms, top terms, illness.

A look encodes a few training pairs with the network as it is. Which pairs follows from the step,
so that looking changes nothing about the run and an interrupted run looks at the same ones.
"""

import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lsr.encoders.protocol import SparseEncoder
from lsr.errors import EncoderError, NotFinite
from lsr.types import SparseMatrix

from .advice import advice
from .data import Pairs
from .gather import anyone
from .health import Finding, diagnose, vitals
from .recipe import Recipe

Notes = dict[str, Any]
"""Numbers and words to go into the next line of the log."""

_WINDOW = 10
"""Looks after which a term that none of them saw is called dead."""
_TOLD, _PERSISTENT = 2, 3
"""Looks in a row that find an illness before it is told, and before a run is stopped: what a dense
start looks like passes by itself."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Queries, and row by row a document that answers each."""

    queries: SparseMatrix
    documents: SparseMatrix


class Watch(TrainerCallback):
    """Turns a sample of vectors into notes for the log, warnings, and at worst an error."""

    def __init__(
        self,
        recipe: Recipe,
        sample: Callable[[int], Sample],
        words: Callable[[Sequence[int]], list[str]],
        *,
        quiet: bool,
        main: bool,
    ) -> None:
        self._main = main
        self._recipe, self._sample, self._words, self._quiet = recipe, sample, words, quiet
        self._active: deque[npt.NDArray[np.bool_]] = deque(maxlen=_WINDOW)
        self._in_a_row: dict[str, int] = {}
        self._verdict: str | None = None

    def look(self, step: int) -> Notes:
        """What the log of this step should say beside the loss parts; warns where that is due."""
        if not self._main:
            return {}
        notes: Notes = {}
        try:
            sample = self._sample(step)
        except NotFinite as error:
            findings = [Finding("not-finite", str(error))]
        else:
            findings = diagnose(
                sample.documents,
                self._decode,
                queries=sample.queries,
                encoded_queries=self._recipe.model.kind != "inference-free",
            )
            notes = self._notes(sample.documents)
        self._in_a_row = {f.name: self._in_a_row.get(f.name, 0) + 1 for f in findings}
        if findings:
            notes["health"] = ", ".join(finding.name for finding in findings)
        for finding in findings:
            if not self._quiet and self._in_a_row[finding.name] == _TOLD:
                tqdm.write(f"warning     step {step}: {self._told(finding)}", sys.stderr)
        lasting = [
            self._told(finding)
            for finding in findings
            if finding.illness == "not-finite" or self._in_a_row[finding.name] >= _PERSISTENT
        ]
        self._verdict = "; ".join(lasting) or None
        return notes

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Raise `TrainingCollapsed` on every process if one has seen enough."""
        if self._recipe.run.on_collapse == "warn":
            return
        if anyone(self._verdict is not None):
            raise TrainingCollapsed(
                f"{self._recipe.path}: training collapsed at step {state.global_step}: "
                f"{self._verdict or 'see the first process'}; then start over (--fresh)."
            )

    def _told(self, finding: Finding) -> str:
        todo = advice(finding.illness, self._recipe, finding.side)
        return f"{finding.name}: {finding.evidence}; {todo}"

    def _decode(self, terms: Any) -> list[str]:
        return self._words([int(term) for term in terms])

    def _notes(self, documents: SparseMatrix) -> Notes:
        signs = vitals(documents)
        active = np.zeros(documents.shape[1], np.bool_)
        active[documents.indices] = True
        self._active.append(active)
        seen = np.logical_or.reduce(list(self._active))
        shares = zip(self._decode(signs.top_terms), signs.top_shares, strict=True)
        return {
            "dead_terms": int((~seen).sum()),
            "frequent_terms": signs.frequent_terms,
            "empty_documents": signs.empty_share,
            "cosine": signs.cosine,
            "top_terms": " ".join(f"{word} {share:.2f}" for word, share in shares),
        }


class TrainingCollapsed(EncoderError):
    """The network learned nothing that can be used; the message says what to change."""


def draw(encoder: SparseEncoder, pairs: Pairs, step: int, *, size: int, seed: int) -> Sample:
    """The vectors of `size` training pairs that belong to this step."""
    rng = np.random.default_rng([seed, 0x7761, step])
    rows = rng.choice(len(pairs.queries), size=min(size, len(pairs.queries)), replace=False)
    return Sample(
        encoder.encode_queries([pairs.queries[row] for row in rows]),
        encoder.encode_documents([pairs.documents[pairs.positives[row][0]] for row in rows]),
    )
