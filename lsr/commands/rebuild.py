"""`lsr rebuild`: a new index of the documents of another, put in its place in one step."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ..errors import UsageError
from . import _completing as complete
from . import _printing as out
from .index import windows_of

if TYPE_CHECKING:
    from index import Index
    from service.versions.gate import Gate

EXAMPLES = """\b
Examples:
  lsr rebuild my.index                                BM25: count anew; others: round anew
  lsr rebuild my.index --max-weight 3.5               from the stored weights
  lsr rebuild my.index --encoder runs/encoder --gate ndcg@10:-0.005 --judged judged.json
  lsr rebuild papers --data server --encoder v2 --gate ndcg@10:-0.005
"""


@click.command(epilog=EXAMPLES)
@click.argument("index", metavar="INDEX|NAME", shell_complete=complete.folders)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="The data directory of a server, whose indexes and encoders go by name.",
)
@click.option(
    "--encoder",
    metavar="FOLDER|NAME",
    shell_complete=complete.encoders,
    help="Encode every stored text anew with it.",
)
@click.option(
    "--max-weight",
    type=click.FloatRange(min=0, min_open=True),
    help="The weight of the largest impact, for stored vectors.",
)
@click.option("--order", type=click.Choice(["bp", "none"]), help="Another order of documents.")
@click.option("--passages", metavar="LENGTH/OVERLAP", help="Split texts anew, into so many words.")
@click.option(
    "--gate",
    "gate_text",
    metavar="MEASURE:CHANGE",
    help="Keep the old index if the mean changes by less, such as ndcg@10:-0.005.",
)
@click.option(
    "--judged",
    metavar="FILE|NAME",
    help="Judged queries: a JSON file of queries and qrels, or a dataset; with --data a set there, "
    "by default the one that is called as the index.",
)
@click.option("--memory", default="1GiB", show_default=True, help="Bound on the build.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def rebuild(
    *,
    index: str,
    data: Path | None,
    encoder: str | None,
    max_weight: float | None,
    order: Literal["bp", "none"] | None,
    passages: str | None,
    gate_text: str | None,
    judged: str | None,
    memory: str,
    json: bool,
) -> None:
    """Make INDEX anew of its own documents while others search and write, then swap it in.

    Without --encoder, BM25 counts its documents anew, and any other index is rounded anew from its
    stored vectors. A rebuild that was interrupted goes on when the same command is given again.
    """
    # In a data directory the queries are by default those in judged/NAME.json.
    if (gate_text is None and judged is not None) or (
        gate_text is not None and judged is None and data is None
    ):
        raise UsageError(
            "--gate and --judged belong together: what to measure, and on which queries"
        )
    windows = None if passages is None else windows_of(passages)
    if data is not None:
        measure, least = (None, None) if gate_text is None else parsed_gate(gate_text)
        wanted = {
            "encoder": encoder,
            "max_weight": max_weight,
            "order": order,
            "passages": windows and {"length": windows[0], "overlap": windows[1]},
            "gate": gate_text and {"judged": judged, "measure": measure, "min_delta": least},
        }
        _in_data(data, index, wanted, json=json)
        return
    from index import Index, document_encoder
    from index.rebuild import Weights, rebuild_index, refitted, split_anew

    from ..encoders import load_encoder
    from ..progress import Bar, bar

    path = Path(index)
    gate = None if gate_text is None else gate_of(gate_text, str(judged))
    with Index.open(path) as old:
        settings = old.settings if order is None else _ordered(old.settings, order)
        bm25 = old.encoder is not None and old.encoder.query_strategy == "bm25"
        if encoder == "bm25" and not bm25:
            raise UsageError(
                f"{path} is no index of BM25; build one with `lsr index --encoder bm25`"
            )
        if encoder not in (None, "bm25"):
            weights = Weights(load_encoder(str(encoder)), windows)
        elif bm25 and (encoder == "bm25" or max_weight is None):
            staging = path.resolve().with_name(f"{path.resolve().name}.rebuilding")
            weights = Weights(refitted(old, staging), windows)
        elif windows is not None:
            weights = split_anew(old, document_encoder(old), windows)
        else:
            weights = Weights()
    told: dict[str, Any] = {}

    def admit(old: "Index", new: "Index") -> None:
        if gate is not None:
            told.update(admitted(gate, old, new))

    counter: Bar[None] = bar(total=None, unit="documents", desc="rebuilt")

    def show(done: int, total: int) -> None:
        counter.total = total
        counter.update(done - counter.n)

    with counter:
        report = rebuild_index(
            path,
            weights,
            max_weight=max_weight,
            settings=settings,
            memory=memory,
            progress=show,
            admit=admit,
        )
    if json:
        out.as_json(
            {
                "path": path,
                "n_docs": report.n_docs,
                "n_caught_up": report.n_caught_up,
                "n_untraced": report.n_untraced,
                "bytes": report.n_bytes,
                "seconds": report.seconds,
                "gate": told or None,
            }
        )
        return
    if told:
        out.fact("gate", gate_line(told))
    if report.n_caught_up:
        out.fact("caught up", f"{out.counted(report.n_caught_up, 'change')} made meanwhile")
    if report.n_untraced:
        texts = out.counted(report.n_untraced, "text")
        out.fact(
            "untraced", f"{texts} without origins, which the old index kept: `lsr trace {path}`"
        )
    what = f"{out.counted(report.n_docs, 'document')}, {out.size(report.n_bytes)}, verified, "
    out.fact("swapped", out.columns(str(path), what + out.duration(report.seconds)))
    out.next_step("lsr", "info", str(path))


def _in_data(data: Path, name: str, wanted: dict[str, Any], *, json: bool) -> None:
    """Rebuild an index of a data directory, by its server's worker or by one of our own."""
    from service.home import Home
    from service.home.registry import Registry
    from service.versions.rebuilding import ask_rebuild

    from ._data import seen_through

    with Home.open(data) as home:
        entry = Registry.read(home).resolve(name)
        task = ask_rebuild(home, entry, wanted)
        out.note("queued", f"task {task.id}")
        task = seen_through(home, task, "rebuilt")
    details = dict(task.details or {})
    if json:
        out.as_json({"task": task.id, **details})
        return
    if details.get("gate"):
        out.fact("gate", gate_line(details["gate"]))
    what = f"{out.counted(int(details['n_docs']), 'document')}, verified, the old version is kept"
    out.fact("swapped", out.columns(entry.name, what))
    out.next_step("lsr", "rollback", entry.name, "--data", str(data))


