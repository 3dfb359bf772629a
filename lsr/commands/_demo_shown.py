"""What `lsr demo` prints; `demo` finds it out."""

from collections.abc import Mapping
from typing import Any

import click

from ..systems import BM25, MINI
from . import _printing as out

TERMS = 5  # of a hit, the ones that added most
HALF = 0.5  # a word is marked as learned where more of its part is
CUT = 10  # a question counts as failed when no right answer is among so many


def show(report: Mapping[str, Any]) -> None:
    from ..measures import printed_name

    python = f"docstrings of Python {report['python']}'s standard library"
    n_docs = out.counted(report["n_docs"], "document")
    size = f"{out.size(report['n_bytes'])}, {report['n_postings']:,} postings, 8-bit impacts"
    if report["reused"]:
        out.fact("found", out.columns(n_docs, f"{python}, indexed before"))
        out.fact("index", f"{report['index']}  {size}")
    else:
        out.fact("collected", out.columns(n_docs, f"{python}, {out.duration(report['collect_s'])}"))
        out.fact("fitted", out.columns("bm25", out.duration(report["fit_s"])))
        out.fact("wrote", f"{report['index']}  {size}, {out.duration(report['build_s'])}")
    for search in report["searches"]:
        out.fact("query", f"{search['text']}  ({out.duration(search['search_s'])})")
        for rank, hit in enumerate(search["hits"], start=1):
            _show_hit(str(rank), hit)
    asked = out.counted(report["n_queries"], "question")
    judged = out.counted(report["n_judgements"], "judgement")
    out.fact("asked", out.columns(asked, f"{judged}, {out.duration(report['queries_s'])}"))
    means = (f"{printed_name(name)} {value:.3f}" for name, value in report["means"].items())
    out.fact("measured", "  ".join(means))
    failure = report["failure"]
    if failure is not None:
        share = f"no right answer among the first {CUT} for {report['n_failed']} of them, as for"
        out.fact("failed", share)
        out.fact("query", failure["text"])
        why = "no word in common" if not failure["shares_words"] else "other words weigh more"
        out.fact("wanted", f"{failure['right']}  {failure['says']}  ({why})")
        for hit in failure["found"]:
            _show_hit("1", hit)


def show_learned(before: Mapping[str, Any], report: Mapping[str, Any]) -> None:
    """The shipped encoder beside BM25, and what it finds that BM25 does not."""
    from ..measures import printed_name

    size = f"{out.size(report['n_bytes'])}, {report['n_postings']:,} postings, 8-bit impacts"
    if report["reused"]:
        out.fact("index", f"{report['index']}  {size}, encoded before")
    else:
        pace = f"{report['n_docs'] / report['build_s']:,.0f} documents a second"
        out.fact("encoded", out.columns(MINI, f"{out.duration(report['build_s'])}, {pace}"))
        out.fact("wrote", f"{report['index']}  {size}")
    for name, means in ((BM25, before["means"]), (MINI, report["means"])):
        values = "  ".join(f"{printed_name(key)} {value:.3f}" for key, value in means.items())
        out.fact("measured", out.columns(name, values))
    out.fact(
        "failed",
        f"no right answer among the first {CUT} for {report['n_failed']} questions, for "
        f"{before['n_failed']} with {BM25}",
    )
    example = report["example"]
    if example is not None:
        out.fact("query", f"{example['text']}  (not among the first {CUT} of {BM25})")
        _show_hit(str(example["rank"]), example["hit"])


def _show_hit(rank: str, hit: Mapping[str, Any]) -> None:
    matched = ", ".join(
        f"{part['word']} {part['score']:.2f}{_learned(part)}" for part in hit["words"][:TERMS]
    )
    more = ", ..." if len(hit["words"]) > TERMS else ""
    click.echo(f"{rank:>4}  {hit['score']:7.3f}  {hit['doc_id']}  {hit['says']}")
    click.echo(f"{'':15}[{matched}{more}]")


def _learned(part: Mapping[str, Any]) -> str:
    """How a word came into the document that does not say it: what the network read for it."""
    if part["learned"] <= HALF:
        return ""
    read = part.get("read_from")
    return " learned" if read is None else f" <- {out.printable(read)!r}"
