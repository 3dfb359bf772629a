"""A corpus encoded by a Ray cluster: Ray Data streams texts to a pool of encoders.

Every chunk of documents becomes a file of its own as soon as it is encoded, so that neither a death
nor a second start does it twice; Ray starts workers again that died. What comes back is in the
order of the corpus (tested with Ray 2.60.0).
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from .encoded_parts import missing_spans, parts_in_order, write_part
from .encoders.protocol import SparseEncoder
from .errors import DatasetError
from .progress import Bar, bar
from .ray_cluster import unwrapped
from .types import Document, SparseMatrix

CHUNK = 4096
"""Documents of one file: what is lost with a worker, and what it reads into memory."""
BLOCK_BYTES = 8 << 20
"""Texts travel in blocks of about so many bytes, some chunks each: encoders begin soon."""

Corpus = Callable[[], Iterable[Document]]
Encoder = Callable[[], SparseEncoder]
Batch = dict[str, npt.NDArray[Any]]


def encode_on_ray(
    folder: Path,
    corpus: Corpus,
    encoder: Encoder,
    *,
    n_docs: int,
    text_fields: Sequence[str],
    workers: int | None = None,
    cpus: int = 1,
    gpus: float = 0,
    chunk: int = CHUNK,
) -> Iterator[tuple[list[str], SparseMatrix]]:
    """Ids and vectors of all documents, a chunk at a time in order, once all are in `folder`.

    A pool grows to `workers` encoders of `cpus` cores and `gpus` devices each, by default as many
    as the cluster has room for; as many tasks read the corpus. Documents that are in the folder
    already are not encoded again: it must belong to this corpus and encoder. Raises `DatasetError`
    where the corpus has not `n_docs` documents.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    todo = missing_spans(folder, n_docs, size=chunk)
    counter: Bar[None] = bar(total=n_docs, unit="documents", desc="encoding")
    with counter:
        counter.update(n_docs - sum(b - a for a, b in todo))
        if todo:
            workers = workers or _room(ray.cluster_resources(), cpus, gpus)
            settings = DataContext.get_current()
            settings.enable_progress_bars = False
            settings.target_max_block_size = BLOCK_BYTES
            streams = np.array_split(np.array(todo), min(workers, len(todo)))
            items = [{"chunks": orjson.dumps(part.tolist()).decode()} for part in streams]
            texts = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
                _read,
                fn_kwargs={"corpus": corpus, "text_fields": tuple(text_fields)},
                batch_size=1,
                num_cpus=0.5,
            )
            written = texts.map_batches(
                _Encoding,
                fn_constructor_args=(encoder, str(folder), chunk),
                batch_size=chunk,
                compute=ActorPoolStrategy(min_size=1, max_size=workers),
                num_cpus=cpus,
                num_gpus=gpus,
            )
            try:
                for row in written.iter_rows():
                    counter.update(int(row["n"]))
            except ray.exceptions.RayError as error:
                raise unwrapped(error) from None
    yield from parts_in_order(folder, n_docs)


def _room(resources: Mapping[str, float], cpus: int, gpus: float) -> int:
    """How many encoders fit, at least one.

    >>> _room({"CPU": 8.0}, 2, 0), _room({"CPU": 8.0, "GPU": 1.0}, 2, 0.5), _room({}, 1, 0)
    (4, 2, 1)
    """
    room = resources.get("CPU", 0.0) // cpus
    if gpus:
        room = min(room, resources.get("GPU", 0.0) // gpus)
    return max(1, int(room))


def _read(
    batch: Batch, corpus: Corpus, text_fields: tuple[str, ...]
) -> Iterator[dict[str, list[Any]]]:
    """The texts of some chunks, in order, in one walk through the corpus."""
    (chunks,) = batch["chunks"].tolist()
    documents = iter(corpus())
    at = 0
    for first, last in orjson.loads(chunks):
        found = list(islice(documents, first - at, last - at))
        at = last
        if len(found) != last - first:
            raise DatasetError(
                f"the corpus ends before document {last}, of which there were more when they were "
                "counted; start again"
            )
        yield {
            "position": list(range(first, last)),
            "id": [document.doc_id for document in found],
            "text": [document.text(text_fields) for document in found],
        }


class _Encoding:
    """One encoder of the pool; it writes what it encodes."""

    def __init__(self, encoder: Encoder, folder: str, chunk: int) -> None:
        self._encoder = encoder()
        self._folder = Path(folder)
        self._chunk = chunk

    def __call__(self, batch: Batch) -> Batch:
        # A batch may hold pieces of several chunks: each piece without a gap is a file.
        positions = batch["position"]
        edges = np.flatnonzero((np.diff(positions) != 1) | (positions[1:] % self._chunk == 0)) + 1
        for some in np.split(np.arange(len(positions)), edges):
            texts, ids = (batch[name][some].tolist() for name in ("text", "id"))
            first = int(positions[some[0]])
            write_part(self._folder, first, ids, self._encoder.encode_documents(texts))
        return {"n": np.array([len(positions)])}
