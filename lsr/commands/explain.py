"""`lsr explain`: why a document has its score and its rank, and what would lift it."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from . import _printing as out
from ._explaining import Question, differences, standing, title_of
from ._origins import described, traced

EXAMPLES = """\b
Examples:
  lsr explain scifact.index "does vitamin D protect bone density" 4983
  lsr explain my.index "jaguar speed" d17 d4                  # why one of them is above the other
  lsr explain my.index "jaguar speed" d17 --vs other.index    # the same document under two encoders
"""

MISSING = 8
"""Terms of the question that the document lacks, in print; --json has them all."""


@click.command(epilog=EXAMPLES)
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("text")
@click.argument("doc_ids", nargs=-1, required=True, metavar="DOC_ID...")
@click.option(
    "--vs", type=click.Path(path_type=Path), metavar="INDEX", help="Another index to compare with."
)
@click.option(
    "-k", "k", type=click.IntRange(min=1), default=10, show_default=True, help="Rank to reach."
)
@click.option("--encoder", help="Another folder of the encoder that built INDEX.")
@click.option("--vs-encoder", help="The same for the index of --vs.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def explain(
    *,
    index: Path,
    text: str,
    doc_ids: tuple[str, ...],
    vs: Path | None,
    k: int,
    encoder: str | None,
    vs_encoder: str | None,
    json: bool,
) -> None:
    """Take the score of each document DOC_ID for the question TEXT apart, found or not.

    Term by term, query weight x document weight adds up to the score. `at most` is the largest
    weight that the term has in any document, `lifts at` the weight that would, alone, bring the
    document level with rank -k, or with the next rank where it is in already.
    """
    from index import Index, query_encoder

    if len(set(doc_ids)) < len(doc_ids):
        raise UsageError(f"a document is named twice: {' '.join(doc_ids)}; name each once")
    with ExitStack() as stack:
        questions: list[Question] = []
        explained: list[list[dict[str, Any]]] = []
        origins: list[str | None] = []
        for path, folder in ((index, encoder), (vs, vs_encoder)):
            if path is None:
                continue
            one = stack.enter_context(Index.open(path, read_only=True))
            question = Question.put(str(path), one, query_encoder(one, folder), text)
            rows = [question.explained(doc_id, k=k) for doc_id in doc_ids]
            questions.append(question)
            explained.append(rows)
            origins.append(traced(one, question.encoder, [rows]))
        spaces = {question.encoder.space for question in questions}
        if json:
            out.as_json(
                {
                    "text": text,
                    "k": k,
                    "comparable_scores": len(spaces) == 1,
                    "indexes": [
                        {"index": question.name, "origin": origin, "documents": rows}
                        for question, rows, origin in zip(
                            questions, explained, origins, strict=True
                        )
                    ],
                }
            )
            return
        out.fact("query", out.printable(text))
        for number, doc_id in enumerate(doc_ids):
            for question, rows in zip(questions, explained, strict=True):
                _print(question.name, rows[number])
            if vs is not None:
                first, second = (rows[number] for rows in explained)
                _side_by_side(doc_id, (first, second), (str(index), str(vs)))
        if vs is None and len(doc_ids) == 2:
            _side_by_side(str(index), (explained[0][0], explained[0][1]), doc_ids)
        for origin in filter(None, origins):
            out.fact("origin", origin)
        if len(spaces) > 1:
            out.fact("note", "two encoders score in units of their own: compare the shares")
    out.next_step("lsr", "search", str(index), out.printable(text), "--explain")


def _print(name: str, row: Mapping[str, Any]) -> None:
    out.fact("document", out.columns(out.printable(row["doc_id"]), title_of(row["fields"])))
    out.fact("index", out.columns(name, standing(row)))
    target = row["target"]
    if target is not None:
        place = f"{target['gap']:.3f} to rank {target['rank']:,}"
        out.fact("gap", f"{place}, {out.printable(target['doc_id'])} with {target['score']:.3f}")
    missing = row["missing"]
    shown = [*row["terms"], *missing[:MISSING]]
    if not shown:
        out.fact("terms", "none: the encoder makes no term of the question")
        return
    out.table(
        ["term", "query", "x document", "= score", "share", "at most", "lifts at"],
        [[*_cells(part)] for part in shown]
        + [["total", "", "", f"{row['score']:.3f}", "100 %" if row["score"] else "", "", ""]],
    )
    if len(missing) > MISSING:
        out.fact("lacks", f"{len(missing) - MISSING} more terms of the question")


def _cells(part: Mapping[str, Any]) -> Sequence[str]:
    lacks = "" if part["score"] else " (lacks)" if part["heaviest"] else " (in no document)"
    return (
        f"{out.printable(part['term'])}{described(dict(part))}{lacks}",
        f"{part['query_weight']:.3f}",
        f"{part['doc_weight']:.3f}",
        f"{part['score']:.3f}",
        f"{100 * part['share']:.0f} %",
        f"{part['heaviest']:.3f}",
        "-" if part["needed"] is None else f"{part['needed']:.3f}",
    )


def _side_by_side(
    title: str, pair: tuple[Mapping[str, Any], Mapping[str, Any]], names: Sequence[str]
) -> None:
    """The terms of two explanations, each column adding up to its score."""
    totals = [one["score"] for one in pair]
    rows = []
    for term, *scores in [*differences(*pair), ("total", *totals)]:
        shares = [
            f"{100 * score / total:.0f} %" if total else "-"
            for score, total in zip(scores, totals, strict=True)
        ]
        name = out.printable(str(term))
        rows.append([name, f"{scores[0]:.3f}", f"{scores[1]:.3f}", f"{scores[1] - scores[0]:+.3f}"])
        rows[-1] += shares
    out.fact("compared", out.printable(title))
    header = ["term", *map(out.printable, names), "difference", "share", "share"]
    out.table(header, rows)
