"""`lsr encode`: texts to sparse vectors in a file, for use elsewhere."""

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from ..errors import DatasetError, UsageError
from . import _completing as complete
from . import _printing as out
from ._encoders import EncoderChoice, encoder_options
from ._ray_work import RayTasks, corpus_for_tasks, encoder_for_tasks, ray_options
from ._typed import refuse_given

if TYPE_CHECKING:
    from lsr.datasets import Dataset
    from lsr.encoders import SparseEncoder
    from lsr.types import SparseMatrix

EXAMPLES = """\b
Examples:
  lsr encode corpus.jsonl vectors --encoder runs/encoder
  lsr encode scifact questions.jsonl --encoder runs/encoder --queries --split test
  RAY_ADDRESS=head:6379 lsr encode /share/corpus.jsonl /share/vectors --ray --task-gpus 1
"""

BATCH = 2048
VECTORS = "vectors.npz"


@click.command(epilog=EXAMPLES)
@click.argument("corpus", shell_complete=complete.datasets)
@click.argument("output", type=click.Path(path_type=Path))
@encoder_options
@click.option("--queries", is_flag=True, help="Encode the queries, not the documents.")
@click.option("--split", default="test", show_default=True, help="Whose queries, with --queries.")
@ray_options
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def encode(
    *,
    corpus: str,
    output: Path,
    choice: EncoderChoice,
    queries: bool,
    split: str,
    tasks: RayTasks,
    overwrite: bool,
    json: bool,
) -> None:
    """Encode the documents or queries of CORPUS into OUTPUT.

    An OUTPUT that ends in .jsonl (also .gz, .zst) gets a line {"id", "vector": {term: weight}}
    each; `lsr import --from jsonl` makes an index of them. Any other becomes a folder: vectors.npz
    (scipy.sparse, a row each), ids.txt, encoder.json, encoder/. With --queries, CORPUS may also be
    a file of queries. What a network has encoded of documents waits in OUTPUT.parts, where the
    same command, with --ray or without, goes on after a kill; other settings begin anew beside it.
    """
    from ..datasets import load_dataset
    from ..encoded_parts import encode_in_parts

    as_lines = ".jsonl" in output.suffixes
    if output.is_symlink() and not as_lines:
        raise UsageError(f"{output} is a link; name the folder that it leads to, or another one")
    _require_room(output, overwrite=overwrite)
    if tasks.wanted and queries:
        raise UsageError("--ray encodes documents: there are few queries; leave out one of them")
    if not queries:
        refuse_given(("split",), "documents are encoded, and --queries is for those of a split")
    if choice.is_bm25:
        refuse_given(("precision",), "bm25 has no network that multiplies")
    source = load_dataset(corpus)
    if source.path is not None and output.exists() and source.path.samefile(output):
        raise UsageError(f"{output} is what is to be encoded; name another output")
    asked = _queries(source, split) if queries else None
    if queries and choice.is_bm25 and not source.splits():
        raise UsageError(
            f"{corpus} has no documents to fit bm25 to; wanted --encoder FOLDER, such as the "
            "folder encoder/ inside an index"
        )
    if queries and not choice.is_bm25:
        encoder, total = choice.load_folder(), 0
    else:
        encoder, census = choice.load(source)
        total = census.n_documents
    texts = _documents(source, encoder.text_fields) if asked is None else asked
    started = time.perf_counter()
    with ExitStack() as stack:
        place = stack.enter_context(_alone(output))
        _require_room(output, overwrite=overwrite)  # another may have finished since
        if not as_lines and (tasks.wanted or not (queries or choice.is_bm25)):  # takes hours
            for document in source.documents():
                _require_one_line(document.doc_id)
        if tasks.wanted:
            parts = stack.enter_context(_parts(place, source, choice, encoder))
            batches = stack.enter_context(
                _encoded_on_ray(parts, corpus, source, choice, encoder, total, tasks)
            )
        elif not queries and not choice.is_bm25:
            parts = stack.enter_context(_parts(place, source, choice, encoder))
            batches = encode_in_parts(parts, texts, encoder, n_docs=total)
        else:
            batches = _encoded(texts, encoder, queries=queries, total=None if queries else total)
        if as_lines:
            n_rows, n_weights = _write_lines(output, batches, encoder)
        else:
            n_rows, n_weights = _write_folder(
                output, batches, encoder, source=source, queries=queries
            )
    took = time.perf_counter() - started
    if json:
        out.as_json(
            {
                "output": output,
                "rows": n_rows,
                "weights": n_weights,
                "seconds": took,
                "encoder": encoder.name,
                "space": encoder.space,
                "build": encoder.build,
            }
        )
        return
    rows = out.counted(n_rows, "query" if queries else "document")
    out.fact(
        "encoded",
        out.columns(
            rows, f"{n_weights / max(1, n_rows):.0f} terms each on average, {out.duration(took)}"
        ),
    )
    written = output if output.is_file() else output / VECTORS
    out.fact("wrote", out.columns(str(output), out.size(written.stat().st_size)))
    if output.is_dir():
        takes = "Index.search_batch" if queries else "Index.add"
        rows = f"scipy.sparse.load_npz({str(written)!r})"
        out.fact("next", f"{rows}: a row for each line of ids.txt, as {takes} takes them")
    elif not queries:
        # bm25 was fitted here and is kept in folders alone; its index is searched with vectors.
        by = () if choice.is_bm25 else ("--encoder", choice.encoder)
        out.next_step("lsr", "import", str(output), f"{source.name}.index", "--from", "jsonl", *by)


