"""Another query table for an inference-free encoder on disk; its documents stay as they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import EncoderError
from .card import CARD
from .folder import read_object, replacing, write_json
from .inference_free import InferenceFreeEncoder


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
    if encoder.folder is not None and encoder.folder.resolve() == output.resolve():
        raise EncoderError(
            f"{output} is the encoder itself; name another folder, so that the old table is kept"
        )
    swapped = encoder.with_table(weights)
    with replacing(output) as fresh:
        written = fresh / "encoder"
        swapped.save(written)
        old = encoder.folder / CARD if encoder.folder is not None else None
        before = read_object(old) if old is not None and old.is_file() else {}
        write_json(written / CARD, {**before, **read_object(written / CARD), "idf": dict(record)})
        for path in written.iterdir():
            path.rename(fresh / path.name)
        written.rmdir()
    return swapped
