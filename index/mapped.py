"""Arrays that lie in mapped files: how a build reads gigabytes and stays small.

Pages of a mapped file count as resident memory from the first look until the map ends. Whoever
reads through a file once tells the system when it has passed; the bytes stay in the page cache.
"""

import ctypes
import mmap
from contextlib import suppress

import numpy as np

from .layout import Array


def forget(array: Array) -> None:
    """Take the pages behind a mapped array out of this process; the next look maps them again.

    Does nothing for an array in ordinary memory.
    """
    owner: object = array
    while isinstance(owner, np.ndarray | memoryview):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    if not isinstance(owner, mmap.mmap) or not array.nbytes:
        return
    begin = array.ctypes.data - np.frombuffer(owner, np.uint8).ctypes.data
    first = begin // mmap.PAGESIZE * mmap.PAGESIZE
    owner.madvise(mmap.MADV_DONTNEED, first, begin + array.nbytes - first)


def trim() -> None:
    """Give memory that was freed back to the system; glibc keeps it otherwise (measured: 40 MB
    after the objects of a batch are gone). Does nothing with another C library.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
