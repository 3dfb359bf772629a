"""Texts through the encoder of an index, as queries or as documents."""

from collections.abc import Sequence

from lsr.encoders import SparseEncoder, cut_off
from lsr.errors import EncoderError, UsageError
from lsr.types import SparseMatrix

from ..collection import Collection
from ..problems import Fault, ProblemError


def encoder_for(collection: Collection, *, documents: bool) -> SparseEncoder:
    """What reads this side. Raises the problems `no_encoder` and `no_document_encoder`."""
    if collection.encoder is None:
        raise ProblemError(
            "no_encoder",
            f"Index '{collection.name}' was built from vectors and names no encoder.",
            hint="Serve the index with an encoder.",
            faults=[Fault("/index", "this index has no encoder")],
        )
    if not documents:
        return collection.encoder
    encoder = collection.document_encoder
    if encoder is None:
        raise _without_network(collection)
    return encoder


def encoded(
    collection: Collection, texts: Sequence[str], *, documents: bool
) -> tuple[SparseMatrix, list[bool | None]]:
    """(len(texts), n_terms) weights, and whether each text was cut off."""
    try:
        encoder = encoder_for(collection, documents=documents)
        matrix = encoder.encode_documents(texts) if documents else encoder.encode_queries(texts)
    except (EncoderError, UsageError) as error:
        if documents:  # no torch here, or only the query side
            raise _without_network(collection) from error
        raise
    return matrix, [cut_off(encoder, text, document=documents) for text in texts]


def _without_network(collection: Collection) -> ProblemError:
    return ProblemError(
        "no_document_encoder",
        f"The encoder of index '{collection.name}' can read queries here, not documents.",
        hint="Serve the index with --encoder NAME=FOLDER, a whole encoder, where torch is "
        "installed; or export it to ONNX.",
    )
