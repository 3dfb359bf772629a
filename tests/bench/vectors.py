"""The vector sets of the benchmark: folders of `{docs,queries}.{indptr,indices,data}.npy`.

The calibrated generator `lsr_vectors.py` draws them where a folder `shared/bench` lies beside the
checkout: `t200s`, `t1ms` (SPLADE-like), `t200f`, `t1mf` (inference-free queries), `x500s` (from
real passages), and `topic-N`, N documents like t200s, for cost against size. Elsewhere `t200s` and
`topic-N`, and everywhere `small`, are drawn by `synthetic` below, which is made up from start to
end and says so: real query vectors are not ours to ship. `bm25-NAME` is a text collection under the
project's own BM25 encoder.

Real vectors of any encoder become a set by hand, out of the float16 weights that indexes keep:

    python tests/bench/vectors.py SET INDEX=DATASET [INDEX=DATASET ...] [--terms N]
"""

import argparse
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import sparse

from lsr.types import SparseMatrix

CHECKOUT = Path(__file__).resolve().parents[2]
GENERATOR = CHECKOUT.parent / "shared" / "bench" / "lsr_vectors.py"
VOCABULARY = 30_522
RECIPES = {
    "t200s": ("topic", 200_000, "splade"),
    "t1ms": ("topic", 1_000_000, "splade"),
    "t200f": ("topic", 200_000, "free"),
    "t1mf": ("topic", 1_000_000, "free"),
    "x500s": ("text", 500_000, "splade"),
}
"""Arguments of the generator."""
SOURCES = {
    "topic": "lsr_vectors.py topic, calibrated on real SPLADE++ queries",
    "text": "lsr_vectors.py text, real passages, expanded",
}
SYNTHETIC = "SYNTHETIC, no real encoder behind it (tests/bench/vectors.py)"


@dataclass(frozen=True)
class VectorSet:
    """What an engine indexes. `order` lists the rows as our bisection places them, once it ran.

    `n_docs` counts documents from the first; `docs` reads them when first asked for.
    """

    folder: Path
    n_docs: int
    order: npt.NDArray[np.uint32] | None = None

    @classmethod
    def whole(cls, folder: Path, order: npt.NDArray[np.uint32] | None = None) -> "VectorSet":
        """Every document of the set in a folder."""
        return cls(folder, len(np.load(folder / "docs.indptr.npy", mmap_mode="r")) - 1, order)

    def head(self, n: int) -> "VectorSet":
        """The first `n` documents, in no particular order."""
        return VectorSet(self.folder, min(n, self.n_docs))

    @cached_property
    def docs(self) -> SparseMatrix:
        """(n_docs, n_terms) float32."""
        docs = load(self.folder, "docs")
        return docs if docs.shape[0] == self.n_docs else docs[: self.n_docs]

    @cached_property
    def n_terms(self) -> int:
        """Size of the vocabulary."""
        return int(json.loads((self.folder / "set.json").read_text())["n_terms"])

    def batches(self, size: int) -> Iterator[tuple[int, SparseMatrix]]:
        """(first row, rows) of so many documents at a time, without reading the whole set."""
        data, indices, indptr = (
            np.load(self.folder / f"docs.{part}.npy", mmap_mode="r")
            for part in ("data", "indices", "indptr")
        )
        for first in range(0, self.n_docs, size):
            bounds = indptr[first : min(first + size, self.n_docs) + 1]
            a, b = int(bounds[0]), int(bounds[-1])
            arrays = (np.array(data[a:b]), np.array(indices[a:b], np.int32), bounds - a)
            yield first, sparse.csr_array(arrays, shape=(len(bounds) - 1, self.n_terms))

    @cached_property
    def max_weight(self) -> float:
        """What the encoder's card would say."""
        return float(json.loads((self.folder / "set.json").read_text())["max_weight"])


def load(folder: Path, name: str) -> SparseMatrix:
    """(rows, n_terms) float32 matrix `name` of a set: "docs" or "queries"."""
    data, indices, indptr = (
        np.load(folder / f"{name}.{part}.npy") for part in ("data", "indices", "indptr")
    )
    n_terms = json.loads((folder / "set.json").read_text())["n_terms"]
    if len(data) < 2**31:
        indptr = indptr.astype(np.int32)  # else scipy widens the term numbers to 8 bytes too
    return sparse.csr_array((data, indices, indptr), shape=(len(indptr) - 1, n_terms))


