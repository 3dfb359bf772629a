"""In how many passages each token occurs: counted by one process or several, kept, added up.

A folder holds counts.safetensors (df, int64) and idf.json (N, fingerprints of tokenizer and
corpora). Counts are integers, so the result is the same for any number of processes and any order.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from ..errors import EncoderError
from .counting import occurrences
from .folder import read_object, replacing, write_json
from .tokens import TextTokenizer

SMOOTHING = 0.5
"""s of the formula in `idf`, as in BM25's idf of Robertson and Spärck Jones."""
CARD = "idf.json"
_ARRAYS = "counts.safetensors"
_FORMAT = 1
_BATCH = 2_048  # texts tokenised at once; enough to keep every core of the tokenizer busy
_WAITING = 2  # batches waiting per process: never idle, and memory does not grow


@dataclass(frozen=True, eq=False)
class TokenCounts:
    """df of every token of one tokenizer over one or more corpora."""

    df: npt.NDArray[np.int64]
    """(n_tokens,) passages that hold the token; special tokens included, as they were found."""
    n_passages: int
    """Passages with at least one real token."""
    tokenizer: str
    """Fingerprint of the vocabulary: what each number means."""
    special: tuple[int, ...]
    """Numbers of the special tokens."""
    corpora: tuple[str, ...] = ()
    """Fingerprints of what was counted."""

    def idf(
        self, *, n_terms: int | None = None, smoothing: float = SMOOTHING, clip: float | None = None
    ) -> npt.NDArray[np.float32]:
        """(n_terms,) float32; special tokens and numbers beyond the tokenizer's are 0.

        `clip` is the largest weight given: an upper bound for tokens seen rarely or never.
        """
        n_tokens = len(self.df)
        n_terms = n_tokens if n_terms is None else n_terms
        if n_terms < n_tokens:
            raise EncoderError(
                f"an idf table of {n_terms} terms cannot hold the {n_tokens} tokens of the "
                "tokenizer"
            )
        if smoothing <= 0 or (clip is not None and clip <= 0):
            raise EncoderError(
                f"smoothing = {smoothing}, clip = {clip}: both must be above 0; at smoothing 0 a "
                "token never seen would weigh infinitely much"
            )
        table = np.zeros(n_terms, np.float64)
        table[:n_tokens] = np.log1p((self.n_passages - self.df + smoothing) / (self.df + smoothing))
        table[list(self.special)] = 0.0
        if clip is not None:
            np.minimum(table, clip, out=table)
        return table.astype(np.float32)

    def __add__(self, other: "TokenCounts") -> "TokenCounts":
        """The counts over both; refused for two tokenizers, and for a corpus counted twice."""
        self.check_tokenizer(other.tokenizer, "the second counts")
        twice = set(self.corpora) & set(other.corpora)
        if twice:
            raise EncoderError(
                f"the corpus {', '.join(sorted(twice))} is in both counts and would be counted "
                "twice; leave one of them out"
            )
        return TokenCounts(
            self.df + other.df,
            self.n_passages + other.n_passages,
            self.tokenizer,
            self.special,
            self.corpora + other.corpora,
        )

    def check_tokenizer(self, fingerprint: str, whose: str) -> None:
        """Refuse a tokenizer that gives the same numbers to other words."""
        if fingerprint != self.tokenizer:
            raise EncoderError(
                f"the counts were made with the tokenizer {self.tokenizer}, {whose} has the "
                f"tokenizer {fingerprint}: same numbers, other words. Count the corpus again with "
                "that encoder's tokenizer"
            )

    def save(self, folder: Path, **facts: Any) -> None:
        """Write the folder, whole or not at all; `facts` are kept beside the numbers."""
        card = {
            **facts,
            "format": _FORMAT,
            "n_passages": self.n_passages,
            "n_tokens": len(self.df),
            "tokenizer": self.tokenizer,
            "special": list(self.special),
            "corpora": list(self.corpora),
        }
        with replacing(folder, owned=CARD) as fresh:
            save_file({"df": np.ascontiguousarray(self.df)}, fresh / _ARRAYS)
            write_json(fresh / CARD, card)

    @classmethod
    def load(cls, folder: Path) -> "TokenCounts":
        """Read what `save` wrote; numbers that contradict each other are refused."""
        card = read_object(folder / CARD)
        if card.get("format") != _FORMAT:
            raise EncoderError(
                f"{folder / CARD}: format {card.get('format')!r}, this release reads {_FORMAT}"
            )
        try:
            df = load_file(folder / _ARRAYS)["df"]
            counts = cls(
                df,
                int(card["n_passages"]),
                str(card["tokenizer"]),
                tuple(int(number) for number in card["special"]),
                tuple(str(name) for name in card["corpora"]),
            )
            real = np.delete(df, counts.special)
            whole = (
                df.dtype == np.int64
                and df.shape == (int(card["n_tokens"]),)
                and bool(((real >= 0) & (real <= counts.n_passages)).all())
            )
        except Exception as error:  # safetensors has its own exception, outside every common base
            raise EncoderError(
                f"{folder} holds no token counts ({error}); count the corpus again"
            ) from error
        if not whole:
            raise EncoderError(
                f"{folder}: df and idf.json contradict each other; count the corpus again"
            )
        return counts


