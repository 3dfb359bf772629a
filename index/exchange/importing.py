"""`import_vectors`: another engine's vectors as an index of ours, in two passes over the file."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import numpy as np
from scipy import sparse

from lsr.encoders import SparseEncoder
from lsr.encoders.siamese import is_binary
from lsr.errors import DatasetError, IndexExists, UsageError
from lsr.progress import Bar, bar
from lsr.types import Document, SparseMatrix

from ..arrival import arrive, cleared, emptied, reserved, sync_tree
from ..card import copied_card
from ..quantize import MAX_IMPACT
from ..settings import Settings
from ..shards import holds_index
from ..store import Index
from .reading import SOURCES, Imported, read_imports

BATCH = 2048
TERMS = "terms.txt"
_MOST_TERMS = 1 << 24
"""In the index of an import without an encoder: the entry of each term number, a line each."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What came in. `saturated_share` of the weights were above `max_weight`."""

    path: Path
    n_docs: int
    n_terms: int
    n_postings: int
    max_weight: float
    saturated_share: float
    encoder: str | None
    seconds: float


def import_vectors(
    file: Path,
    path: Path,
    source: str,
    *,
    encoder: SparseEncoder | None = None,
    field: str | None = None,
    fields: Mapping[str, str] | None = None,
    settings: Settings | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> ImportReport:
    """Build an index at `path` of the vectors in `file`.

    `encoder` is what they were made by: its vocabulary numbers the terms, and the index is searched
    with it. Without one, entries that are all numbers keep them and others are numbered in code
    point order, listed in the index's `terms.txt`, a line each; it is then searched with vectors.
    Raises `DatasetError` for a line that is no document, with its number, and for an unknown entry.
    """
    if source not in SOURCES:
        raise UsageError(f"no source {source!r}; there are {', '.join(SOURCES)}")
    path = path.resolve()
    replaceable = holds_index(path)
    if path.exists() and not (overwrite and replaceable):
        what = "" if replaceable else " and is no index; it will not be overwritten"
        raise IndexExists(f"{path} exists{what or '; choose another path, or give --overwrite'}")
    started = time.perf_counter()
    quiet = None if progress else True
    documents = bar(
        read_imports(file, source, field=field), unit="documents", desc="surveyed", quiet=quiet
    )
    seen = _survey(documents, file)
    numbers = _numbered(seen.entries, encoder, file)
    n_terms = encoder.n_terms if encoder is not None else max(numbers.values()) + 1
    max_weight, unit = float(MAX_IMPACT), 1.0  # whole numbers up to it are impacts: kept exactly
    if not seen.impacts:
        known = 0.0 if encoder is None else encoder.max_weight
        max_weight = max(known, seen.max_weight)
    elif encoder is not None:  # on its own scale, which what it encodes later will have
        binary = is_binary(encoder)  # whose impacts are 1
        max_weight = encoder.max_weight
        unit = 1.0 if binary else max_weight / MAX_IMPACT
        settings = replace(settings or Settings(), binary=binary)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(path.name + ".importing")
    with reserved(staging):
        emptied(staging)
        with cleared(staging):
            card = None if encoder is None else copied_card(encoder, staging)
            with Index.create(
                staging,
                n_terms=n_terms,
                max_weight=max_weight,
                encoder=card,
                fields=fields,
                settings=settings,
            ) as index:
                counter: Bar[None] = bar(
                    total=seen.n_docs, unit="documents", desc="imported", quiet=quiet
                )
                with index.bulk(f"{source} {file.name}") as build, counter:
                    rows = iter(read_imports(file, source, field=field))
                    while batch := list(islice(rows, BATCH)):
                        build.add(
                            [Document(one.doc_id, one.fields) for one in batch],
                            _matrix(batch, numbers, n_terms) * np.float32(unit),
                        )
                        counter.update(len(batch))
                    build.flush()
                info = index.info()
            if encoder is None and any(entry != str(number) for entry, number in numbers.items()):
                entries = sorted(numbers, key=numbers.__getitem__)
                text = "".join(" ".join(entry.splitlines()) + "\n" for entry in entries)
                (staging / TERMS).write_text(text, encoding="utf-8")
        sync_tree(staging)
        arrive(staging, path)
    return ImportReport(
        path,
        info["n_docs"],
        n_terms,
        info["n_postings"],
        max_weight,
        info["saturated_share"],
        None if encoder is None else encoder.name,
        time.perf_counter() - started,
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    n_docs: int
    max_weight: float
    impacts: bool
    entries: set[str]


def _survey(documents: Iterable[Imported], file: Path) -> _Seen:
    n_docs, max_weight, whole = 0, 0.0, True
    entries: set[str] = set()
    ids: set[bytes] = set()
    for one in documents:
        n_docs += 1
        ids.add(blake2b(one.doc_id.encode("utf-8", "surrogatepass"), digest_size=16).digest())
        if len(ids) < n_docs:
            raise DatasetError(
                f"{file}: document {n_docs:,} has the id {one.doc_id[:100]!r}, as one before it; "
                "wanted each id once"
            )
        entries.update(one.weights)
        max_weight = max(max_weight, max(one.weights.values(), default=0.0))
        whole = whole and all(weight.is_integer() for weight in one.weights.values())
    if not n_docs:
        raise DatasetError(f"{file}: there is no document in it")
    if not max_weight:
        raise DatasetError(f"{file}: no document has a weight above 0")
    return _Seen(n_docs, max_weight, whole and max_weight <= MAX_IMPACT, entries)


def _numbered(entries: set[str], encoder: SparseEncoder | None, file: Path) -> dict[str, int]:
    """The number of each entry."""
    if encoder is not None:
        known: dict[str, int] = {}
        for number, entry in enumerate(encoder.term_strings(range(encoder.n_terms))):
            known.setdefault(entry, number)
        # What cannot name a feature of Lucene's is exported as `#number`.
        for entry in entries - known.keys():
            if entry.startswith("#") and (told := _spelled(entry[1:])) is not None:
                known[entry] = min(told, encoder.n_terms)
        if entries <= known.keys() and all(known[one] < encoder.n_terms for one in entries):
            return known
        if (spelled := _all_spelled(entries, encoder.n_terms)) is not None:
            return spelled
        unknown = min(entries - known.keys())
        raise DatasetError(
            f"{file}: {unknown!r} is no entry of the vocabulary of '{encoder.name}' "
            f"({len(entries - known.keys()):,} are not); name the encoder that made the vectors"
        )
    return _all_spelled(entries, _MOST_TERMS) or {
        entry: number for number, entry in enumerate(sorted(entries))
    }


def _all_spelled(entries: set[str], below: int) -> dict[str, int] | None:
    """The numbers that the entries are, if each is one below this."""
    numbers = {entry: _spelled(entry) for entry in entries}
    found = {entry: number for entry, number in numbers.items() if number is not None}
    return found if len(found) == len(entries) and max(found.values()) < below else None


def _spelled(entry: str) -> int | None:
    """The number that an entry is, written as numbers are; "03" and digits of other scripts are
    words, or several entries would be one term.

    >>> _spelled("30"), _spelled("03"), _spelled("\N{ARABIC-INDIC DIGIT THREE}")
    (30, None, None)
    """
    if not entry.isascii() or not entry.isdecimal() or len(entry) > len(str(_MOST_TERMS)):
        return None
    return int(entry) if entry == str(int(entry)) else None


def _matrix(batch: list[Imported], numbers: Mapping[str, int], n_terms: int) -> SparseMatrix:
    starts = np.cumsum([0, *(len(one.weights) for one in batch)])
    terms = [numbers[entry] for one in batch for entry in one.weights]
    weights = [weight for one in batch for weight in one.weights.values()]
    return sparse.csr_array(
        (np.array(weights, np.float32), np.array(terms, np.int32), starts),
        shape=(len(batch), n_terms),
    )
