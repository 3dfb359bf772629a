"""`lsr reproduce mini --stage N`: the commands that made the shipped encoder, in order."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError

NAME = "mini"
UNSEEN = ("cranfield", "cisi", "cacm", "medline", "vaswani", "python-docs")
"""Collections of which nothing was trained on, chosen by or counted."""
CORPORA = {
    "wikipedia": ("enwik8-paragraphs.jsonl.gz", 12_000),
    "manuals": ("debian-docs.jsonl.gz", 6_000),
    "glosses": ("wordnet-glosses.jsonl.gz", 12_000),
}
"""Texts without labels whose titles and first sentences ask: file, and documents drawn."""
_LABELLED = ("insuranceqa", "medquad", "boolq", "pubmed-title2abstract", "debian-descriptions")
_EVERY = (
    *("scifact", "nfcorpus-stopped", "insuranceqa", "medquad", "boolq", "wikiqa"),
    *("acl-title2abstract", "pubmed-title2abstract", "debian-descriptions"),
)
"""Also those that may not be used commercially."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What the stages read beside the collections that are found by name."""

    corpora: Path
    """Folder of the files of `CORPORA`."""
    backbone: str
    """all-MiniLM-L6-v2: a folder, or its name on the hub."""
    teacher: str
    """gte-small, likewise."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One command; its result is what later ones read."""

    says: str
    command: tuple[str, ...]


def stages(folder: Path, sources: Sources) -> list[Stage]:
    """All of them, with results in `folder`."""
    warm, science, words, both, again, third, last, mean, small, whole = (
        str(folder / name)
        for name in (
            *("warm", "science", "words", "both", "again", "third", "again-words", "mean"),
            *("int8", "lsr-mini"),
        )
    )
    made = {name: str((folder / "queries" / name).absolute()) for name in CORPORA}
    asking = [
        Stage(
            f"ask {name}",
            (
                *("queries", str(sources.corpora / file), made[name]),
                *("--most", str(most), "--held-out", "0.02", "--seed", "1"),
            ),
        )
        for name, (file, most) in CORPORA.items()
    ]
    paragraphs = str((sources.corpora / CORPORA["wikipedia"][0]).absolute())
    start = _toml(str(Path(warm, "document_0_Transformer").absolute()))
    warming = {
        "model.backbone": _toml(sources.backbone),
        "data.corpora": _toml([paragraphs]),
        "data.corpus_documents": "12000",
        "stage.mlm.steps": "600",
        "stage.mlm.warmup_steps": "20",
        "stage.ranking.steps": "1",
        "stage.ranking.learning_rate": "0.0",
    }
    learning = {
        "model.backbone": start,
        "data.train": _toml([*_LABELLED, *made.values()]),
        "teachers": _teachers(sources.teacher, 128, 0.3),
    }
    everything = {"data.train": _toml([*_EVERY, *made.values()])}
    second = everything | {
        "model.backbone": _toml(str(Path(both).absolute())),
        "teachers": _teachers(sources.teacher, 112, 0.5),
    }
    ending = everything | {
        "model.backbone": _toml(str(Path(third).absolute())),
        "teachers": _teachers(sources.teacher, 112, 0.3),
    }
    counted = [word for name in (paragraphs, *_LABELLED) for word in ("--words", name)]
    return [
        *asking,
        Stage("warm up", ("train", "inference-free-mini", warm, *_set(warming))),
        Stage("train", ("train", "lsr-mini", science, *_set({"model.backbone": start}))),
        Stage("train words", ("train", "lsr-mini-words", words, *_set(learning))),
        Stage("average", ("average", science, words, both)),
        Stage("train again", ("train", "lsr-mini-again", again, *_set(second))),
        Stage("average again", ("average", both, again, third)),
        Stage("train again words", ("train", "lsr-mini-again-words", last, *_set(ending))),
        Stage("average at last", ("average", third, last, mean)),
        Stage("round", ("onnx", mean, small, "--int8", "--texts", "medquad")),
        Stage("join", ("join", small, whole, *counted, "--most", "30000", "--name", "lsr-mini")),
        Stage("measure", ("evaluate", *UNSEEN, "--encoder", whole)),
    ]


def stage(number: int, folder: Path, sources: Sources) -> Stage:
    """The stage of this number, from 1. Raises `UsageError`."""
    every = stages(folder, sources)
    if not 1 <= number <= len(every):
        raise UsageError(f"--stage {number}: wanted 1 to {len(every)}")
    return every[number - 1]


def _teachers(model: str, length: int, words: float) -> str:
    """gte-small at weight 1 and BM25 at `words`, as TOML."""
    dense = f'{{kind="dense",model={_toml(model)},max_length={length}}}'
    return f'[{dense},{{kind="bm25",weight={words}}}]'


def _set(settings: Mapping[str, str]) -> list[str]:
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def _toml(value: str | list[str]) -> str:
    """As a recipe writes it; JSON's strings and lists of strings are TOML's."""
    return json.dumps(value, ensure_ascii=False)
