"""What the stages of one run share: its recipe and data, the network so far, where things lie."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from torch import nn

from lsr.encoders.folder import read_object, write_json
from lsr.encoders.idf import idf_table
from lsr.encoders.lora import has_adapters
from lsr.encoders.model import SparseModel
from lsr.encoders.protocol import SparseEncoder
from lsr.progress import bar

from .adapted_weights import adapted_state, load_weights, save_weights
from .curve import read_log
from .data import Pairs
from .develop import Development, Progress, StopEarly, mean_score
from .gather import in_turn, is_first, wait
from .models import make_encoder, make_model, make_queries
from .queries import TableQueries
from .recipe import Recipe
from .run_record import RunRecord
from .shards import INDEX, read_into, write_shards
from .stage_settings import StageSettings
from .teacher_scores import TeacherScores
from .trainer import run_stage
from .watch import Watch, draw

T = TypeVar("T")

RANKING = "ranking"
_KEPT = "network"
_WEIGHTS = "model.safetensors"


@dataclass
class TrainingRun:
    """One recipe at work: what every stage shares."""

    recipe: Recipe
    pairs: Pairs
    folder: Path
    """Where everything lies until the encoder is written."""
    record: RunRecord
    quiet: bool
    logs: Path
    """Where TensorBoard's files go."""
    developments: tuple[Development, ...]
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

    def _network_of(self, stage: str) -> nn.Module:
        """What this stage may have changed: before ranking, only queries from a checkpoint of their
        own are there beside the documents' network."""
        both = stage == RANKING or self.recipe.model.query_backbone
        return self.learners if both else self.model

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
        texts = bar(self.pairs.texts, unit="texts", desc="idf", quiet=self.quiet or None)
        return idf_table(texts, model.tokenizer, n_terms=model.n_terms)

    @property
    def last_log(self) -> dict[str, float]:
        """The numbers in the last line of the ranking stage's log; none before there is one."""
        lines = read_log(self.folder / RANKING / "log.jsonl")
        last = lines[-1] if lines else {}
        return {name: value for name, value in last.items() if isinstance(value, int | float)}

    @property
    def logged(self) -> list[str]:
        """The stages that took steps, the earliest first."""
        logs = sorted(self.folder.glob("*/log.jsonl"), key=lambda log: log.stat().st_mtime)
        return [log.parent.name for log in logs]

    @property
    def developed(self) -> dict[str, Any] | None:
        """How the development collections ranked, for the card; None in a recipe without one."""
        wanted, developments = self.recipe.develop, self.developments
        if wanted is None or not developments:
            return None
        progress = Progress.read(self.folder / RANKING / "develop.json")
        best = progress.best
        assert best is not None, "the last step of the ranking stage has a look"
        return {
            "name": ", ".join(one.name for one in developments),
            "split": developments[0].split,
            "fingerprint": " ".join(one.fingerprint for one in developments),
            "is_test": bool(wanted.dataset) and developments[0].split.startswith("test"),
            "n_queries": sum(len(one.queries) for one in developments),
            "n_documents": sum(len(one.documents) for one in developments),
            "measure": wanted.measure,
            "best": best[1],
            "best_step": best[0],
            "stopped_at": progress.scores[-1][0] if progress.stopped else None,
        }

    def sample(self, size: int) -> list[str]:
        """Up to `size` of the documents, the same ones each time, in their order."""
        return self._some(self.pairs.documents, size)

    def sample_queries(self, size: int) -> list[str]:
        """Up to `size` of the queries, likewise."""
        return self._some(self.pairs.queries, size)

    def _some(self, texts: Sequence[str], size: int) -> list[str]:
        rng = np.random.default_rng([self.recipe.run.seed, 0x736D])
        rows = rng.choice(len(texts), size=min(size, len(texts)), replace=False)
        return [texts[row] for row in np.sort(rows)]

    def train(
        self, objective: nn.Module, steps: Any, settings: StageSettings, *, ranks: bool = False
    ) -> bool:
        """Run the loop of a stage; see `run_stage`.

        Where the objective `ranks`, its vectors are watched, and with [develop] the stage stops
        early and ends with the best weights.
        """
        recipe, folder = self.recipe, self.folder / settings.name
        watch = self._watch() if ranks and recipe.run.watch_pairs else None
        stop_early = None
        if ranks and recipe.develop is not None and self.developments:
            wanted, developments = recipe.develop, self.developments
            stop_early = StopEarly(
                objective,
                lambda: self._as_encoder(lambda e: mean_score(developments, e, wanted.measure)),
                folder,
                every=wanted.every,
                patience=wanted.patience,
                exact=recipe.run.checkpoint == "full",
            )
            if stop_early.progress.stopped:
                stop_early.restore_best()
                return True
        tensorboard = self.logs / settings.name if recipe.run.tensorboard else None
        done = run_stage(
            objective,
            steps,
            settings,
            folder,
            deadline=self.deadline,
            record=self.record,
            asides=[
                *(() if stop_early is None else (stop_early.say,)),
                *(() if watch is None else (watch.look,)),
            ],
            callbacks=[callback for callback in (watch, stop_early) if callback is not None],
            tensorboard=tensorboard,
            quiet=self.quiet,
        )
        if stop_early is not None and (done or stop_early.progress.stopped):
            stop_early.restore_best()
            return True
        return done

    def _watch(self) -> Watch:
        run, seed = self.recipe.run, self.recipe.run.seed
        return Watch(
            self.recipe,
            lambda step: self._as_encoder(
                lambda encoder: draw(encoder, self.pairs, step, size=run.watch_pairs, seed=seed)
            ),
            self.model.tokenizer.strings,
            quiet=self.quiet,
            main=is_first(),
        )

    def _as_encoder(self, look: Callable[[SparseEncoder], T]) -> T:
        """What `look` makes of the network as an encoder, which then goes on learning."""
        learners, training = self.learners, self.model.training
        learners.eval()
        try:
            return look(make_encoder(self.recipe, self.model, self.queries, max_weight=1.0))
        finally:
            learners.train(training)

    def keep(self, stage: str) -> None:
        """Write the network as `stage` has left it, in place of that of the stage before."""
        if is_first():
            self._write(stage)
        wait()

    def _write(self, stage: str) -> None:
        partial, kept = self.folder / "network.partial", self.folder / _KEPT
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        network = self._network_of(stage)
        if self.recipe.run.checkpoint == "weights":
            adapted = has_adapters(network)
            write_shards(adapted_state(network) if adapted else network.state_dict(), partial)
        else:
            save_weights(network, partial / _WEIGHTS)
        write_json(partial / "stage.json", {"stage": stage})
        if kept.is_dir():
            old = self.folder / "network.old"
            shutil.rmtree(old, ignore_errors=True)
            kept.rename(old)  # first, since removing takes time: half of it must not look whole
            partial.rename(kept)
            shutil.rmtree(old, ignore_errors=True)
        else:
            partial.rename(kept)

    def restore(self) -> str | None:
        """Load the network that was kept last; the name of its stage, None if there is none."""
        kept, partial = self.folder / _KEPT, self.folder / "network.partial"
        if not kept.is_dir() and (partial / "stage.json").is_file():
            partial.rename(kept)  # it was whole; the call ended between two renames
        if not kept.is_dir():
            return None
        stage = str(read_object(kept / "stage.json")["stage"])
        network = self._network_of(stage)
        if (kept / INDEX).is_file():
            read_into(network, kept)
            self.record.resumed(exact=False)
        else:
            load_weights(network, kept / _WEIGHTS)
        return stage
