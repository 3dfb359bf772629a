"""What a comparison compares: runs in files, cells of `lsr evaluate`, live indexes and systems."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..conventions import conventional, depth
from ..errors import UsageError
from ..shipped import encoder_place
from ..systems import BM25, DENSE, System, is_dense, read_systems
from ._belonging import require_answers, require_documents
from ._entrants import OfFile
from ._explaining import Question
from ._judged import Judged
from ._kept import is_kept, kept_run, marks_of

if TYPE_CHECKING:
    from index import Index
    from lsr.datasets import Dataset
    from lsr.encoders import SparseEncoder
    from lsr.types import Retriever, Run

WANTED = (
    "a TREC run, an index, OUTPUT:SYSTEM of `lsr evaluate --output OUTPUT`, bm25, lsr-mini, an "
    "encoder's folder, dense:FOLDER or SYSTEMS.toml:NAME; for several collections also a folder or "
    "a quoted pattern whose names hold the collection's, a name with {} in its place, or "
    "DATASET=RUN,DATASET=RUN"
)
_RUN_SUFFIX = re.compile(r"\.(trec|run|txt|res|index)?(\.gz|\.zst)?$")


@dataclass(frozen=True)
class Side:
    """One system's answers on one collection, and where live, the index behind them."""

    name: str
    place: str
    """The file, index or system that answered."""
    run: "Run"
    asked_all: bool
    """Every judged query was asked: one without documents found nothing. A plain run file does not
    say whether it was asked."""
    index: "Index | None" = None
    encoder: "SparseEncoder | None" = None
    contamination: tuple[str, ...] = ()
    """Why its figures are not zero-shot, as far as its models' cards tell."""

    def question(self, text: str) -> Question | None:
        """Put a text to the live index; None for a run."""
        if self.index is None or self.encoder is None:
            return None
        return Question.put(self.name, self.index, self.encoder, text)


def names_of(targets: Sequence[str]) -> list[str]:
    """A short name for each target, all different.

    >>> names_of(["runs/bm25.trec", "ours-{}.index", "results:splade", "bm25"])
    ['runs/bm25.trec', 'ours', 'splade', 'bm25']
    """
    shorts = [_short(target) for target in targets]
    names = [t if shorts.count(s) > 1 else s for t, s in zip(targets, shorts, strict=True)]
    if len(set(names)) < len(names):
        raise UsageError(f"{', '.join(targets)}: one system is named twice; wanted different ones")
    return names


@contextmanager
def opened(
    target: str, name: str, judged: Judged, among: Sequence[Judged], k: int
) -> Iterator[Side]:
    """Find what `target` means for one collection `among` all and answer its judged queries."""
    place = located(target, judged, among)
    if is_index(Path(place)):
        from index import Index, query_encoder

        with Index.open(place, read_only=True) as index:
            require_documents(index, judged.qrels, judged.name)
            side = _live(name, place, index, query_encoder(index), judged, k)
            yield replace(side, contamination=_seen([Path(place) / "encoder"], judged))
        return
    folder, _, chosen = place.rpartition(":")
    if Path(place).is_file():
        yield _from_file(name, Path(place), judged)
    elif place == BM25 or (encoder_place(place) / "modules.json").is_file():
        from index import query_encoder

        from ._systems import cached_index, encoder_choice

        system = System(name, (place,))
        with cached_index(_source(place, judged), encoder_choice(place, system)) as index:
            encoder = query_encoder(index, None if place == BM25 else place)
            side = _live(name, place, index, encoder, judged, k)
            yield replace(side, contamination=_seen(OfFile(system).folders(), judged))
    elif is_dense(place) or (folder.endswith(".toml") and Path(folder).is_file()):
        from ._systems import open_system

        system = System(name, (place,)) if is_dense(place) else _of_file(Path(folder), chosen)
        with open_system(system, _source(place, judged)) as retriever:
            run = _answers(retriever, judged, k)
            seen = _seen(OfFile(system).folders(), judged)
            yield Side(name, place, run, asked_all=True, contamination=seen)
    else:
        raise UsageError(f"{place}: there is no such thing; wanted {WANTED}")


