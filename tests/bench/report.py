"""What a measured set says: a table for people and a drawing of the latencies."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from engines import ENGINES

Report = dict[str, Any]
RECALLS = (0.95, 0.99)
NOTES = """\
time      CPU microseconds of the whole process per query, one thread, the least of 3 passes;
          ratio = mean over our mean (lsr blockmax)
overlap   share of the exact float top k that the answer holds, ties accepted; our exact search is
          exact on 8-bit impacts, bmp quantises too, scipy, splade-index and bm25s keep float32
lsr       timed through Python, quantising the query; lsr-index adds catalog and string ids. Peers
          pay their bindings too, and get queries in their own form, made outside the clock
bmp       gets documents in our bisection order, without which it prunes little
seismic   is approximate: the fastest setting of a grid that reaches each overlap, else its best
memory    peak resident set of a process, interpreter and libraries included; a build holds the
          input vectors too (8 bytes a posting); bm25s builds from token lists"""


class Row(NamedTuple):
    """One engine under one setting at one k; `times` are microseconds, one a query."""

    engine: str
    label: str
    times: list[float]
    overlap: float


def rows(report: Report, k: int) -> list[Row]:
    """Every setting; of an approximate engine the fastest that reaches each of RECALLS."""
    out = []
    for name, result in report["engines"].items():
        if "missing" in result:
            continue
        overlap, timings = result["overlap"], result["search"]["timings"]
        keys = [key for key in timings if key.startswith(f"{k}|")]
        if ENGINES[name].approximate:
            keys.sort(key=lambda key: sum(timings[key]))
            best = max(keys, key=lambda key: overlap[key])
            reached = [next((x for x in keys if overlap[x] >= r), best) for r in RECALLS]
            keys = list(dict.fromkeys(reached))
        for key in keys:
            label = f"{name} {result['version']}, {key.split('|')[1]}"
            out.append(Row(name, label, timings[key], overlap[key]))
    return out


def table(report: Report) -> str:
    """The report as lines for people."""
    about, n = report["about"], report["about"]["n_postings"]
    size = f"{about['n_docs']:,} documents, {n:,} postings ({n / about['n_docs']:.0f} a document)"
    lines = [
        f"set        {report['set']}: {size}",
        f"queries    {report['queries']}, {about['query_terms']:.1f} terms on average",
        f"source     {about['source']}",
    ]
    for k in report["k"]:
        heads = ("p50 us", "p99 us", "mean us", "ratio", "overlap")
        lines += ["", f"{f'search, k={k}':<44}" + "".join(f"{head:>10}" for head in heads)]
        found = rows(report, k)
        ours = next((np.mean(r.times) for r in found if r.engine == "lsr"), None)
        for row in found:
            p50, p99, mean = *np.percentile(row.times, (50, 99)), np.mean(row.times)
            ratio = f"{mean / ours:.2f}" if ours else "-"
            times = f"{p50:>10,.0f}{p99:>10,.0f}{mean:>10,.0f}"
            lines.append(f"{row.label:<44}{times}{ratio:>10}{row.overlap:>10.4f}")
    heads = ("docs/s", "CPU s", "B/posting", "build MB", "search MB")
    lines += ["", f"{'build and memory':<44}" + "".join(f"{head:>10}" for head in heads)]
    for name, result in report["engines"].items():
        if "missing" in result:
            lines.append(f"{name:<44}not installed: pip install {result['missing']}")
            continue
        built, peak = result["build"], result["search"]["peak_bytes"]
        lines.append(
            f"{name:<44}{built['documents_per_second']:>10,.0f}{built['cpu_seconds']:>10.1f}"
            f"{built['bytes_per_posting']:>10.2f}{built['peak_bytes'] / 1e6:>10,.0f}"
            f"{peak / 1e6:>10,.0f}"
        )
        if built["notes"]:
            notes = ", ".join(f"{key} {value}" for key, value in built["notes"].items())
            lines.append(f"  {notes}")
    return "\n".join(lines)


def draw(machine: dict[str, Any], report: Report, path: Path) -> None:
    """Share of queries answered within t: further left is faster, steeper is more even."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    n = len(report["k"])
    figure, panels = plt.subplots(1, n, figsize=(6.4 * n, 5), sharey=True, squeeze=False)
    colours = dict(zip(ENGINES, plt.get_cmap("tab10").colors, strict=False))
    for panel, k in zip(panels[0], report["k"], strict=True):
        drawn: list[str] = []
        for row in rows(report, k):
            style = ("-", "--", ":")[min(drawn.count(row.engine), 2)]
            drawn.append(row.engine)
            share = np.arange(1, len(row.times) + 1) / len(row.times)
            label = f"{row.label} ({row.overlap:.3f})"
            panel.plot(np.sort(row.times), share, style, color=colours[row.engine], label=label)
        panel.set(xscale="log", title=f"k = {k}", xlabel="CPU microseconds per query, one thread")
        panel.grid(alpha=0.3, which="both")
        panel.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.13))
    panels[0][0].set_ylabel("share of queries answered")
    where = f"{machine['cpu']}, commit {machine['commit']}"
    n_docs = report["about"]["n_docs"]
    figure.suptitle(f"{report['set']}, {n_docs:,} documents; {where}; (overlap)", fontsize=10)
    figure.savefig(path, dpi=120, bbox_inches="tight")
