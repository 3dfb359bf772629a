"""UHD-BERT: texts as few winners among very many latent terms, without any language-model head.

Jang et al., EMNLP 2021, arXiv 2104.07198. For every chosen layer there is a bucket of latent terms:

    x = projection(token state)      (tokens, dims)
    the `winners` largest x of each token stay, if positive; the others are 0      winner-take-all
    a text has the largest of its tokens in every term                             max pooling

The number of winners decides how long vectors are; no penalty has to. Buckets lie side by side.

Binary vectors keep presence alone: a score is the number of winners that query and document share.
In training their gradient is straight through (Bengio et al., arXiv 1308.3432): forwards a winner
is 1, backwards it is log1p(relu(x)), so what is trained is what is indexed, and a term that query
and document share grows where that helps. Losers get no gradient, as in winner-take-all
autoencoders (arXiv 1409.2752): a bucket must start with random projections, which it does.
"""

from collections.abc import Iterator
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..errors import EncoderError
from .buckets import Buckets
from .model import SparseModel
from .splade import SpladeModel
from .tokens import TextTokenizer

_WEIGHTS = "model.safetensors"


class UHDModel(SparseModel):
    """A transformer whose token states switch on latent terms, `buckets.n_terms` in all.

    Layers above the last bucket are cut off. Special tokens switch on nothing.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        tokenizer: TextTokenizer,
        buckets: Buckets,
        *,
        seed: int = 0,
    ) -> None:
        """`backbone` has no head; projections are drawn from `seed`."""
        super().__init__(backbone, tokenizer)
        self.buckets = buckets
        _cut(backbone, buckets.layers[-1])
        width = int(backbone.config.hidden_size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.projections = nn.ModuleList(nn.Linear(width, dim) for dim in buckets.dims)
        self.special: Tensor
        special = torch.tensor(tokenizer.special_ids(), dtype=torch.int64)
        self.register_buffer("special", special, persistent=False)

    @classmethod
    def over(
        cls,
        folder: str | Path,
        buckets: Buckets,
        *,
        max_length: int | None = None,
        lower_case: bool = False,
        seed: int = 0,
    ) -> "UHDModel":
        """New buckets over the layers of a checkpoint, whose head (if any) is left out."""
        whole = SpladeModel.from_checkpoint(
            folder, max_length=max_length, lower_case=lower_case, new_head=True
        )
        backbone = whole.backbone.base_model
        assert isinstance(backbone, PreTrainedModel)
        return cls(backbone, whole.tokenizer, buckets, seed=seed)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        head: Path,
        *,
        max_length: int | None = None,
        lower_case: bool = False,
    ) -> "UHDModel":
        """The checkpoint in `folder` with the buckets that `save_own` wrote into `head`."""
        model = cls.over(folder, Buckets.read(head), max_length=max_length, lower_case=lower_case)
        path = head / _WEIGHTS
        try:
            model.projections.load_state_dict(safetensors.torch.load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise EncoderError(
                f"{path} does not hold the projections of {head} ({error}); copy or download the "
                "encoder again"
            ) from error
        return model

    @property
    def n_terms(self) -> int:
        """Latent terms of all buckets."""
        assert self.buckets is not None
        return self.buckets.n_terms

    def weights(
        self, input_ids: Tensor, attention_mask: Tensor, terms: Tensor | None = None
    ) -> Tensor:
        """(batch, terms) float32: winners of any token; 1, or log1p(relu(x)) if not binary."""
        assert self.buckets is not None
        real = self.pooled_positions(input_ids, attention_mask)
        soft = torch.cat(
            [
                _bucket(projected, real, winners)
                for projected, winners in self._projected(input_ids, attention_mask)
            ],
            dim=1,
        )
        weights = _straight_through(soft) if self.buckets.binary else soft
        return weights if terms is None else weights[:, terms]

    def pooled_positions(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(batch, length) bool: the tokens of the text, without special ones."""
        return (attention_mask != 0) & ~torch.isin(input_ids, self.special)

    def by_position(self, input_ids: Tensor, attention_mask: Tensor, terms: Tensor) -> Tensor:
        """(batch, length, terms) float32: projections where the token wins the term, else -inf."""
        hidden = ~self.pooled_positions(input_ids, attention_mask)
        given = []
        for projected, winners in self._projected(input_ids, attention_mask):
            best = projected.float().topk(winners, dim=-1)
            losers = torch.full_like(projected, float("-inf"), dtype=torch.float32)
            given.append(losers.scatter(-1, best.indices, best.values))
        return torch.cat(given, dim=-1)[..., terms].masked_fill(hidden.unsqueeze(-1), float("-inf"))

    def _projected(self, ids: Tensor, mask: Tensor) -> Iterator[tuple[Tensor, int]]:
        """(batch, length, dims) of every bucket, and its winners."""
        assert self.buckets is not None
        states = self.backbone(
            input_ids=ids, attention_mask=mask, output_hidden_states=True
        ).hidden_states
        for layer, winners, projection in zip(
            self.buckets.layers, self.buckets.winners, self.projections, strict=True
        ):
            yield projection(states[layer]), winners

    def save_checkpoint(self, folder: str | Path) -> None:
        """Write the transformer without a head, and the tokenizer; `save_own` writes the rest."""
        folder = Path(folder)
        SpladeModel(self.backbone, self.tokenizer).save_checkpoint(folder)

    def save_own(self, folder: Path) -> None:
        """Write the module folder of the buckets: `config.json` and `model.safetensors`."""
        assert self.buckets is not None
        folder.mkdir(parents=True, exist_ok=True)
        self.buckets.write(folder)
        state = self.projections.state_dict()
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        safetensors.torch.save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})


def _bucket(projected: Tensor, real: Tensor, winners: int) -> Tensor:
    """(batch, length, dims) projections to (batch, dims) float32: pooled winners of real tokens."""
    values, terms = projected.float().topk(winners, dim=-1)
    values = torch.log1p(torch.relu(values)) * real.unsqueeze(-1)
    empty = values.new_zeros(len(projected), projected.shape[-1])
    return empty.scatter_reduce(1, terms.flatten(1), values.flatten(1), "amax")


def _straight_through(weights: Tensor) -> Tensor:
    """1 where a weight is above 0, exactly; the gradient is that of the weight."""
    return (weights > 0).to(weights.dtype) + (weights - weights.detach())


def _cut(backbone: PreTrainedModel, n_layers: int) -> None:
    """Leave the first `n_layers` blocks: what lies above would be computed and never learn."""
    stack = max((m for m in backbone.modules() if isinstance(m, nn.ModuleList)), key=len)
    if n_layers > len(stack):
        raise EncoderError(
            f"a bucket reads layer {n_layers}, but {type(backbone).__name__} has {len(stack)} "
            "layers; name layers of this network"
        )
    del stack[n_layers:]
    backbone.config.num_hidden_layers = n_layers
