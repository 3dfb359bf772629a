"""From a recipe to an encoder folder: the stages in order, resumable, then measured and saved.

While it runs, everything lies in `<output>.training`: checkpoints, the network of the last finished
stage, `log.jsonl` for each stage. A run folder belongs to one recipe over one state of the data; it
resumes nothing else.
"""

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from lsr.encoders.folder import replacing
from lsr.encoders.model import SparseModel
from lsr.encoders.side import Precision, TransformerSide
from lsr.encoders.windows import encode_documents
from lsr.errors import EncoderError, RecipeError

from .adapters import merge_lora
from .advice import advice
from .card import add_record, measure, training_record
from .curve import draw, read_log
from .develop import load_learned
from .gather import anyone, in_turn, is_first, join, n_processes, wait
from .health import Side
from .mining.parts import OutOfTimeError
from .models import check_networks, make_encoder
from .recipe import Recipe, backbone_folder
from .report import Measured, TrainReport
from .rounds import Round, run_rounds
from .run_record import RunRecord
from .sharding import check
from .stages import run_stages
from .training_run import TrainingRun

_MEASURED_DOCUMENTS, _MEASURED_QUERIES = 500, 100


def run_recipe(
    recipe: Recipe,
    output: Path,
    *,
    resume: bool,
    quiet: bool,
    stop_after: float | None,
) -> TrainReport:
    """Do what `training.train` promises."""

    def once(one: Round, place: Path, seconds: float | None) -> TrainReport:
        return _run_round(one, place, resume=resume, quiet=quiet, stop_after=seconds)

    if recipe.data.mining is None or recipe.data.mining.rounds == 1:
        return once(Round(recipe, recipe), output, stop_after)
    join()
    check(recipe.run)
    _check_output(output)
    if not resume or not output.with_name(f"{output.name}.rounds").is_dir():
        with in_turn():
            check_networks(recipe)
    return run_rounds(recipe, output, once, resume=resume, stop_after=stop_after)


def _run_round(
    one: Round, output: Path, *, resume: bool, quiet: bool, stop_after: float | None
) -> TrainReport:
    """Train one encoder, by the stages of its recipe."""
    recipe, started = one.recipe, time.monotonic()
    join()
    check(recipe.run)
    _check_output(output)
    wait()
    with in_turn():
        network = check_networks(recipe)
    folder = output.with_name(f"{output.name}.training")
    if not resume and is_first():
        shutil.rmtree(folder, ignore_errors=True)
    deadline = None if stop_after is None else started + stop_after
    try:
        learned = load_learned(recipe, cache=folder / "mined", deadline=deadline, quiet=quiet)
    except OutOfTimeError:
        learned = None
    if anyone(learned is None) or learned is None:
        return TrainReport(output, False, time.monotonic() - started, 0, 0, None, {})
    developments, pairs = learned
    with in_turn():
        record = RunRecord.open(folder, recipe, pairs, writes=is_first())
    run = TrainingRun(
        recipe,
        pairs,
        folder,
        record,
        quiet=quiet,
        logs=output.with_name(f"{output.name}.tensorboard"),
        developments=developments,
        deadline=deadline,
    )
    if network is not None:
        run.model = network
    finished = run_stages(run)
    seconds = record.save()
    last_log = run.last_log
    measured = None
    if finished and is_first():
        measured = _save(run, one, output)
        shutil.rmtree(folder)
    wait()
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


def _save(run: TrainingRun, one: Round, output: Path) -> Measured:
    """Measure the encoder on training texts and write its folder, whole or not at all."""
    recipe, asked = run.recipe, one.asked
    model = run.model.cpu().eval()
    queries = run.queries.cpu().eval()
    for network in (model, queries):
        if isinstance(network, SparseModel):
            merge_lora(network)
    precision: Precision = "bfloat16" if recipe.run.bf16 else "float32"
    side = replace(TransformerSide.of(model), precision=precision)
    stage = recipe.stage.ranking
    vectors = encode_documents(
        side,
        run.sample(_MEASURED_DOCUMENTS),
        prompt=recipe.model.document_prompt,
        top_k=None,
        overlap=stage.window_overlap if stage.windows > 1 else None,
        progress=False,
    )
    measured = measure(vectors, most_terms=recipe.model.max_active_terms)
    if measured.max_weight == 0:
        raise _collapsed(run, "documents")
    if isinstance(queries, SparseModel):
        side = replace(TransformerSide.of(queries), precision=precision)
        texts = run.sample_queries(_MEASURED_QUERIES)
        if not side.encode(texts, prompt=recipe.model.query_prompt, top_k=None, progress=False).nnz:
            raise _collapsed(run, "queries")
    with replacing(output) as fresh:
        written = fresh / "encoder"
        make_encoder(recipe, model, queries, measured.max_weight).save(written)
        logs = {stage: read_log(run.folder / stage / "log.jsonl") for stage in run.logged}
        draw(written, logs)
        record = training_record(
            asked,
            run.pairs.sources,
            backbone=backbone_folder(asked) if asked.model.backbone else None,
            development=_developed(run, asked),
            measured=measured,
            last_log=run.last_log,
            run=run.record,
            processes=n_processes(),
        )
        add_record(written, one.with_before(record))
        for path in written.iterdir():
            path.rename(fresh / path.name)
        written.rmdir()
    return measured


def _developed(run: TrainingRun, asked: Recipe) -> dict[str, Any] | None:
    """How the development collections ranked; queries held out are known by the recipe's
    fingerprint, and a later round's own names the folder that it lies in.
    """
    developed = run.developed
    if developed is None or asked.develop is None or asked.develop.dataset:
        return developed
    return developed | {"fingerprint": asked.fingerprint()}


def _collapsed(run: TrainingRun, side: Side) -> EncoderError:
    return EncoderError(
        f"{run.recipe.path}: training collapsed: none of the {side} has any term left; "
        f"{advice('all-zero', run.recipe, side)}; the log is in {run.folder}."
    )
