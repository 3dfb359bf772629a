"""From a recipe to an encoder folder: the stages in order, resumable, then measured and saved.

While it runs, everything lies in `<output>.training`: checkpoints, the network of the last finished
stage, `log.jsonl` for each stage. A run folder belongs to one recipe over one state of the data; it
resumes nothing else.
"""

import shutil
import time
from dataclasses import replace
from pathlib import Path

from lsr.encoders.folder import replacing
from lsr.encoders.model import SparseModel
from lsr.encoders.side import Precision, TransformerSide
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
from .rounds import run_rounds
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
    if recipe.data.mining is not None and recipe.data.mining.rounds > 1:

        def once(one: Recipe, place: Path, seconds: float | None) -> TrainReport:
            return run_recipe(one, place, resume=resume, quiet=quiet, stop_after=seconds)

        join()
        check(recipe.run)
        _check_output(output)
        if not resume or not output.with_name(f"{output.name}.rounds").is_dir():
            with in_turn():
                check_networks(recipe)
        return run_rounds(recipe, output, once, resume=resume, stop_after=stop_after)
    started = time.monotonic()
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
        measured = _save(run, output)
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


def _save(run: TrainingRun, output: Path) -> Measured:
    """Measure the encoder on training texts and write its folder, whole or not at all."""
    recipe = run.recipe
    model = run.model.cpu().eval()
    queries = run.queries.cpu().eval()
    for network in (model, queries):
        if isinstance(network, SparseModel):
            merge_lora(network)
    precision: Precision = "bfloat16" if recipe.run.bf16 else "float32"
    side = replace(TransformerSide.of(model), precision=precision)
    sample = run.sample(_MEASURED_DOCUMENTS)
    measured = measure(
        side.encode(sample, prompt=recipe.model.document_prompt, top_k=None, progress=False),
        most_terms=recipe.model.max_active_terms,
    )
    if measured.max_weight == 0:
        raise _collapsed(run, "documents")
    if isinstance(queries, SparseModel):
        side = replace(TransformerSide.of(queries), precision=precision)
        asked = run.sample_queries(_MEASURED_QUERIES)
        if not side.encode(asked, prompt=recipe.model.query_prompt, top_k=None, progress=False).nnz:
            raise _collapsed(run, "queries")
    with replacing(output) as fresh:
        written = fresh / "encoder"
        make_encoder(recipe, model, queries, measured.max_weight).save(written)
        logs = {stage: read_log(run.folder / stage / "log.jsonl") for stage in run.logged}
        draw(written, logs)
        add_record(
            written,
            training_record(
                recipe,
                run.pairs.sources,
                backbone=backbone_folder(recipe) if recipe.model.backbone else None,
                development=run.developed,
                measured=measured,
                last_log=run.last_log,
                run=run.record,
                processes=n_processes(),
            ),
        )
        for path in written.iterdir():
            path.rename(fresh / path.name)
        written.rmdir()
    return measured


def _collapsed(run: TrainingRun, side: Side) -> EncoderError:
    return EncoderError(
        f"{run.recipe.path}: training collapsed: none of the {side} has any term left; "
        f"{advice('all-zero', run.recipe, side)}; the log is in {run.folder}."
    )
