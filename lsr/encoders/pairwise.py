"""Networks that read a query and two documents and say which document answers it better.

`DuoCrossEncoder` is a classifier over the three texts (duoBERT, arXiv 1910.14424); `DuoT5` asks a
sequence-to-sequence network whether the first document is the better one (arXiv 2101.05667).
`load_duo` reads either. Both are `lsr.reranking.PreferenceModel`s.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from ..errors import EncoderError
from ..types import DenseMatrix
from .checkpoint import Encoded, Network, Precision
from .folder import read_object
from .tokens import TextTokenizer

_QUERY_SHARE = 8
"""Where not all fits, a query keeps an eighth of the room, as in duoBERT (62 of 512)."""

_T5_LENGTH = 512
"""Tokens that T5 reads in training; its relative positions set no limit themselves."""


@dataclass(frozen=True, eq=False)
class DuoCrossEncoder:
    """A sequence classifier over `[CLS] query [SEP] first [SEP] second [SEP]`.

    One logit is read through σ; of two labels the second says that the first document is better.
    """

    network: Network
    name: str

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over weights, vocabulary, length and precision."""
        return self.network.fingerprint("duo", "classifier")

    def prefer(
        self, query: str, first: Sequence[str], second: Sequence[str], *, progress: bool = False
    ) -> DenseMatrix:
        """(n,) float32: the probability that `first[i]` answers the query better."""
        tokenizer = self.network.tokenizer
        before, between, after = _frame(tokenizer)
        last_type = int(getattr(self.network.model.config, "type_vocab_size", 0)) - 1
        room = _room(tokenizer, len(before) + 2 * len(between) + len(after))
        (of_query,) = tokenizer.ids([query], special=False)

        def encode(part: slice) -> list[Encoded]:
            items: list[Encoded] = []
            for a, b in zip(
                tokenizer.ids(first[part], special=False),
                tokenizer.ids(second[part], special=False),
                strict=True,
            ):
                q, a, b = _fitted(of_query, a, b, room)
                texts = ([*before, *q, *between], [*a, *between], [*b, *after])
                types = [max(0, min(i, last_type)) for i, text in enumerate(texts) for _ in text]
                items.append(([token for text in texts for token in text], types))
            return items

        def forward(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Tensor:
            logits = model(**inputs).logits.float()
            return torch.sigmoid(logits if logits.shape[1] == 1 else logits[:, 1:] - logits[:, :1])

        return _column(self.network, self.name, len(first), encode, forward, progress=progress)


@dataclass(frozen=True, eq=False)
class DuoT5:
    """A T5 that goes on with "true" where the first document is better, else with "false"."""

    network: Network
    name: str
    true_id: int
    false_id: int

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over weights, vocabulary, length and precision."""
        return self.network.fingerprint("duo", "t5")

    def prefer(
        self, query: str, first: Sequence[str], second: Sequence[str], *, progress: bool = False
    ) -> DenseMatrix:
        """(n,) float32: the share of "true" among "true" and "false"."""
        tokenizer = self.network.tokenizer
        (asked,) = tokenizer.ids(["Relevant:"], special=True)  # ends with </s>
        (of_query,) = tokenizer.ids([f"Query: {query}"], special=False)
        room = _room(tokenizer, len(asked))

        def encode(part: slice) -> list[Encoded]:
            items: list[Encoded] = []
            for a, b in zip(
                tokenizer.ids([f"Document0: {text}" for text in first[part]], special=False),
                tokenizer.ids([f"Document1: {text}" for text in second[part]], special=False),
                strict=True,
            ):
                q, a, b = _fitted(of_query, a, b, room)
                items.append(([*q, *a, *b, *asked], []))
            return items

        def forward(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Tensor:
            ids = inputs["input_ids"]
            start = torch.full_like(ids[:, :1], model.config.decoder_start_token_id)
            logits = model(**inputs, decoder_input_ids=start).logits[:, 0].float()
            return torch.sigmoid(logits[:, [self.true_id]] - logits[:, [self.false_id]])

        return _column(self.network, self.name, len(first), encode, forward, progress=progress)


def load_duo(
    folder: Path,
    *,
    name: str = "",
    max_length: int | None = None,
    device: str | None = None,
    precision: Precision = "float32",
) -> DuoCrossEncoder | DuoT5:
    """Read a checkpoint folder: an encoder-decoder is a `DuoT5`, any other a classifier.

    `max_length` counts the tokens of query and both documents; None is what the folder allows.
    """
    name = name or folder.resolve().name
    config = read_object(folder / "config.json")
    if config.get("is_encoder_decoder") or config.get("model_type") == "t5":
        network = Network.load(
            folder,
            AutoModelForSeq2SeqLM,
            max_length=max_length or _T5_LENGTH,
            device=device,
            precision=precision,
        )
        words = network.tokenizer.ids(["true", "false"], special=False)
        if any(not ids for ids in words) or words[0][0] == words[1][0]:
            raise EncoderError(
                f"{folder}: the vocabulary has no tokens of its own for true and false; wanted a "
                "duoT5 checkpoint"
            )
        return DuoT5(network, name, words[0][0], words[1][0])
    network = Network.load(
        folder,
        AutoModelForSequenceClassification,
        max_length=max_length,
        device=device,
        precision=precision,
    )
    if network.model.config.num_labels not in (1, 2):
        raise EncoderError(
            f"{folder} is a classifier of {network.model.config.num_labels} labels; wanted one "
            "logit or two labels, whether the first of two documents is the better one"
        )
    return DuoCrossEncoder(network, name)


def _frame(tokenizer: TextTokenizer) -> tuple[list[int], list[int], list[int]]:
    """The special tokens before, between and after two texts, as this tokenizer puts them."""
    pair = tokenizer.tokenizer.encode("a", "a")
    texts = [i for i, special in enumerate(pair.special_tokens_mask) if not special]
    first = [i for i in texts if pair.sequence_ids[i] == 0]
    second = [i for i in texts if pair.sequence_ids[i] == 1]
    ids = list(pair.ids)
    return ids[: first[0]], ids[first[-1] + 1 : second[0]], ids[second[-1] + 1 :]


def _room(tokenizer: TextTokenizer, n_special: int) -> int | None:
    if tokenizer.max_length is None:
        return None
    room = tokenizer.max_length - n_special
    if room < _QUERY_SHARE:
        raise EncoderError(
            f"a maximum of {tokenizer.max_length} tokens leaves {room} for a query and two "
            f"documents; wanted at least {_QUERY_SHARE}"
        )
    return room


def _fitted(
    query: list[int], first: list[int], second: list[int], room: int | None
) -> tuple[list[int], list[int], list[int]]:
    """The three texts cut to `room` tokens: the query to its share, the documents alike."""
    if room is None or len(query) + len(first) + len(second) <= room:
        return query, first, second
    query = query[: max(room // _QUERY_SHARE, room - len(first) - len(second))]
    left = room - len(query)
    half = left // 2
    of_first = max(half, left - len(second))
    first = first[:of_first]
    return query, first, second[: left - len(first)]


def _column(
    network: Network,
    name: str,
    n: int,
    encode: Callable[[slice], list[Encoded]],
    forward: Callable[[PreTrainedModel, dict[str, Tensor]], Tensor],
    *,
    progress: bool,
) -> DenseMatrix:
    column = network.run(
        n, encode=encode, forward=forward, width=1, desc=name, unit="pairs", progress=progress
    )
    return np.ascontiguousarray(column[:, 0])
