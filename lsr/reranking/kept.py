"""Preferences on disk: what a model was asked once is never computed again.

One file a model, `<model fingerprint>.prefs`, of records of 24 bytes: 16 of a hash over query and
both texts in their order, a float32, and the CRC-32C of those 20. Records are only appended, so a
kill costs the batch that was being answered; a record whose checksum is wrong, such as a torn one
at the end, is as if it were not there.
"""

import fcntl
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import google_crc32c
import numpy as np
import numpy.typing as npt

from .preferences import PreferenceModel

_RECORD = 24
_BATCH = 2_048
"""Comparisons answered between two writes: what a kill costs."""


@dataclass
class KeptPreferences:
    """A preference model that remembers: itself one, with the name and fingerprint of `model`."""

    model: PreferenceModel
    folder: Path
    asked: int = 0
    """Comparisons the model itself was asked for, since this object was made."""
    _known: dict[bytes, float] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._known = _read(self.path)

    @property
    def name(self) -> str:
        """That of the model."""
        return self.model.name

    @property
    def fingerprint(self) -> str:
        """That of the model: remembering changes no answer."""
        return self.model.fingerprint

    @property
    def path(self) -> Path:
        """The file that remembers."""
        return self.folder / f"{self.model.fingerprint}.prefs"

    def __len__(self) -> int:
        """How many comparisons are remembered."""
        return len(self._known)

    def prefer(
        self, query: str, first: Sequence[str], second: Sequence[str]
    ) -> npt.NDArray[np.float32]:
        """(n,) float32: from the file where it knows, from the model, and then kept, elsewhere."""
        keys = [_key(query, a, b) for a, b in zip(first, second, strict=True)]
        new = list({key: i for i, key in enumerate(keys) if key not in self._known}.values())
        for at in range(0, len(new), _BATCH):
            batch = new[at : at + _BATCH]
            answers = self.model.prefer(
                query, [first[i] for i in batch], [second[i] for i in batch]
            )
            self._keep([keys[i] for i in batch], answers)
        return np.array([self._known[key] for key in keys], np.float32)

    def _keep(self, keys: Sequence[bytes], answers: npt.NDArray[np.float32]) -> None:
        records = bytearray()
        for key, answer in zip(keys, answers.astype("<f4"), strict=True):
            record = key + answer.tobytes()
            records += record + google_crc32c.value(record).to_bytes(4, "little")
        with self.path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # another process may append to it as well
            # Whole records only: what a kill tore off would shift all that follow.
            file.write(b"\0" * (-os.fstat(file.fileno()).st_size % _RECORD) + records)
        self._known.update(zip(keys, answers.tolist(), strict=True))
        self.asked += len(keys)


def _key(query: str, first: str, second: str) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for text in (query, first, second):
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.digest()


def _read(path: Path) -> dict[bytes, float]:
    raw = path.read_bytes()
    known: dict[bytes, float] = {}
    for at in range(0, len(raw) - _RECORD + 1, _RECORD):
        record = raw[at : at + _RECORD]
        if google_crc32c.value(record[:20]) == int.from_bytes(record[20:], "little"):
            known[record[:16]] = float(np.frombuffer(record[16:20], "<f4")[0])
    return known
