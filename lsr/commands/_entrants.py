"""Who takes part in an evaluation: an encoder by options, a system of a file, or a run."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from ..encoders.hub import cached
from ..shipped import encoder_place
from ..systems import BM25, CROSS_ENCODER, DENSE, System, is_dense
from ._belonging import note_shallow, require_answers, require_known
from ._encoders import EncoderChoice
from ._systems import SparseStage, cached_index, encoder_choice, index_fingerprint, open_system

if TYPE_CHECKING:
    from ..datasets import Dataset
    from ..types import Run


class Entrant(Protocol):
    """Answers a collection's queries and says what it cost."""

    @property
    def label(self) -> str:
        """A short name for files and progress, known before anything is loaded."""
        ...

    @property
    def key(self) -> str:
        """Changes when its answers may."""
        ...

    def arguments(self) -> list[str]:
        """The options that ask for it again."""
        ...

    def folders(self) -> list[Path]:
        """The model folders that it is made of, whose cards tell what they have seen."""
        ...

    def answer(self, corpus: "Dataset", texts: Mapping[str, str], k: int) -> "Answer":
        """Search `{query_id: text}` for the k best documents each."""
        ...


@dataclass(frozen=True)
class Answer:
    """The run, what a row says of the system by the names of `Row`'s fields, and what else it
    says."""

    run: "Run"
    facts: dict[str, Any]


@dataclass(frozen=True)
class ByOptions:
    """The encoder that a command's options ask for, over an index in the cache or a given one."""

    choice: EncoderChoice
    index: Path | None = None

    @property
    def label(self) -> str:
        """bm25, or the name of the encoder's folder; the index's name where one is given."""
        return self.index.name if self.index is not None else _short(self.choice.encoder)

    @cached_property
    def key(self) -> str:
        """The encoder's key, and for a given index its contents."""
        if self.index is None:
            return self.choice.key()
        from index import Index

        encoder = "" if self.choice.is_bm25 else self.choice.key()
        with Index.open(self.index) as index:
            # Counts may stay as they are when documents do not; commits have a moment each.
            commit = f"{index.generation} {index.committed_at()}"
            return f"{encoder} {index_fingerprint(index.info())} {commit}"

    def arguments(self) -> list[str]:
        """--index, or what the choice says."""
        return self.choice.arguments() if self.index is None else ["--index", str(self.index)]

    def folders(self) -> list[Path]:
        """The encoder's folder; for a given index its copy of it."""
        if self.index is not None and self.choice.is_bm25:
            return _existing([str(self.index / "encoder")])
        return _folders([self.choice.encoder])

    def answer(self, corpus: "Dataset", texts: Mapping[str, str], k: int) -> Answer:
        """Encode the queries and search."""
        from index import Index, query_encoder

        folder = None if self.choice.is_bm25 else self.choice.encoder
        opened = cached_index(corpus, self.choice) if self.index is None else Index.open(self.index)
        with opened as index:
            stage = SparseStage(index, query_encoder(index, folder))
            run = stage.search(texts, k)
            facts = _paced(stage.describe(), len(texts))
            return Answer(run, {"system": stage.encoder.name, **facts})


@dataclass(frozen=True)
class OfFile:
    """A system described in TOML or by options of a hybrid."""

    system: System
    words: tuple[str, ...] = ()
    """The options that ask for it; empty for one from a file."""

    @property
    def label(self) -> str:
        """Its name."""
        return self.system.name

    @cached_property
    def key(self) -> str:
        """Its settings without its name, and the bytes of every model in it."""
        from ..datasets.dataset import fingerprint_files

        settings = {name: v for name, v in asdict(self.system).items() if name != "name"}
        models = [
            encoder_choice(name, self.system).key()
            for name in self.system.retrievers
            if not is_dense(name)
        ]
        for folder in _existing([_model(name) for name in self._neural()]):
            files = [file for file in folder.rglob("*") if file.is_file()]
            models.append(fingerprint_files(files, root=folder))
        return " ".join([orjson.dumps(settings, option=orjson.OPT_SORT_KEYS).decode(), *models])

    def arguments(self) -> list[str]:
        """The options of a hybrid; a system of a file is asked for by the file."""
        return list(self.words)

    def folders(self) -> list[Path]:
        """Every model of it."""
        rerank = [self.system.rerank] if self.system.rerank else []
        return _folders([*self.system.retrievers, *rerank])

    def answer(self, corpus: "Dataset", texts: Mapping[str, str], k: int) -> Answer:
        """Open it over the corpus and search."""
        several = len(self.system.retrievers) > 1 or self.system.rerank is not None
        with open_system(self.system, corpus) as opened:
            if several and texts:
                opened.search(dict([next(iter(texts.items()))]), k)  # warm before the clock starts
            started = time.perf_counter()
            run = opened.search(texts, k)
            took = time.perf_counter() - started
            facts = opened.facts()
        if several:
            # What the first stage took is not what the system took.
            facts = {**facts, "encode_queries_s": None, "search_s": took}
        return Answer(run, _paced(facts, len(texts)) | {"system": self.system.name})

    def _neural(self) -> list[str]:
        rerank = [self.system.rerank] if self.system.rerank else []
        return [*filter(is_dense, self.system.retrievers), *rerank]


@dataclass(frozen=True)
class FromRun:
    """Rankings that another program made."""

    path: Path

    @property
    def label(self) -> str:
        """The file's name."""
        return self.path.name

    @cached_property
    def key(self) -> str:
        """The file's bytes."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def arguments(self) -> list[str]:
        """--from-run."""
        return ["--from-run", str(self.path)]

    def folders(self) -> list[Path]:
        """None: a run does not say what made it."""
        return []

    def answer(self, corpus: "Dataset", texts: Mapping[str, str], k: int) -> Answer:
        """Read the run, the first k documents of each query."""
        from ..trec import read_run

        run = read_run(self.path)
        require_answers(run, texts, place=str(self.path), name=corpus.name)
        require_known(run, corpus, place=str(self.path))
        note_shallow(run, k, corpus, place=str(self.path))
        return Answer(run.cut(k), {"system": str(self.path)})


def _paced(facts: dict[str, Any], n_queries: int) -> dict[str, Any]:
    """The facts with seconds of its phases turned into queries a second."""
    encode_s = facts.pop("encode_queries_s", None)
    search_s = facts.get("search_s")
    if encode_s is not None and search_s is not None:
        facts["encode_queries_per_s"] = n_queries / max(encode_s, 1e-9)
        facts["search_queries_per_s"] = n_queries / max(search_s - encode_s, 1e-9)
    elif search_s is not None:
        facts["search_queries_per_s"] = n_queries / max(search_s, 1e-9)
    return facts


def _model(name: str) -> str:
    return name.removeprefix(DENSE).removeprefix(CROSS_ENCODER)


def _folders(names: list[str]) -> list[Path]:
    """The models among the names: where they lie, also a shipped one, and one of a hub in its
    cache. Where that has none, its name may tell.
    """
    found = []
    for name in (_model(name) for name in names if name != BM25):
        place = encoder_place(Path(name).expanduser())
        found.append(place)
        if not place.is_dir() and (kept := cached(name)) is not None:
            found.append(kept)
    return found


def _existing(names: list[str]) -> list[Path]:
    return [Path(name).expanduser() for name in names if Path(name).expanduser().is_dir()]


def _short(encoder: str) -> str:
    return Path(encoder).name or encoder
