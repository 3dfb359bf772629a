"""The CLM-ReLU stage: a decoder goes on naming next tokens, also behind the ReLU that follows.

    loss = CE(logits, next) + relu_weight * CE(log1p(relu(logits)), next)

A pretrained decoder's logits may be far below 0 everywhere, and a ReLU in a ranking loss would then
never pass a gradient; the second part lifts the tokens that belong above 0. CSPLADE, arXiv
2504.10816. Attention is causal in this stage whatever the model does later, and no text is echoed.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from lsr.encoders.decoder import DecoderModel
from lsr.encoders.tokens import TextTokenizer

from .stage_sections import ClmStage
from .steps import Batch, own_rows, pad


class CausalLanguageModel(nn.Module):
    """Cross-entropy of the next token, over logits and over the weights they become."""

    def __init__(self, model: DecoderModel, *, relu_weight: float) -> None:
        super().__init__()
        self.model = model
        self.relu_weight = relu_weight

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Special tokens are never asked for: their logits are silenced."""
        features = self.model.next_token_features(input_ids, attention_mask)[:, :-1]
        targets = input_ids[:, 1:]
        asked = (attention_mask[:, 1:] != 0) & ~torch.isin(targets, self.model.special)
        logits = self.model.logits(features[asked]).float()
        targets = targets[asked]
        # A sum over a count of at least 1: a batch of one-token texts is 0, not NaN.
        count = max(1, len(targets))
        plain = functional.cross_entropy(logits, targets, reduction="sum") / count
        weights = torch.log1p(torch.relu(logits))
        behind = functional.cross_entropy(weights, targets, reduction="sum") / count
        with torch.no_grad():
            named = (logits.argmax(dim=1) == targets).float().sum() / count
            active = (logits > 0).float().sum(dim=1).sum() / count
        return {
            "loss": plain + self.relu_weight * behind,
            "clm_loss": plain.detach(),
            "relu_loss": behind.detach(),
            "named_right": named,
            "position_terms": active,
        }


class ClmSteps(Dataset[Batch]):
    """Documents in a shuffled order, pass after pass; `parts` processes share each batch."""

    def __init__(
        self,
        documents: Sequence[str],
        tokenizer: TextTokenizer,
        stage: ClmStage,
        *,
        seed: int,
        parts: int = 1,
    ) -> None:
        self._documents = documents
        self._tokenizer = tokenizer.limited(stage.max_length)
        self._stage = stage
        self._parts = parts
        rng = np.random.default_rng([seed, 0x636C])
        passes = math.ceil(stage.steps * stage.batch / len(documents))
        self._order = np.concatenate([rng.permutation(len(documents)) for _ in range(passes)])

    def __len__(self) -> int:
        return self._stage.steps * self._parts

    def __getitem__(self, item: int) -> Batch:
        size, (number, part) = self._stage.batch, divmod(item, self._parts)
        rows = self._order[number * size : (number + 1) * size]
        rows = rows[own_rows(len(rows), part, self._parts)]
        texts = [self._documents[row] for row in rows]
        ids, mask = pad(self._tokenizer.ids(texts, special=True), self._tokenizer.pad_id)
        return {"input_ids": ids, "attention_mask": mask}
