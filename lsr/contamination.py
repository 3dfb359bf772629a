"""Whether a system has seen the collection it is measured on: what its cards admit, in sentences.

Four sources: the training record that `lsr train` writes into `lsr.json`, the `datasets:` of a
model card's front matter, what publishers say of the few models many others start from, and the
`trained_on` of the table of published figures, for models known by name. No
sentence is no proof of innocence: most models do not say what they have read.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .encoders.card import CARD
from .encoders.folder import read_object
from .encoders.stated import front_matter
from .published import Published, read_published

_FAMILIES = {
    "msmarco": r"ms[-_ ]?marco|\bdl-?(20)?(19|20)\b|trec-?dl",
    "nq": r"\bnq\b|natural[-_ ]?questions",
    "squad": r"squad|xquad",
    "quora": r"quora|\bqqp\b",
    "stackexchange": r"stack[-_ ]?(exchange|overflow)|cqadupstack|askubuntu",
    "scidocs": r"scidocs|specter",
    "hotpotqa": r"hotpot[-_ ]?qa",
    "fever": r"(?<!climate)(?<!climate-)(?<!climate_)fever",
    "climate-fever": r"climate[-_]?fever",
    "triviaqa": r"trivia[-_ ]?qa",
}
"""Collections that go by several names, or share their texts or questions with one another: XQuAD
is a part of SQuAD, CQADupStack of Stack Exchange, TREC DL of MS MARCO."""

_SBERT_ALL = ("msmarco", "nq", "squad", "quora", "stackexchange", "scidocs", "triviaqa")
_GTE = ("msmarco", "nq", "squad")
"""What could be confirmed; the paper's whole list was not at hand, and no mark is no proof."""

UPSTREAM: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (r"all-minilm-l\d+|all-mpnet-base", _SBERT_ALL, "the model card's table of training data"),
    (r"\bgte-(small|base|large)\b", _GTE, "arXiv 2308.03281"),
    (
        r"ms-?marco|splade[-_]?(v\d|pp|cocondenser)|efficient-splade|opensearch-neural-sparse",
        ("msmarco",),
        "its name",
    ),
)
"""(pattern of the model's name, families it was trained on, who says so)."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One reason for a mark: what was seen, and who says so."""

    what: str
    says: str

    def __str__(self) -> str:
        return f"{self.what} ({self.says})"


def contamination(
    folders: Iterable[Path], *, dataset: str, split: str, fingerprint: str
) -> tuple[Seen, ...]:
    """Why figures of a system made of these model folders on this collection are not zero-shot.

    `fingerprint` is the collection's own: the same texts under another name are found by it.
    """
    found: dict[Seen, None] = {}
    for folder in folders:
        for seen in _of_folder(folder, dataset, split, fingerprint):
            found.setdefault(seen)
    return tuple(found)


def contamination_of(
    record: Mapping[str, Any], *, dataset: str, split: str, fingerprint: str
) -> tuple[Seen, ...]:
    """The same of one training record, for the card that is made of it."""
    return tuple(dict.fromkeys(_of_training(record, dataset, split, fingerprint)))


def family(name: str) -> str:
    """What a collection's name has in common with its relatives'.

    >>> family("irds:beir/nfcorpus/train"), family("nfcorpus-stopped"), family("xquad-en")
    ('nfcorpus', 'nfcorpus', 'squad')
    """
    for known, pattern in _FAMILIES.items():
        if re.search(pattern, name, re.I):
            return known
    bare = re.sub(r"^irds:|/(train|test|dev)$", "", name.lower())
    bare = re.sub(r"\.(jsonl|json|tsv)(\.gz|\.zst)?$", "", bare).rsplit("/", 1)[-1]
    return re.sub(r"-(mini|stopped|small|sample)$", "", re.sub(r"^nano", "", bare))


def _families(said: str) -> set[str]:
    """All that a sentence names: what publishers say of a model's data is often one of several."""
    return {one for one, pattern in _FAMILIES.items() if re.search(pattern, said, re.I)} or {
        family(said)
    }


