"""From a recipe to an encoder folder: the stages in order, resumable, then measured and saved.

While it runs, everything lies in `<output>.training`: checkpoints, finished stages, `log.jsonl` for
each stage. A run folder belongs to one recipe over one state of the data; it resumes nothing else.
"""

import shutil
import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import safetensors.torch
import torch

from lsr.encoders.folder import replacing
from lsr.encoders.idf import idf_table
from lsr.encoders.inference_free import InferenceFreeEncoder
from lsr.encoders.model import SparseModel
from lsr.encoders.siamese import SpladeEncoder
from lsr.encoders.side import Precision, TransformerSide
from lsr.encoders.splade import SpladeModel
from lsr.errors import EncoderError, RecipeError

from .calibrate import calibrate
from .card import add_record, measure, training_record
from .data import Pairs, load_pairs
from .network import learn_last, set_dropout, silence_terms
from .objectives import MaskedLanguageModel, Ranking
from .recipe import Recipe, backbone_folder
from .report import Measured, TrainReport
from .run_record import RunRecord
from .schedule import quadratic
from .scratch import make_backbone
from .steps import MlmSteps, RankingSteps
from .trainer import StageSettings, run_stage

_MEASURED_DOCUMENTS = 500


def run_recipe(
    recipe: Recipe,
    output: Path,
    *,
    resume: bool,
    quiet: bool,
    stop_after: float | None,
) -> TrainReport:
    """Do what `training.train` promises."""
    started = time.monotonic()
    _check_output(output)
    folder = output.with_name(f"{output.name}.training")
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    pairs = load_pairs(recipe)
    record = RunRecord.open(folder, recipe, pairs)
    deadline = None if stop_after is None else started + stop_after
    run = _Run(recipe, pairs, folder, quiet=quiet, deadline=deadline, record=record)
    finished = run.stages()
    seconds = record.save()
    last_log = run.last_log
    measured = run.save(output, seconds=seconds) if finished else None
    if finished:
        shutil.rmtree(folder)
    return TrainReport(
        output=output,
        finished=finished,
        seconds=seconds,
        n_queries=len(pairs.queries),
        n_documents=len(pairs.documents),
        measured=measured,
        last_log=last_log,
    )


def _check_output(output: Path) -> None:
    """Refuse an output that saving would refuse, before the training and not after it."""
    if (
        output.exists()
        and not (output / "modules.json").is_file()
        and (not output.is_dir() or any(output.iterdir()))
    ):
        raise RecipeError(
            f"{output} exists and is not an encoder folder (it has no modules.json); "
            "choose another output path."
        )
    if (output / "modules.json").is_file():
        raise RecipeError(
            f"{output} holds a trained encoder already; move or remove it, or choose another output"
        )


