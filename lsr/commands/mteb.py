"""`lsr mteb`: MTEB runs its tasks on our systems, as `mteb run` does on the models it knows."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import __version__
from ..errors import MissingExtra, UsageError
from . import _completing as complete
from . import _printing as out
from ._system_options import systems_option

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

    from lsr.mteb import MtebSearch
    from lsr.systems import System

EXAMPLES = """\b
Examples:
  lsr mteb scifact --encoder runs/encoder
  lsr mteb NanoSciFactRetrieval NanoNFCorpusRetrieval --encoder runs/encoder --output results/
  lsr mteb cranfield medline --systems systems.toml --json
"""


@dataclass(frozen=True)
class Score:
    """One task's figures, as MTEB rounds them."""

    system: str
    task: str
    split: str
    subset: str
    main_score: float
    ndcg_at_10: float | None
    map_at_1000: float | None
    mrr_at_10: float | None
    recall_at_100: float | None
    recall_at_1000: float | None


@click.command(epilog=EXAMPLES)
@click.argument("tasks", nargs=-1, required=True, metavar="TASK...")
@click.option(
    "--encoder",
    metavar="bm25|FOLDER",
    shell_complete=complete.encoders,
    help="What makes the vectors. Default: bm25",
)
@systems_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write MTEB's result files, ready for its leaderboard, into this folder.",
)
@click.option("--json", "json", is_flag=True, help="Print one JSON list, a row a task and system.")
def mteb(
    *,
    tasks: tuple[str, ...],
    encoder: str | None,
    systems_path: Path | None,
    output: Path | None,
    json: bool,
) -> None:
    """Let MTEB evaluate our index on each TASK: one of its own by name, or a local collection.

    MTEB's tasks need a network the first time. Indexes are kept in the cache (LSR_CACHE); scores
    are always measured anew.
    """
    if encoder is not None and systems_path is not None:
        raise UsageError("--encoder and --systems both say what to measure; give one")
    chosen = [_task(name) for name in tasks]
    if systems_path is None:
        from index.mteb import mteb_search

        models = [mteb_search(encoder or "bm25")]
    else:
        from ..systems import read_systems

        models = [_model(system) for system in read_systems(systems_path)]
    rows = [row for model in models for row in _evaluated(model, chosen, output)]
    if json:
        out.as_json([asdict(row) for row in rows])
        return
    columns = ("ndcg_at_10", "map_at_1000", "mrr_at_10", "recall_at_100", "recall_at_1000")
    out.table(
        ["task", "system", *columns],
        [
            [_place(row), row.system, *(_figure(getattr(row, name)) for name in columns)]
            for row in rows
        ],
    )
    if output is not None:
        out.fact("wrote", str(output))
    out.next_step("lsr", "evaluate", *tasks)


def _task(name: str) -> "AbsTask":
    """MTEB's task of exactly this name, or a collection that is found by it."""
    try:
        from mteb import get_task
    except ImportError as error:
        raise MissingExtra("lsr mteb", extra="mteb", package="mteb") from error
    from ..datasets import load_dataset
    from ..mteb import local_task

    try:
        return get_task(name)
    except KeyError:
        return local_task(load_dataset(name))


def _model(system: "System") -> "MtebSearch":
    from ..mteb import MtebSearch
    from ._entrants import OfFile
    from ._systems import open_system

    revision = hashlib.sha256(f"{__version__} {OfFile(system).key}".encode()).hexdigest()[:16]
    return MtebSearch(
        lambda corpus: open_system(system, corpus),
        name=f"lsr-search/{system.name.replace('/', '-')}",
        revision=revision,
    )


def _evaluated(model: "MtebSearch", tasks: "list[AbsTask]", output: Path | None) -> list[Score]:
    from mteb import ResultCache, evaluate

    results = evaluate(
        model,
        tasks,
        cache=None if output is None else ResultCache(output),
        overwrite_strategy="always",
        show_progress_bar=False,
    )
    model.close()
    names = [name for name in Score.__dataclass_fields__ if "_at_" in name]
    rows = []
    for result in results.task_results:
        for split, subsets in result.scores.items():
            for scores in subsets:
                figures: dict[str, Any] = {name: scores.get(name) for name in names}
                system, task = results.model_name, result.task_name
                main, subset = scores["main_score"], scores["hf_subset"]
                rows.append(Score(system, task, split, subset, main, **figures))
    return rows


def _place(row: Score) -> str:
    parts = [row.task]
    parts += [row.subset] if row.subset != "default" else []
    return " ".join([*parts, *([row.split] if row.split != "test" else [])])


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.5f}"
