"""A cross-encoder: query and document go through one network together.

Scores are raw logits, as MarginMSE and KL want them: no sigmoid, whatever the checkpoint's other
users apply.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from ..errors import EncoderError
from ..types import DenseMatrix
from .checkpoint import Encoded, Network, Precision


@dataclass(frozen=True, eq=False)
class CrossEncoder:
    """A sequence classifier with one logit, the relevance of the second text to the first."""

    network: Network
    name: str
    query_prompt: str = ""
    document_prompt: str = ""

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        name: str,
        query_prompt: str = "",
        document_prompt: str = "",
        max_length: int | None = None,
        device: str | None = None,
        precision: Precision = "float32",
    ) -> "CrossEncoder":
        """Read a checkpoint folder; `max_length` counts the tokens of query and document."""
        network = Network.load(
            folder,
            AutoModelForSequenceClassification,
            max_length=max_length,
            device=device,
            precision=precision,
        )
        if network.model.config.num_labels != 1:
            raise EncoderError(
                f"{folder} is a classifier of {network.model.config.num_labels} labels; wanted a "
                "cross-encoder with one logit, the relevance"
            )
        return cls(network, name, query_prompt, document_prompt)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over weights, vocabulary, prompts, length and precision."""
        prompts = (self.query_prompt, self.document_prompt)
        return self.network.fingerprint("cross-encoder", repr(prompts))

    def score(
        self, queries: Sequence[str], documents: Sequence[str], *, progress: bool = False
    ) -> DenseMatrix:
        """(n,) float32 logits; the longer text of a pair is cut first where both do not fit."""
        tokenizer = self.network.tokenizer.tokenizer

        def encode(part: slice) -> list[Encoded]:
            pairs = [
                (self.query_prompt + query, self.document_prompt + document)
                for query, document in zip(queries[part], documents[part], strict=True)
            ]
            return [(e.ids, e.type_ids) for e in tokenizer.encode_batch_fast(pairs)]

        def forward(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Tensor:
            logits: Tensor = model(**inputs).logits
            return logits

        scores = self.network.run(
            len(queries),
            encode=encode,
            forward=forward,
            width=1,
            desc=self.name,
            unit="pairs",
            progress=progress,
        )
        return np.ascontiguousarray(scores[:, 0])