class _Run:
    """One recipe at work: the network, and what every stage shares."""

    def __init__(
        self,
        recipe: Recipe,
        pairs: Pairs,
        folder: Path,
        *,
        quiet: bool,
        deadline: float | None,
        record: RunRecord,
    ) -> None:
        self.recipe, self.pairs, self.folder = recipe, pairs, folder
        self.quiet, self.deadline, self.record = quiet, deadline, record

    @cached_property
    def model(self) -> SparseModel:
        """The backbone with its head, before any stage."""
        recipe = self.recipe
        if recipe.model.scratch is not None:
            source = self.folder / "backbone"
            if not (source / "tokenizer_config.json").is_file():
                make_backbone(
                    source,
                    recipe.model.scratch,
                    self.pairs.documents,
                    max_length=recipe.model.max_length,
                    seed=recipe.run.seed,
                )
        else:
            source = backbone_folder(recipe)
        splade = SpladeModel.from_checkpoint(
            source,
            max_length=recipe.model.max_length,
            new_head=recipe.model.new_head,
            seed=recipe.run.seed,
        )
        positions = getattr(splade.backbone.config, "max_position_embeddings", None)
        if isinstance(positions, int) and recipe.model.max_length > positions:
            raise RecipeError(
                f"{recipe.path}: model.max_length = {recipe.model.max_length}, but {source} has "
                f"{positions} positions; lower max_length."
            )
        if not torch.accelerator.is_available():
            # The CPU's fused attention is slow backwards: 1.8 s a step against 1.5 s for plain
            # products (MiniLM, 48 x 128 tokens, one core, bfloat16).
            splade.backbone.set_attn_implementation("eager")
        if recipe.model.dropout is not None:
            set_dropout(splade, recipe.model.dropout)
        return splade

    @cached_property
    def idf(self) -> npt.NDArray[np.float32]:
        """(n_terms,) the query table of an inference-free encoder, from the documents."""
        model = self.model
        return idf_table(self.pairs.documents, model.tokenizer, n_terms=model.n_terms)

    @property
    def last_log(self) -> dict[str, float]:
        """The last line of the ranking stage's log; empty if it has not come that far."""
        log = self.folder / "ranking" / "log.jsonl"
        lines = log.read_bytes().splitlines() if log.is_file() else []
        return orjson.loads(lines[-1]) if lines else {}

    def stages(self) -> bool:
        """Run what is left to do; True when the last stage is done."""
        return self._prepare() and self._ranking()

    def _prepare(self) -> bool:
        """Masked-LM and calibration, or their stored result."""
        model, recipe, ready = self.model, self.recipe, self.folder / "ready.safetensors"
        if ready.is_file():
            safetensors.torch.load_model(model, str(ready))
            return True
        stage = recipe.stage.mlm
        if stage is not None:
            learn_last(model, stage.layers)
            steps = MlmSteps(
                self.pairs.documents,
                model.tokenizer,
                stage,
                seed=recipe.run.seed,
                n_steps=stage.steps,
            )
            settings = StageSettings(
                "mlm",
                steps=stage.steps,
                learning_rate=stage.learning_rate,
                warmup_steps=stage.warmup_steps,
                run=recipe.run,
            )
            if not self._run_stage(MaskedLanguageModel(model), steps, settings):
                return False
        silence_terms(model, model.tokenizer.special_ids())
        if recipe.stage.calibrate is not None:
            wanted = recipe.stage.calibrate
            calibrate(
                model,
                self._sample(wanted.documents),
                active_terms=wanted.active_terms,
                max_length=recipe.stage.ranking.max_length,
                bf16=recipe.run.bf16,
            )
        partial = ready.with_suffix(".partial")
        safetensors.torch.save_model(model, str(partial))
        partial.rename(ready)
        return True

    def _ranking(self) -> bool:
        model, recipe, stage = self.model, self.recipe, self.recipe.stage.ranking
        learn_last(model, stage.layers)
        inference_free = recipe.model.kind == "inference-free"
        objective = Ranking(
            model,
            scale=stage.scale,
            idf=torch.from_numpy(self.idf) if inference_free else None,
        )
        steps = RankingSteps(
            self.pairs,
            model.tokenizer,
            recipe,
            n_terms=model.n_terms,
            n_batches=stage.steps * stage.accumulate,
        )
        settings = StageSettings(
            "ranking",
            steps=stage.steps,
            learning_rate=stage.learning_rate,
            warmup_steps=stage.warmup_steps,
            run=recipe.run,
            accumulate=stage.accumulate,
            weight_decay=stage.weight_decay,
            clip=stage.clip,
            penalties=lambda step: {
                "flops_documents": quadratic(
                    step, peak=stage.flops_documents, ramp_steps=stage.flops_ramp
                ),
                "flops_queries": quadratic(
                    step, peak=stage.flops_queries, ramp_steps=stage.flops_ramp
                ),
            },
        )
        return self._run_stage(objective, steps, settings)

    def _run_stage(self, objective: Any, steps: Any, settings: StageSettings) -> bool:
        return run_stage(
            objective,
            steps,
            settings,
            self.folder / settings.name,
            deadline=self.deadline,
            on_checkpoint=self.record.save,
            quiet=self.quiet,
        )

    def _sample(self, size: int) -> list[str]:
        rng = np.random.default_rng([self.recipe.run.seed, 0x736D])
        documents = self.pairs.documents
        rows = rng.choice(len(documents), size=min(size, len(documents)), replace=False)
        return [documents[row] for row in np.sort(rows)]

    def save(self, output: Path, *, seconds: float) -> Measured:
        """Measure the encoder on training texts and write its folder, whole or not at all."""
        recipe = self.recipe
        model = self.model.cpu().eval()
        precision: Precision = "bfloat16" if recipe.run.bf16 else "float32"
        side = replace(TransformerSide.of(model), precision=precision)
        sample = self._sample(_MEASURED_DOCUMENTS)
        measured = measure(side.encode(sample, prompt="", top_k=None, progress=False))
        if measured.max_weight == 0:
            raise EncoderError(
                f"{recipe.path}: training collapsed: no document has any term left. Lower "
                "stage.ranking.flops_documents, lengthen flops_ramp or add [stage.calibrate]; "
                f"the log is in {self.folder}."
            )
        with replacing(output) as fresh:
            written = fresh / "encoder"
            _encoder(recipe, model, self.idf, measured.max_weight).save(written)
            add_record(
                written,
                training_record(
                    recipe,
                    self.pairs.sources,
                    seconds=seconds,
                    measured=measured,
                    last_log=self.last_log,
                ),
            )
            for path in written.iterdir():
                path.rename(fresh / path.name)
            written.rmdir()
        return measured


def _encoder(
    recipe: Recipe, model: SparseModel, idf: npt.NDArray[np.float32], max_weight: float
) -> InferenceFreeEncoder | SpladeEncoder:
    if recipe.model.kind == "inference-free":
        return InferenceFreeEncoder.of(model, idf, name=recipe.name, max_weight=max_weight)
    return SpladeEncoder.of(model, name=recipe.name, max_weight=max_weight)
