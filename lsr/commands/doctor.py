"""`lsr doctor`: what ails an index or an encoder, with numbers, and what to type about it."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..conventions import usual_split
from ..errors import IndexCorrupt, UsageError
from ..shipped import encoder_place
from . import _printing as out
from ._doctor_home import doctor_home
from ._typed import refuse_given

if TYPE_CHECKING:
    from index.doctor import Case, Finding, Questions

    from ..datasets import Dataset

EXAMPLES = """\b
Examples:
  lsr doctor scifact.index
  lsr doctor scifact.index --queries scifact
  lsr doctor my.index --queries questions.tsv --json
  lsr doctor runs/encoder --corpus scifact
  lsr doctor --data server --json
"""


@click.command(epilog=EXAMPLES)
@click.argument("target", required=False, type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="A server's data directory: names, tasks, keys, and every byte of each index.",
)
@click.option("--quick", is_flag=True, help="With --data: open indexes, do not read them whole.")
@click.option(
    "--corpus", metavar="DATASET", help="With an encoder: the documents to examine it on."
)
@click.option(
    "--queries",
    metavar="DATASET|FILE",
    help="Real queries: a data set, or a .jsonl, .tsv, .csv or .parquet file. Without them, titles "
    "and first sentences of the corpus are asked.",
)
@click.option("--split", help="Whose queries of a data set. Default: its usual split")
@click.option("--n", "n", type=click.IntRange(min=1), help="How many queries. Default: 200")
@click.option(
    "--documents",
    type=click.IntRange(min=1),
    help="How many documents are sampled. Default: 5000, and 256 that an encoder must encode first",
)
@click.option("--encoder", metavar="FOLDER", help="With an index: another folder of its encoder.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of every sample.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def doctor(
    ctx: click.Context,
    *,
    target: Path | None,
    data: Path | None,
    quick: bool,
    corpus: str | None,
    queries: str | None,
    split: str | None,
    n: int | None,
    documents: int | None,
    encoder: str | None,
    seed: int,
    json: bool,
) -> None:
    """Examine the index TARGET, or the encoder TARGET on a corpus; exit 1 when something fails.

    With --data: what a server keeps, beside it or without it; integrity of every byte, disk a
    document, tasks, keys, aliases, folders.

    Unreadable words, cut, empty and equal documents, unused terms, saturated weights, queries
    without hits, drift from the encoder's idf, the cost of heavy lists, the recall of approximate
    search. An encoder is examined through an index of a sample of the corpus.
    """
    from index.doctor import Finding

    if target is not None and data is not None:
        raise UsageError(
            f"--data examines all of {data}: leave '{target}' away, or examine one index by its "
            f"directory in {data / 'indexes'}"
        )
    if target is None and data is None:
        raise UsageError("name an index or an encoder, or a data directory with --data DIR")
    if data is None:
        refuse_given(("quick",), "an index is read whole here, and --quick is for --data")
    else:
        names = ("corpus", "queries", "split", "n", "documents", "encoder", "seed")
        refuse_given(names, f"--data {data} is examined without queries or samples")
        doctor_home(ctx, data, quick=quick, json=json)
    assert target is not None
    examined = encoder_place(target)
    is_encoder = (examined / "modules.json").is_file()
    _check_usage(target, is_encoder, corpus, encoder)
    asked = None if queries is None else _questions(queries, split, n, seed)
    with tempfile.TemporaryDirectory(prefix="lsr-doctor-") as place:
        try:
            if is_encoder:
                assert corpus is not None
                case = _of_encoder(examined, corpus, asked, split, n, documents, seed, Path(place))
            else:
                case = _of_index(target, asked, n, documents, encoder, seed)
        except IndexCorrupt as error:  # too damaged to open is a finding, not a failure to look
            why = "an index that contradicts its checksums is never searched"
            again = ("lsr", "check", str(target))
            _report(ctx, target, {}, [Finding("integrity", "fail", str(error), why, again)], json)
            return
        with case.index:
            facts = _facts(case, target, is_encoder)
            findings = _examined(case)
    _report(ctx, target, facts, findings, json)


def _check_usage(target: Path, is_encoder: bool, corpus: str | None, encoder: str | None) -> None:
    if (target / "shards.json").is_file():
        raise UsageError(
            f"{target} is a set of shards, which are examined one by one: "
            f"lsr doctor {target}/shard-000.index, and so on"
        )
    if not is_encoder and not (target / "catalog.sqlite").is_file():
        raise UsageError(
            f"{target}: neither an index (a directory with catalog.sqlite) nor an encoder (a "
            "directory with modules.json)"
        )
    if is_encoder and corpus is None:
        raise UsageError(
            f"{target} is an encoder; name the documents to examine it on: "
            f"lsr doctor {target} --corpus DATASET"
        )
    if is_encoder and encoder is not None:
        raise UsageError(f"--encoder {encoder} belongs to an index; {target} is an encoder itself")
    if not is_encoder and corpus is not None:
        raise UsageError(f"--corpus {corpus} belongs to an encoder; {target} is an index")


def _of_index(
    path: Path,
    asked: "Questions | None",
    n: int | None,
    documents: int | None,
    encoder: str | None,
    seed: int,
) -> "Case":
    from index import Index
    from index.doctor import open_case
    from index.doctor.case import N_QUERIES, N_ROWS

    index = Index.open(path, read_only=True)
    try:
        return open_case(
            index,
            encoder=encoder,
            queries=asked,
            n_rows=documents or N_ROWS,
            n_queries=n or N_QUERIES,
            seed=seed,
        )
    except BaseException:
        index.close()
        raise


def _of_encoder(
    folder: Path,
    corpus: str,
    asked: "Questions | None",
    split: str | None,
    n: int | None,
    documents: int | None,
    seed: int,
    place: Path,
) -> "Case":
    """Sample the corpus: many texts to tokenise, a few of them to encode and index."""
    from index.doctor import open_case
    from index.doctor.case import N_QUERIES, N_ROWS
    from index.doctor.trial import N_ENCODED, sample, trial_index

    from ..datasets import load_dataset
    from ..encoders import load_encoder
    from ..progress import bar

    encoder = load_encoder(folder)
    dataset = load_dataset(corpus)
    counter = bar(dataset.documents(), unit="documents", desc="reading")
    kept = sample(counter, max(N_ROWS, documents or 0), seed=seed)
    if asked is None and usual_split(dataset.name, split) in dataset.splits():
        asked = _of_dataset(dataset, split, n, seed)
    index = trial_index(
        place / f"{dataset.name.replace('/', '-')}.index",
        kept[: documents or N_ENCODED],
        encoder,
        name=dataset.name,
    )
    return open_case(
        index,
        encoder=str(folder),
        queries=asked,
        texts=[document.text(encoder.text_fields) for document in kept],
        corpus=corpus,
        n_rows=documents or N_ENCODED,
        n_queries=n or N_QUERIES,
        seed=seed,
        trial=True,
    )


def _questions(queries: str, split: str | None, n: int | None, seed: int) -> "Questions":
    from index.doctor import Questions

    from ..datasets import load_dataset, read_queries

    path = Path(queries)
    if not path.is_file():
        return _of_dataset(load_dataset(queries), split, n, seed)
    return Questions(_drawn([query.text for query in read_queries(path)], n, seed), queries)


def _of_dataset(dataset: "Dataset", split: str | None, n: int | None, seed: int) -> "Questions":
    from index.doctor import Questions

    split = usual_split(dataset.name, split)
    texts = [query.text for query in dataset.queries(split)]
    return Questions(_drawn(texts, n, seed), f"{dataset.name} {split}")


def _drawn(texts: Sequence[str], n: int | None, seed: int) -> list[str]:
    import numpy as np

    from index.doctor.case import N_QUERIES

    chosen = np.random.default_rng(seed).permutation(len(texts))[: n or N_QUERIES]
    return [texts[i] for i in np.sort(chosen)]


def _examined(case: "Case") -> "list[Finding]":
    from index.doctor import CHECKS, examine

    from ..progress import Bar, bar

    counter: Bar[None] = bar(total=len(CHECKS), unit="checks", desc="examined")
    with counter:
        return examine(case, done=counter.update)


def _facts(case: "Case", target: Path, is_encoder: bool) -> dict[str, Any]:
    index = case.index
    return {
        "kind": "encoder" if is_encoder else "index",
        "encoder": None if case.encoder is None else case.encoder.name,
        "n_docs": index.n_docs,
        "n_rows": case.n_stored,
        "corpus": case.corpus,
        "sample": {
            "texts": len(case.texts),
            "vectors": case.vectors.shape[0],
            "queries": len(case.queries),
            "queries_from": case.queries.source,
            "queries_are_of_the_corpus": case.queries.own,
            "seed": case.seed,
        },
    }


def _report(
    ctx: click.Context,
    target: Path,
    facts: dict[str, Any],
    findings: "Sequence[Finding]",
    json: bool,
) -> None:
    """Print what was found, the worst first, and exit 1 when something fails."""
    from index.doctor import ORDER, is_healthy

    healthy = is_healthy(findings)
    ordered = sorted(findings, key=lambda finding: ORDER[finding.level])
    if json:
        rows = [asdict(finding) for finding in findings]
        out.as_json({"target": target, "healthy": healthy, **facts, "findings": rows})
        ctx.exit(0 if healthy else 1)
    if facts:
        _print_facts(target, facts)
    for finding in ordered:
        out.fact(finding.level, f"{finding.check:<11} {out.printable(finding.measured)}")
        if finding.level in ("warn", "fail"):
            out.fact("", f"{'why':<11} {finding.why}")
            if finding.next:
                out.fact("", f"{'try':<11} {out.command_line(*map(out.printable, finding.next))}")
    count = {level: sum(one.level == level for one in findings) for level in ORDER}
    out.fact("examined", ", ".join(f"{n} {level}" for level, n in count.items() if n))
    if ordered[0].level in ("warn", "fail") and ordered[0].next:
        out.next_step(*map(out.printable, ordered[0].next))
    elif facts["kind"] == "encoder":
        out.next_step("lsr", "index", facts["corpus"], "NEW.index", "--encoder", str(target))
    elif facts["encoder"] is None:
        out.next_step("lsr", "bench", str(target))
    else:
        out.next_step("lsr", "search", str(target), "your question")
    ctx.exit(0 if healthy else 1)


def _print_facts(target: Path, facts: dict[str, Any]) -> None:
    sampled = facts["sample"]
    n_docs = out.counted(facts["n_docs"], "document")
    if facts["kind"] == "encoder":
        out.fact("encoder", f"{target}, on a trial index of {n_docs} of {facts['corpus']}")
    else:
        by = "vectors, no encoder" if facts["encoder"] is None else facts["encoder"]
        out.fact("index", f"{target}, {n_docs}, {by}")
    out.fact(
        "sampled",
        f"{sampled['texts']:,} texts, {sampled['vectors']:,} vectors, seed {sampled['seed']}",
    )
    warning = " of the corpus itself, not real questions" * sampled["queries_are_of_the_corpus"]
    queries = out.counted(sampled["queries"], "query")
    out.fact("queries", f"{queries}: {out.printable(sampled['queries_from'])}{warning}")
