"""What `service_bench.py` serves: 200,000 documents, and queries to ask of them, as HTTP bodies.

The vectors are those of `vectors.py`. An inference-free query is a text: its terms are words of a
made-up vocabulary, which the index's own query encoder splits and looks up, as it would a question.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from vectors import VectorSet, ensure, load

from index import Index, empty_index
from lsr.encoders.card import Card
from lsr.encoders.inference_free import InferenceFreeEncoder
from lsr.encoders.table import QueryTable
from lsr.encoders.tokens import TextTokenizer
from lsr.types import Document, SparseMatrix

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
N_BUCKETS = 100
"""Documents have one of so many values in the field `bucket`: a range of n of them selects n %."""
FIELDS = {"bucket": "int"}


@dataclass(frozen=True)
class World:
    """An index, and bodies of searches for it."""

    name: str
    path: Path
    source: str
    n_docs: int
    queries: SparseMatrix

    def vector_bodies(self, **options: Any) -> list[bytes]:
        """Each query as a vector."""
        bodies = []
        for at in range(self.queries.shape[0]):
            a, b = self.queries.indptr[at : at + 2]
            vector = {
                "indices": self.queries.indices[a:b].tolist(),
                "values": [round(float(one), 4) for one in self.queries.data[a:b]],
            }
            bodies.append(orjson.dumps({"query": {"vector": vector}, **options}))
        return bodies

    def text_bodies(self, **options: Any) -> list[bytes]:
        """Each query as a text."""
        bodies = []
        for at in range(self.queries.shape[0]):
            a, b = self.queries.indptr[at : at + 2]
            text = " ".join(map(word, self.queries.indices[a:b].tolist()))
            bodies.append(orjson.dumps({"query": {"text": text}, **options}))
        return bodies


def word(term: int) -> str:
    """A word that only this term has.

    >>> word(0), word(30521)
    ('bababa', 'degebe')
    """
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    base = len(syllables)
    return "".join(syllables[term // base**power % base] for power in (2, 1, 0))


def encoder_of(queries: SparseMatrix, n_terms: int) -> InferenceFreeEncoder:
    """The query side that gives each term the mean of its weights in `queries`."""
    vocabulary = {special: at for at, special in enumerate(SPECIAL)}
    vocabulary |= {word(term): term for term in range(len(SPECIAL), n_terms)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    counts = np.bincount(queries.indices, minlength=n_terms)
    sums = np.bincount(queries.indices, weights=queries.data, minlength=n_terms)
    weights = np.where(counts > 0, sums / np.maximum(counts, 1), 1.0).astype(np.float32)
    weights[: len(SPECIAL)] = 0.0
    card = Card("bench-free", max_weight=4.0, space="0123456789abcdef", build="0" * 16)
    return InferenceFreeEncoder(QueryTable(TextTokenizer.of(tokenizer), weights), None, card)


def world(set_name: str, data: Path) -> World:
    """The index of a set, built unless it lies in `data`."""
    folder = ensure(set_name, data)
    vectors = VectorSet.whole(folder)
    queries = load(folder, "queries")
    path = data / f"service-{set_name}.index"
    if not path.exists():
        encoder = encoder_of(queries, vectors.n_terms)
        with empty_index(path, encoder, fields=FIELDS) as index:  # type: ignore[arg-type]
            fill(index, vectors)
    source = orjson.loads((folder / "set.json").read_bytes())["source"]
    return World(set_name, path, source, vectors.n_docs, queries)


def fill(index: Index, vectors: VectorSet) -> None:
    """Every document of a set."""
    with index.bulk("service benchmark", memory="1GiB") as bulk:
        for first, batch in vectors.batches(20_000):
            bulk.add([document(first + at) for at in range(batch.shape[0])], batch)


def document(number: int) -> Document:
    """A title of eight words, and a bucket that has nothing to do with the vectors."""
    title = " ".join(word((number * 7919 + at * 104729) % 30_000) for at in range(8))
    return Document(str(number), {"title": title, "bucket": (number * 2654435761 >> 7) % N_BUCKETS})
