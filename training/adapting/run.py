"""From an unlabelled corpus and an encoder to a better encoder for that corpus.

    idf        the query table becomes that of the corpus (inference-free encoders); of one with
               BM25's words beside it, the words' frequencies do, and the table stays
    queries    documents are drawn; a title, heading or first sentence becomes the query of the rest
    negatives  BM25 and the encoder find what ranks high and is no answer
    train      a short fine-tune from the encoder, as sparse as it was
    measure    BM25, before, idf alone and after, on held-out queries and on judged collections

What a step made lies in `<output>.adapt`, so a stopped or killed call goes on where it was.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from lsr.conventions import Convention, convention_of, usual_split
from lsr.datasets import Dataset, load_dataset
from lsr.encoders import (
    BM25Encoder,
    InferenceFreeEncoder,
    JoinedEncoder,
    SparseEncoder,
    count_tokens,
    load_encoder,
)
from lsr.encoders.card import CARD
from lsr.encoders.folder import read_object, write_json
from lsr.encoders.swapping import save_with_table
from lsr.errors import RecipeError, UsageError
from lsr.files import atomic_write
from lsr.systems import CROSS_ENCODER
from lsr.types import Qrels, Query

from ..card import add_record
from ..mining.judges import open_judge
from ..mining.negatives import MiningPlan, mine_texts
from ..mining.parts import OutOfTimeError, Parts
from ..mining.rankers import SparseRanker
from ..run import run_recipe
from .data import HELD_OUT, AdaptData, read_collection, use_given_queries, write_collection
from .measure import (
    Deadline,
    interval,
    kept_measures,
    kept_vectors,
)
from .settings import Adaptable, adapt_recipe, training_length
from .starting import assemble, network_of, refresh_words, terms_in_training
from .writer import QuestionWriter
from .written import Writing

SYSTEMS = ("bm25", "before", "idf", "after")
"""What is compared; "idf" is the encoder before training with the refreshed table."""
_NEGATIVES = "negatives.jsonl.gz"
_WINDOWS = ("5-50:10", "50-200:10")
"""The very top of an unlabelled corpus is full of answers that nobody judged ..."""
_WINDOWS_JUDGED = ("0-20:10", "20-200:10")
_SHARE, _MARGIN = 0.95, 3.0
"""... unless a teacher picks them out: NV-Retriever's share (arXiv 2407.15831) for cosines, a
margin for the logits of a cross-encoder."""

_PLAIN = Convention()


@dataclass(frozen=True)
class AdaptPlan:
    """What to adapt, to what, and how hard to try."""

    corpus: str
    encoder: str
    queries: Path | None = None
    """Queries without judgements to learn from instead of those taken from documents."""
    generator: str = ""
    """A causal language model that writes a query for each document: folder, .gguf, hub name."""
    teacher: str = ""
    """As in `training.mining`: bm25, dense:FOLDER, cross-encoder:FOLDER or a sparse encoder's."""
    judged: tuple[str, ...] = ()
    """Collections to measure on; their labels are never learned from."""
    split: str | None = None
    """Whose judgements; by default those that a collection's figures are quoted for."""
    held_out: float = 0.1
    """Share of the pseudo-queries that only measure, at most 500."""
    max_documents: int = 5_000
    """Documents drawn to learn from and to measure on; 0 takes all. The idf is of all anyway."""
    steps: int = 300
    batch: int = 16
    negatives: int = 2
    learning_rate: float = 3e-5
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Dotted keys that replace what the recipe says."""


@dataclass(frozen=True)
class AdaptReport:
    """How far it came, and before against after."""

    output: Path
    finished: bool
    step: str
    """The step that the deadline met; "done" when finished."""
    seconds: float
    """Of this call."""
    table: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """collection -> system -> measures, document_terms, n_queries; "after" has the interval."""


def run_adapt(
    plan: AdaptPlan, output: Path, *, resume: bool, stop_after: float | None, quiet: bool
) -> AdaptReport:
    """Do what `training.adapt` promises."""
    started = time.monotonic()
    deadline = Deadline(None if stop_after is None else started + stop_after)
    folder = output.with_name(f"{output.name}.adapt")
    work = _Adaptation(plan, output, folder, deadline, fresh=not resume, quiet=quiet)
    work.open()
    for step, do in work.steps():
        try:
            deadline.check()
            do()
        except OutOfTimeError:
            return AdaptReport(output, False, step, time.monotonic() - started)
    seconds = time.monotonic() - started
    return AdaptReport(output, True, "done", seconds, work.table)


class _Adaptation:
    """One adaptation at work; each step looks for what it made before."""

    def __init__(
        self,
        plan: AdaptPlan,
        output: Path,
        folder: Path,
        deadline: Deadline,
        *,
        fresh: bool,
        quiet: bool,
    ) -> None:
        if plan.generator and plan.queries is not None:
            raise UsageError("a generator writes queries, and queries are given; leave out one")
        self._plan, self._output, self._folder = plan, output, folder
        self._deadline, self._fresh, self._quiet = deadline, fresh, quiet
        self._corpus = load_dataset(plan.corpus)
        self._before = load_encoder(plan.encoder)
        network_of(self._before, plan.encoder)  # what cannot be adapted is said now
        self._judged = [load_dataset(name) for name in plan.judged]
        for dataset in self._judged:
            split = usual_split(dataset.name, plan.split)
            dataset.qrels(split)  # a missing one is said now, not after the training
        if plan.teacher:
            open_judge(plan.teacher, ["a text"])
        self._writer: QuestionWriter | None = None
        if plan.generator and (fresh or not (folder / "collection").is_dir()):
            self._writer = QuestionWriter.load(plan.generator)
        self.table: dict[str, dict[str, dict[str, Any]]] = {}

    def steps(self) -> list[tuple[str, Callable[[], None]]]:
        """In their order."""
        return [
            ("idf", self._refresh),
            ("queries", self._make_queries),
            ("negatives", self._mine),
            ("train", self._train),
            ("measure", self._measure),
        ]

    def open(self) -> None:
        """Make the folder, or check that it is of this plan; what is refused loses nothing."""
        plan = asdict(self._plan)
        for later in ("judged", "split"):
            del plan[later]
        if not plan["generator"]:
            del plan["generator"]  # as adaptations of before there was one have it
        given = self._plan.queries
        plan["queries"] = None if given is None else given.read_text(encoding="utf-8")
        mine = {
            "plan": orjson.loads(orjson.dumps(plan)),
            "corpus": self._corpus.fingerprint,
            "encoder": self._before.build,
        }
        path = self._folder / "adapt.json"
        finished = (self._output / "modules.json").is_file()
        if self._fresh:
            if finished:
                raise RecipeError(
                    f"{self._output} holds an encoder already; move or remove it, or choose "
                    "another output"
                )
            shutil.rmtree(self._folder, ignore_errors=True)
        if path.is_file() and read_object(path) != mine:
            raise RecipeError(
                f"{self._folder} holds an adaptation with another corpus, encoder or settings; "
                "repeat them, choose another output, or start over (--fresh)."
            )
        if finished and not path.is_file():
            raise RecipeError(
                f"{self._output} holds an encoder already; move or remove it, or choose another "
                "output"
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(path, mine)

    # ---- steps

    def _refresh(self) -> None:
        """The encoder with the idf of the whole corpus, in refreshed/."""
        encoder = self._before
        place = self._named("refreshed")
        if not self._has_idf or (place / "modules.json").is_file():
            return
        texts = (document.text(encoder.text_fields) for document in self._corpus.documents())
        if isinstance(encoder, JoinedEncoder):
            refresh_words(encoder, texts, place, corpus=self._corpus.fingerprint)
            return
        assert isinstance(encoder, InferenceFreeEncoder)
        counts = count_tokens(texts, encoder.queries.tokenizer, corpus=self._corpus.fingerprint)
        record = {"corpora": list(counts.corpora), "n_passages": counts.n_passages}
        save_with_table(encoder, counts.idf(n_terms=encoder.n_terms), place, record=record)

    def _make_queries(self) -> None:
        plan, place = self._plan, self._folder / "collection"
        if not place.is_dir():
            writing = None
            if self._writer is not None:
                writing = Writing(
                    self._writer,
                    self._folder / "written",
                    deadline=self._deadline.at,
                    quiet=self._quiet,
                )
            write_collection(
                place,
                self._corpus,
                self._before.text_fields,
                max_documents=plan.max_documents,
                held_out=plan.held_out,
                seed=plan.seed,
                writing=writing,
            )
            self._writer = None  # gigabytes, which training has better use for
        done = self._folder / "given.json"
        if plan.queries is not None and not done.is_file():
            data = read_collection(place)
            n = use_given_queries(
                place,
                plan.queries,
                data,
                [self._bm25(data.texts), self._ranker_before(data)],
                teacher=plan.teacher,
                parts=self._parts("answers"),
            )
            write_json(done, {"queries": n})
        shutil.rmtree(self._folder / "answers", ignore_errors=True)

    def _mine(self) -> None:
        path = self._folder / "collection" / _NEGATIVES
        if not path.is_file():
            self._write_negatives(path)
        shutil.rmtree(self._folder / "negatives", ignore_errors=True)

    def _write_negatives(self, path: Path) -> None:
        data = self._data
        qrels = load_dataset(str(self._folder / "collection")).qrels("train")
        row_of = {doc_id: row for row, doc_id in enumerate(data.doc_ids)}
        queries = data.queries["train"]
        positives = [
            np.asarray([row_of[doc_id] for doc_id in qrels[query.query_id]], np.int32)
            for query in queries
        ]
        mined = mine_texts(
            self._mining_plan(),
            [query.text for query in queries],
            positives,
            data.texts,
            rankers=[self._bm25(data.texts), self._ranker_before(data)],
            quiet=self._quiet,
            parts=self._parts("negatives"),
        )
        with atomic_write(path) as file:
            for query, found in zip(queries, mined, strict=True):
                names = [data.doc_ids[row] for row in found.rows.tolist()]
                file.write(orjson.dumps({"_id": query.query_id, "neg": names}) + b"\n")

    def _mining_plan(self) -> MiningPlan:
        teacher, seed = self._plan.teacher, self._plan.seed
        if not teacher:
            return MiningPlan.of(["bm25"], _WINDOWS, seed=seed)
        logits = teacher.startswith(CROSS_ENCODER)
        return MiningPlan.of(
            ["bm25"],
            _WINDOWS_JUDGED,
            share=None if logits else _SHARE,
            margin=_MARGIN if logits else None,
            teacher=teacher,
            seed=seed,
        )

    def _train(self) -> None:
        if (self._output / "modules.json").is_file():
            return
        plan, data, words = self._plan, self._data, 0.0
        network = network_of(self._refreshed, plan.encoder)
        start = self._start
        if network is not self._refreshed:
            start = self._named("network")
            if not (start / "modules.json").is_file():
                network.save(start)
        if start.is_relative_to(self._folder):
            self._copy_readme(start)
        if isinstance(self._refreshed, JoinedEncoder):
            words = self._refreshed.weight
        sample = [query.text for query in data.queries["train"][:200]]
        recipe = adapt_recipe(
            network,
            start,
            self._folder / "collection",
            name=self._output.name,
            document_terms=self._document_terms(network),
            query_terms=float(np.diff(network.encode_queries(sample).indptr).mean()),
            steps=plan.steps,
            batch=min(plan.batch, len(data.queries["train"])),
            negatives=plan.negatives,
            learning_rate=plan.learning_rate,
            teacher=plan.teacher,
            seed=plan.seed,
            words=words,
            settings=plan.settings,
        )
        place = self._folder / "trained"
        if not (place / "modules.json").is_file():
            report = run_recipe(
                recipe, place, resume=True, quiet=self._quiet, stop_after=self._deadline.left()
            )
            if not report.finished:
                raise OutOfTimeError
        self._finish(assemble(self._refreshed, place, self._folder / "assembled", data.texts))

    def _named(self, kind: str) -> Path:
        """A folder of the encoder's name: a record of training tells what it started from so."""
        return self._folder / kind / self._before.name.replace("/", "-")

    def _copy_readme(self, place: Path) -> None:
        """What the encoder's README says of licence and data goes with its copies."""
        folder = self._before.folder
        if folder is not None and (folder / "README.md").is_file():
            shutil.copyfile(folder / "README.md", place / "README.md")

    def _document_terms(self, network: Adaptable) -> float:
        """Measured once: a resumed run must find the recipe that it began with."""
        path = self._folder / "terms.json"
        if not path.is_file():
            length = training_length(network)
            mean = terms_in_training(network, self._data.texts, max_length=length)
            write_json(path, {"document": mean, "tokens": length})
        return float(read_object(path)["document"])

    def _finish(self, place: Path) -> None:
        """Give the trained encoder the fields and windows of the old one, and its place."""
        assert isinstance(self._before, Adaptable | JoinedEncoder)
        old, card = self._before.card, read_object(place / CARD)
        card["name"] = self._output.name
        card["text_fields"] = list(old.text_fields)
        if old.window_overlap is not None:
            card["window_overlap"] = old.window_overlap
        card["adapted"] = {
            "from": old.name,
            "build": self._before.build,
            "corpus": self._corpus.fingerprint,
        }
        refreshed = self._named("refreshed") / CARD
        if refreshed.is_file():
            card["idf"] = read_object(refreshed)["idf"]
        write_json(place / CARD, card)
        add_record(place, card["training"])
        self._output.parent.mkdir(parents=True, exist_ok=True)
        place.rename(self._output)

    def _measure(self) -> None:
        data = self._data
        collection = load_dataset(str(self._folder / "collection"))
        self.table["held-out queries"] = self._compare(
            "held-out",
            data.doc_ids,
            data.texts,
            data.queries[HELD_OUT],
            collection.qrels(HELD_OUT),
            vectors=self._folder / "vectors",
        )
        for number, dataset in enumerate(self._judged):
            ids, texts = _texts(dataset, self._before.text_fields)
            convention = convention_of(dataset.name, self._plan.split)
            split = convention.split
            key = f"judged-{number}-{dataset.fingerprint}-{split}"
            self.table[f"{dataset.name} {split}"] = self._compare(
                key,
                ids,
                texts,
                dataset.queries(split),
                dataset.qrels(split),
                vectors=self._folder / f"vectors-{key}",
                convention=convention,
            )
        plain = {"systems": list(SYSTEMS), "collections": self.table}
        with atomic_write(self._folder / "report.json") as file:
            file.write(orjson.dumps(plain, option=orjson.OPT_INDENT_2))

    # ---- what steps share

    def _parts(self, name: str) -> Parts:
        """A folder for what a step has found so far; it goes when the step is done."""
        return Parts(self._folder / name, self._deadline.at)

    @cached_property
    def _data(self) -> AdaptData:
        return read_collection(self._folder / "collection")

    @property
    def _start(self) -> Path:
        """The folder of the encoder that training starts from: refreshed, or as given."""
        place = self._named("refreshed")
        if (place / "modules.json").is_file():
            return place
        assert self._before.folder is not None
        return self._before.folder.absolute()

    @cached_property
    def _refreshed(self) -> SparseEncoder:
        return load_encoder(self._start)

    @property
    def _has_idf(self) -> bool:
        """Whether there are query weights to refresh."""
        return isinstance(self._before, InferenceFreeEncoder | JoinedEncoder)

    def _bm25(self, texts: list[str]) -> SparseRanker:
        return SparseRanker(BM25Encoder.fit(texts), texts, quiet=True)

    def _vectors_before(self, data: AdaptData) -> Any:
        return kept_vectors(
            self._folder / "vectors" / "before",
            self._before,
            data.texts,
            deadline=self._deadline,
            quiet=self._quiet,
        )

    def _ranker_before(self, data: AdaptData) -> SparseRanker:
        return SparseRanker(self._refreshed, data.texts, vectors=self._vectors_before(data))

    def _compare(
        self,
        key: str,
        doc_ids: list[str],
        texts: list[str],
        queries: list[Query],
        qrels: Qrels,
        *,
        vectors: Path,
        convention: Convention = _PLAIN,
    ) -> dict[str, dict[str, Any]]:
        """Measure every system that there is; the old and the refreshed table share vectors."""

        def over(encoder: SparseEncoder, name: str) -> SparseRanker:
            made = kept_vectors(
                vectors / name, encoder, texts, deadline=self._deadline, quiet=self._quiet
            )
            return SparseRanker(encoder, texts, vectors=made)

        makers = {
            "bm25": lambda: self._bm25(texts),
            "before": lambda: over(self._before, "before"),
            "idf": lambda: over(self._refreshed, "before"),
            "after": lambda: over(load_encoder(self._output), "after"),
        }
        rows: dict[str, dict[str, Any]] = {}
        for name in SYSTEMS:
            if name == "idf" and not self._has_idf:
                continue
            self._deadline.check()
            path = self._folder / "measures" / f"{key}-{name}.json"
            rows[name] = kept_measures(
                path, makers[name], queries, doc_ids, qrels, convention=convention
            )
        low, high = interval(rows["before"]["per_query"], rows["after"]["per_query"])
        rows["after"] = {**rows["after"], "gain_95": [low, high]}
        return {
            name: {k: v for k, v in row.items() if k != "per_query"} for name, row in rows.items()
        }


def _texts(dataset: Dataset, text_fields: tuple[str, ...]) -> tuple[list[str], list[str]]:
    pairs = [(document.doc_id, document.text(text_fields)) for document in dataset.documents()]
    return [doc_id for doc_id, _ in pairs], [text for _, text in pairs]