def located(target: str, judged: Judged, among: Sequence[Judged]) -> str:
    """The file, folder or name that `target` means for one of the collections."""
    parts = [part.partition("=") for part in target.split(",")]
    known = {name for one in among for name in (one.name, one.short)}
    if all(sign for _, sign, _ in parts) and any(key in known for key, _, _ in parts):
        mapped = {key: value for key, _, value in parts}
        value = mapped.get(judged.name, mapped.get(judged.short))
        if value is None:
            raise UsageError(f"{target}: names no run for {judged.name}; add {judged.short}=RUN")
        return located(value, judged, [judged])
    if "{}" in target:
        return located(target.replace("{}", judged.short), judged, [judged])
    folder, _, system = target.rpartition(":")
    if folder and is_kept(Path(folder)):
        return str(kept_run(Path(folder), system, judged))
    path = Path(target)
    if any(c in target for c in "*?[") and not path.exists():
        root = Path(path.anchor or ".")
        found = sorted(root.glob(str(path.relative_to(path.anchor) if path.anchor else path)))
        return str(_named(target, found, judged))
    if is_kept(path):
        return str(kept_run(path, None, judged))
    if path.is_dir() and not is_index(path) and not (path / "modules.json").is_file():
        return str(_named(target, sorted(path.iterdir()), judged))
    if (path.is_file() or is_index(path)) and len(among) > 1:
        mapping = ",".join(f"{one.short}=RUN" for one in among)
        raise UsageError(
            f"{target}: answers one collection, and there are {len(among)}: wanted {mapping}, or a "
            "name with {} in place of the collection's"
        )
    return target


def _named(target: str, found: Sequence[Path], judged: Judged) -> Path:
    """The one path whose name is that of the collection, or else holds it as a word."""
    word = re.compile(rf"(?:^|[/._-]){re.escape(judged.short)}(?:$|[/._-])")
    exact = [path for path in found if _RUN_SUFFIX.sub("", path.name) == judged.short]
    matching = exact or [path for path in found if word.search(str(path))]
    if len(matching) != 1:
        got = ", ".join(map(str, matching[:4])) if matching else "none"
        raise UsageError(
            f"{target}: {len(matching)} names hold {judged.short!r} ({got}), wanted one run or "
            f"index for it; name it: {judged.short}=RUN"
        )
    return matching[0]


def _from_file(name: str, path: Path, judged: Judged) -> Side:
    from ..trec import read_run

    whole = read_run(path)
    run = conventional(whole, judged.convention, len(whole.doc_ids) + 1)  # k is for live ones
    require_answers(run, judged.qrels, place=str(path), name=judged.name)
    marks = marks_of(path)
    asked_all = marks is not None
    return Side(name, str(path), run, asked_all=asked_all, contamination=marks or ())


def _live(
    name: str, place: str, index: "Index", encoder: "SparseEncoder", judged: Judged, k: int
) -> Side:
    from index import SparseRetriever

    run = _answers(SparseRetriever(index, encoder), judged, k)
    return Side(name, place, run, asked_all=True, index=index, encoder=encoder)


def _answers(retriever: "Retriever", judged: Judged, k: int) -> "Run":
    missing = judged.qrels.keys() - judged.texts.keys()
    if missing:
        raise UsageError(
            f"{judged.name}: {len(missing)} judged queries have no text, for example "
            f"{min(missing)!r}, and an index answers texts: add --queries FILE or --on DATASET"
        )
    texts = {query_id: judged.texts[query_id] for query_id in judged.qrels}
    run = retriever.search(texts, depth(judged.convention, k))
    return conventional(run, judged.convention, k)


def _seen(models: Sequence[Path], judged: Judged) -> tuple[str, ...]:
    """What the models' cards, or names where they lie on a hub, say of having seen it."""
    from ..contamination import contamination

    if judged.source is None:
        return ()
    found = contamination(
        models,
        dataset=judged.name,
        split=judged.split,
        fingerprint=judged.source.fingerprint,
    )
    return tuple(map(str, found))


def _source(target: str, judged: Judged) -> "Dataset":
    if judged.source is None:
        raise UsageError(f"{target} answers from the documents of a collection: name it with --on")
    return judged.source


def _of_file(path: Path, name: str) -> System:
    systems = {system.name: system for system in read_systems(path)}
    if name not in systems:
        raise UsageError(f"{path}: no system {name!r}; there is {', '.join(systems)}")
    return systems[name]


def is_index(path: Path) -> bool:
    return any((path / name).is_file() for name in ("catalog.sqlite", "shards.json"))


def _short(target: str) -> str:
    folder, _, chosen = target.rpartition(":")
    if folder and not is_dense(target):
        return chosen
    if "=" in target:
        return target
    parts = re.sub(r"[{}*?]", "", target.removeprefix(DENSE)).split("/")
    shorts = [_RUN_SUFFIX.sub("", part).strip("-_.") for part in parts]
    return next((short for short in reversed(shorts) if short), target)
