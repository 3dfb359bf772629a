"""Documents that the encoder's length limit cuts, and how much of them it never reads."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from lsr.encoders import TextTokenizer, learned_part, words_part

from .case import Case, length_limit
from .finding import Finding, graded, percent, skipped

WARN_LOST, FAIL_LOST = 0.02, 0.5
"""Shares of all tokens that are never read. Where it was 62 % (1,000 documents of SciFact, 128
tokens) windows raised nDCG@10 from .716 to .755 and R@1000 from .955 to .990; where it was 41 %
(Cranfield) R@1000 rose from .945 to .961 and nDCG@10 fell from .357 to .335."""
NOT_READ = "what is not read cannot be found"


@dataclass(frozen=True, slots=True)
class Truncation:
    """Lengths in tokens without special ones; `room` is how many of a text are read."""

    room: int
    n_texts: int
    truncated: float
    """Share of the texts that are longer than `room`."""
    lost: float
    """Share of all tokens that lie beyond it."""
    median: float
    longest: int


def truncation(
    texts: Sequence[str], tokenizer: TextTokenizer, *, limit: int, prompt: str = ""
) -> Truncation:
    """What a limit of `limit` tokens, prompt and special ones included, leaves of `texts`."""
    whole = tokenizer.limited(None)
    room = max(0, limit - len(whole.ids([prompt], special=True)[0]))
    lengths = np.array([len(ids) for ids in whole.ids(texts, special=False)], np.int64)
    beyond = np.maximum(lengths - room, 0)
    return Truncation(
        room,
        len(texts),
        float((beyond > 0).mean()) if len(texts) else 0.0,
        float(beyond.sum() / max(1, lengths.sum())),
        float(np.median(lengths)) if len(texts) else 0.0,
        int(lengths.max(initial=0)),
    )


def check_truncation(case: Case) -> Finding:
    """Warn where texts are cut."""
    if case.encoder is None:
        return skipped("truncation", "no encoder")
    if case.encoder.query_strategy == "bm25":
        return Finding("truncation", "ok", "bm25 reads every word of a text")
    if case.network is None:
        return skipped(
            "truncation",
            "the index keeps only the query side of its encoder, and the whole one is not where it "
            "was; name it with --encoder FOLDER",
        )
    network = learned_part(case.encoder)
    words = None if network is case.encoder else words_part(case.encoder)
    overlap = None if case.index.encoder is None else case.index.encoder.window_overlap
    limit = length_limit(case.network)
    if limit is None or overlap is not None:
        how = "without limit" if limit is None else f"in windows of {limit} tokens"
        return Finding("truncation", "ok", f"the encoder reads texts whole, {how}")
    prompt = "" if network is None else network.settings.document_prompt
    found = truncation(case.texts, case.network.tokenizer, limit=limit, prompt=prompt)
    return Finding(
        "truncation",
        graded(found.lost, warn=WARN_LOST, fail=math.inf if words else FAIL_LOST),
        f"{percent(found.truncated)} of {found.n_texts:,} texts exceed the limit of {limit} "
        f"tokens, {percent(found.lost)} of all tokens are never read"
        + (" by the network, only as words" if words else "")
        + f"; a median text has {found.median:.0f}, the longest {found.longest:,}",
        ("what the network does not read is found by its words alone" if words else NOT_READ)
        + "; windows read a text whole, --passages 128/16 splits it: "
        "more is found, and not always ranked better, so measure both",
        (
            "lsr",
            "index",
            case.corpus,
            case.variant("windows"),
            "--encoder",
            case.encoder_name,
            "--windows",
            "32",
        ),
        asdict(found),
    )
