"""`lsr search`: questions in, ranked documents out, for people or as a TREC run."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import QueryError, UsageError
from . import _completing as complete
from . import _printing as out
from ._explaining import SNIPPET, matched, print_products, without_title
from ._origins import traced
from ._runs import require_place
from ._unmatched import note_unmatched

if TYPE_CHECKING:
    from index import Hits, Index
    from lsr.encoders import SparseEncoder

EXAMPLES = """\b
Examples:
  lsr search scifact.index "does vitamin D protect bone density"
  lsr search my.index "capital of Peru" -k 3 --filter lang=en --explain
  lsr search my.index "jaguar speed" --require jaguar --exclude car
  lsr search my.index --queries questions.tsv --output run.trec -k 1000
  lsr search my.index "does vitamin D protect bone density" --recall 0.95
  lsr search http://127.0.0.1:8000/papers "capital of Peru" -k 3
"""

ALGORITHMS = ("auto", "exhaustive", "blockmax")


@click.command(epilog=EXAMPLES)
@click.argument("index", shell_complete=complete.folders)
@click.argument("texts", nargs=-1, metavar="TEXT...")
@click.option("-k", "k", type=int, default=10, show_default=True, help="Documents for each text.")
@click.option("--explain", is_flag=True, help="Show how each term adds to the score.")
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Only documents with this value; also FIELD>=VALUE, FIELD<VALUE. Repeatable.",
)
@click.option(
    "--require", multiple=True, metavar="WORD", help="Documents must hold it. Repeatable."
)
@click.option("--exclude", multiple=True, metavar="WORD", help="Must not hold it. Repeatable.")
@click.option(
    "--queries",
    type=click.Path(path_type=Path),
    help="Read queries from a .jsonl, .tsv, .csv or .parquet file.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="Write a TREC run instead of printing."
)
@click.option("--encoder", help="Another folder of the encoder that built the index.")
@click.option("--algorithm", type=click.Choice(ALGORITHMS), default="auto", show_default=True)
@click.option(
    "--recall",
    type=float,
    help="Search approximately: the share of the exact answer aimed at, for example 0.95.",
)
@click.option("--pages", type=int, help="Search approximately: pages of 256 documents to score.")
@click.option(
    "--query-terms", type=click.IntRange(min=1), help="Keep the N heaviest terms of a query."
)
@click.option("--timeout", type=float, help="Seconds for all texts; then the best found so far.")
@click.option(
    "--api-key", envvar="LSR_API_KEY", help="For a server that asks for one. Default: $LSR_API_KEY"
)
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def search(
    *,
    index: str,
    texts: tuple[str, ...],
    k: int,
    explain: bool,
    filters: tuple[str, ...],
    require: tuple[str, ...],
    exclude: tuple[str, ...],
    queries: Path | None,
    output: Path | None,
    encoder: str | None,
    algorithm: Any,
    recall: float | None,
    pages: int | None,
    query_terms: int | None,
    timeout: float | None,
    api_key: str | None,
    json: bool,
) -> None:
    """Print the k best documents of INDEX for each TEXT, with the terms that matched. INDEX may be
    http://HOST/NAME, an index of a server.

    The answer is exact unless --recall, --pages or --timeout ask for less; then it says whether it
    is exact all the same. Words of which no document has a term are named on standard error.
    """
    from index import Approximate, Index, query_encoder
    from index.pruning import prune_terms

    if index.startswith(("http://", "https://")):
        if queries or output or encoder or query_terms or require or exclude or algorithm != "auto":
            raise UsageError(
                f"{index}: a server takes texts, -k, --filter, --explain, --recall, --pages, "
                "--timeout and --json"
            )
        from ._searching_http import options_of, search_over_http

        search_over_http(
            index,
            texts,
            api_key=api_key,
            options=options_of(k, explain, recall, pages, timeout),
            filter_of=lambda fields: conditions(filters, fields),
            json=json,
        )
        return
    if queries is not None and texts:
        raise UsageError(f"wanted texts or --queries {queries}, not both; leave one of them out")
    if queries is None and not texts:
        raise UsageError(
            f'wanted one or more texts, or --queries FILE: lsr search {index} "your question"'
        )
    if output is not None and (json or explain):
        raise UsageError(
            f"--output {output} writes a TREC run, which has no place for what --json and "
            "--explain tell; leave one of them out"
        )
    if output is not None:
        require_place(output, [queries])
    asked = _read(queries) if queries is not None else _numbered(texts)
    with Index.open(Path(index), read_only=True) as opened:
        encodes = query_encoder(opened, encoder)
        started = time.perf_counter()
        vectors = encodes.encode_queries(list(asked.values()))
        if query_terms is not None:
            vectors = prune_terms(vectors, query_terms)
        encoded = time.perf_counter()
        less = recall is not None or pages is not None
        answers = opened.search_batch(
            vectors,
            k,
            filter=conditions(filters, opened.fields),
            require=_terms(encodes, require, "--require"),
            exclude=_terms(encodes, exclude, "--exclude"),
            algorithm=algorithm,
            approximate=Approximate(recall=recall, pages=pages) if less else None,
            timeout=timeout,
        )
        searched = time.perf_counter()
        timing = {"encode_s": encoded - started, "search_s": searched - encoded}
        if output is not None:
            _write_run(output, asked, answers)
            out.fact("searched", out.columns(out.counted(len(asked), "query"), _times(timing)))
            out.fact("wrote", str(output))
            return
        found = [
            _described(opened, encodes, vectors[[i], :], hits) for i, hits in enumerate(answers)
        ]
        origin = traced(opened, encodes, found) if explain else None
        if json:
            out.as_json(
                {
                    "index": str(index),
                    "generation": opened.generation,
                    "algorithm": algorithm,
                    **timing,
                    **({} if origin is None else {"origin": origin}),
                    "queries": [
                        {
                            "query_id": query_id,
                            "text": text,
                            "hits": rows,
                            "report": asdict(hits.report),
                        }
                        for (query_id, text), rows, hits in zip(
                            asked.items(), found, answers, strict=True
                        )
                    ],
                }
            )
            return
        read = () if opened.encoder is None else opened.encoder.text_fields
        for row, (text, rows, hits) in enumerate(zip(asked.values(), found, answers, strict=True)):
            _print_answer(text, rows, read or ("title", "text"), explain=explain)
            if not rows:
                known = vectors[[row], :].nnz > 0
                out.fact("found", _nothing(hits, known=known))
            if less or timeout is not None:
                out.fact("certificate", _certificate(hits))
        answered = [row for row, rows in enumerate(found) if rows]  # the others have been told
        texts = tuple(asked.values())
        note_unmatched(opened, encodes, [texts[row] for row in answered], vectors[answered, :])
        n_docs = out.counted(opened.n_docs, "document")
        out.fact("searched", out.columns(n_docs, _times(timing)))
        if origin is not None:
            out.fact("origin", origin)
    if explain or not any(found):
        out.next_step("lsr", "serve" if explain else "info", str(index))
    else:
        text = next(text for text, rows in zip(asked.values(), found, strict=True) if rows)
        out.next_step("lsr", "search", str(index), out.printable(text), "--explain")


def _read(path: Path) -> dict[str, str]:
    from ..datasets import read_queries

    asked: dict[str, str] = {}
    for query in read_queries(path):
        if query.query_id in asked:
            raise UsageError(f"{path}: query {query.query_id!r} occurs twice; wanted distinct ids")
        asked[query.query_id] = query.text
    if not asked:
        raise UsageError(f"{path}: holds no queries")
    return asked


def _numbered(texts: tuple[str, ...]) -> dict[str, str]:
    return {str(number): text for number, text in enumerate(texts, start=1)}


def _terms(encoder: "SparseEncoder", words: tuple[str, ...], option: str) -> list[int]:
    """The terms that the words become under the encoder, which splits or stems them."""
    from ..encoders import word_terms

    terms: list[int] = []
    for word in words:
        found = word_terms(encoder, word).tolist()
        if not found:
            raise QueryError(
                f"{option} {word}: the encoder '{encoder.name}' makes no term of it (a stop word, "
                "or in no document); choose another word"
            )
        terms += found
    return terms


def _certificate(hits: "Hits") -> str:
    """What an answer that was asked to be less than exact turned out to be."""
    report = hits.report
    share = f"{report.pages_scored:,} of {report.pages:,} pages scored"
    if report.exact:
        return f"exact: nothing left alone can enter ({share})"
    why = "out of time" if report.stopped else "within its budget"
    return f"{why}: documents left alone may score up to {report.bound_skipped:.3f} ({share})"


_COMPARISON = re.compile(r"([^<>=]*)(>=|<=|=|>|<)(.*)", re.DOTALL)


def conditions(filters: tuple[str, ...], fields: Mapping[str, str]) -> dict[str, Any] | None:
    """`lang=en`, `year>=1990`, `year<2000` typed by the declared fields."""
    comparisons = {">=": "gte", "<=": "lte", "=": "eq", ">": "gt", "<": "lt"}
    conditions: dict[str, dict[str, Any]] = {}
    for text in filters:
        found = _COMPARISON.fullmatch(text)  # the first sign: a value may hold others
        if found is None:
            raise QueryError(f"--filter {text}: wanted FIELD=VALUE, for example lang=en")
        name, sign, value = found.groups()
        if not name or name[-1] in "!~:" or value[:1] in ("=", "<", ">"):
            raise QueryError(
                f"--filter {text}: wanted FIELD=VALUE, FIELD>=VALUE, FIELD>VALUE, FIELD<=VALUE or "
                "FIELD<VALUE, for example lang=en"
            )
        if comparisons[sign] in conditions.setdefault(name, {}):
            raise QueryError(f"--filter {text}: {name}{sign} is given twice; one value can hold")
        conditions[name][comparisons[sign]] = _typed(text, value, fields.get(name))
    return conditions or None


def _typed(text: str, value: str, kind: str | None) -> Any:
    try:
        if kind == "int":
            return int(value)
        if kind == "float":
            return float(value)
        if kind == "bool":
            return {"true": True, "false": False}[value.lower()]
    except (ValueError, KeyError):
        raise QueryError(f"--filter {text}: {value!r} is no {kind}") from None
    return value


def _write_run(path: Path, asked: Mapping[str, str], answers: "list[Hits]") -> None:
    from ..trec import write_run
    from ..types import Run

    rows = zip(asked, answers, strict=True)
    write_run(
        path, Run.from_rows((query_id, h.doc_ids, h.ranking.weights()) for query_id, h in rows)
    )


def _described(
    index: "Index", encoder: "SparseEncoder", query: Any, hits: "Hits"
) -> list[dict[str, Any]]:
    """Each hit with its fields and the terms it shares with the query, best first."""
    rows = []
    documents = index.documents(hits.ranking.docids)
    explained, _ = index.explain_docids(query, hits.ranking.docids)  # the passage that was ranked
    spans = index.spans(hits.ranking.docids.tolist()) if hits.split else [None] * len(hits)
    told = zip(hits, documents, explained, spans, strict=True)
    for rank, ((doc_id, score), document, explanation, span) in enumerate(told, start=1):
        row = {
            "rank": rank,
            "score": score,
            "doc_id": doc_id,
            "fields": document.fields,
            "terms": matched(encoder, explanation),
        }
        if span is not None:
            start, end = span
            text = document.text(encoder.text_fields)[start:end]
            row["passage"] = {"start": start, "end": end, "text": text}
        rows.append(row)
    return rows


def _nothing(hits: "Hits", *, known: bool) -> str:
    """Why there is no document."""
    if not known:
        return "nothing: the encoder of this index makes no term of these words"
    if hits.report.stopped:
        return "nothing yet: time ran out before a document was found; raise --timeout"
    return "nothing: no document that may be returned shares a term with this query"


def _print_answer(
    text: str, rows: list[dict[str, Any]], read: Sequence[str], *, explain: bool
) -> None:
    """A title, and what else was `read` of each document."""
    from ..types import Document

    out.fact("query", out.printable(text))
    for row in rows:
        fields = row["fields"]
        title = str(fields.get("title") or "")
        body = Document("", fields).text([name for name in read if name != "title"])
        if passage := row.get("passage"):  # why it is here, rather than how it begins
            body = without_title(passage["text"], passage["start"], title)
        head = f"{row['rank']:>4}  {row['score']:8.3f}  {out.printable(row['doc_id'])}"
        click.echo(f"{head}  {out.shortened(title, SNIPPET)}".rstrip())
        if body:
            click.echo(f"{'':16}{out.shortened(body, SNIPPET)}")
        if explain:
            print_products(row["terms"])
        else:
            shown = ", ".join(f"{part['term']} {part['score']:.2f}" for part in row["terms"][:8])
            more = len(row["terms"]) - 8
            click.echo(f"{'':16}[{shown}{f', {more} more' if more > 0 else ''}]")


def _times(timing: Mapping[str, float]) -> str:
    return (
        f"{out.duration(timing['search_s'])} to search, {out.duration(timing['encode_s'])} to "
        "encode the query"
    )