def gate_of(text: str, judged: str) -> "Gate":
    """`ndcg@10:-0.005` and judged queries as a gate. Raises `UsageError`."""
    from service.versions.gate import Gate

    measure, change = parsed_gate(text)
    return Gate(_judged(judged), measure, change, None)


def parsed_gate(text: str) -> tuple[str, float]:
    """Measure and least change.

    >>> parsed_gate("ndcg@10:-0.005")
    ('nDCG@10', -0.005)
    """
    from ..measures import spelled

    measure, _, change = text.rpartition(":")
    try:
        least = float(change)
    except ValueError:
        least = float("nan")
    if not measure or not -1 <= least <= 1:
        raise UsageError(
            f"--gate {text}: wanted MEASURE:CHANGE with a change from -1 to 1, for example "
            "ndcg@10:-0.005"
        )
    return spelled(measure), least


def admitted(gate: "Gate", old: "Index", new: "Index") -> dict[str, Any]:
    """What the gate measured. Raises `UsageError` with the numbers when it stays shut."""
    from index import query_encoder
    from service.versions import gate as gates

    values = [
        gates.values_of(one, query_encoder(one), gate.judged, gate.measure) for one in (old, new)
    ]
    told = gates.decide(gate, *values)
    if not told["passed"]:
        raise gates.refused("the index", told)
    return told


def gate_line(told: dict[str, Any]) -> str:
    """What a gate measured, for people."""
    p = "" if told["p_value"] is None else f", p = {told['p_value']:.2g}"
    return (
        f"{told['measure']} {told['old']:.4f} to {told['new']:.4f} ({told['delta']:+.4f}{p}, "
        f"{out.counted(told['n_queries'], 'query')})"
    )


def _judged(text: str) -> Any:
    """Judged queries of a JSON file or of a dataset."""
    from service.versions.gate import Judged, read_judged

    path = Path(text)
    if path.suffix == ".json" and path.is_file():
        return read_judged(path)
    from ..datasets import load_dataset

    source = load_dataset(text)
    queries = {query.query_id: query.text for query in source.queries()}
    return Judged.checked(queries, source.qrels(), pointer="")


def _ordered(settings: Any, order: Literal["bp", "none"]) -> Any:
    from dataclasses import replace

    return replace(settings, order=order)
