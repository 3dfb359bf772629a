"""Batches as tensors: item n of each dataset here is the whole batch of step n, made when asked.

An item depends on its number and the seed alone, never on what was drawn before.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lsr.encoders.batching import padded
from lsr.encoders.bm25 import BM25Encoder
from lsr.encoders.tokens import TextTokenizer
from lsr.encoders.windows import pieces
from lsr.errors import RecipeError
from lsr.progress import bar

from .batches import draw, plan_batches, sample_terms
from .data import Pairs
from .recipe import Recipe
from .rows import Rows
from .stage_sections import MlmStage, RankingStage

Batch = dict[str, Tensor]


def pad(ids: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """(batch, longest) int64 token numbers and 0/1 mask."""
    tokens, mask = padded(ids, pad_id)
    return torch.from_numpy(tokens), torch.from_numpy(mask)


class MlmSteps(Dataset[Batch]):
    """Documents with some tokens hidden and some kept visible, both to be named.

    With `stage.shifted` the position that names a token is the one before it.

    `parts` processes share each batch as in `RankingSteps`; the mean of their losses weighs
    documents equally only as far as the parts have equally many tokens to name.
    """

    def __init__(
        self,
        documents: Sequence[str],
        tokenizer: TextTokenizer,
        stage: MlmStage,
        *,
        seed: int,
        n_steps: int,
        parts: int = 1,
    ) -> None:
        self._parts = parts
        self._documents = documents
        self._tokenizer = tokenizer.limited(stage.max_length)
        self._stage = stage
        self._seed = seed
        self._n_steps = n_steps
        self._special = np.asarray(tokenizer.special_ids(), np.int64)
        self._mask_id = mask_id(tokenizer, stage.mask_token)
        self._n_tokens = tokenizer.n_tokens
        rng = np.random.default_rng([seed, 0x6D6C])
        passes = math.ceil(n_steps * stage.batch / len(documents))
        self._order = np.concatenate([rng.permutation(len(documents)) for _ in range(passes)])

    def __len__(self) -> int:
        return self._n_steps * self._parts

    def __getitem__(self, item: int) -> Batch:
        stage, (number, part) = self._stage, divmod(item, self._parts)
        rows = self._order[number * stage.batch : (number + 1) * stage.batch]
        rows = rows[own_rows(len(rows), part, self._parts)]
        texts = [self._documents[row] for row in rows]
        tokens, mask = pad(self._tokenizer.ids(texts, special=True), self._tokenizer.pad_id)
        rng = np.random.default_rng([self._seed, 0x6D6D, item])
        targets = tokens.numpy().ravel()
        real = np.flatnonzero((mask.numpy().ravel() == 1) & ~np.isin(targets, self._special))
        if stage.shifted:
            real = real[real % tokens.shape[1] > 0]  # nothing stands before the first of a row
        fate = rng.random(len(real))
        hidden = real[fate < stage.masked]
        kept = real[(fate >= stage.masked) & (fate < stage.masked + stage.kept)]
        given = targets.copy()
        # As in BERT, one hidden token in ten is swapped for a random one instead of [MASK].
        swapped = rng.random(len(hidden)) < 0.1
        given[hidden] = np.where(
            swapped, rng.integers(self._n_tokens, size=len(hidden)), self._mask_id
        )
        positions = np.sort(np.concatenate([hidden, kept]))
        if len(positions) == 0:
            positions = real[:1] if len(real) else np.zeros(1, np.int64)
        asked = np.maximum(positions - 1, 0) if stage.shifted else positions
        return {
            "input_ids": torch.from_numpy(given.reshape(tuple(tokens.shape))),
            "attention_mask": mask,
            "positions": torch.from_numpy(asked),
            "targets": torch.from_numpy(targets[positions]),
        }


def mask_id(tokenizer: TextTokenizer, wanted: str) -> int:
    """The token number that stands for what is hidden: BERT's or RoBERTa's name for it.

    Raises `RecipeError` for a `wanted` token that is none of the vocabulary.
    """
    names = (wanted,) if wanted else ("[MASK]", "<mask>")
    for name in names:
        if (found := tokenizer.tokenizer.token_to_id(name)) is not None:
            return found
    if wanted:
        raise RecipeError(
            f"stage.mlm.mask_token = '{wanted}' is no token of the vocabulary; choose one that is, "
            "or leave it out."
        )
    return tokenizer.pad_id


class TeacherScores(Protocol):
    """What teachers think of pairs, by the rows of `Pairs`."""

    def matrix(self, queries: Rows, documents: Rows) -> npt.NDArray[np.float32]:
        """(len(queries), len(documents)) float32 scores; NaN where no score is known."""


class RankingSteps(Dataset[Batch]):
    """Queries of one collection with their positives and negatives, and a teacher's scores.

    Where `parts` processes share each batch, item n is part n % parts of batch n // parts: its own
    queries and documents, and the matrices of the whole batch. That is the order in which
    accelerate deals items to processes.
    """

    def __init__(
        self,
        pairs: Pairs,
        tokenizer: TextTokenizer,
        recipe: Recipe,
        *,
        n_terms: int,
        n_batches: int,
        teachers: TeacherScores | None = None,
        parts: int = 1,
        quiet: bool = True,
    ) -> None:
        stage: RankingStage = recipe.stage.ranking
        self._teachers = teachers
        self._parts = parts
        if stage.batch < parts:
            raise RecipeError(
                f"{recipe.path}: stage.ranking.batch = {stage.batch} queries cannot be shared by "
                f"{parts} processes; start fewer processes or raise the batch."
            )
        self._words: BM25Encoder | None = None
        if stage.words:
            counted = bar(pairs.documents, unit="documents", desc="words", quiet=quiet or None)
            self._words = BM25Encoder.fit(counted)
        self._words_weight = stage.words
        self._pairs = pairs
        self._windows, self._overlap = stage.windows, stage.window_overlap
        self._negatives = recipe.data.negatives
        self._ordered = self._hardest_first if recipe.data.draw == "spread" else None
        self._sampled_terms = stage.sampled_terms
        self._table_queries = recipe.model.kind == "inference-free"
        self._query_prompt = recipe.model.query_prompt
        self._document_prompt = recipe.model.document_prompt
        self._seed = recipe.run.seed
        self._n_terms = n_terms
        self._documents = tokenizer.limited(stage.max_length)
        longest = recipe.model.query_length
        if not self._table_queries and tokenizer.max_length is not None:
            # A network reads no more of a query later, and may have no positions for more.
            longest = min(longest, tokenizer.max_length)
        self._queries = tokenizer.limited(longest)
        self._special = np.asarray(tokenizer.special_ids(), np.int64)
        repeat = {recipe.data.train.index(name): n for name, n in recipe.data.repeat.items()}
        self._plan = plan_batches(
            pairs, batch=stage.batch, n_batches=n_batches, seed=recipe.run.seed, repeat=repeat
        )

    def __len__(self) -> int:
        return len(self._plan) * self._parts

    def __getitem__(self, item: int) -> Batch:
        pairs, (number, part) = self._pairs, divmod(item, self._parts)
        rows = self._plan[number]
        drawn = draw(
            pairs,
            rows,
            negatives=self._negatives,
            seed=self._seed,
            number=number,
            ordered=self._ordered,
        )
        cut, owner = self._cut([pairs.documents[row] for row in drawn.documents])
        document_ids = self._documents.ids(
            [self._document_prompt + text for text in cut], special=True
        )
        own = own_rows(len(drawn.documents), part, self._parts)
        own_documents = slice(*np.searchsorted(owner, [own.start, own.stop]).tolist())
        own_queries = own_rows(len(rows), part, self._parts)
        tokens, mask = pad(document_ids[own_documents], self._documents.pad_id)
        batch = {
            "document_ids": tokens,
            "document_mask": mask,
            "positives": torch.from_numpy(drawn.positives.astype(np.int64)),
            "excluded": torch.from_numpy(drawn.excluded),
        }
        if self._windows > 1:
            batch["document_of"] = torch.from_numpy(owner[own_documents] - own.start)
        if self._teachers is not None:
            batch["teacher"] = torch.from_numpy(self._teachers.matrix(rows, drawn.documents))
        if self._words is not None:
            asked = self._words.encode_queries([pairs.queries[row] for row in rows])
            held = self._words.encode_documents([pairs.documents[row] for row in drawn.documents])
            batch["words"] = torch.from_numpy(
                (self._words_weight * (asked @ held.T).toarray()).astype(np.float32)
            )
        queries = [self._query_prompt + pairs.queries[row] for row in rows]
        if not self._table_queries:
            query_ids = self._queries.ids(queries[own_queries], special=True)
            tokens, mask = pad(query_ids, self._queries.pad_id)
            return batch | {"query_ids": tokens, "query_mask": mask}
        query_tokens = [
            np.setdiff1d(np.asarray(ids, np.int64), self._special)
            for ids in self._queries.ids(queries, special=False)
        ]
        if not self._sampled_terms:
            present = presence(query_tokens[own_queries], np.arange(self._n_terms))
            return batch | {"query_terms": present}
        terms, weights = sample_terms(
            np.concatenate(
                [*map(np.asarray, document_ids), *query_tokens, [self._documents.pad_id]]
            ),
            n_terms=self._n_terms,
            others=self._sampled_terms,
            seed=self._seed,
            number=number,
        )
        return batch | {
            "query_terms": presence(query_tokens[own_queries], terms),
            "terms": torch.from_numpy(terms),
            "term_weights": torch.from_numpy(weights),
        }

    def _hardest_first(self, query: int) -> Rows:
        """The given negatives of a query as its teachers order them; what none has scored last."""
        given = self._pairs.negatives[query]
        assert self._teachers is not None
        scores = self._teachers.matrix(np.asarray([query], np.int32), given)[0]
        return given[np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")]

    def _cut(self, documents: list[str]) -> tuple[list[str], npt.NDArray[np.int64]]:
        """What is read of each document, and (n_texts,) which document that is."""
        if self._windows == 1:
            return documents, np.arange(len(documents))
        spans = pieces(
            documents, self._documents, prompt=self._document_prompt, overlap=self._overlap
        )
        read = [own[: self._windows] for own in spans]
        cut = [text[a:b] for text, own in zip(documents, read, strict=True) for a, b in own]
        return cut, np.repeat(np.arange(len(documents)), [len(own) for own in read])


def own_rows(size: int, part: int, parts: int) -> slice:
    """The rows of this part of a batch, in the order of parts; numbers differ by at most one."""
    if size < parts:
        raise RecipeError(
            f"a batch of only {size} texts for {parts} processes; start fewer processes or raise "
            "the batch of the stage."
        )
    return slice(size * part // parts, size * (part + 1) // parts)


def presence(tokens: Sequence[npt.NDArray[np.int64]], terms: npt.NDArray[np.int64]) -> Tensor:
    """(len(tokens), len(terms)) bool: which of the sorted `terms` each row holds."""
    marks = np.zeros((len(tokens), len(terms)), np.bool_)
    for row, row_tokens in enumerate(tokens):
        marks[row, np.searchsorted(terms, row_tokens)] = True
    return torch.from_numpy(marks)
