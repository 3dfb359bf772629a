"""What `lsr rerank --with` names, opened: `oracle:0.2`, `dense:FOLDER`, `duo:FOLDER` and so on."""

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import numpy.typing as npt

from ..datasets.names import cache_folder
from ..errors import EncoderError, MissingExtra, UsageError
from ..reranking import KeptPreferences, NoisyOracle, PreferenceModel, ScorePreference
from ..systems import CROSS_ENCODER, DENSE
from ..types import Qrels

if TYPE_CHECKING:
    from ..encoders.checkpoint import Precision
    from ..reranking.pointwise import PairScorer

ORACLE, DUO = "oracle:", "duo:"
_OF_SAMPLES = ("sampler", "aggregation", "budget", "skip")
_OF_PAIRS = ("symmetric", "temperature", "noise")
NAMES = "oracle:ERROR, dense:FOLDER, cross-encoder:FOLDER or duo:FOLDER"


@dataclass(frozen=True)
class Noise:
    """How scores become preferences, and what disturbs them."""

    temperature: float | None = None
    """None: 0.05 for cosines, 1 for the logits of a cross-encoder."""
    noise: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class ScoredOnce:
    """A scorer of pairs that reads each query and document together once."""

    scorer: "PairScorer"
    _known: dict[tuple[str, str], float]

    @property
    def name(self) -> str:
        """That of the scorer."""
        return self.scorer.name

    def score(self, queries: Sequence[str], documents: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n,) float32: the score of each query with the document at its place."""
        pairs = list(zip(queries, documents, strict=True))
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._known]
        if new:
            scores = self.scorer.score([q for q, _ in new], [d for _, d in new])
            self._known.update(zip(new, scores.tolist(), strict=True))
        return np.array([self._known[pair] for pair in pairs], np.float32)


@dataclass(frozen=True)
class DenseScorer:
    """Dot products of vectors that lie in the cache."""

    name: str
    queries: Mapping[str, npt.NDArray[np.float32]]
    documents: Mapping[str, npt.NDArray[np.float32]]

    def score(self, queries: Sequence[str], documents: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n,) float32: the score of each query with the document at its place."""
        pairs = zip(queries, documents, strict=True)
        return np.array([self.queries[q] @ self.documents[d] for q, d in pairs], np.float32)


def refuse_idle(context: click.Context, *, pointwise: bool) -> None:
    """Raise `UsageError` for the first option typed that has no meaning in what is asked for."""
    names: tuple[str, ...] = ()
    if context.params["study"] is not None:
        if pointwise or context.params["output"] is not None:
            raise UsageError("--study compares and writes a study; leave --method and --output out")
        names, where = _OF_SAMPLES, "--study, which tries them all"
    elif pointwise:
        names, where = (*_OF_SAMPLES, *_OF_PAIRS), "--method pointwise, which compares nothing"
    for name in names:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise UsageError(f"--{name} has no meaning with {where}; leave it out")


def is_pairwise_only(name: str) -> bool:
    """Whether what is named compares, and cannot score one document."""
    return name.startswith((ORACLE, DUO))


def open_scorer(
    name: str,
    *,
    queries: Sequence[str],
    texts: Sequence[str],
    max_length: int | None,
    precision: "Precision",
) -> "tuple[PairScorer, str]":
    """The pointwise scorer of this name and its fingerprint; `queries` and `texts` are all it sees.

    Vectors of a dense encoder are made here, with progress, and kept in the cache.
    """
    if is_pairwise_only(name):
        raise UsageError(f"{name} compares documents and cannot score one; use --method pairwise")
    kind, folder = _found(name)
    if kind == CROSS_ENCODER:
        from ..encoders.cross_encoder import CrossEncoder

        cross = CrossEncoder.load(
            folder, name=folder.resolve().name, max_length=max_length, precision=precision
        )
        return ScoredOnce(cross, {}), cross.fingerprint
    from ..encoders.dense import DenseEncoder
    from ..vectors import update_vectors

    dense = DenseEncoder.load(
        folder, name=folder.resolve().name, max_length=max_length, precision=precision
    )
    sides = []
    for side, wanted, embed in (
        ("queries", queries, dense.embed_queries),
        ("documents", texts, dense.embed_documents),
    ):
        distinct = sorted(set(wanted))
        store = update_vectors(
            cache_folder() / "vectors" / f"{dense.fingerprint}-{side}-{_digest(distinct)}",
            distinct,
            embed,
            desc=f"{dense.name} {side}",
        )
        assert store is not None, "there is no deadline"
        rows = np.asarray(store.rows(np.arange(len(distinct))))
        sides.append(dict(zip(distinct, rows, strict=True)))
    return DenseScorer(dense.name, *sides), dense.fingerprint


def open_preference(
    name: str,
    *,
    queries: Mapping[str, str],
    texts: Mapping[str, str],
    qrels: Qrels,
    how: Noise,
    max_length: int | None,
    precision: "Precision",
) -> PreferenceModel:
    """The preference model of this name over texts by id; a network's answers are kept on disk."""
    if name.startswith(ORACLE):
        error, bias = _oracle(name)
        return NoisyOracle(_grades(queries, texts, qrels), error, position_bias=bias, seed=how.seed)
    if name.startswith(DUO):
        folder = _found(name)[1]
        from ..encoders.pairwise import load_duo

        model = load_duo(folder, max_length=max_length, precision=precision)
        return KeptPreferences(model, cache_folder() / "preferences")
    scorer, fingerprint = open_scorer(
        name,
        queries=list(queries.values()),
        texts=list(texts.values()),
        max_length=max_length,
        precision=precision,
    )
    usual = 0.05 if name.startswith(DENSE) else 1.0
    temperature = usual if how.temperature is None else how.temperature
    noisy = f" + noise {how.noise:g}" if how.noise else ""
    return ScorePreference(
        f"{scorer.name}{noisy}",
        lambda query, documents: scorer.score([query] * len(documents), documents),
        fingerprint,
        temperature=temperature,
        noise=how.noise,
        seed=how.seed,
    )


def _oracle(name: str) -> tuple[float, float]:
    try:
        error, _, bias = name.removeprefix(ORACLE).partition(":")
        return float(error), float(bias or 0)
    except ValueError:
        raise UsageError(
            f"--with {name}; wanted oracle:ERROR or oracle:ERROR:BIAS, shares such as 0.2"
        ) from None


def _grades(
    queries: Mapping[str, str], texts: Mapping[str, str], qrels: Qrels
) -> dict[str, dict[str, int]]:
    """By text, as an oracle wants them; of two documents with one text the better grade counts."""
    grades: dict[str, dict[str, int]] = {}
    for query_id, judged in qrels.items():
        if query_id not in queries:
            continue
        row = grades.setdefault(queries[query_id], {})
        for doc_id, grade in judged.items():
            if doc_id in texts:
                row[texts[doc_id]] = max(grade, row.get(texts[doc_id], grade))
    return grades


def _found(name: str) -> tuple[str, Path]:
    kind = next((k for k in (DENSE, CROSS_ENCODER, DUO) if name.startswith(k)), None)
    if kind is None:
        raise UsageError(f"--with {name}; wanted {NAMES}")
    folder = Path(name.removeprefix(kind)).expanduser()
    if not folder.is_dir():
        raise EncoderError(f"--with {name}: no such folder; wanted a checkpoint with config.json")
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("re-ranking with a network", extra="train", package="torch")
    return kind, folder


def _digest(texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()[:16]
