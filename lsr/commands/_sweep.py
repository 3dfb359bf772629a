"""What `lsr sweep` measures: indexes derived from vectors that were encoded once, and searched.

The vectors are those of the whole index that `lsr evaluate` keeps in the cache, rounded to float16
as every index stores them: what is derived is, posting for posting, what `lsr index` would build.
Every result is a file named after all that decides it, so an interrupted sweep goes on.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
from scipy import sparse

from index import Effort, Index, Pruning, Settings, encoder_card, query_encoder
from index.latency import timed
from index.layout import GRID_MINIMUM
from index.live import positions_in
from index.pruning import prune_postings, prune_terms

from .. import __version__
from ..conventions import Convention, convention_of, conventional, depth
from ..datasets import Dataset
from ..encoders import SparseEncoder, is_binary
from ..errors import DatasetError, UsageError
from ..files import atomic_write, locked
from ..measures import evaluate
from ..types import Document, Qrels, Run, SparseMatrix
from ._encoders import EncoderChoice
from ._machine import cpu_model
from ._sweep_grid import LEVELS, Build, Grid, Search
from ._systems import cached_index, flops

BATCH = 2048
PAGE = 256
"""Documents a page of the engine holds; a budget of all pages is exact search."""


@dataclass(frozen=True)
class Point:
    """One configuration: what it is, what it is worth, what it costs.

    Times are CPU microseconds a query in one thread, encoding the query included where the name
    does not say `search`; a query's time is the least of three passes.
    """

    encoder: str
    label: str
    simulated: bool
    build_options: list[str]
    search_options: list[str]
    ndcg_10: float
    r_100: float
    flops: float
    """Multiply-adds an average query costs against an average document (arXiv 2004.05665)."""
    search_bytes: int
    """What searches read: without texts, ids and the stored vectors."""
    disk_bytes: int
    latency_p50_us: float
    latency_p99_us: float
    search_p50_us: float
    search_p99_us: float
    encode_p50_us: float
    build_s: float
    """CPU seconds to prune, invert, order and write, texts included, encoding not."""
    terms_per_document: float
    terms_per_query: float
    exact: float
    """Share of the answers that are proved to be exact."""

    @property
    def name(self) -> str:
        """Encoder and what is left out."""
        return f"{Path(self.encoder).name}, {self.label}"


@dataclass(frozen=True)
class Questions:
    """Judged queries of one split, and how they are measured."""

    source: Dataset
    split: str
    texts: Mapping[str, str]
    qrels: Qrels
    convention: Convention
    k: int

    @cached_property
    def key(self) -> str:
        """All that decides the results of a configuration, apart from the configuration."""
        texts = hashlib.sha256(orjson.dumps(list(self.texts))).hexdigest()[:16]
        machine = f"{cpu_model()} {os.cpu_count()}"
        parts = (__version__, self.source.fingerprint, self.split, texts, str(self.k), machine)
        return " ".join(parts)


def questions(source: Dataset, split: str | None, *, n: int, seed: int, k: int) -> Questions:
    """At most `n` judged queries, drawn by `seed`, of `split`: by default dev, or test without dev.

    Raises `UsageError` where neither is there.
    """
    splits = source.splits()
    chosen = split or next((name for name in ("dev", "test") if name in splits), None)
    if chosen is None:
        have = ", ".join(splits) or "none"
        raise UsageError(f"{source.name}: no split dev or test (has: {have}); name one: --split")
    qrels = source.qrels(chosen)
    asked = [query for query in source.queries(chosen) if query.query_id in qrels]
    if len(asked) > n:
        drawn = np.random.default_rng(seed).choice(len(asked), n, replace=False)
        asked = [asked[i] for i in np.sort(drawn)]
    texts = {query.query_id: query.text for query in asked}
    if not texts:
        raise UsageError(f"{source.name}: no judged queries in the split {chosen!r}")
    judged = {query_id: qrels[query_id] for query_id in texts}
    return Questions(source, chosen, texts, judged, convention_of(source.name, chosen), k)


@dataclass(frozen=True)
class Encoded:
    """A collection and its queries under one encoder, in the order of the corpus."""

    name: str
    encoder: SparseEncoder
    max_weight: float
    vectors: SparseMatrix
    """Float16 values in float32, (n_docs, n_terms)."""
    doc_ids: list[str]
    queries: SparseMatrix
    encode_us: npt.NDArray[np.float64]
    """CPU microseconds to encode each query, alone."""

    @property
    def binary(self) -> bool:
        """Whether it knows no weights, so that every index of it is binary."""
        return is_binary(self.encoder)


def encoded(asked: Questions, choice: EncoderChoice) -> Encoded:
    """Documents from the cached index, built if need be; queries encoded one by one, timed."""
    with cached_index(asked.source, choice) as index:
        encoder = query_encoder(index, None if choice.is_bm25 else choice.encoder)
        parts, docids, doc_ids = [], [], []
        for view in index.refresh().views:
            places = positions_in(view.live, view.segment.n_docs)
            parts.append(view.segment.vectors(places))
            docids.append(view.segment.docids[places])
            doc_ids += view.segment.doc_ids(places)
        max_weight = index.max_weight
    order = np.argsort(np.concatenate(docids))
    vectors: SparseMatrix = sparse.csr_array(sparse.vstack(parts, "csr")[order])
    # The processor's time of the whole process: a network may use several threads.
    timing = timed(
        lambda text: encoder.encode_queries([text]),
        list(asked.texts.values()),
        cpu_clock=time.process_time_ns,
    )
    return Encoded(
        choice.encoder,
        encoder,
        max_weight,
        vectors,
        [doc_ids[i] for i in order],
        sparse.csr_array(sparse.vstack(timing.answers, "csr")),
        timing.cpu,
    )


@dataclass
class Sweep:
    """One sweep into `folder`; `done` is told how many configurations are finished."""

    asked: Questions
    grid: Grid
    choices: Mapping[str, EncoderChoice]
    folder: Path
    done: Callable[[int], None]
    n_resumed: int = 0
    n_alike: int = 0
    """Configurations that leave nothing out, so that they are what another one is."""

    def run(self) -> list[Point]:
        """Measure what the folder does not hold yet; every distinct configuration."""
        points: list[Point] = []
        for choice in self.choices.values():
            found = self._found(choice)
            self.n_resumed += len(found)
            self.done(len(found))
            missing = [one for one in self._configurations(choice) if one not in found]
            if missing:
                found |= self._measured(choice, missing)
            rows = [found[one] for one in self._configurations(choice)]
            points += [row for row in rows if row is not None]
            self.n_alike += rows.count(None)
        return points

    def _configurations(self, choice: EncoderChoice) -> list[tuple[Build, Search]]:
        return [
            (build, search)
            for build in self.grid.builds(choice.encoder)
            for search in self.grid.searches()
        ]

    def _measured(
        self, choice: EncoderChoice, missing: list[tuple[Build, Search]]
    ) -> dict[tuple[Build, Search], Point | None]:
        found: dict[tuple[Build, Search], Point | None] = {}
        data = encoded(self.asked, choice)
        searches: dict[Build, list[Search]] = {}
        for build, search in missing:
            if _is_alike(build, search, data, self.asked, quantise=self.grid.quantise[0]):
                found[build, search] = None
                self._keep(choice, build, search, None)
            else:
                searches.setdefault(build, []).append(search)
        for build, wanted in searches.items():
            with _built(build, data, self.asked.source, self.folder) as (index, build_s):
                for search in wanted:
                    point = _searched(index, build, search, data, self.asked, build_s)
                    found[build, search] = point
                    self._keep(choice, build, search, point)
        return found

    def _keep(
        self, choice: EncoderChoice, build: Build, search: Search, point: Point | None
    ) -> None:
        with atomic_write(self._path(choice, build, search)) as file:
            file.write(orjson.dumps({"point": point}, option=orjson.OPT_INDENT_2))
        self.done(1)

    def _found(self, choice: EncoderChoice) -> dict[tuple[Build, Search], Point | None]:
        """What earlier runs left in the folder."""
        found: dict[tuple[Build, Search], Point | None] = {}
        for build, search in self._configurations(choice):
            path = self._path(choice, build, search)
            if path.exists():
                stored = orjson.loads(path.read_bytes())["point"]
                found[build, search] = None if stored is None else Point(**stored)
        return found

    @cached_property
    def _keys(self) -> dict[str, str]:
        return {name: choice.key() for name, choice in self.choices.items()}

    def _path(self, choice: EncoderChoice, build: Build, search: Search) -> Path:
        # The first quantisation decides which builds of a binary encoder repeat another.
        first = self.grid.quantise[0]
        keys = [self.asked.key, self._keys[choice.encoder], first]
        deciding = [*keys, asdict(build), asdict(search)]
        digest = hashlib.sha256(orjson.dumps(deciding)).hexdigest()[:20]
        return self.folder / "configurations" / f"{digest}.json"


def _is_alike(
    build: Build, search: Search, data: Encoded, asked: Questions, *, quantise: str
) -> bool:
    """Whether it leaves nothing out, though its words say so: another configuration is the same.

    `quantise` is the one that the sweep names first.
    """
    if data.binary and (build.quantise != quantise or build.pruning.postings is not None):
        return True  # without weights there is but one way to quantise, and no heaviest posting
    if search.query_terms is not None:
        kept = prune_terms(data.queries, search.query_terms)
        if kept.nnz == data.queries.nnz:
            return True
    if search.approximate is not None:
        n_docs = len(data.doc_ids)
        budget = search.approximate.budget(depth(asked.convention, asked.k))
        if n_docs < GRID_MINIMUM or budget * PAGE >= n_docs:
            return True
    return build.pruning != Pruning() and _pruned(build, data).nnz == data.vectors.nnz


def _pruned(build: Build, data: Encoded) -> SparseMatrix:
    vectors = build.pruning.of_documents(data.vectors)
    lists = build.pruning.postings
    return vectors if lists is None else prune_postings(vectors, lists)


def coarser(vectors: SparseMatrix, levels: int, max_weight: float) -> SparseMatrix:
    """Every weight at the nearest of `levels` equal steps up to `max_weight`, none of them at 0.

    >>> coarser(sparse.csr_array(np.array([[0.1, 1.4, 9.0]], np.float32)), 3, 3.0).toarray()
    array([[1., 1., 3.]], dtype=float32)
    """
    step = np.float32(max_weight / levels)
    steps = np.clip(np.floor(vectors.data / step + np.float32(0.5)), 1, levels)
    weights = (steps * step).astype(np.float32)
    return sparse.csr_array((weights, vectors.indices, vectors.indptr), shape=vectors.shape)


@contextmanager
def _built(
    build: Build, data: Encoded, source: Dataset, folder: Path
) -> Iterator[tuple[Index, float]]:
    """The index of a build, and the CPU seconds it took; gone when the block ends."""
    settings, vectors = build.settings, data.vectors
    levels = LEVELS.get(build.quantise)
    if data.binary:
        settings = replace(settings, binary=True)
    elif levels is not None:
        vectors = coarser(_pruned(build, data), levels, data.max_weight)
        settings = Settings()
    with locked(folder / "building"):
        path = folder / "building" / "index"
        shutil.rmtree(path, ignore_errors=True)  # what a killed sweep left
        try:
            before = time.process_time()
            with Index.create(
                path,
                n_terms=vectors.shape[1],
                max_weight=data.max_weight,
                encoder=encoder_card(data.encoder),
                settings=settings,
            ) as index:
                with index.bulk("sweep", effort=Effort(threads=1)) as bulk:
                    for first, documents in _batches(source, data.doc_ids):
                        bulk.add(documents, vectors[first : first + len(documents)])
                yield index, time.process_time() - before
        finally:
            shutil.rmtree(path, ignore_errors=True)


def _batches(source: Dataset, doc_ids: list[str]) -> Iterator[tuple[int, list[Document]]]:
    stream = source.documents()
    for first in range(0, len(doc_ids), BATCH):
        wanted = doc_ids[first : first + BATCH]
        documents = list(islice(stream, len(wanted)))
        if [document.doc_id for document in documents] != wanted:
            raise DatasetError(
                f"{source.name}: documents from {first:,} on are not those of the index in the "
                "cache; the files changed meanwhile, run the sweep again"
            )
        yield first, documents


def _searched(
    index: Index, build: Build, search: Search, data: Encoded, asked: Questions, build_s: float
) -> Point:
    """Search every query three times; what that is worth and what it costs."""
    queries = data.queries
    if search.query_terms is not None:
        queries = prune_terms(queries, search.query_terms)
    k = depth(asked.convention, asked.k)
    timing = timed(
        lambda query: index.search(query, k, approximate=search.approximate),
        [queries[[i]] for i in range(queries.shape[0])],
    )
    rows = zip(asked.texts, timing.answers, strict=True)
    run = Run.from_rows((query_id, hits.doc_ids, hits.ranking.weights()) for query_id, hits in rows)
    run = conventional(run, asked.convention, asked.k)
    measured = evaluate(
        run, asked.qrels, ["nDCG@10", "R@100"], relevant_from=asked.convention.relevant_from
    )
    facts = index.info()
    whole = timing.cpu + data.encode_us
    return Point(
        encoder=data.name,
        label=", ".join([*build.words(), *search.words()]) or "whole",
        simulated=build.simulated,
        build_options=build.options(),
        search_options=search.options(),
        ndcg_10=measured.means["nDCG@10"],
        r_100=measured.means["R@100"],
        flops=flops(queries, index),
        search_bytes=facts["search_bytes"],
        disk_bytes=sum(file.stat().st_size for file in index.path.rglob("*") if file.is_file()),
        latency_p50_us=float(np.median(whole)),
        latency_p99_us=float(np.percentile(whole, 99)),
        search_p50_us=float(np.median(timing.cpu)),
        search_p99_us=float(np.percentile(timing.cpu, 99)),
        encode_p50_us=float(np.median(data.encode_us)),
        build_s=build_s,
        terms_per_document=facts["postings_per_passage"],
        terms_per_query=queries.nnz / queries.shape[0],
        exact=float(np.mean([hits.report.exact for hits in timing.answers])),
    )
