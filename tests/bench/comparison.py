"""What `make bench-engine` prints and draws: tables of all engines, targets, and curves."""

from pathlib import Path
from typing import Any

import numpy as np
from engines import ENGINES
from results import quoted, rows
from targets import EXACT, targets

Report = dict[str, Any]
WIDTH = 66
NOTES = """\
time      CPU microseconds of the whole process per query, one thread, one query at a time, the
          least of 3 passes; ratio = mean over our exact mean (lsr auto)
recall    overlap with the exact float32 top k, ties accepted, ours too: our exact search is exact
          on 8-bit impacts
lsr       timed through Python, quantising the query. Peers pay their bindings too, and get queries
          in their own form, made outside the clock
order     bmp, pisa and impact-index get documents in our bisection order
tuned     seismic, kannolo and sindi: the fastest points of tuned.json that reach each recall, less
          0.002, else their best; the label ends in the build and search settings
disk      bytes of the index files, in MB; ours hold ids and stored vectors too
memory    peak resident set of the searching process, interpreter and libraries included
build     CPU seconds of the whole process, ours with document ordering; conversion to an engine's
          input file is not counted, feeding documents one by one (bmp, impact-index, qdrant) is"""


def table(report: Report) -> str:
    """The report as lines for people."""
    about, n = report["about"], report["about"]["n_postings"]
    size = f"{about['n_docs']:,} documents, {n:,} postings ({n / about['n_docs']:.0f} a document)"
    lines = [
        f"set        {report['set']}: {size}",
        f"queries    {report['queries']}, {about['query_terms']:.1f} terms on average",
        f"source     {about['source']}",
    ]
    found = rows(report)
    heads = ("mean us", "p50", "p99", "ratio", "recall", "disk", "memory", "build")
    for k in report["k"]:
        title = f"{report['set']}, k={k}"
        lines += ["", f"{title:<{WIDTH}}" + "".join(f"{head:>9}" for head in heads)]
        exact = (r for r in found if r.engine == "lsr" and r.k == k and r.mode == EXACT)
        ours = next((row.mean for row in exact), None)
        for engine in ENGINES:
            for row in quoted(found, engine, k):
                p50, p99 = np.percentile(row.times, (50, 99))
                ratio = f"{row.mean / ours:.2f}" if ours else "-"
                lines.append(
                    f"{row.label:<{WIDTH}}{row.mean:>9,.0f}{p50:>9,.0f}{p99:>9,.0f}{ratio:>9}"
                    f"{row.recall:>9.4f}{row.build['bytes'] / 1e6:>9,.0f}"
                    f"{row.search['peak_bytes'] / 1e6:>9,.0f}{row.build['cpu_seconds']:>9.1f}"
                )
    for engine, result in report["engines"].items():
        if "missing" in result:
            lines.append(f"{engine:<{WIDTH}} not run: {result['missing']}")
    if "details" in report:
        lines += ["", *_details(report)]
    return "\n".join(lines)


