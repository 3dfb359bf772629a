"""What no single key of [[teachers]] and [distillation] can see: whether they fit together, and
the losses that want them."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from lsr.encoders.analysis import StemmerName
from lsr.errors import RecipeError

from .sections import Distillation, TeacherSettings
from .stage_sections import Losses

_OF_CANDIDATES = ("cross-encoder", "pairwise")
"""Teachers that know a query's candidates only."""


def check_teachers(
    teachers: Sequence[TeacherSettings], how: Distillation, losses: Losses, file: Path
) -> None:
    """Raise `RecipeError` for teachers that do not fit together, or that a loss looks for."""
    if not teachers:
        if losses.of_teacher:
            raise RecipeError(
                f"{file}: stage.ranking.losses.{losses.of_teacher[0]} needs a teacher and the "
                "recipe names none; add [[teachers]] or leave the loss out."
            )
        if how != Distillation():
            raise RecipeError(
                f"{file}: [distillation] without any [[teachers]]; add a teacher or leave it out."
            )
        return
    for i, teacher in enumerate(teachers):
        _check_one(teacher, f"{file}: teachers[{i}]")
    _check_together(teachers, how, file)


def _check_one(teacher: TeacherSettings, where: str) -> None:
    """Raise `RecipeError` for keys that are not for a teacher of this kind."""
    if (teacher.kind == "bm25") == bool(teacher.model):
        raise RecipeError(
            f"{where}.model = '{teacher.model}' with kind = \"{teacher.kind}\"; "
            "BM25 has no model, every other kind needs one."
        )
    if teacher.stemmer is not None and teacher.kind != "bm25":
        raise RecipeError(
            f'{where}.stemmer is for BM25, this teacher is "{teacher.kind}"; leave it out.'
        )
    if teacher.stemmer is not None and teacher.stemmer not in get_args(StemmerName):
        raise RecipeError(
            f"{where}.stemmer = '{teacher.stemmer}' is none of {', '.join(get_args(StemmerName))}."
        )
    if teacher.pooling and teacher.kind != "dense":
        raise RecipeError(
            f'{where}.pooling is for dense teachers, this one is "{teacher.kind}"; leave it out.'
        )
    pairwise = teacher.sampler or teacher.aggregation or teacher.budget is not None
    if pairwise and teacher.kind != "pairwise":
        raise RecipeError(
            f"{where}.sampler, aggregation and budget are for pairwise teachers, "
            f'this one is "{teacher.kind}"; leave them out.'
        )
    if teacher.budget == 0:
        raise RecipeError(f"{where}.budget = 0 compares nothing; wanted a share above 0.")
    if teacher.kind == "pairwise" and (teacher.query_prompt or teacher.document_prompt):
        raise RecipeError(
            f'{where} is "pairwise", whose texts have no prompts; leave '
            "query_prompt and document_prompt out."
        )
    prompted = teacher.query_prompt or teacher.document_prompt or teacher.max_length
    if prompted and teacher.kind in ("sparse", "bm25"):
        raise RecipeError(
            f'{where} is "{teacher.kind}", which has prompts and lengths of its '
            "own; leave query_prompt, document_prompt and max_length out."
        )


def _check_together(teachers: Sequence[TeacherSettings], how: Distillation, file: Path) -> None:
    """Raise `RecipeError` for opinions that have no mean, or none of the pairs wanted."""
    names = teacher_names(teachers)
    if len(set(names)) < len(names):
        raise RecipeError(
            f"{file}: two teachers are called '{max(names, key=names.count)}'; give each a name."
        )
    if not any(teacher.weight for teacher in teachers):
        raise RecipeError(f"{file}: every teacher has weight 0; give one a share.")
    softmax = [(t.normalize or how.normalize) == "softmax" for t in teachers if t.weight]
    if any(softmax) != all(softmax):
        raise RecipeError(
            f"{file}: softmax gives probabilities, which do not mix with other scales; use it for "
            "every teacher or for none."
        )
    if how.affine and how.affine not in names:
        raise RecipeError(
            f"{file}: distillation.affine = '{how.affine}' is no teacher; wanted one of "
            f"{', '.join(names)}."
        )
    if how.affine and (how.scale is not None or how.in_batch):
        raise RecipeError(
            f"{file}: distillation.affine takes the scale of a teacher over given candidates; "
            "leave scale and in_batch out."
        )
    mixed = how.in_batch and any(t.kind in _OF_CANDIDATES for t in teachers if t.weight)
    if mixed and any(softmax):
        raise RecipeError(
            f"{file}: softmax over a batch and over a cross-encoder's candidates are shares of "
            "different wholes; with in_batch and such a teacher use min-max or z."
        )
    if how.in_batch and all(t.kind in _OF_CANDIDATES for t in teachers if t.weight):
        raise RecipeError(
            f"{file}: distillation.in_batch with cross-encoders and pairwise teachers alone: they "
            "cannot score every pair of a batch; add a teacher that embeds, or leave it out."
        )


def teacher_names(teachers: Sequence[TeacherSettings]) -> list[str]:
    """What each teacher is called, in the order of the recipe."""
    return [t.name or Path(t.model).name or t.kind for t in teachers]
