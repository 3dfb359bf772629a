"""PROSPER's literal residual network: words of the text are never outweighed by its expansion.

    w' = log(1 + relu(FC(h)))            h: the last hidden state of one position
    W  = w + I * (max(w') - w')          I[t] = 1 for the tokens of the text, else 0

A second head guesses which terms matter. What it gives a literal term less than its favourite is
made up for on top of w: W[t] = w[t] + max(w') - w'[t], never less than w[t]. So a word of the text
that the language model leaves at 0 has a weight, and expansion is tempered; only the
guess's own favourite gets nothing extra. Other terms keep w (arXiv 2510.18527).

Only this package knows the module: stock sentence-transformers refuses a folder that names it.
"""

from pathlib import Path
from typing import Literal, get_args

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ..errors import EncoderError
from .folder import read_object, write_json

Position = Literal["first", "last"]
"""Whose hidden state is read: the first position ([CLS]), or the last, as causal models need."""

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_SPREAD = 0.02
"""BERT's initialiser. Zeros would be a dead end: relu has no gradient there."""


class LiteralResidual(nn.Module):
    """One linear layer from (batch, width) hidden states to a weight of every term."""

    def __init__(
        self, width: int, n_terms: int, special: list[int], *, position: Position, seed: int = 0
    ) -> None:
        """`special` are token numbers that stand for no text and are never literal."""
        super().__init__()
        self.position: Position = position
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            self.guess = nn.Linear(width, n_terms)
            self.guess.weight.normal_(std=_SPREAD)
            self.guess.bias.zero_()
        self.special: Tensor
        self.register_buffer("special", torch.tensor(special, dtype=torch.int64), persistent=False)

    def forward(
        self,
        weights: Tensor,
        features: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor,
        terms: Tensor | None = None,
    ) -> Tensor:
        """(batch, terms) float32: `weights` with the residual of the literal terms added.

        `features` is (batch, length, width), `terms` the columns that `weights` has (None = all).
        """
        return weights + self.residual(features, input_ids, attention_mask, terms)

    def residual(
        self,
        features: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor,
        terms: Tensor | None = None,
    ) -> Tensor:
        """(batch, terms) float32: what literal terms get on top; 0 for the others."""
        guessed = torch.log1p(torch.relu(self.guess(self._state(features, attention_mask)).float()))
        lacking = guessed.max(dim=1, keepdim=True).values - guessed
        added = lacking * self.literal(input_ids, attention_mask)
        return added if terms is None else added[:, terms]

    def literal(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(batch, n_terms) bool: the tokens of each text, special ones excluded."""
        real = (attention_mask != 0) & ~torch.isin(input_ids, self.special)
        marks = torch.zeros(
            len(input_ids), self.guess.out_features, dtype=torch.int32, device=input_ids.device
        )
        return marks.scatter_add_(1, input_ids, real.int()) > 0

    def save(self, folder: Path) -> None:
        """Write the module folder: `config.json` and `model.safetensors`."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / _CONFIG, {"position": self.position})
        tensors = {name: t.detach().cpu().contiguous() for name, t in self.state_dict().items()}
        safetensors.torch.save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})

    @classmethod
    def load(cls, folder: Path, special: list[int]) -> "LiteralResidual":
        """Read what `save` wrote."""
        named = read_object(folder / _CONFIG).get("position")
        position: Position | None = next((p for p in get_args(Position) if p == named), None)
        if position is None:
            raise EncoderError(
                f"{folder / _CONFIG}: position = {named!r}, wanted one of "
                f"{', '.join(get_args(Position))}"
            )
        path = folder / _WEIGHTS
        try:
            tensors = safetensors.torch.load_file(path)
            n_terms, width = tensors["guess.weight"].shape
            module = cls(width, n_terms, special, position=position)
            module.load_state_dict(tensors)
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise EncoderError(
                f"{path} is no literal residual network ({error}); copy or download the encoder "
                "again"
            ) from error
        return module

    def _state(self, features: Tensor, attention_mask: Tensor) -> Tensor:
        if self.position == "first":
            return features[:, 0]
        length = features.shape[1]
        numbers = torch.arange(length, device=features.device)
        last = torch.where(attention_mask != 0, numbers, 0).max(dim=1).values
        return features[torch.arange(len(features), device=features.device), last]
