"""Any sparse encoder of this package as a teacher, for example the encoder of the last round."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lsr.encoders import SparseEncoder, load_encoder
from lsr.encoders.batching import empty
from lsr.encoders.folder import Fingerprint
from lsr.progress import Bar, bar
from lsr.types import SparseMatrix
from lsr.vectors import stacked

_BLOCK = 4_096  # texts between two moves of the bar


@dataclass(frozen=True)
class SparseTeacher:
    """Scores are those the encoder would give in an index, before quantisation."""

    encoder: SparseEncoder
    name: str
    precision: str = "float32"

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        name: str,
        device: str | None = None,
        precision: Literal["float32", "bfloat16"] = "float32",
    ) -> "SparseTeacher":
        """Read an encoder folder; its own prompts and lengths hold."""
        encoder = load_encoder(folder, device=device, precision=precision)
        return cls(encoder, name, precision)

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the encoder's files and the precision."""
        fingerprint = Fingerprint()
        fingerprint.add(self.encoder.build, self.precision.encode())
        return fingerprint.hex()

    def embed_queries(self, texts: Sequence[str], *, progress: bool = False) -> SparseMatrix:
        """(len(texts), n_terms) query weights."""
        return self._embed(texts, of_queries=True, progress=progress)

    def embed_documents(self, texts: Sequence[str], *, progress: bool = False) -> SparseMatrix:
        """(len(texts), n_terms) document weights."""
        return self._embed(texts, of_queries=False, progress=progress)

    def _embed(self, texts: Sequence[str], *, of_queries: bool, progress: bool) -> SparseMatrix:
        encode = self.encoder.encode_queries if of_queries else self.encoder.encode_documents
        if not len(texts):
            return empty(0, self.encoder.n_terms)
        done: Bar[None] = bar(
            total=len(texts), unit="texts", desc=self.name, quiet=not progress or None
        )
        with done:
            blocks = []
            for at in range(0, len(texts), _BLOCK):
                block = texts[at : at + _BLOCK]
                blocks.append(encode(block))
                done.update(len(block))
        return stacked(blocks)
