"""MTEB drives our retrievers: its `SearchProtocol` over anything that opens on a collection.

MTEB (Muennighoff et al., EACL 2023, arXiv 2210.07316; the protocol is of its version 2) hands over
a corpus, then queries, and measures what comes back: the whole system is judged, index included,
not a matrix of vectors. mteb is imported only to make a task or to say what the model is.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .conventions import convention_of, usual_split
from .datasets import Dataset, Unjudged
from .errors import DatasetError, MissingExtra, UsageError
from .types import Document, Retriever

if TYPE_CHECKING:
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.models import ModelMeta

Rows = Sequence[Mapping[str, Any]]
"""What `datasets.Dataset` is to us: rows that map columns to values, read as often as asked."""


class MtebSearch:
    """An `mteb.models.SearchProtocol`: `open_retriever` is given MTEB's corpus as a `Dataset`.

    `name` is `organisation/name` as MTEB files results, `revision` whatever changes when the
    system's answers may. One corpus is open at a time; what the retriever caches is its business.
    """

    def __init__(
        self, open_retriever: Callable[[Dataset], Retriever], *, name: str, revision: str
    ) -> None:
        self._open_retriever = open_retriever
        self._name, self._revision = name, revision
        self._retriever: Retriever | None = None
        self._corpus: MtebCorpus | None = None

    def index(
        self, corpus: Rows, *, task_metadata: Any, hf_split: str, hf_subset: str, **_: Any
    ) -> None:
        """Open a retriever on `corpus`, rows with `id`, `text` and perhaps `title`."""
        self.close()
        name = "-".join(["mteb", str(task_metadata.name), hf_subset, hf_split])
        self._corpus = MtebCorpus(name, corpus)
        self._retriever = self._open_retriever(self._corpus)

    def search(
        self,
        queries: Rows,
        *,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **_: Any,
    ) -> dict[str, dict[str, float]]:
        """Answer every query with its `top_k` best documents.

        With `top_ranked`, which re-ranking tasks give, all of a query's documents there are
        ordered; those that the retriever finds nothing in come last, with scores below 0.
        """
        if self._retriever is None or self._corpus is None:
            raise UsageError("MtebSearch.search before index: there is no corpus to search yet")
        texts = {str(row["id"]): _query_text(row) for row in queries}
        if top_ranked is None:
            return dict(self._retriever.search(texts, top_k))
        everything = len(self._corpus.rows)
        answers = {}
        for query_id, text in texts.items():  # one by one: each asks for the whole corpus
            found = self._retriever.search({query_id: text}, everything)[query_id]
            listed = top_ranked.get(query_id, ())
            missing = [doc_id for doc_id in listed if doc_id not in found]
            answers[query_id] = {doc_id: found[doc_id] for doc_id in listed if doc_id in found} | {
                doc_id: -float(place) for place, doc_id in enumerate(missing, start=1)
            }
        return answers

    @property
    def mteb_model_meta(self) -> "ModelMeta":
        """What MTEB files results under; nothing is claimed that we do not know."""
        _required("saying what a system is")
        from mteb.models import ModelMeta
        from mteb.models.model_meta import ScoringFunction

        return ModelMeta(
            loader=None,
            name=self._name,
            revision=self._revision,
            release_date=None,
            languages=None,
            n_parameters=None,
            memory_usage_mb=None,
            max_tokens=None,
            embed_dim=None,
            license=None,
            open_weights=None,
            public_training_code=None,
            public_training_data=None,
            framework=[],
            similarity_fn_name=ScoringFunction.DOT_PRODUCT,
            use_instructions=False,
            training_datasets=None,
            model_type=["sparse"],
        )

    def close(self) -> None:
        """Close the retriever, if it can be."""
        close = getattr(self._retriever, "close", None)
        self._retriever = None
        if close is not None:
            close()


class MtebCorpus(Unjudged):
    """A corpus that MTEB holds, as a `Dataset` without questions."""

    path: Path | None = None

    def __init__(self, name: str, rows: Rows) -> None:
        self.name = name
        self.rows = rows

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of every id and text."""
        digest = hashlib.sha256()
        for document in self.documents():
            parts = (document.doc_id, str(document.fields["title"]), str(document.fields["text"]))
            for part in parts:
                raw = part.encode("utf-8", "surrogatepass")
                digest.update(len(raw).to_bytes(8, "little") + raw)
        return digest.hexdigest()[:16]

    def documents(self) -> Iterator[Document]:
        """Stream the corpus, titles apart from texts as everywhere here."""
        for row in self.rows:
            text = row.get("text")
            if not isinstance(text, str):
                raise DatasetError(
                    f"{self.name}: document {row.get('id')!r} has no text; wanted a task of texts"
                )
            yield Document(str(row["id"]), {"title": row.get("title") or "", "text": text})

    def _no_judgements(self) -> DatasetError:
        return DatasetError(f"{self.name}: MTEB keeps queries and judgements to itself")


def local_task(source: Dataset, split: str | None = None) -> "AbsTaskRetrieval":
    """A judged collection as a task that MTEB evaluates without a network; by default its usual
    split.

    MTEB, too, takes a document with the query's id out where the collection's convention says so.
    """
    _required("an MTEB task")
    from datasets import Dataset as Table  # type: ignore[import-untyped]
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    part = usual_split(source.name, split)
    documents, queries = list(source.documents()), source.queries(part)
    judged = source.qrels(part)
    name = "".join(part.capitalize() for part in source.name.replace("/", "-").split("-"))

    class LocalRetrieval(AbsTaskRetrieval):
        ignore_identical_ids = convention_of(source.name, part).self_hits_removed
        metadata = TaskMetadata(
            name=name,
            description=f"The collection {source.name}, read from files.",
            dataset={"path": source.name, "revision": source.fingerprint},
            type="Retrieval",
            category="t2t",
            eval_splits=[part],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, num_proc: int | None = None, **_: Any) -> None:
            fields = [document.fields for document in documents]
            corpus = {
                "id": [document.doc_id for document in documents],
                "title": [str(one.get("title") or "") for one in fields],
                "text": [str(one.get("text") or "") for one in fields],
            }
            asked = {"id": [q.query_id for q in queries], "text": [q.text for q in queries]}
            self.dataset = {
                "default": {
                    part: {
                        "corpus": Table.from_dict(corpus),
                        "queries": Table.from_dict(asked),
                        "relevant_docs": judged,
                        "top_ranked": None,
                    }
                }
            }
            self.data_loaded = True

    return LocalRetrieval()


def _query_text(row: Mapping[str, Any]) -> str:
    text, instruction = row["text"], row.get("instruction")
    if not isinstance(text, str):
        raise UsageError(
            f"query {row['id']!r} is a {type(text).__name__}, a conversation; wanted a text"
        )
    return f"{text} {instruction}" if instruction else text


def _required(purpose: str) -> None:
    try:
        import mteb  # noqa: F401
    except ImportError as error:
        raise MissingExtra(purpose, extra="mteb", package="mteb") from error