def _of_folder(folder: Path, dataset: str, split: str, fingerprint: str) -> Iterator[Seen]:
    card = read_object(folder / CARD) if (folder / CARD).is_file() else {}
    record = card.get("training")
    own = _called(folder)
    if isinstance(record, Mapping):  # it knows better than names and the README made of it
        yield from _of_training(record, dataset, split, fingerprint)
        return
    named = folder.name if own == folder.resolve().name else own
    known_as = [own, named, str(card.get("name", ""))]  # a link may bear the model's name
    for said in front_matter(folder, "datasets"):
        if family(said) == family(dataset):
            yield Seen(f"{own} was trained on {said}", "its model card")
    yield from _of_names([*known_as, *front_matter(folder, "base_model")], dataset)


def _called(folder: Path) -> str:
    """A folder's name; of one in the hub's cache that of the model, not of the revision.

    >>> _called(Path("/hub/models--owner--name/snapshots/0123abcd"))
    'owner/name'
    """
    cached = folder.parent.parent.name
    if folder.parent.name == "snapshots" and cached.startswith("models--"):
        return cached.removeprefix("models--").replace("--", "/", 1)
    return folder.resolve().name


def _of_training(
    record: Mapping[str, Any], dataset: str, split: str, fingerprint: str
) -> Iterator[Seen]:
    """Of a record, of those behind it, and of the names of what all of them started from."""
    names = []
    for one in _records(record):
        yield from _of_record(one, dataset, split, fingerprint)
        names += _parents(one)
    yield from _of_names(names, dataset)


def _of_names(names: Iterable[str], dataset: str) -> Iterator[Seen]:
    for name in dict.fromkeys(filter(None, names)):
        for said in _published(name):
            if family(said) == family(dataset):
                yield Seen(f"{name} was trained on {said}", "the table of published figures")
        for pattern, families, says in UPSTREAM:
            if re.search(pattern, name, re.I) and family(dataset) in families:
                yield Seen(f"{name} was trained on {family(dataset)}", says)


def _published(name: str) -> tuple[str, ...]:
    """What the table of published figures says a model was trained on; none for one without."""
    short = name.partition("@")[0].rsplit("/", 1)[-1]
    found = (one for one in _table().system if one.encoder and Path(one.encoder).name == short)
    return tuple(said for one in found for said in one.trained_on)


@cache
def _table() -> Published:
    return read_published()


def _records(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The record, those of the encoders it was averaged with (`lsr average`) or started from."""
    yield record
    for start in ("backbone", "query_backbone"):
        before = record.get(start, {}).get("training")
        if isinstance(before, Mapping):
            yield from _records(before)
    for other in record.get("averaged", {}).get("others", []):
        yield from _records(other)


def _of_record(
    record: Mapping[str, Any], dataset: str, split: str, fingerprint: str
) -> Iterator[Seen]:
    says = "its training record"
    for source in record.get("data", []):
        same = source.get("fingerprint") == fingerprint
        name = str(source.get("name", ""))
        if same or family(name) == family(dataset):
            which = source.get("split") or "all"
            these = "these very judgements" if same and which == split else f"its {which} split"
            yield Seen(f"trained on {name}, {these}", says)
    develop = record.get("development")
    ranked = str(develop.get("name", "")) if isinstance(develop, Mapping) else ""
    if isinstance(develop, Mapping) and family(dataset) in map(family, ranked.split(", ")):
        yield Seen(f"its weights were chosen on {ranked} {develop.get('split')}", says)
    for name in record.get("recipe", {}).get("model", {}).get("seen", []):
        if family(dataset) in _families(name):
            yield Seen(f"what it started from, or a teacher, was trained on {name}", says)


def _parents(record: Mapping[str, Any]) -> list[str]:
    """Names of the backbones and of the teachers, from which what they saw may be inherited."""
    recipe = record.get("recipe", {})
    teachers = [str(teacher.get("model", "")) for teacher in recipe.get("teachers", [])]
    starts = [str(record.get(one, {}).get("name", "")) for one in ("backbone", "query_backbone")]
    return [*starts, *teachers]
