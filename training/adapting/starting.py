"""What of an encoder an adaptation trains, and how the trained network takes its place again.

An ONNX graph is thawed, and what was trained is written as a graph again; BM25's words, which
nothing trains, stand aside and come back with the document frequencies of the corpus. So the
encoder that comes with the package can be adapted as it is, and what comes out is one of its kind.
"""

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np

from lsr.encoders import (
    InferenceFreeEncoder,
    JoinedEncoder,
    SparseEncoder,
    TransformerSide,
    load_encoder,
)
from lsr.encoders.onnx_side import OnnxPrecision, OnnxSide
from lsr.encoders.swapping import save_with_words

from .settings import Adaptable, check_adaptable, document_side

_SAMPLE = 256
"""Texts that an export measures itself on, and whose terms are counted."""


def network_of(encoder: SparseEncoder, name: str) -> Adaptable:
    """The part that is trained, in torch: `encoder` itself if it is that already.

    Raises `EncoderError` where there is none, `MissingExtra` where reading a graph needs onnx.
    """
    part: SparseEncoder = encoder.learned if isinstance(encoder, JoinedEncoder) else encoder
    if frozen(part) is None:
        return check_adaptable(part, name)
    # What an export needs is missed now, not after the training.
    from lsr.encoders.onnx_export import export_onnx  # noqa: F401
    from lsr.encoders.thawing import thaw

    return check_adaptable(thaw(part), name)


def frozen(encoder: SparseEncoder) -> OnnxPrecision | None:
    """How the graph of its documents keeps its weights; None for a network in torch."""
    part = encoder.learned if isinstance(encoder, JoinedEncoder) else encoder
    side = getattr(part, "documents", None) or getattr(part, "side", None)
    if not isinstance(side, OnnxSide):
        return None
    precision: OnnxPrecision = side.precision  # type: ignore[assignment]
    return precision


def refresh_words(
    encoder: JoinedEncoder, texts: Iterable[str], place: Path, *, corpus: str
) -> None:
    """Write `encoder` with the document frequencies that its words have in `texts` to `place`."""
    df, n_docs = encoder.words.count(texts)
    known = len(encoder.words.statistics.terms)
    words = encoder.words.with_frequencies(df[:known], max(1, n_docs))
    record = {"corpora": [corpus], "n_passages": n_docs, "blend": None}
    save_with_words(encoder, words, place, record=record)


def terms_in_training(network: Adaptable, texts: Sequence[str], *, max_length: int) -> float:
    """Terms of a document on average over some of `texts`, as training sees it: cut to `max_length`
    tokens and before the cap. `lsr-mini` has 271 for an abstract of CISI where 110 are kept.
    """
    model = copy(document_side(network).model)
    model.tokenizer = model.tokenizer.limited(max_length)
    rows = TransformerSide.of(model).encode(
        _sample(texts), prompt=network.settings.document_prompt, top_k=None, progress=False
    )
    return float(np.diff(rows.indptr).mean())


def assemble(before: SparseEncoder, trained: Path, place: Path, texts: Sequence[str]) -> Path:
    """The trained network where that of `before` stood; `trained` itself if it stood alone.

    `before` has the words, with the frequencies wanted, and says whether the network is a graph.
    """
    precision, network = frozen(before), trained
    if precision is not None:
        from lsr.encoders.onnx_export import export_onnx

        network = place.with_name(f"{place.name}-graph")
        export_onnx(load_encoder(trained), network, precision=precision, texts=_sample(texts))
    if not isinstance(before, JoinedEncoder):
        return network
    learned = load_encoder(network)
    assert isinstance(learned, InferenceFreeEncoder)
    old = before.learned.card
    card = replace(learned.card, window_overlap=old.window_overlap, text_fields=before.text_fields)
    learned = replace(learned, card=card)
    words, weight = before.words, before.weight
    JoinedEncoder.of(learned, words, weight=weight, name=card.name).save(place)
    return place


def _sample(texts: Sequence[str]) -> list[str]:
    return list(texts[:: max(1, len(texts) // _SAMPLE)][:_SAMPLE])
