"""The query side without a network: token weights, and reading them from a stock folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file
from scipy import sparse

from ..errors import EncoderError
from ..types import SparseMatrix
from .batching import keep_largest
from .counting import require_texts
from .folder import inside, read_object
from .tokens import TextTokenizer


@dataclass(frozen=True, eq=False)
class QueryTable:
    """A tokenizer and the weight of each of its tokens in a query."""

    tokenizer: TextTokenizer
    weights: npt.NDArray[np.float32]
    """(n_terms,); a token whose weight is 0 or less is left out of every query."""

    def __post_init__(self) -> None:
        if self.weights.ndim != 1 or not bool(np.isfinite(self.weights).all()):
            raise EncoderError(
                "a query table must be one row of finite weights, got shape "
                f"{self.weights.shape}, {int((~np.isfinite(self.weights)).sum())} not finite"
            )
        if len(self.weights) < self.tokenizer.n_tokens:
            raise EncoderError(
                f"the query table has {len(self.weights)} weights for the "
                f"{self.tokenizer.n_tokens} tokens of its tokenizer; they belong to two encoders"
            )

    def encode(self, texts: Sequence[str], *, prompt: str, top_k: int | None) -> SparseMatrix:
        """(len(texts), n_terms): the weight of each token that occurs."""
        require_texts(texts)
        read = self.tokenizer.ids(texts, special=False)
        if prompt:  # which says nothing of a text that says nothing
            prompted = self.tokenizer.ids([prompt + text for text in texts], special=False)
            read = [whole if own else [] for whole, own in zip(prompted, read, strict=True)]
        tokens = [sorted(set(one)) for one in read]
        indices = np.fromiter(chain.from_iterable(tokens), np.int32)
        ends = np.fromiter(accumulate(map(len, tokens), initial=0), np.int32)
        rows: SparseMatrix = sparse.csr_array(
            (self.weights[indices], indices, ends), shape=(len(tokens), len(self.weights))
        )
        rows.has_canonical_format = True
        if bool((rows.data <= 0).any()):
            np.maximum(rows.data, 0, out=rows.data)
            rows.eliminate_zeros()
        return rows if top_k is None else keep_largest(rows, top_k)


def read_table(folder: Path, root: Path, tokenizer: TextTokenizer) -> npt.NDArray[np.float32]:
    """(n_terms,) float32 from `model.safetensors`, else from JSON named by config or custom.

    `idf.json` maps tokens to weights and lies in the module's folder or in the root of the encoder;
    a token that it leaves out weighs 0, as in the stock library.
    """
    weights = folder / "model.safetensors"
    if weights.is_file():
        return _from_safetensors(weights)
    config = read_object(folder / "config.json") if (folder / "config.json").is_file() else {}
    named = config.get("path", "idf.json")
    for place in (folder, root):
        path = inside(place, named, named_in=folder / "config.json")
        if path.is_file():
            return _from_json(path, tokenizer)
    raise EncoderError(
        f"{folder} has neither model.safetensors nor {named}; without token weights the query "
        "side is incomplete, download the encoder again"
    )


def _from_safetensors(path: Path) -> npt.NDArray[np.float32]:
    try:
        tensors = load_file(path)
    except Exception as error:  # safetensors has its own exception, outside every common base
        raise EncoderError(
            f"{path} cannot be read ({error}); download the encoder again"
        ) from error
    weight = tensors.get("weight")
    if weight is None or weight.ndim != 1:
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        raise EncoderError(f"{path}: one row named 'weight' was expected, got {shapes}")
    return weight.astype(np.float32)


def _from_json(path: Path, tokenizer: TextTokenizer) -> npt.NDArray[np.float32]:
    table = np.zeros(tokenizer.n_tokens, np.float32)
    for token, weight in read_object(path).items():
        number = tokenizer.tokenizer.token_to_id(token)
        if number is None or isinstance(weight, bool) or not isinstance(weight, int | float):
            raise EncoderError(
                f"{path}: {token!r}: {weight!r} is no weight of a token of the tokenizer beside "
                "it; table and tokenizer belong to two encoders"
            )
        table[number] = weight
    return table
