"""Other query weights for an encoder on disk; its documents stay as they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import EncoderError
from .bm25 import BM25Encoder
from .card import CARD
from .folder import read_object, replacing, write_json
from .inference_free import InferenceFreeEncoder
from .joined import JoinedEncoder


def save_with_table(
    encoder: InferenceFreeEncoder,
    weights: npt.NDArray[np.float32],
    output: Path,
    *,
    record: Mapping[str, Any],
) -> InferenceFreeEncoder:
    """Write `encoder` with the table `weights` (n_terms,) to the folder `output` and return it.

    The space stays, so indexes stay valid. The new card keeps what the old one said, also of
    training, and has `record` under "idf".
    """
    swapped = encoder.with_table(weights)
    _save(swapped, encoder.folder, output, record)
    return swapped


def save_with_words(
    encoder: JoinedEncoder,
    words: BM25Encoder,
    output: Path,
    *,
    record: Mapping[str, Any],
) -> JoinedEncoder:
    """Write `encoder` with the document frequencies of `words` to `output` and return it.

    The space stays, so indexes stay valid, and so does the table of the learned part. Cards are
    treated as by `save_with_table`.
    """
    swapped = encoder.with_words(words)
    _save(swapped, encoder.folder, output, record)
    return swapped


def _save(
    swapped: InferenceFreeEncoder | JoinedEncoder,
    folder: Path | None,
    output: Path,
    record: Mapping[str, Any],
) -> None:
    """Write `swapped`, made of the encoder in `folder`, whose cards it goes on with."""
    if folder is not None and folder.resolve() == output.resolve():
        raise EncoderError(
            f"{output} is the encoder itself; name another folder, so that the old table is kept"
        )
    with replacing(output) as fresh:
        written = fresh / "encoder"
        swapped.save(written)
        old = folder / CARD if folder is not None else None
        before = read_object(old) if old is not None and old.is_file() else {}
        write_json(written / CARD, {**before, **read_object(written / CARD), "idf": dict(record)})
        for path in written.iterdir():
            path.rename(fresh / path.name)
        written.rmdir()