def save(folder: Path, name: str, matrix: SparseMatrix) -> None:
    """Write one matrix of a set."""
    matrix.sort_indices()
    for part in ("data", "indices", "indptr"):
        np.save(folder / f"{name}.{part}.npy", getattr(matrix, part))


def recipe(name: str) -> tuple[str, int, str] | None:
    """The generator's arguments for a set: kind, documents, regime; None for other sets."""
    size = re.fullmatch(r"topic-(\d+)", name)
    return ("topic", int(size[1]), "splade") if size else RECIPES.get(name)


def ensure(name: str, data: Path) -> Path:
    """Folder of the set `name` below `data`, made unless it is there; texts are always remade."""
    folder, fresh = data / name, data / f"{name}.part"
    described = folder / "set.json"
    if described.exists() and not name.startswith("bm25-"):
        return folder
    wanted = recipe(name)
    if wanted and (folder / "docs.indptr.npy").exists():  # made by hand: adopt it
        described.write_text(json.dumps(_about(SOURCES[wanted[0]]), indent=1))
        return folder
    # Renamed when whole, so that an interrupted run never passes for a set. The generator keeps
    # the tokens of its texts beside the set, hence `fresh` below `data`.
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    about = _make(name, fresh)
    shutil.rmtree(folder, ignore_errors=True)
    (fresh / "set.json").write_text(json.dumps(about, indent=1))
    fresh.rename(folder)
    return folder


def _about(source: str) -> dict[str, object]:
    return {"source": source, "n_terms": VOCABULARY, "max_weight": 4.0}


def _make(name: str, folder: Path) -> dict[str, object]:
    if name.startswith("bm25-"):
        return _text(name.removeprefix("bm25-"), folder)
    wanted = recipe(name) or ("topic", 20_000, "splade")
    kind, n_docs, regime = wanted
    if name != "small" and GENERATOR.exists():
        command = [sys.executable, str(GENERATOR), kind, str(folder), str(n_docs), regime]
        subprocess.run(command, check=True, stdout=sys.stderr)
        return _about(SOURCES[kind])
    if (kind, regime) != ("topic", "splade"):
        sys.exit(f"{name}: needs the generator {GENERATOR}; t200s, topic-N and small do not")
    docs, queries = synthetic(n_docs)
    save(folder, "docs", docs)
    save(folder, "queries", queries)
    return _about(SYNTHETIC)


