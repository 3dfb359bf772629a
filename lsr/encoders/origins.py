"""Where the weight of a term in a document comes from: the window, the token, the word.

The text is encoded again. Max-pooling has one position for every term, the one with the largest
logit; for a sum or mean that is the position which adds most; for a latent term (UHD) the token
whose state projects highest on it, of those it wins at. A term is literal where the text holds its
token, an expansion where it does not; a latent one has no token. What a literal residual (PROSPER)
gives more to than the language model comes from the term's own token.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .card import Card
from .onnx_side import OnnxSide
from .side import NetworkSide, TransformerSide
from .tokens import TextTokenizer
from .windows import Span, pieces


@dataclass(frozen=True)
class Origin:
    """What gave one term its weight in one text."""

    term: int
    weight: float
    """The document weight as encoded now, before an index rounds it; 0 if the text lacks it."""
    token: str
    """The vocabulary entry at the position, which may be a special token."""
    span: Span | None
    """Characters of the text the position stands for; None for a special token or the prompt."""
    window: int
    """Which piece of a long document, from 0."""
    literal: bool
    """Whether the term's own token is in the text."""


class Traces(Protocol):
    """An encoder that can say where weights come from."""

    def origins(self, text: str, terms: Sequence[int]) -> list[Origin]:
        """The origin of each of `terms` in a document; needs the document network, and torch where
        that is no ONNX graph."""
        ...


def trace(
    side: NetworkSide,
    text: str,
    terms: Sequence[int],
    *,
    prompt: str,
    card: Card,
) -> list[Origin]:
    """The origin of each of `terms` in `text`; terms that weigh nothing are left out.

    `card` is that of the encoder. Of an ONNX graph the positions are its own, to the last bit.
    Raises `MissingExtra` for another network without torch.
    """
    tokenizer = _tokenizer(side)
    spans, overlap = [(0, len(text))], card.window_overlap
    if overlap is not None:
        spans = pieces([text], tokenizer, prompt=prompt, overlap=overlap)[0]
    cut = [text[a:b] for a, b in spans]
    columns = np.asarray(terms, np.int64)
    rows = side.encode(cut, prompt=prompt, top_k=None, progress=False)
    weights: npt.NDArray[np.float32] = rows[:, columns].toarray()
    best = weights.argmax(axis=0)
    whole = tokenizer.limited(None).ids([text], special=False)[0]
    latent = isinstance(side, TransformerSide) and side.buckets is not None
    present = set() if latent else set(whole)
    found: dict[int, Origin] = {}
    for window in np.unique(best):
        mine = np.flatnonzero((best == window) & (weights[window] > 0))
        if not len(mine):
            continue
        places = _positions(side, prompt + cut[window], columns[mine])
        for column, (token, (start, end)) in zip(mine, places, strict=True):
            shift = spans[window][0] - len(prompt)
            inside = end > start and start >= len(prompt)
            shown = _of_a_word(text, start + shift, end + shift) if inside else None
            found[int(column)] = Origin(
                term=int(columns[column]),
                weight=float(weights[window, column]),
                token=token,
                span=shown,
                window=int(window),
                literal=int(columns[column]) in present,
            )
    return [found[column] for column in sorted(found)]


def _of_a_word(text: str, start: int, end: int) -> Span:
    """A token's characters without the space before it and with the accents upon it.

    SentencePiece counts a space to the token that it comes before; and where a tokenizer composes
    a letter with its accent, the token is said to stand for the letter alone.

    >>> _of_a_word("un café", 2, 4), _of_a_word("cafe\u0301 noir", 3, 4), _of_a_word("a b", 1, 2)
    ((3, 4), (3, 5), (1, 2))
    """
    first, after = start, end
    while first < after and text[first].isspace():
        first += 1
    if first == after:
        first = start
    while after < len(text) and unicodedata.combining(text[after]):
        after += 1
    return first, after


def _tokenizer(side: NetworkSide) -> TextTokenizer:
    return side.tokenizer if isinstance(side, OnnxSide) else side.model.tokenizer


def _positions(
    side: NetworkSide, text: str, terms: npt.NDArray[np.int64]
) -> list[tuple[str, Span]]:
    """The token that gives most to each term, and its characters; (0, 0) if special."""
    encoding = _tokenizer(side).encoding(text, special=True)
    strongest = side.strongest if isinstance(side, OnnxSide) else partial(_strongest, side)
    return [(encoding.tokens[i], encoding.offsets[i]) for i in strongest(encoding.ids, terms)]


def _strongest(side: TransformerSide, tokens: list[int], terms: npt.NDArray[np.int64]) -> list[int]:
    """The position of the text `tokens` that gives most to each term.

    A literal residual is given to a term for standing in the text, so where it is at least half of
    the weight, the token is the term's own, at the place with the largest logit.
    """
    import torch

    model = side.model
    ids = torch.tensor([tokens], device=model.device)
    mask = torch.ones_like(ids)
    was_training = model.training
    model.eval()
    try:
        with (
            torch.inference_mode(),
            torch.autocast(model.device.type, torch.bfloat16, enabled=side.precision == "bfloat16"),
        ):
            wanted = torch.from_numpy(terms).to(model.device)
            logits = model.by_position(ids, mask, wanted)[0]
            if model.literal is not None:
                added = model.literal.residual(model.features(ids, mask), ids, mask, wanted)[0]
                mostly = (added > 0) & (2 * added >= model.weights(ids, mask, wanted)[0])
                elsewhere = ids[0][:, None] != wanted
                logits = logits.masked_fill(mostly & elsewhere, float("-inf"))
            won: list[int] = logits.argmax(dim=0).tolist()
    finally:
        model.train(was_training)
    return won
