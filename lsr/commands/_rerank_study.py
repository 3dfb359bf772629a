"""`lsr rerank --study`: a study of sparsity as JSON, a table to read, and two plots' files."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from ..files import atomic_write
from ..reranking.aggregation import AGGREGATIONS
from ..reranking.sampling import SAMPLERS
from . import _printing as out
from ._markdown import markdown_table

if TYPE_CHECKING:
    from ..reranking import PreferenceModel
    from ..reranking.study import Point, Study
    from .rerank import Task

THIRD = 1 / 3
"""Share of the comparisons at which the paper finds effectiveness to be competitive."""


def write_study(
    stem: Path,
    task: "Task",
    model: "PreferenceModel",
    *,
    repeats: int,
    symmetric: bool,
    json: bool,
) -> None:
    """Make the study and write STEM.json, .md, .png and .svg; print the table."""
    from ..reranking.study import study_sparsity
    from ._drawing import require_matplotlib
    from ._plots_rerank import draw_study

    require_matplotlib()
    stem.parent.mkdir(parents=True, exist_ok=True)
    study = study_sparsity(
        task.run,
        task.queries,
        task.texts,
        task.qrels,
        model,
        depth=task.depth,
        repeats=repeats,
        symmetric=symmetric,
        progress=not json,
    )
    title = f"{task.source.name}, {study.model}"
    written = [_with(stem, suffix) for suffix in (".json", ".md")]
    facts: dict[str, Any] = {
        "dataset": task.source.name,
        "split": task.convention.split,
        "dataset_fingerprint": task.source.fingerprint,
        "symmetric": symmetric,
        "repeats": repeats,
        **asdict(study),
        "points": [_rounded(point) for point in study.points],
    }
    command = [*map(_public, task.command), "--study", stem.name]
    with atomic_write(written[0]) as file:
        file.write(orjson.dumps(facts, option=orjson.OPT_INDENT_2) + b"\n")
    with atomic_write(written[1]) as file:
        file.write(_markdown(study, title, command).encode())
    written += draw_study(stem, study, title)
    if json:
        out.as_json({**facts, "files": [str(path) for path in written]})
        return
    out.table(_HEADER, _rows(study))
    queries = out.counted(study.n_queries, "query")
    out.fact("studied", out.columns(queries, f"the first {study.depth} documents of each, {title}"))
    out.fact("first", out.columns("stage", f"{study.measure} {study.first_stage:.4f}"))
    share, value = study.asking
    out.fact("kwiksort", out.columns("asking as it sorts", f"{value:.4f} at {share:.1%} of all"))
    for path in written:
        out.fact("wrote", str(path))
    best = max(study.points, key=lambda point: point.value if point.budget <= THIRD else 0.0)
    chosen = ["--sampler", best.sampler, "--aggregation", best.aggregation]
    chosen += ["--budget", str(best.budget)]
    method = [] if "--method" in task.command else ["--method", "pairwise"]
    out.next_step(*task.command, *method, *chosen)


_HEADER = ["sampler, aggregation", "2 %", "10 %", "a third", "all", "lost at a third", "1 % short"]


def _rows(study: "Study") -> list[list[str]]:
    """One a curve: values at some shares, the loss at a third, the share that is 1 % short."""
    rows = []
    for sampler in SAMPLERS:
        for aggregation in AGGREGATIONS:
            points = study.of(sampler, aggregation)
            least, tenth, third = (_nearest(points, share) for share in (0.02, 0.1, THIRD))
            rows.append(
                [
                    f"{sampler}, {aggregation}",
                    *(f"{point.value:.3f}" for point in (least, tenth, third)),
                    f"{study.complete[aggregation]:.3f}",
                    f"{_three(third.loss)} ({_three(third.loss_low)} to {_three(third.loss_high)})",
                    f"{study.enough(sampler, aggregation):.0%}",
                ]
            )
    return rows


def _markdown(study: "Study", title: str, command: list[str]) -> str:
    share, value = study.asking
    said = (
        f"{study.measure} of the first {study.depth} documents of {study.n_queries} queries by the "
        f"share of the k² - k comparisons made. The first stage has {study.first_stage:.3f}; "
        f"KwikSort asking as it sorts has {value:.3f} at {share:.1%}. What is lost is against all "
        "comparisons, with a 95 % interval of a paired t test over queries; the last column is the "
        "least share from which on no more than 1 % of the value is lost."
    )
    lines = [
        f"# Sparse pairwise re-ranking: {title}",
        "",
        said,
        "",
        markdown_table(_HEADER, _rows(study), text=1),
        "",
        f"`{' '.join(command)}`",
        "",
    ]
    return "\n".join(lines)


def _three(value: float) -> str:
    """Three digits; a zero has no sign."""
    return f"{round(value, 3) + 0.0:.3f}"


def _nearest(points: "list[Point]", share: float) -> "Point":
    return min(points, key=lambda point: abs(point.budget - share))


def _rounded(point: "Point") -> dict[str, Any]:
    """Five digits: more would be noise, and the file lies in a repository."""
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in asdict(point).items()}


def _public(word: str) -> str:
    """A word of the command without where files lie, which is nobody's business."""
    kind, colon, path = word.rpartition(":")
    return f"{kind}{colon}{Path(path).name}"


def _with(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)