def synthetic(
    n_docs: int, n_queries: int = 1000, seed: int = 7
) -> tuple[SparseMatrix, SparseMatrix]:
    """Documents and queries that share Zipf-distributed topics; deterministic in `seed`.

    A document holds shares of three topics and light background terms, a query shares of two and a
    few strays. Counts follow SPLADE's: some 120 terms a document, 44 a query.
    """
    rng = np.random.default_rng(seed)
    frequency = 1 / (np.arange(VOCABULARY) + 30.0)
    frequency = rng.permutation(frequency / frequency.sum())
    n_topics, length = max(50, n_docs // 60), 72
    flatter = frequency**0.75 / (frequency**0.75).sum()
    topics = rng.choice(VOCABULARY, (n_topics, length), p=flatter)
    shape = 2.2 * np.exp(-np.arange(length) / 24) * rng.lognormal(0, 0.3, topics.shape) + 0.1

    def mixture(n: int, shares: tuple[float, ...], n_background: int) -> SparseMatrix:
        rows, columns, weights = [], [], []
        for share in shares:
            chosen = rng.integers(n_topics, size=n)
            kept = rng.random((n, length)) < share
            rows.append(np.nonzero(kept)[0])
            columns.append(topics[chosen][kept])
            noise = rng.lognormal(0, 0.5, int(kept.sum()))
            weights.append(shape[chosen][kept] * noise * share**0.3)
        rows.append(np.repeat(np.arange(n), n_background))
        columns.append(rng.choice(VOCABULARY, n * n_background, p=frequency))
        weights.append(0.12 * rng.lognormal(0, 0.9, n * n_background) + 0.02)
        triple = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
        matrix = sparse.csr_array(triple, shape=(n, VOCABULARY), dtype=np.float32)
        matrix.sum_duplicates()
        np.minimum(matrix.data, 3.5, out=matrix.data)
        return matrix

    chunks = [
        mixture(min(20_000, n_docs - a), (0.5, 0.4, 0.3), 46) for a in range(0, n_docs, 20_000)
    ]
    return sparse.vstack(chunks, format="csr"), mixture(n_queries, (0.35, 0.2), 6)


def _text(name: str, folder: Path) -> dict[str, object]:
    """A data set's documents and test queries under BM25, and the token lists that bm25s wants."""
    from lsr.datasets import load_dataset
    from lsr.encoders.bm25 import BM25Encoder

    dataset = load_dataset(name)
    texts = [document.text() for document in dataset.documents()]
    encoder = BM25Encoder.fit(texts)
    save(folder, "docs", encoder.encode_documents(texts))
    save(folder, "queries", encoder.encode_queries([q.text for q in dataset.queries()[:1000]]))
    number = {term: i for i, term in enumerate(encoder.statistics.terms)}
    tokens = [[number[term] for term in encoder.analyser.terms(text)] for text in texts]
    np.savez(
        folder / "tokens.npz",
        ids=np.asarray(list(itertools.chain.from_iterable(tokens)), np.int32),
        indptr=np.cumsum([0, *map(len, tokens)]),
        settings=[encoder.k1, encoder.b],
    )
    return {
        "source": f"texts of {dataset.name} under our BM25 (k1 {encoder.k1}, b {encoder.b})",
        "n_terms": encoder.n_terms,
        "max_weight": encoder.max_weight,
    }


def rows(
    matrix: SparseMatrix, n: int
) -> list[tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]]:
    """The first `n` rows as (terms, weights)."""
    bounds = itertools.pairwise(matrix.indptr[: n + 1].tolist())
    return [(matrix.indices[a:b].astype(np.int32), matrix.data[a:b]) for a, b in bounds]


def from_indexes(folder: Path, pairs: Sequence[tuple[Path, str]], terms: int | None) -> None:
    """Make a set of the documents of indexes and the test queries of their collections.

    `pairs` are (index, dataset); `terms` keeps the first columns alone: the learned terms of an
    encoder that has words behind them, which some engines cannot number. At most 1,000 queries,
    evenly drawn.
    """
    from index import Index
    from index.doctor.case import rows_at
    from index.retriever import query_encoder
    from lsr.conventions import usual_split
    from lsr.datasets import load_dataset

    docs, queries, about = [], [], []
    for path, name in pairs:
        with Index.open(path, read_only=True) as index:
            snapshot, n_terms = index.refresh(), index.n_terms
            every = np.concatenate([view.segment.docids for view in snapshot.views])
            docs.append(rows_at(snapshot, np.sort(every), n_terms))
            dataset = load_dataset(name)
            asked = dataset.queries(usual_split(name))
            assert index.encoder is not None
            queries.append(query_encoder(index).encode_queries([q.text for q in asked]))
            about.append(f"{name} under {index.encoder.name}")
            heaviest = index.max_weight
    whole = sparse.csr_array(sparse.vstack(docs, "csr"))
    asking = sparse.csr_array(sparse.vstack(queries, "csr"))
    drawn = np.linspace(0, asking.shape[0] - 1, min(1000, asking.shape[0])).astype(int)
    kept = whole.shape[1] if terms is None else terms
    folder.mkdir(parents=True)
    save(folder, "docs", sparse.csr_array(whole[:, :kept], dtype=np.float32))
    save(folder, "queries", sparse.csr_array(asking[drawn][:, :kept], dtype=np.float32))
    source = f"stored vectors: {', '.join(about)}" + (f"; first {kept} terms" if terms else "")
    described = {"source": source, "n_terms": kept, "max_weight": heaviest}
    (folder / "set.json").write_text(json.dumps(described, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make a set of the vectors that indexes keep.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("pairs", nargs="+", metavar="INDEX=DATASET")
    parser.add_argument("--terms", type=int)
    asked = parser.parse_args()
    split = [pair.rpartition("=") for pair in asked.pairs]
    from_indexes(asked.folder, [(Path(a), b) for a, _, b in split], asked.terms)
