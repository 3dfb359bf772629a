"""Queries that a language model wrote: kept as they come, and tested by looking for their passage.

A query that does not lead back to its passage asks of something else, or of nothing: the round
trip of Promptagator (Dai et al., 2023, arXiv 2209.11755), here by BM25.
"""

import hashlib
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import orjson

from index.arrival import reserved
from lsr.errors import UsageError
from lsr.files import atomic_write
from lsr.progress import Bar, bar

from ..mining.cleaning import normalised
from ..mining.parts import OutOfTimeError
from ..mining.rankers import SparseMiner
from .pseudo_queries import Passage, PseudoQuery

BLOCK = 64
"""Passages that are read at once, and what a kill costs: some twenty seconds of two cores."""
_WITHOUT_BLANKS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""A character of Thai, Lao, Burmese, Khmer, Japanese or Chinese."""


class Writer(Protocol):
    """`writer.QuestionWriter`, which needs torch."""

    @property
    def fingerprint(self) -> str:
        """Whatever its queries follow from."""
        ...

    def write(self, passages: Sequence[str], *, seed: int) -> list[str]:
        """A query for each passage, "" where there is none."""
        ...


@dataclass(frozen=True)
class Writing:
    """How queries are written, where they wait until all are, and which are left out."""

    writer: Writer
    work: Path
    """A folder, where what is written waits, block by block, in one named after all it is of."""
    round_trip: int = 20
    """A query must find its passage among so many of BM25's first; 0 asks for nothing."""
    deadline: float | None = None
    """A time of `time.monotonic`."""
    quiet: bool = False

    @contextmanager
    def queries(
        self, passages: Sequence[Passage], *, seed: int, unless: Path | None = None
    ) -> Iterator[list[PseudoQuery]]:
        """One query for each passage that a good one was written for, in the order of passages.

        Left out are queries that did not end, of one word, whose words are also those of another
        passage's query, and those that lose the round trip. What was written is removed when the
        block that keeps them ends well. Raises `OutOfTimeError` when the deadline comes between two
        blocks, `IndexLocked` while another process writes there, `UsageError` if `unless` has come
        to exist since it was looked for.
        """
        with reserved(self.work, "to write queries there"):
            if unless is not None and unless.exists():
                with suppress(OSError):
                    self.work.rmdir()
                raise UsageError(f"{unless} exists; choose another path")
            texts = [passage.whole for passage in passages]
            folder = self.work / self._key(texts, seed)
            written = self._written(folder, texts, seed=seed)
            times = Counter(map(normalised, written))
            good = [
                row
                for row, text in enumerate(written)
                if _several_words(text) and times[normalised(text)] == 1
            ]
            if self.round_trip and good:
                good = self._found_again(texts, written, good)
            yield [PseudoQuery(written[row], passages[row].doc_id, "written") for row in good]
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # something else is there
                self.work.rmdir()

    def _key(self, texts: Sequence[str], seed: int) -> str:
        digest = hashlib.blake2b(f"{self.writer.fingerprint} {seed}".encode(), digest_size=8)
        for text in texts:
            digest.update(f" {len(text)} ".encode() + text.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def _written(self, folder: Path, texts: Sequence[str], *, seed: int) -> list[str]:
        order = np.argsort([len(text) for text in texts], kind="stable").tolist()
        written = [""] * len(texts)
        counter: Bar[None] = bar(
            None, total=len(texts), unit="queries", desc="writing", quiet=self.quiet or None
        )
        with counter:
            for first in range(0, len(texts), BLOCK):
                rows = order[first : first + BLOCK]
                path = folder / f"{first:09}.json"
                block = _read(path, len(rows))
                if block is None:
                    if self.deadline is not None and time.monotonic() >= self.deadline:
                        raise OutOfTimeError
                    block = self.writer.write([texts[row] for row in rows], seed=seed + first)
                    with atomic_write(path) as file:
                        file.write(orjson.dumps(block))
                for row, text in zip(rows, block, strict=True):
                    written[row] = text
                counter.update(len(rows))
        return written

    def _found_again(
        self, texts: Sequence[str], written: Sequence[str], rows: Sequence[int]
    ) -> list[int]:
        ranker = SparseMiner(None).rank(texts, quiet=self.quiet)
        nothing = [np.empty(0, np.int32)] * len(rows)
        ranked = ranker.search([written[row] for row in rows], self.round_trip, nothing)
        return [row for row, found in zip(rows, ranked, strict=True) if row in found.rows]


def _several_words(text: str) -> bool:
    """Whether there are two words at least, as far as the script has blanks between them."""
    words = normalised(text).split()
    return len(words) > 1 or bool(words and _WITHOUT_BLANKS.search(words[0]) and len(words[0]) > 1)


def _read(path: Path, n: int) -> list[str] | None:
    """A block; None where it is missing or damaged, and is written anew."""
    try:
        block = orjson.loads(path.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    whole = isinstance(block, list) and len(block) == n and all(isinstance(t, str) for t in block)
    return block if whole else None