def _details(report: Report) -> list[str]:
    found = report["details"]
    parts = found["bytes_per_posting"]
    main = ", ".join(f"{name} {size:.2f}" for name, size in parts.items() if ":" not in name)
    inner = ", ".join(
        f"{name.removeprefix('search: ')} {size:.2f}" for name, size in parts.items() if ":" in name
    )
    out = [
        f"ours, opened in       {found['open_seconds'] * 1000:.1f} ms",
        f"bytes a posting       {main}",
        f"  search sections     {inner}",
    ]
    if "unordered_build" in found:
        ordered, plain = found["ordered_build"], found["unordered_build"]
        out.append(
            f"build                 {ordered['cpu_seconds']:.1f} CPU s with ordering "
            f"({ordered['seconds']:.1f} s), {plain['cpu_seconds']:.1f} without "
            f"({plain['seconds']:.1f} s)"
        )
    for k, filtered in found["filters"].items():
        shares = ", ".join(
            f"{float(s):.0%} {x:.2f}x" for s, x in filtered.items() if s != "unfiltered us"
        )
        us = f"{filtered['unfiltered us']:,.0f} us"
        out.append(f"filters, k={k:<11}{shares} of the unfiltered {us}")
    for k, compared in found["against_exhaustive"].items():
        for mode in ("auto", "blockmax"):
            one = compared[mode]
            out.append(
                f"{f'{mode}, k={k}':<22}{one['mean speedup']:.2f}x faster than exhaustive, "
                f"{one['share slower']:.1%} of queries > 1.1x slower, p99 {one['p99 ratio']:.2f}x"
            )
    for k, one in found["batch"].items():
        out.append(
            f"{f'batch of 32, k={k}':<22}{one['batch us']:,.0f} us a query against "
            f"{one['single us']:,.0f} one by one, {one['speedup']:.2f}x"
        )
    for k, one in found["threads"].items():
        out.append(
            f"{f'2 threads, k={k}':<22}{one['speedup of 2']:.2f}x of "
            f"{one['queries/s, 1 thread']:,.0f} queries/s on one"
        )
    return out


def targets_table(reports: list[Report]) -> str:
    """The targets of issue 3 with the verdict on each."""
    head = f"{'set':<7}{'target':<44}{'value':>8}  {'floor / goal':<16}{'verdict':<17}measured"
    lines = [str(line) for report in reports for line in targets(report)]
    return "\n".join([head, *(lines or ["nothing measured that a target speaks of"])])


def draw(where: dict[str, Any], reports: list[Report], paths: list[Path]) -> None:
    """Recall against microseconds: one panel a set and k, one line an engine; left and up wins."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    ks = reports[0]["k"]
    size = (len(reports), len(ks))
    shape = {"figsize": (6 * size[1], 4.2 * size[0]), "squeeze": False}
    figure, panels = plt.subplots(*size, **shape)
    colours = dict(zip(ENGINES, plt.get_cmap("tab20").colors, strict=False))
    for line, report in zip(panels, reports, strict=True):
        found = rows(report)
        for panel, k in zip(line, ks, strict=True):
            for engine in ENGINES:
                own = [r for r in found if r.engine == engine and r.k == k and r.recall >= 0.85]
                own.sort(key=lambda row: row.mean)
                times, recalls = [r.mean for r in own], [r.recall for r in own]
                if own:
                    style = "o-" if ENGINES[engine].approximate else "s"
                    panel.plot(times, recalls, style, ms=4, color=colours[engine], label=engine)
            panel.set(xscale="log", title=f"{report['set']}, k = {k}", ylabel="recall")
            panel.set_xlabel("mean CPU microseconds a query, one thread")
            panel.grid(alpha=0.3, which="both")
            panel.legend(fontsize=7)
    figure.suptitle(f"{where['cpu']}, commit {where['commit']}", fontsize=10)
    figure.tight_layout()
    for path in paths:
        figure.savefig(path, dpi=120)


def draw_scaling(
    where: dict[str, Any], found: list[dict[str, Any]], ks: list[int], paths: list[Path]
) -> None:
    """Microseconds of exact search against the number of documents."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panel = plt.subplots(figsize=(7, 5))
    sizes = [row["n_docs"] for row in found]
    for k, colour in zip(ks, plt.get_cmap("tab10").colors, strict=False):
        for name, style in (("mean", "o-"), ("p50", "o:"), ("p99", "o--")):
            times = [row[str(k)][name] for row in found]
            panel.plot(sizes, times, style, ms=4, color=colour, label=f"k = {k}, {name}")
    panel.set(xscale="log", yscale="log", xlabel="documents")
    panel.set_ylabel("CPU microseconds a query, one thread")
    panel.grid(alpha=0.3, which="both")
    panel.legend(fontsize=8)
    figure.suptitle(f"exact search; {where['cpu']}, commit {where['commit']}", fontsize=10)
    figure.tight_layout()
    for path in paths:
        figure.savefig(path, dpi=120)
