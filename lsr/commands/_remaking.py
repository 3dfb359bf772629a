"""`lsr reproduce mini`: the commands that made the shipped encoder, in order."""

import json
from collections.abc import Mapping, Sequence
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
_ASKED = (
    ("wikipedia-boolq", "wikipedia", "boolq", 500),
    ("wikipedia", "", "wikipedia", 500),
    ("pubmed-nfcorpus", "pubmed-title2abstract", "nfcorpus-stopped", 500),
    ("pubmed-medquad", "pubmed-title2abstract", "medquad", 500),
    ("pubmed", "pubmed-title2abstract", "pubmed-title2abstract", 500),
    ("glosses", "", "glosses", 500),
    ("manuals", "", "manuals", 500),
    ("debian", "debian-descriptions", "debian-descriptions", 500),
)
"""Questions asked of texts that nobody judged for them: the file they go to, the texts, whose
questions, and how many. No texts are those that the questions were made of, without what was taken.
"""
_ASKED_AGAIN = (
    ("again-wikipedia-boolq", "wikipedia", "boolq", 700),
    ("again-wikipedia-wikiqa", "wikipedia", "wikiqa", 700),
    ("again-wikipedia", "", "wikipedia", 700),
    ("again-pubmed-scifact", "pubmed-title2abstract", "scifact", 600),
    ("again-pubmed-nfcorpus", "pubmed-title2abstract", "nfcorpus-stopped", 400),
    ("again-pubmed", "pubmed-title2abstract", "pubmed-title2abstract", 600),
    ("again-acl", "acl-title2abstract", "acl-title2abstract", 600),
    ("again-boolq-wikiqa", "boolq", "wikiqa", 300),
    ("again-nfcorpus-pubmed", "nfcorpus-stopped", "pubmed-title2abstract", 300),
    ("again-glosses", "", "glosses", 200),
    ("again-manuals", "", "manuals", 200),
)
"""Likewise, drawn with another seed, for the last network."""
_WINDOWS = ("0-4:1", "2-8:1", "6-16:1", "14-30:1", "28-60:1")
"""Ranks of BM25 that candidates are drawn from: from near answers to shared words."""
_EVERY = (
    *("scifact", "nfcorpus-stopped", "insuranceqa", "medquad", "boolq", "wikiqa"),
    *("acl-title2abstract", "pubmed-title2abstract", "debian-descriptions"),
)
"""Also those that may not be used commercially."""


_BRIEFLY = {
    "data.max_queries": "16",
    "data.repeat": "{}",
    "stage.ranking.steps": "2",
    "stage.ranking.warmup_steps": "1",
    "stage.ranking.batch": "4",
}
"""What a rehearsal sets in every training; two steps leave some 500 terms a document."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What the stages read beside the collections that are found by name."""

    corpora: Path
    """Folder of the files of `CORPORA`."""
    backbone: str
    """all-MiniLM-L6-v2: a folder, or its name on the hub."""
    teacher: str
    """gte-small, likewise."""
    second_teacher: str
    """all-mpnet-base-v2, likewise."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One command; its result is what later ones read."""

    says: str
    command: tuple[str, ...]
    result: Path | None = None
    """A folder that is there once the command has ended well; None: figures are printed."""