def count_tokens(
    texts: Iterable[str],
    tokenizer: TextTokenizer,
    *,
    corpus: str | None = None,
    processes: int = 1,
) -> TokenCounts:
    """Count `texts` in one pass; memory does not grow with the corpus.

    One process already tokenises on every core; more take the Python side of the work off it. On
    two shared cores that gave nothing: 0.93 million tokens a second by one process, 0.81 by two
    (6.4 million tokens of SciFact and MedQuAD, BERT's vocabulary), so one is the default. Worker
    processes are started afresh, so a script that asks for them needs the usual
    `if __name__ == "__main__":`. `corpus` is the fingerprint of what is counted.
    """
    if processes < 1:
        raise EncoderError(f"processes = {processes}; at least one is needed")
    whole = tokenizer.limited(None)
    df = np.zeros(whole.n_tokens, np.int64)
    n_passages = 0
    batches = _batched(iter(texts))
    counted = (
        map(_Counter(whole), batches) if processes == 1 else _in_workers(whole, batches, processes)
    )
    for present, passages in counted:
        df += present
        n_passages += passages
    return TokenCounts(
        df,
        n_passages,
        whole.fingerprint(),
        tuple(whole.special_ids()),
        () if corpus is None else (corpus,),
    )


Counted = tuple[npt.NDArray[np.int64], int]


def _batched(texts: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(texts, _BATCH)):
        yield batch


class _Counter:
    """Counts one batch after another."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._real = np.ones(tokenizer.n_tokens, np.float32)
        self._real[tokenizer.special_ids()] = 0.0

    def __call__(self, texts: Sequence[str]) -> Counted:
        n_tokens = len(self._real)
        present = occurrences(self._tokenizer.ids(texts, special=False), n_tokens)
        passages = int(np.count_nonzero(present @ self._real))
        return np.bincount(present.indices, minlength=n_tokens).astype(np.int64), passages


_own: list[_Counter] = []
"""What a worker process counts with, made once; empty elsewhere."""


def _start(serialised: str) -> None:
    # Each worker is one core's work: threads of the tokenizer would only stand in each other's way.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _own.append(_Counter(TextTokenizer.of(Tokenizer.from_str(serialised))))


def _count_here(texts: Sequence[str]) -> Counted:
    return _own[0](texts)


def _in_workers(
    tokenizer: TextTokenizer, batches: Iterator[list[str]], processes: int
) -> Iterator[Counted]:
    waiting: deque[Future[Counted]] = deque()
    with ProcessPoolExecutor(
        processes,
        mp_context=get_context("spawn"),  # a fork would inherit the tokenizer's threads half alive
        initializer=_start,
        initargs=(tokenizer.tokenizer.to_str(),),
    ) as pool:
        try:
            for batch in batches:
                waiting.append(pool.submit(_count_here, batch))
                if len(waiting) >= processes * _WAITING:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise EncoderError(
                "a process that counted tokens died, perhaps for want of memory; use fewer "
                "processes"
            ) from error
        finally:
            for future in waiting:
                future.cancel()
