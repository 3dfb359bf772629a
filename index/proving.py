"""A segment is read back from the disk before anybody is told of it.

What it was made of is still there then - pending rows, merged segments, the corpus of a build - so
a block that does not read as it was written, or a builder that was wrong, costs work and nothing
else. Memory keeps what was just written; it is asked to forget it first, so that the disk answers.
"""

import os
from pathlib import Path

from lsr.errors import IndexCorrupt, IndexFailure

from .segment import Segment


def proven(path: Path, *, everything: bool = True) -> Path:
    """Verify a segment that no catalog names yet, and remove it if it is not sound.

    With `everything` also what its parts promise one another, for which they are all in memory at
    once; otherwise every checksum, in little. Raises `IndexFailure`: nothing was changed.
    """
    try:
        read_back(path, everything=everything)
    except IndexCorrupt as error:
        path.unlink(missing_ok=True)
        raise IndexFailure(
            f"{path}: what was just written does not read back as it should ({error}). Nothing was "
            "changed; look at the disk and the memory of this machine, and try again."
        ) from error
    return path


def read_back(path: Path, *, everything: bool = True) -> None:
    """Verify a segment file as the disk has it. Raises `IndexCorrupt` or `FileNotFoundError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # it was synced
    finally:
        os.close(descriptor)
    with Segment.open(path) as segment:
        segment.verify() if everything else segment.verify_checksums(forgetful=True)