def _documents(source: "Dataset", text_fields: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    return ((document.doc_id, document.text(text_fields)) for document in source.documents())


def _queries(source: "Dataset", split: str) -> Iterator[tuple[str, str]]:
    from ..datasets import CorpusFile, read_queries

    found: Iterable[object] = (
        read_queries(source.path) if isinstance(source, CorpusFile) else source.queries(split)
    )
    return ((query.query_id, query.text) for query in found)  # type: ignore[attr-defined]


def _encoded(
    texts: Iterator[tuple[str, str]], encoder: "SparseEncoder", *, queries: bool, total: int | None
) -> "Iterator[tuple[list[str], SparseMatrix]]":
    from ..progress import Bar, bar

    run = encoder.encode_queries if queries else encoder.encode_documents
    noun = "queries" if queries else "documents"
    counter: Bar[None] = bar(None, total=total, unit=noun, desc="encoding")
    with counter:
        while batch := list(islice(texts, BATCH)):
            yield [name for name, _ in batch], run([text for _, text in batch])
            counter.update(len(batch))


def _require_room(output: Path, *, overwrite: bool) -> None:
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; choose another path, or replace it with --overwrite")
    if output.is_dir() and not (output / VECTORS).is_file():
        raise UsageError(f"{output} is a folder without {VECTORS}; it will not be overwritten")


@contextmanager
def _alone(output: Path) -> Iterator[Path]:
    """OUTPUT.parts, held against others that would write OUTPUT; gone afterwards if it is empty."""
    from index.arrival import reserved

    place = output.parent.resolve() / f"{output.name}.parts"
    with reserved(place, "to encode into it"):
        try:
            yield place
        finally:
            with suppress(OSError):  # it is not empty, or no longer ours
                place.rmdir()


@contextmanager
def _parts(
    place: Path, source: "Dataset", choice: EncoderChoice, encoder: "SparseEncoder"
) -> Iterator[Path]:
    """The folder of the pieces that are encoded, which stays when not all of them are."""
    from ..encoded_parts import part_files, parts_folder
    from ..files import make_directory

    parts = parts_folder(
        place,
        {
            "corpus": source.fingerprint,
            "space": encoder.space,
            "build": encoder.build,
            "fields": list(encoder.text_fields),
            "precision": choice.precision,
            "windows": choice.windows,
        },
    )
    others = sorted(path.name for path in place.iterdir() if path != parts)
    if others:
        out.note(
            "beside",
            f"{out.counted(len(others), 'entry')} in {place} of other settings or of "
            f"other origin stay there, such as {others[0]}",
        )
    make_directory(parts)
    try:
        yield parts
    except BaseException:
        if part_files(parts):
            out.note("kept", f"what was encoded, in {place}; the same command goes on from there")
        else:
            shutil.rmtree(parts, ignore_errors=True)
        raise
    shutil.rmtree(parts)


@contextmanager
def _encoded_on_ray(
    parts: Path,
    corpus: str,
    source: "Dataset",
    choice: EncoderChoice,
    encoder: "SparseEncoder",
    total: int,
    tasks: RayTasks,
) -> "Iterator[Iterator[tuple[list[str], SparseMatrix]]]":
    from ..ray_cluster import cluster
    from ..ray_encoding import encode_on_ray

    with cluster("lsr encode --ray"):
        yield encode_on_ray(
            parts,
            corpus_for_tasks(corpus, source),
            encoder_for_tasks(choice, encoder),
            n_docs=total,
            text_fields=encoder.text_fields,
            cpus=tasks.cpus,
            gpus=tasks.gpus,
        )


def _write_lines(
    output: Path, batches: "Iterable[tuple[list[str], SparseMatrix]]", encoder: "SparseEncoder"
) -> tuple[int, int]:
    from ..files import atomic_write

    n_rows = n_weights = 0
    with atomic_write(output) as file:
        for ids, vectors in batches:
            terms = encoder.term_strings(vectors.indices)
            weights = vectors.data.tolist()
            for name, a, b in zip(ids, vectors.indptr[:-1], vectors.indptr[1:], strict=True):
                row = dict(zip(terms[a:b], weights[a:b], strict=True))
                file.write(orjson.dumps({"id": name, "vector": row}) + b"\n")
            n_rows += len(ids)
            n_weights += vectors.nnz
    return n_rows, n_weights


def _write_folder(
    output: Path,
    batches: "Iterable[tuple[list[str], SparseMatrix]]",
    encoder: "SparseEncoder",
    *,
    source: "Dataset",
    queries: bool,
) -> tuple[int, int]:
    from scipy import sparse

    all_ids: list[str] = []
    parts: list[SparseMatrix] = []
    for ids, vectors in batches:
        for name in ids:
            _require_one_line(name)
        all_ids += ids
        parts.append(vectors)
    matrix = sparse.vstack(parts, format="csr") if parts else sparse.csr_array((0, encoder.n_terms))
    fresh = output.with_name(f".{output.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        sparse.save_npz(fresh / VECTORS, sparse.csr_array(matrix))
        (fresh / "ids.txt").write_text("".join(f"{name}\n" for name in all_ids), encoding="utf-8")
        card = {
            "encoder": encoder.name,
            "space": encoder.space,
            "build": encoder.build,
            "n_terms": encoder.n_terms,
            "source": source.name,
            "side": "queries" if queries else "documents",
            "rows": len(all_ids),
        }
        (fresh / "encoder.json").write_bytes(orjson.dumps(card, option=orjson.OPT_INDENT_2))
        encoder.save(fresh / "encoder", queries_only=True)
        if output.exists():
            shutil.rmtree(output) if output.is_dir() else output.unlink()
        fresh.rename(output)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return len(all_ids), int(matrix.nnz)


def _require_one_line(name: str) -> None:
    if "\n" in name or "\r" in name:
        raise DatasetError(
            f"id {name!r} holds a line end and ids.txt has an id a line; write .jsonl instead"
        )