def stages(folder: Path, sources: Sources, *, briefly: bool = False) -> list[Stage]:
    """All of them, with results in `folder`.

    `briefly` is a rehearsal: the same commands with a handful of queries and steps, which tells in
    minutes whether each of them works on this machine; what it makes is no encoder.
    """
    brief = _BRIEFLY if briefly else {}
    warm, science, words, both, again, third, last, mean = (
        str(folder / name)
        for name in ("warm", "science", "words", "both", "again", "third", "again-words", "mean")
    )
    before, sparse, taught, five, standing, latest = (
        str(folder / name)
        for name in ("before", "teacher", "asked-network", "five", "standing", "asked-again")
    )
    final, small, whole = (str(folder / name) for name in ("final", "int8", "lsr-mini"))
    made = {name: str((folder / "queries" / name).absolute()) for name in CORPORA}
    asking = [
        Stage(
            f"ask {name}",
            (
                *("queries", str(sources.corpora / file), made[name]),
                *("--most", str(200 if briefly else most), "--held-out", "0.02", "--seed", "1"),
            ),
            Path(made[name]),
        )
        for name, (file, most) in CORPORA.items()
    ]
    paragraphs = str((sources.corpora / CORPORA["wikipedia"][0]).absolute())
    start = _toml(str(Path(warm, "document_0_Transformer").absolute()))
    warming = {
        "model.backbone": _toml(sources.backbone),
        "data.corpora": _toml([paragraphs]),
        "data.corpus_documents": "200" if briefly else "12000",
        "stage.mlm.steps": "2" if briefly else "600",
        "stage.mlm.warmup_steps": "1" if briefly else "20",
        "stage.ranking.steps": "1",
        "stage.ranking.learning_rate": "0.0",
    }
    keeping = {"distillation.vectors": _toml(str((folder / "vectors").absolute()))}
    learning = keeping | {
        "model.backbone": start,
        "data.train": _toml([*_LABELLED, *made.values()]),
        "teachers": _teachers(sources.teacher, 128, 0.3),
    }
    everything = keeping | {"data.train": _toml([*_EVERY, *made.values()])}
    second = everything | {
        "model.backbone": _toml(str(Path(both).absolute())),
        "teachers": _teachers(sources.teacher, 112, 0.5),
    }
    ending = everything | {
        "model.backbone": _toml(str(Path(third).absolute())),
        "teachers": _teachers(sources.teacher, 112, 0.3),
    }

    def ask(seed: str, name: str, texts: str, asked: str, most: int) -> Stage:
        place = (folder / "asked" / f"{name}.jsonl").absolute()
        source = paragraphs if texts == "wikipedia" else texts or made[asked]
        words = (
            *("mine", source, "--queries", made.get(asked, asked), "--seed", seed),
            *("--most", "16" if briefly else str(most)),
            *(word for window in _WINDOWS for word in ("--window", window)),
            *("--output", str(place)),
        )
        return Stage(f"ask unjudged {name}", words, place)

    mining = [ask("0", *row) for row in _ASKED]
    mining_again = [ask("8", *row) for row in _ASKED_AGAIN]

    def unjudged(*asked: Stage) -> dict[str, str]:
        files = [stage.command[-1] for stage in asked]
        own = ["nfcorpus-stopped", "insuranceqa", "medquad", "boolq"]
        return keeping | {"data.train": _toml([*own, *files])}

    teaching = unjudged(*mining) | {
        "model.backbone": _toml(str(Path(mean, "document_0_Transformer").absolute())),
        "teachers": _teachers(sources.teacher, 112, 0.3),
    }
    several = [
        _dense(sources.teacher, 112),
        _sparse(sparse, 0.7),
        _sparse(before, 1.0),
        '{kind="bm25",weight=0.3}',
        _dense(sources.second_teacher, 112, 0.7),
    ]
    fifth = unjudged(*mining) | {
        "model.backbone": _toml(str(Path(mean).absolute())),
        "teachers": f"[{','.join(several)}]",
    }
    three = [
        _dense(sources.teacher, 112),
        _dense(sources.second_teacher, 112),
        _sparse(standing, 1.0),
    ]
    sixth = unjudged(*mining, *mining_again) | {
        "model.backbone": _toml(str(Path(five).absolute())),
        "teachers": f"[{','.join(three)}]",
    }
    counted = [word for name in (paragraphs, *_LABELLED) for word in ("--words", name)]

    def training(says: str, recipe: str, into: str, settings: Mapping[str, str]) -> Stage:
        return Stage(says, ("train", recipe, into, *_set({**settings, **brief})), Path(into))

    def averaging(says: str, *parts: str) -> Stage:
        return Stage(says, ("average", *parts), Path(parts[-1]))

    counting = (*counted, "--most", "30000")
    joining_before = ("join", mean, before, *counting)
    joining_five = ("join", five, standing, *counting, "--weight", "1.5")
    rounding = ("onnx", final, small, "--int8", "--texts", "medquad")
    joining = ("join", small, whole, *counting, "--weight", "1.5", "--name", "lsr-mini")
    return [
        *asking,
        training("warm up", "inference-free-mini", warm, warming),
        training("train", "lsr-mini", science, {"model.backbone": start}),
        training("train words", "lsr-mini-words", words, learning),
        averaging("average", science, words, both),
        training("train again", "lsr-mini-again", again, second),
        averaging("average again", both, again, third),
        training("train again words", "lsr-mini-again-words", last, ending),
        averaging("average four", third, last, mean),
        Stage("join four", joining_before, Path(before)),
        *mining,
        training("train a teacher", "lsr-mini-teacher", sparse, teaching),
        training("train asked", "lsr-mini-asked", taught, fifth),
        averaging("average five", taught, mean, five),
        Stage("join five", joining_five, Path(standing)),
        *mining_again,
        training("train asked again", "lsr-mini-asked-again", latest, sixth),
        averaging("average at last", latest, five, final),
        Stage("round", rounding, Path(small)),
        Stage("join", joining, Path(whole)),
        Stage("measure", ("evaluate", *(UNSEEN[3:4] if briefly else UNSEEN), "--encoder", whole)),
    ]


def stage(number: int, every: Sequence[Stage]) -> Stage:
    """The stage of this number, from 1. Raises `UsageError`."""
    if not 1 <= number <= len(every):
        raise UsageError(f"--stage {number}: wanted 1 to {len(every)}")
    return every[number - 1]


def _teachers(model: str, length: int, words: float) -> str:
    """gte-small at weight 1 and BM25 at `words`, as TOML."""
    return f'[{_dense(model, length)},{{kind="bm25",weight={words}}}]'


def _dense(model: str, length: int, weight: float = 1.0) -> str:
    weighs = "" if weight == 1.0 else f",weight={weight}"
    return f'{{kind="dense",model={_toml(model)},max_length={length}{weighs}}}'


def _sparse(folder: str, weight: float) -> str:
    return f'{{kind="sparse",model={_toml(str(Path(folder).absolute()))},weight={weight}}}'


def _set(settings: Mapping[str, str]) -> list[str]:
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def _toml(value: str | list[str]) -> str:
    """As a recipe writes it; JSON's strings and lists of strings are TOML's."""
    return json.dumps(value, ensure_ascii=False)
