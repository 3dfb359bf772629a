"""From the teachers of a recipe to targets: what a batch's loss asks is `TeacherScores.matrix`.

Before the ranking stage every teacher is made ready: one that embeds embeds each text once, a
cross-encoder scores each query's candidates, a pairwise re-ranker compares them, and (unless
`in_batch`) so do all, into one score cache. Everything on disk is keyed by fingerprints of teacher
and texts and is resumable.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from lsr.encoders.analysis import Analyser
from lsr.errors import ScoresError
from lsr.reranking import KeptPreferences, PairwiseReranker
from lsr.vectors import VectorStore, kept_vectors, update_vectors

from .candidates import Candidates, keys_fingerprint, text_keys
from .data import Pairs
from .ensemble import FEW, Normalize, Scores, affine
from .recipe import SHIPPED, Recipe, checkpoint_folder
from .scores import ScoreCache
from .scoring import NewScores, update_cache
from .sections import TeacherSettings
from .teacher_checks import teacher_names
from .teacher_scores import Member, TeacherScores, Vectors
from .teachers.bm25 import BM25Teacher
from .teachers.pairwise import PairwiseTeacher
from .teachers.protocol import EmbeddingTeacher, ListTeacher, PairTeacher, Teacher
from .teachers.sparse import SparseTeacher

PAPER_SCALE = 30.0  # arXiv 2411.04403, for the mean of min-max'ed teachers


def teach(
    recipe: Recipe,
    pairs: Pairs,
    folder: Path,
    *,
    deadline: float | None = None,
    quiet: bool = False,
) -> TeacherScores | None:
    """Make the teachers of the recipe ready; None if `deadline` (`time.monotonic`) came first.

    `pairs` must be `candidates.limited` already. Vectors and the score cache lie where the recipe
    says, or in `folder`; call again after an interruption and what is done is kept.
    """
    how, names = recipe.distillation, teacher_names(recipe.teachers)
    cache_path = _named(recipe, how.cache) or folder / "scores.arrow"
    kept = _named(recipe, how.vectors)
    candidates = Candidates.of(pairs)
    few = int((candidates.lengths < FEW).sum())
    norms: list[Normalize] = [t.normalize or how.normalize for t in recipe.teachers]
    if few and "min-max" in norms and not how.in_batch and not quiet:
        print(
            f"warning    {few:,} of {candidates.n_queries:,} queries have fewer than {FEW} "
            "candidates, where min-max says little; mine more negatives, or use z",
            file=sys.stderr,
        )
    query_keys, document_keys = text_keys(pairs.queries), text_keys(pairs.documents)
    scored = _scored(cache_path)
    live: list[Vectors | None] = []
    columns: list[NewScores | None] = []
    for settings, name in zip(recipe.teachers, names, strict=True):
        teacher = load_teacher(recipe, settings, name, pairs.documents)
        if isinstance(teacher, PairwiseTeacher):
            teacher = _remembering(teacher, folder / "preferences")
        vectors = None
        if isinstance(teacher, EmbeddingTeacher) and (
            how.in_batch or teacher.fingerprint not in scored
        ):
            # BM25 is fitted to the documents at hand: nothing of it is of use to another run.
            lasting = kept if settings.kind != "bm25" else None
            vectors = _vectors(
                lasting or folder / "vectors",
                teacher,
                pairs,
                candidates,
                lasting=lasting is not None,
                deadline=deadline,
                quiet=quiet,
            )
            if vectors is None:
                return None
        live.append(vectors if how.in_batch else None)
        columns.append(
            None
            if how.in_batch and vectors is not None
            else _new_scores(teacher, settings, vectors, candidates, pairs, quiet=quiet)
        )
    cache = None
    wanted = [column for column in columns if column is not None]
    if how.cache and not wanted and not quiet:
        print(
            f"warning    {how.cache} is not read: with in_batch teachers that embed score whole "
            "batches by their vectors; keep these with distillation.vectors",
            file=sys.stderr,
        )
    if wanted:
        cache = update_cache(
            cache_path,
            candidates,
            query_keys,
            document_keys,
            wanted,
            sources=[asdict(source) for source in pairs.sources],
            deadline=deadline,
            quiet=quiet,
        )
        if cache is None:
            return None
    members = tuple(
        Member(
            name,
            settings.weight,
            norm,
            settings.temperature,
            _column_of(cache, new),
            vectors,
        )
        for name, settings, norm, new, vectors in zip(
            names, recipe.teachers, norms, columns, live, strict=True
        )
    )
    return _scaled(recipe, TeacherScores(members, candidates, cache, how.in_batch))


def _scored(cache: Path) -> set[str]:
    """Fingerprints of the teachers whose scores are in a cache; `update_cache` says what is wrong
    with one that cannot be read, or is about other data.
    """
    if not cache.exists():
        return set()
    with suppress(ScoresError):
        return {column.fingerprint for column in ScoreCache.open(cache).teachers}
    return set()


def _named(recipe: Recipe, place: str) -> Path | None:
    """What a key of the recipe names, None where it names nothing.

    It is beside the recipe's file; one that is not there is looked for where we are, as `lsr score`
    writes it. Of a shipped recipe, whose folder is ours, it is where we are.
    """
    if not place:
        return None
    here = Path(place).expanduser()
    beside = here if recipe.path.parent == SHIPPED else recipe.path.parent / here
    return (here if here.exists() and not beside.exists() else beside).absolute()


def _scaled(recipe: Recipe, scores: TeacherScores) -> TeacherScores:
    how = recipe.distillation
    counted = tuple(member for member in scores.members if member.weight)
    ready = TeacherScores(counted, scores.candidates, scores.cache, scores.in_batch)
    if how.affine:
        reference = next(member for member in scores.members if member.name == how.affine)
        factor, offset = affine(of=ready.moments(), onto=scores.moments(reference.column))
    else:
        min_max = all(member.normalize == "min-max" for member in counted)
        factor = how.scale if how.scale is not None else PAPER_SCALE if min_max else 1.0
        offset = 0.0
    return TeacherScores(counted, scores.candidates, scores.cache, scores.in_batch, factor, offset)


def load_teacher(
    recipe: Recipe, settings: TeacherSettings, name: str, documents: Sequence[str]
) -> Teacher:
    """Load the teacher of one [[teachers]] entry; BM25 is fitted to `documents`."""
    how = recipe.distillation
    device = how.device or None
    if settings.kind == "bm25":
        words = {} if settings.stemmer is None else {"stemmer": settings.stemmer}
        return BM25Teacher.fit(documents, name=name, analyser=Analyser.from_json(words))
    folder = checkpoint_folder(recipe, settings.model, key="teachers.model")
    if settings.kind == "sparse":
        return SparseTeacher.load(folder, name=name, device=device, precision=how.precision)
    if settings.kind == "dense":
        from lsr.encoders.dense import DenseEncoder

        return DenseEncoder.load(
            folder,
            name=name,
            pooling=settings.pooling,
            query_prompt=settings.query_prompt,
            document_prompt=settings.document_prompt,
            max_length=settings.max_length,
            device=device,
            precision=how.precision,
        )
    if settings.kind == "pairwise":
        from lsr.encoders.pairwise import load_duo

        model = load_duo(
            folder,
            name=name,
            max_length=settings.max_length,
            device=device,
            precision=how.precision,
        )
        reranker = PairwiseReranker(
            model,
            sampler=settings.sampler or "skip",
            aggregation=settings.aggregation or "bradley-terry",
            budget=settings.budget or 1 / 3,
        )
        return PairwiseTeacher(reranker, name)
    from lsr.encoders.cross_encoder import CrossEncoder

    return CrossEncoder.load(
        folder,
        name=name,
        query_prompt=settings.query_prompt or "",
        document_prompt=settings.document_prompt or "",
        max_length=settings.max_length,
        device=device,
        precision=how.precision,
    )


def _remembering(teacher: PairwiseTeacher, folder: Path) -> PairwiseTeacher:
    """The teacher with its comparisons on disk: a part of the score cache may take an hour."""
    kept = KeptPreferences(teacher.reranker.model, folder)
    return replace(teacher, reranker=replace(teacher.reranker, model=kept))


def _vectors(
    folder: Path,
    teacher: EmbeddingTeacher,
    pairs: Pairs,
    candidates: Candidates,
    *,
    lasting: bool,
    deadline: float | None,
    quiet: bool,
) -> Vectors | None:
    """Both sides of a teacher on disk, in folders named by teacher and, but for `lasting`, texts.

    Of the documents only candidates: no batch ever draws another, and with mined negatives
    `pairs.documents` is the whole corpus.
    """
    known = np.unique(candidates.documents).astype(np.int32)
    stores: list[VectorStore] = []
    for side, texts, embed in (
        ("documents", [pairs.documents[row] for row in known], teacher.embed_documents),
        ("queries", pairs.queries, teacher.embed_queries),
    ):
        keys, desc = text_keys(texts), f"{teacher.name} {side}"
        home = folder / f"{teacher.fingerprint}-{side}"
        if lasting:
            store = kept_vectors(
                home, keys, texts, embed, desc=desc, deadline=deadline, quiet=quiet
            )
        else:
            home = home.with_name(f"{home.name}-{keys_fingerprint(keys)}")
            store = update_vectors(home, texts, embed, desc=desc, deadline=deadline, quiet=quiet)
        if store is None:
            return None
        stores.append(store)
    return Vectors(queries=stores[1], documents=stores[0], known=known)


def _new_scores(
    teacher: Teacher,
    settings: TeacherSettings,
    vectors: Vectors | None,
    candidates: Candidates,
    pairs: Pairs,
    *,
    quiet: bool,
) -> NewScores:
    def score(block: slice) -> Scores:
        rows = np.arange(block.start, block.stop, dtype=np.int32)
        documents = candidates.documents[
            candidates.offsets[block.start] : candidates.offsets[block.stop]
        ]
        lengths = candidates.lengths[block]
        if vectors is not None:
            return vectors.listed(rows, documents, lengths)
        if isinstance(teacher, ListTeacher):
            lists = np.split(documents, np.cumsum(lengths)[:-1])
            return teacher.score_lists(
                [pairs.queries[row] for row in rows],
                [[pairs.documents[row] for row in own] for own in lists],
            )
        assert isinstance(teacher, PairTeacher)
        return teacher.score(
            [pairs.queries[row] for row in np.repeat(rows, lengths)],
            [pairs.documents[row] for row in documents],
        )

    said = {k: v for k, v in asdict(settings).items() if v not in (None, "")}
    said["model"] = Path(settings.model).name  # where it lay is nobody's business
    for scale in ("weight", "normalize", "temperature", "kind", "name"):
        said.pop(scale, None)
    return NewScores(teacher.name, settings.kind, teacher.fingerprint, score, said)


def _column_of(cache: ScoreCache | None, new: NewScores | None) -> str:
    if cache is None or new is None:
        return ""
    column = cache.teacher(new.fingerprint)
    assert column is not None, "update_cache returns a cache with every column asked for"
    return column.column
