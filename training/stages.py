"""The stages of a run, in the order they run; to add one, write a function and a line in `STAGES`.

A stage is given what the run shares and changes its network in place. It returns True when it is
done, and False when the deadline came first: then the next call enters it again, and what it had
reached is its own to find in the run folder (`run_stage` does).
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import torch
from torch import nn

from lsr.encoders.decoder import DecoderModel
from lsr.encoders.folder import read_object, write_json
from lsr.encoders.idf import idf_table
from lsr.encoders.lora import has_adapters
from lsr.encoders.model import SparseModel

from .adapted_weights import adapted_state, load_weights, save_weights
from .calibrate import calibrate
from .clm import CausalLanguageModel, ClmSteps
from .data import Pairs
from .distillation import teach
from .gather import anyone, in_turn, is_first, n_processes, wait
from .models import make_model, make_queries
from .network import learn_last, silence_terms
from .objectives import MaskedLanguageModel, Ranking
from .queries import TableQueries
from .recipe import Recipe
from .run_record import RunRecord
from .shards import INDEX, read_into, write_shards
from .steps import MlmSteps, RankingSteps
from .teacher_scores import TeacherScores
from .trainer import StageSettings, run_stage

_KEPT = "network"
_WEIGHTS = "model.safetensors"
_RANKING = "ranking"


@dataclass
class TrainingRun:
    """One recipe at work: what every stage shares."""

    recipe: Recipe
    pairs: Pairs
    folder: Path
    """Where everything lies until the encoder is written."""
    record: RunRecord
    quiet: bool
    deadline: float | None
    """A time of `time.monotonic` after which a stage saves its state and returns False."""
    teachers: TeacherScores | None = None
    """What the teachers think of pairs, once their stage is done; None in a recipe without any."""

    @cached_property
    def model(self) -> SparseModel:
        """The network, as the stages so far have left it."""
        with in_turn():
            return make_model(self.recipe, self.pairs.texts, self.folder)

    @cached_property
    def queries(self) -> SparseModel | TableQueries:
        """What queries go through; made of the documents' network as it is when first asked for."""
        return make_queries(self.recipe, self.model, self.idf)

    @property
    def learners(self) -> nn.Module:
        """What ranking changes: the documents' network, and the query side where it is another."""
        if self.recipe.model.kind == "siamese":
            return self.model
        return nn.ModuleDict({"documents": self.model, "queries": self.queries})

    @cached_property
    def idf(self) -> npt.NDArray[np.float32]:
        """(n_terms,) the query table of an inference-free encoder, from the documents.

        Latent terms are no tokens and have none: (0,).
        """
        model = self.model
        if model.buckets is not None:
            return np.empty(0, np.float32)
        return idf_table(self.pairs.texts, model.tokenizer, n_terms=model.n_terms)

    @property
    def last_log(self) -> dict[str, float]:
        """The last line of the ranking stage's log; empty if it has not come that far."""
        log = self.folder / _RANKING / "log.jsonl"
        lines = log.read_bytes().splitlines() if log.is_file() else []
        return orjson.loads(lines[-1]) if lines else {}

    def sample(self, size: int) -> list[str]:
        """Up to `size` of the documents, the same ones each time, in their order."""
        rng = np.random.default_rng([self.recipe.run.seed, 0x736D])
        documents = self.pairs.documents
        rows = rng.choice(len(documents), size=min(size, len(documents)), replace=False)
        return [documents[row] for row in np.sort(rows)]

    def train(self, objective: Any, steps: Any, settings: StageSettings) -> bool:
        """Run the loop of a stage; see `run_stage`."""
        return run_stage(
            objective,
            steps,
            settings,
            self.folder / settings.name,
            deadline=self.deadline,
            record=self.record,
            quiet=self.quiet,
        )

    def keep(self, stage: str) -> None:
        """Write the network as `stage` has left it, in place of that of the stage before."""
        if is_first():
            self._write(stage)
        wait()

    def _write(self, stage: str) -> None:
        partial, kept = self.folder / "network.partial", self.folder / _KEPT
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        network = self.learners if stage == _RANKING else self.model
        if self.recipe.run.checkpoint == "weights":
            adapted = has_adapters(network)
            write_shards(adapted_state(network) if adapted else network.state_dict(), partial)
        else:
            save_weights(network, partial / _WEIGHTS)
        write_json(partial / "stage.json", {"stage": stage})
        shutil.rmtree(kept, ignore_errors=True)
        partial.rename(kept)

    def restore(self) -> str | None:
        """Load the network that was kept last; the name of its stage, None if there is none."""
        kept, partial = self.folder / _KEPT, self.folder / "network.partial"
        if not kept.is_dir() and (partial / "stage.json").is_file():
            partial.rename(kept)  # it was whole; the call ended between two renames
        if not kept.is_dir():
            return None
        stage = str(read_object(kept / "stage.json")["stage"])
        network = self.learners if stage == _RANKING else self.model
        if (kept / INDEX).is_file():
            read_into(network, kept)
            self.record.resumed(exact=False)
        else:
            load_weights(network, kept / _WEIGHTS)
        return stage


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
        if not stage.work(run):
            return False
        if stage.keeps:
            run.keep(stage.name)
    return True


def _mlm(run: TrainingRun) -> bool:
    """Teach the head to name hidden and visible tokens."""
    model, recipe, stage = run.model, run.recipe, run.recipe.stage.mlm
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
    settings = StageSettings(
        "mlm",
        steps=stage.steps,
        learning_rate=stage.learning_rate,
        warmup_steps=stage.warmup_steps,
        run=recipe.run,
    )
    return run.train(MaskedLanguageModel(model), steps, settings)


def _clm(run: TrainingRun) -> bool:
    """Teach a decoder to name next tokens behind the ReLU."""
    model, recipe, stage = run.model, run.recipe, run.recipe.stage.clm
    assert stage is not None
    assert isinstance(model, DecoderModel)
    learn_last(model, stage.layers)
    steps = ClmSteps(
        run.pairs.texts, model.tokenizer, stage, seed=recipe.run.seed, parts=n_processes()
    )
    settings = StageSettings(
        "clm",
        steps=stage.steps,
        learning_rate=stage.learning_rate,
        warmup_steps=stage.warmup_steps,
        run=recipe.run,
    )
    return run.train(CausalLanguageModel(model, relu_weight=stage.relu_weight), steps, settings)


def _silence(run: TrainingRun) -> bool:
    """Special tokens weigh nothing from here on."""
    if run.model.buckets is None:  # latent terms stand for no token
        silence_terms(run.model, run.model.tokenizer.special_ids())
    return True


def _calibrate(run: TrainingRun) -> bool:
    """Shift the head's bias so that a known number of terms is active."""
    wanted = run.recipe.stage.calibrate
    assert wanted is not None
    calibrate(
        run.model,
        run.sample(wanted.documents),
        active_terms=wanted.active_terms,
        max_length=run.recipe.stage.ranking.max_length,
        bf16=run.recipe.run.bf16,
    )
    return True


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
    )
    settings = StageSettings(
        _RANKING,
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
    return run.train(objective, steps, settings)


def _always(_: Recipe) -> bool:
    return True


STAGES = (
    Stage("mlm", lambda recipe: recipe.stage.mlm is not None, _mlm),
    Stage("clm", lambda recipe: recipe.stage.clm is not None, _clm),
    Stage("silence", _always, _silence),
    Stage("calibrate", lambda recipe: recipe.stage.calibrate is not None, _calibrate),
    Stage("teachers", lambda recipe: bool(recipe.teachers), _teachers, keeps=False),
    Stage(_RANKING, _always, _ranking),
)
