"""`lsr fuse`: one TREC run out of several."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UsageError
from . import _printing as out
from ._runs import require_place

if TYPE_CHECKING:
    from ..retrieval import Method

EXAMPLES = """\b
Examples:
  lsr fuse bm25.trec dense.trec --output hybrid.trec
  lsr fuse bm25.trec dense.trec --method zscore --weights 0.3,0.7 --output hybrid.trec
  lsr fuse bm25.trec dense.trec --weights weights.toml --output hybrid.trec

\b
rrf      1 / (60 + rank)                              combmnz  minmax times the lists that hold it
minmax   scores of each query's list brought to [0, 1]
zscore   scores of each query's list brought to mean 0 and deviation 1
"""


@click.command(epilog=EXAMPLES)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--method",
    type=click.Choice(["rrf", "minmax", "zscore", "combmnz"]),
    help="Default: what a file of --weights says, else rrf",
)
@click.option(
    "--weights",
    metavar="W,W,...|FILE",
    help="One a run, or a file of `lsr tune`, in the order of its retrievers. Default: all alike",
)
@click.option(
    "--depth",
    type=click.IntRange(min=1),
    help="Documents to take from each run. Default: what a file of --weights says, else 1000",
)
@click.option("-k", "k", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="The fused run.")
@click.option("--tag", default="lsr", show_default=True, help="The run's name in its last column.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def fuse(
    *,
    runs: tuple[Path, ...],
    method: "Method | None",
    weights: str | None,
    depth: int | None,
    k: int,
    output: Path,
    tag: str,
    json: bool,
) -> None:
    """Fuse the rankings of several RUNs, query by query, and write one.

    A document that a run does not hold counts as that run's last (minmax, zscore).
    """
    from ..retrieval import fuse as fuse_runs
    from ..trec import read_run, write_run

    if len(runs) < 2:
        raise UsageError(f"{runs[0]} alone; wanted two runs or more to fuse")
    require_place(output, [*runs, None if weights is None else Path(weights)])
    tuned = _tuned(weights, method, depth, len(runs))
    if tuned is not None:
        method, chosen, depth = tuned
    else:
        chosen = _numbers(weights)
    method, depth = method or "rrf", depth or 1000
    fused = fuse_runs([read_run(path) for path in runs], method, chosen, k=k, depth=depth)
    write_run(output, fused, tag=tag)
    facts = {
        "output": str(output),
        "method": method,
        "weights": list(chosen) or None,
        "depth": depth,
        "n_runs": len(runs),
        "n_queries": len(fused),
        "n_rows": len(fused.doc_ids),
    }
    if json:
        out.as_json(facts)
        return
    by = f"by {method}, weights {', '.join(f'{w:g}' for w in chosen)}" if chosen else f"by {method}"
    out.fact("fused", out.columns(out.counted(len(runs), "run"), f"{by}, {depth:,} documents each"))
    queries = out.counted(len(fused), "query")
    out.fact("wrote", out.columns(str(output), f"{queries}, {len(fused.doc_ids):,} rows"))
    out.next_step("lsr", "evaluate", "DATASET", "--from-run", str(output))


def _tuned(
    weights: str | None, method: "Method | None", depth: int | None, n_runs: int
) -> "tuple[Method, tuple[float, ...], int] | None":
    """What a file says; None where `weights` is no file."""
    if weights is None or _are_numbers(weights):
        return None
    from ..systems import read_systems

    systems = read_systems(Path(weights))
    if len(systems) > 1:
        raise UsageError(f"{weights} describes {len(systems)} systems; wanted one")
    (tuned,) = systems
    if len(tuned.retrievers) != n_runs:
        raise UsageError(
            f"{weights} has weights of {', '.join(tuned.retrievers)}, got {n_runs} runs; wanted "
            "one run each, in this order"
        )
    for option, given, said in (("method", method, tuned.fuse), ("depth", depth, tuned.depth)):
        if given is not None and given != said:
            raise UsageError(
                f"--{option} {given}, but {weights} was tuned for {said}; leave the option out, or "
                "give the weights as numbers"
            )
    return tuned.fuse, tuned.weights, tuned.depth


def _numbers(weights: str | None) -> tuple[float, ...]:
    return () if weights is None else tuple(float(part) for part in weights.split(","))


def _are_numbers(weights: str) -> bool:
    try:
        _numbers(weights)
    except ValueError:
        return False
    return True
