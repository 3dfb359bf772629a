"""The stages of a run, in the order they run; to add one, write a function and a line in `STAGES`.

A stage is given what the run shares and changes its network in place. It returns True when it is
done, and False when the deadline came first: then the next call enters it again, and what it had
reached is its own to find in the run folder (`run_stage` does).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from lsr.encoders.decoder import DecoderModel
from lsr.encoders.model import SparseModel

from .calibrate import calibrate
from .clm import CausalLanguageModel, ClmSteps
from .distillation import teach
from .gather import anyone, in_turn, n_processes
from .network import learn_last, silence_terms
from .objectives import MaskedLanguageModel, Ranking
from .recipe import Recipe
from .stage_sections import ClmStage, MlmStage
from .stage_settings import StageSettings
from .steps import MlmSteps, RankingSteps
from .training_run import RANKING, TrainingRun


@dataclass(frozen=True, slots=True)
class Stage:
    """A name, whether a recipe wants it, and the work."""

    name: str
    wanted: Callable[[Recipe], bool]
    work: Callable[[TrainingRun], bool]
    keeps: bool = True
    """Whether it changes the network, which is then written down when it is done."""


def run_stages(run: TrainingRun) -> bool:
    """Run what is left to do; True when the last stage is done."""
    wanted = [stage for stage in STAGES if stage.wanted(run.recipe)]
    kept = run.restore()
    done = 1 + [stage.name for stage in wanted].index(kept) if kept else 0
    for stage in wanted[done:]:
        with run.record.timing(stage.name):
            if not stage.work(run):
                return False
            if stage.keeps:
                run.keep(stage.name)
    return True


def _mlm(run: TrainingRun, name: str, *, of_queries: bool) -> bool:
    """Teach the head to name hidden and visible tokens."""
    model, recipe, stage = _network(run, of_queries), run.recipe, run.recipe.stage.mlm
    assert stage is not None
    learn_last(model, stage.layers)
    steps = MlmSteps(
        run.pairs.texts,
        model.tokenizer,
        stage,
        seed=recipe.run.seed,
        n_steps=stage.steps,
        parts=n_processes(),
    )
    return run.train(MaskedLanguageModel(model), steps, _language(run, name, stage))


def _clm(run: TrainingRun, name: str, *, of_queries: bool) -> bool:
    """Teach a decoder to name next tokens behind the ReLU."""
    model, recipe, stage = _network(run, of_queries), run.recipe, run.recipe.stage.clm
    assert stage is not None
    assert isinstance(model, DecoderModel)
    learn_last(model, stage.layers)
    steps = ClmSteps(
        run.pairs.texts, model.tokenizer, stage, seed=recipe.run.seed, parts=n_processes()
    )
    objective = CausalLanguageModel(model, relu_weight=stage.relu_weight)
    return run.train(objective, steps, _language(run, name, stage))


def _network(run: TrainingRun, of_queries: bool) -> SparseModel:
    model = run.queries if of_queries else run.model
    assert isinstance(model, SparseModel)
    return model


def _language(run: TrainingRun, name: str, stage: MlmStage | ClmStage) -> StageSettings:
    return StageSettings(
        name,
        steps=stage.steps,
        learning_rate=stage.learning_rate,
        warmup_steps=stage.warmup_steps,
        run=run.recipe.run,
    )


def _silence(run: TrainingRun) -> bool:
    """Special tokens weigh nothing from here on."""
    for model in _networks(run):
        if model.buckets is None:  # latent terms stand for no token
            silence_terms(model, model.tokenizer.special_ids())
    return True


def _calibrate(run: TrainingRun) -> bool:
    """Shift the head's bias so that a known number of terms is active.

    A network for queries reads the same documents, so that both sides start on one scale.
    """
    wanted = run.recipe.stage.calibrate
    assert wanted is not None
    for model in _networks(run):
        calibrate(
            model,
            run.sample(wanted.documents),
            active_terms=wanted.active_terms,
            max_length=run.recipe.stage.ranking.max_length,
            bf16=run.recipe.run.bf16,
            prompt=run.recipe.model.document_prompt
            if model is run.model
            else run.recipe.model.query_prompt,
        )
    return True


def _networks(run: TrainingRun) -> list[SparseModel]:
    """Those that are prepared for ranking: the documents' one, and queries' own from a checkpoint.

    A query network without a checkpoint is a copy of what the documents' one has become.
    """
    if not run.recipe.model.query_backbone:
        return [run.model]
    assert isinstance(run.queries, SparseModel)
    return [run.model, run.queries]


def _teachers(run: TrainingRun) -> bool:
    """Make the teachers' scores ready; what an earlier call scored is read and not computed."""
    with in_turn():
        run.teachers = teach(
            run.recipe, run.pairs, run.folder / "teachers", deadline=run.deadline, quiet=run.quiet
        )
    return not anyone(run.teachers is None)


def _ranking(run: TrainingRun) -> bool:
    """Rank relevant documents first, with few terms."""
    model, recipe, stage = run.model, run.recipe, run.recipe.stage.ranking
    learn_last(model, stage.layers)
    if isinstance(run.queries, SparseModel):
        learn_last(run.queries, stage.layers)
    objective = Ranking(model, run.queries, stage, idf=torch.from_numpy(run.idf))
    steps = RankingSteps(
        run.pairs,
        model.tokenizer,
        recipe,
        n_terms=model.n_terms,
        n_batches=stage.steps * stage.accumulate,
        parts=n_processes(),
        teachers=run.teachers,
        quiet=run.quiet,
    )
    settings = StageSettings(
        RANKING,
        steps=stage.steps,
        learning_rate=stage.learning_rate,
        warmup_steps=stage.warmup_steps,
        run=recipe.run,
        accumulate=stage.accumulate,
        weight_decay=stage.weight_decay,
        clip=stage.clip,
        penalties=lambda step: {"step": step},
        rates={"queries.weight": stage.table_rate},
    )
    return run.train(objective, steps, settings, ranks=True)


def _always(_: Recipe) -> bool:
    return True


def _wants_mlm(recipe: Recipe) -> bool:
    return recipe.stage.mlm is not None


def _wants_clm(recipe: Recipe) -> bool:
    return recipe.stage.clm is not None


def _twice(
    name: str, wanted: Callable[[Recipe], bool], work: Callable[..., bool]
) -> tuple[Stage, Stage]:
    """A stage for the documents' network, and one for queries' own from a checkpoint."""

    def wanted_of_queries(recipe: Recipe) -> bool:
        return wanted(recipe) and bool(recipe.model.query_backbone)

    own = f"{name}-queries"
    return (
        Stage(name, wanted, partial(work, name=name, of_queries=False)),
        Stage(own, wanted_of_queries, partial(work, name=own, of_queries=True)),
    )


STAGES = (
    *_twice("mlm", _wants_mlm, _mlm),
    *_twice("clm", _wants_clm, _clm),
    Stage("silence", _always, _silence),
    Stage("calibrate", lambda recipe: recipe.stage.calibrate is not None, _calibrate),
    Stage("teachers", lambda recipe: bool(recipe.teachers), _teachers, keeps=False),
    Stage(RANKING, _always, _ranking),
)
