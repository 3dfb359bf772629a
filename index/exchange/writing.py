"""`export_index`: a folder that another engine is loaded from, whole or not there at all."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lsr.encoders import SparseEncoder
from lsr.errors import UsageError
from lsr.files import changing, make_directory
from lsr.progress import Bar, bar

from ..arrival import arrive, cleared, emptied, reserved, sync_tree
from .ciff import FILE_NAME as CIFF
from .ciff import write_ciff
from .formats import FORMATS
from .formats.format import Example, Facts, renaming
from .records import Weights, is_reserved, rows_of, without

if TYPE_CHECKING:
    from ..store import Index

TARGETS = (*FORMATS, "ciff")


@dataclass(slots=True)
class LeftOut:
    """A stored field that takes a name of the export's own: of so many rows, first of `doc_id`."""

    name: str
    doc_id: str
    n_rows: int = 0


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written, and what not; times in seconds."""

    target: str
    folder: Path
    n_rows: int
    n_postings: int
    n_bytes: int
    seconds: float
    files: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()


def export_index(
    index: "Index",
    folder: Path,
    target: str,
    *,
    encoder: SparseEncoder | None,
    name: str,
    text: str = "an example question",
    weights: Weights = "impacts",
    overwrite: bool = False,
    progress: bool = True,
) -> ExportReport:
    """Write into `folder` what `target` is loaded from: rows, schema, a query, a page on how.

    `encoder` names the terms and weighs the example `text`; without one, terms are numbers. Raises
    `UsageError` for an unknown target, weights it cannot take, a declared field of a name that the
    export needs itself, or a folder that exists. Other stored fields of such a name are left out,
    as the report tells.
    """
    if target not in TARGETS:
        raise UsageError(f"no target {target!r}; there are {', '.join(TARGETS)}")
    integers = target == "ciff" or FORMATS[target].integers
    if integers and weights != "impacts":
        raise UsageError(f"{target} takes whole numbers; export impacts to it")
    _require_other_names(index.fields, target)
    folder = folder.resolve()
    ours = is_export(folder)
    if folder.exists() and not (overwrite and ours):
        what = "" if ours else " and is no export; it will not be overwritten"
        raise UsageError(
            f"{folder} exists{what or '; choose another folder, or replace it with --overwrite'}"
        )
    started = time.perf_counter()
    with changing(folder):
        make_directory(folder.parent)
    staging = folder.with_name(folder.name + ".exporting")
    with changing(folder), reserved(staging):
        emptied(staging)
        with cleared(staging):
            facts = facts_of(index, encoder, name=name, text=text)
            n_rows, n_postings, left_out = _written(
                index, staging, target, facts, weights=weights, progress=progress
            )
            files = tuple(sorted(path.name for path in staging.iterdir()))
            n_bytes = sum(path.stat().st_size for path in staging.iterdir())
            sync_tree(staging)
        arrive(staging, folder)
    seconds = time.perf_counter() - started
    return ExportReport(target, folder, n_rows, n_postings, n_bytes, seconds, files, left_out)


def _require_other_names(declared: Iterable[str], target: str) -> None:
    reserved = FORMATS[target].reserved if target in FORMATS else frozenset()
    for name in declared:
        if is_reserved(name, reserved):
            raise UsageError(
                f"{target}: the declared field {name!r} takes a name that the export needs itself; "
                f"wanted other names than {', '.join(sorted(reserved))}. Index the documents with "
                f"it renamed, for example with {renaming(name)}, or export to jsonl, milvus or "
                "pgvector, where fields lie apart"
            )


def is_export(folder: Path) -> bool:
    """Whether a folder holds what an export writes, and nothing else."""
    if not folder.is_dir():
        return False
    nothing = Facts("nothing", 0, 1, {}, ["a"], Example(None, [0], [1]))
    known = {CIFF, "query.json", "README.md"}
    for one in FORMATS.values():
        known |= {one.documents, *one.files(nothing)}
    suffix = next(Path(name).suffix for name in known if name.startswith(nothing.name))
    return all(
        path.is_file() and (path.name in known or path.suffix == suffix)  # Vespa's has our name
        for path in folder.iterdir()
    )


def _written(
    index: "Index",
    staging: Path,
    target: str,
    facts: Facts,
    *,
    weights: Weights,
    progress: bool,
) -> tuple[int, int, tuple[LeftOut, ...]]:
    """Write everything into the folder `staging`; how many rows and postings, and what not."""
    left_out: dict[str, LeftOut] = {}
    if target == "ciff":
        n_rows, n_postings = write_ciff(index, staging, facts)
    else:
        one = FORMATS[target]
        reserved = one.reserved if one.flat else frozenset()
        n_rows = n_postings = 0
        counter: Bar[None] = bar(
            total=facts.n_docs, unit="rows", desc="exported", quiet=None if progress else True
        )
        with (staging / one.documents).open("wb") as file, counter:
            for rows in rows_of(index, weights=weights):
                fitting, taken = without(rows, reserved)
                for name, doc_id in taken:
                    left_out.setdefault(name, LeftOut(name, doc_id)).n_rows += 1
                file.write(one.lines(fitting, facts))
                n_rows += len(rows)
                n_postings += len(rows.terms)
                counter.update(len(rows))
        for file_name, content in one.files(facts).items():
            (staging / file_name).write_text(content)
    return n_rows, n_postings, tuple(left_out.values())


def facts_of(index: "Index", encoder: SparseEncoder | None, *, name: str, text: str) -> Facts:
    """What the engine is told of the index, with `text` as the example if it can be encoded."""
    if encoder is None:
        vocabulary: Sequence[str] = list(map(str, range(index.n_terms)))
        example = Example(None, [0], [1])
    else:
        vocabulary = unique(encoder.term_strings(range(index.n_terms)))
        csr = encoder.encode_queries([text])
        query = index.rounded(csr.indices, csr.data)
        example = Example(text, query.terms.tolist(), query.weights.tolist())
    n_docs = sum(part.refresh().n_docs for _, part in index.parts())
    return Facts(name, n_docs, index.n_terms, index.fields, vocabulary, example)


def unique(entries: Sequence[str]) -> list[str]:
    """The entries, with the number appended to those that were there before.

    >>> unique(["a", "b", "a"])
    ['a', 'b', 'a#2']
    """
    seen: set[str] = set()
    names = []
    for number, entry in enumerate(entries):
        names.append(entry if entry not in seen else f"{entry}#{number}")
        seen.add(names[-1])
    return names
