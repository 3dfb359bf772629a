"""Shift a head's bias so that ranking starts from vectors of a known, useful density.

A softmax head is indifferent to a constant added to all its logits, so after masked-LM either every
term or none may be positive; both are dead ends for a ranking loss with a ReLU in it.
"""

from collections.abc import Sequence

import numpy as np
import torch

from lsr.encoders.model import SparseModel, silenced
from lsr.errors import EncoderError

from .steps import pad

_BATCH = 16


@torch.no_grad()
def calibrate(
    model: SparseModel,
    documents: Sequence[str],
    *,
    active_terms: int,
    max_length: int,
    bf16: bool,
    prompt: str = "",
) -> float:
    """Subtract one number from the decoder's bias; afterwards `active_terms` are active on average,
    or all where a vocabulary has fewer.

    Returns the number. The mean is over the given documents, each behind `prompt`, read up to
    `max_length` tokens. Terms that were silenced stay so.
    """
    bias = model.decoder.bias
    if bias is None:
        raise EncoderError(
            f"{type(model.backbone).__name__} has a decoder without bias and cannot be "
            "calibrated; leave [stage.calibrate] out"
        )
    usable = ~silenced(bias)
    tokenizer = model.tokenizer.limited(max_length)
    ids = tokenizer.ids([prompt + text for text in documents], special=True)
    ids.sort(key=len)
    training = model.training
    model.eval()
    pooled: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
    for at in range(0, len(ids), _BATCH):
        tokens, mask = pad(ids[at : at + _BATCH], tokenizer.pad_id)
        with torch.autocast(bias.device.type, torch.bfloat16, enabled=bf16):
            rows = model.pooled(tokens.to(bias.device), mask.to(bias.device), None)
        pooled.append(rows[:, usable].cpu().numpy())
    model.train(training)
    values = np.concatenate(pooled).ravel()
    # A document without a token of its own has no logit where special positions are not pooled.
    values = values[np.isfinite(values)]
    if not len(values):
        raise EncoderError("none of the documents to calibrate with has a token")
    rank = max(0, len(values) - 1 - active_terms * len(ids))
    shift = float(np.partition(values, rank)[rank])
    bias[usable] -= shift
    return shift
