"""The README.md of an encoder folder: the model card that people and the hub read."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lsr.contamination import contamination_of, family

from .curve import NAME
from .provenance import BEIR, NOT_STATED, earlier, hub_licence, in_beir, restricts

_WIDTH = 100


def readme(folder: Path, card: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """The text for an encoder in `folder`, from its card and the record of its training."""
    recipe = record["recipe"]
    parts = [
        _front_matter(recipe, record),
        f"# {recipe['name']}",
        recipe["description"] or "A learned sparse encoder.",
        _facts(card, record),
        f"![Loss curve]({NAME}.png)" if (folder / f"{NAME}.png").is_file() else "",
        "## Results",
        _results(card.get("results", []), record),
        "## Training data",
        _data(record["data"]),
        _before(record),
        _contamination(record),
        "## Licences",
        _licences(record),
        "## Limits",
        _limits(recipe, record),
        "## How it was made",
        _made(record),
        "## Use",
        (
            "Load it with `lsr.encoders.load_encoder(folder or name)`; where the modules are "
            "stock,\nalso with sentence-transformers' `SparseEncoder`. The whole recipe is in "
            '`lsr.json` under\n"training".'
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(recipe: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    kind = recipe["model"]["kind"]
    # The backbone's licence is the encoder's where no collection restricts its use.
    restricted = any(restricts(licence) for _, licence in _terms(record))
    licence = "other" if restricted else hub_licence(record["backbone"]["licence"])
    names = [source["name"] for source in record["data"]]
    names += [name for name, _ in _data_before(record)]
    tags = ["sparse", "sparse-encoder", "splade", "learned-sparse-retrieval", kind]
    lines = [
        "---",
        "library_name: sentence-transformers",
        "pipeline_tag: feature-extraction",
        "tags:",
        *(f"- {tag}" for tag in tags),
        f"license: {licence}",
        *(("license_name: see-below",) if licence == "other" else ()),
        "datasets:",
        *(f"- {_quoted(name)}" for name in dict.fromkeys(names)),
        "---",
    ]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _facts(card: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    recipe, measured = record["recipe"], record["measured"]
    model, stage = recipe["model"], recipe["stage"]["ranking"]
    queries = {
        "inference-free": f"A query is its tokens, each weighted by a table "
        f"({model['query_table']}): no network is run for it.",
        "siamese": "Queries and documents go through the same network.",
        "separate": "Queries go through a network of their own.",
    }[model["kind"]]
    return _filled(
        f"{queries} Start: {_starts(record)}. Trained by `lsr train` for "
        f"{_steps(record)} ranking steps of {stage['batch']} queries{_rounds(record)} in "
        f"{record['seconds']:,} seconds{_resumed(record)}. Documents have "
        f"{measured['document_terms']} terms on average; the 99.99th percentile of their weights, "
        f"rounded up, is {card['max_weight']}."
    )


def _starts(record: Mapping[str, Any]) -> str:
    asked = record.get("query_backbone")
    start = str(record["backbone"]["name"])
    return start if asked is None else f"{start}, and {asked['name']} for queries"


def _steps(record: Mapping[str, Any]) -> str:
    wanted = record["recipe"]["stage"]["ranking"]["steps"]
    develop = record["development"]
    if develop is None or not develop["stopped_at"]:
        return f"{wanted:,}"
    return f"{develop['stopped_at']:,} of {wanted:,}"


def _rounds(record: Mapping[str, Any]) -> str:
    n = (record["recipe"]["data"].get("mining") or {}).get("rounds", 1)
    if n == 1:
        return ""
    # Early stopping may end each round at another step; the record has the last one's.
    return f" in the last of {n} rounds," if record["development"] else f" in each of {n} rounds,"


def _resumed(record: Mapping[str, Any]) -> str:
    n = record["resumes"]["weights"]
    times = "once" if n == 1 else f"{n} times"
    return f" (resumed from weights {times}, optimiser re-warmed)" if n else ""


def _results(results: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> str:
    parts: list[str] = []
    develop = record["development"]
    if develop is not None:
        text = (
            f"Development: {develop['measure']} {develop['best']:.4f} at step "
            f"{develop['best_step']:,}, over {develop['n_queries']:,} queries "
            f"({develop['name']}, split {develop['split']}) and a pool of "
            f"{develop['n_documents']:,} documents. These weights were chosen by it: it compares "
            "steps of this run, not encoders."
        )
        if develop["is_test"]:
            text += (
                f" **The weights were chosen on a test split: results on {develop['name']} "
                f"({develop['split']}) are no test results.**"
            )
        parts.append(_filled(text))
    if results:
        measures = list(dict.fromkeys(name for row in results for name in row["measures"]))
        marks = {
            (row["dataset"], row["split"]): reasons
            for row in results
            if (reasons := _marks(row, record))
        }
        rows = [
            f"| {row['dataset']}{' ‡' if (row['dataset'], row['split']) in marks else ''} | "
            f"{row['split']} | "
            f"{row['n_queries']:,} | "
            + " | ".join(
                f"{row['measures'][m]:.4f}" if m in row["measures"] else "" for m in measures
            )
            + f" | `{row['command']}` |"
            for row in results
        ]
        head = ["collection", "split", "queries", *measures, "command"]
        parts.append(_table(head, rows))
        if marks:
            parts.append("‡ seen in training, by this encoder or by what it started from:")
            parts.append("\n".join(f"- {' '.join(of)}: {why}" for of, why in marks.items()))
    if not results:
        parts.append(
            "No evaluation is attached; `lsr evaluate DATASET --encoder FOLDER --json` makes one "
            "and\n`lsr push --evaluation` attaches it."
        )
    return "\n\n".join(parts)


def _marks(row: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Why a result is not zero-shot: what `lsr evaluate` said, and what the record says today."""
    found = contamination_of(
        record,
        dataset=row["dataset"],
        split=row["split"],
        fingerprint=row["dataset_fingerprint"],
    )
    return "; ".join(dict.fromkeys([*row.get("contamination", ()), *map(str, found)]))


def _data(sources: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        f"| {s['name']}{' †' if s['beir'] else ''} | {s['split']} | {s['n_queries']:,} "
        f"| {s['n_positives']:,} | {s['fingerprint']} | {s['licence']} |"
        for s in sources
    ]
    head = ["data", "split", "queries", "relevant pairs", "fingerprint", "licence"]
    return _table(head, rows)


def _data_before(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, licence) of the data of earlier runs."""
    sources = [source for run in earlier(record) for source in run.get("data", [])]
    return [(str(s.get("name", "")), str(s.get("licence", NOT_STATED))) for s in sources]


def _before(record: Mapping[str, Any]) -> str:
    """What its start, or the encoders it was averaged with, were trained on."""
    rows = [
        f"| {s.get('name', '')}{' †' if s.get('beir') else ''} | {s.get('split') or 'all'} "
        f"| {run.get('backbone', {}).get('name', '')} | {s.get('licence', NOT_STATED)} |"
        for run in earlier(record)
        for s in run.get("data", [])
    ]
    if not rows:
        return ""
    head = ["data of an earlier run", "split", "which started from", "licence"]
    return "Runs before this one, or averaged with it, learned from:\n\n" + _table(
        head, list(dict.fromkeys(rows))
    )


def _seen(record: Mapping[str, Any]) -> list[str]:
    """What recipes and READMEs say that backbones or teachers were trained on."""
    runs = (record, *earlier(record))
    said = [run.get("recipe", {}).get("model", {}).get("seen", []) for run in runs]
    return list(dict.fromkeys(name for names in said for name in names))


def _contamination(record: Mapping[str, Any]) -> str:
    lines: list[str] = []
    sources = [*record["data"], *(s for run in earlier(record) for s in run.get("data", []))]
    if any(source.get("beir") for source in sources):
        lines.append(
            "† a member of the BEIR benchmark: results of this encoder on it are in-domain, not "
            "zero-shot."
        )
    seen = _seen(record)
    if seen:
        # Sentences of publishers: the names in them are spelled as they come.
        marked = ", ".join(
            f"{name}{' †' if in_beir(name) or family(name) in BEIR else ''}" for name in seen
        )
        lines.append(f"Backbone or teachers had been trained on: {marked}.")
    else:
        lines.append(
            "What backbone and teachers had seen before is not stated; it is their publishers' to "
            "say."
        )
    lines.append(
        "Scores on the test splits of the data above, and of collections that share texts with it, "
        "are in-domain."
    )
    return _filled(" ".join(lines))


def _terms(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what, the words of its licence) of everything that is in the weights, this run's first."""
    backbone = record["backbone"]
    named = [(f"backbone {backbone['name']}", backbone["licence"])]
    if asked := record.get("query_backbone"):
        named.append((f"query backbone {asked['name']}", asked["licence"]))
    named += [(f"data {source['name']}", source["licence"]) for source in record["data"]]
    for run in earlier(record):
        for start in ("backbone", "query_backbone"):
            started = run.get(start, {})
            if started.get("name"):
                stated = str(started.get("licence", NOT_STATED))
                what = start.replace("_", " ")
                named.append((f"earlier {what} {started['name']}", stated))
    named += [(f"data {name}", licence) for name, licence in _data_before(record)]
    return list(dict.fromkeys(named))


def _licences(record: Mapping[str, Any]) -> str:
    named = _terms(record)
    lines = [f"- {what}: {licence}" for what, licence in named]
    restricted = [what for what, licence in named if restricts(licence)]
    silent = [what for what, licence in named if licence == NOT_STATED]
    if restricted:
        lines += [
            "",
            _filled(f"**Not for commercial use** by the terms of: {', '.join(restricted)}."),
        ]
    if silent:
        lines += ["", _filled(f"Not stated, so ask before you publish: {', '.join(silent)}.")]
    return "\n".join(lines)


def _limits(recipe: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    model, measured = recipe["model"], record["measured"]
    text = (
        f"Documents are read up to {model['max_length']} tokens"
        f", queries up to {model['query_length']} while training. It knows the kinds of text and "
        "the languages of the data above; measure it on your own before you rely on it."
    )
    if measured["empty_documents"]:
        text += (
            f" Of {measured['n_documents']:,} training texts {measured['empty_documents']:,} have "
            "no term at all and cannot be found."
        )
    return _filled(text)


def _made(record: Mapping[str, Any]) -> str:
    rows = []
    if record["command"]:
        rows.append(f"- command: `{record['command']}`")
    rows += [
        f"- recipe fingerprint: {record['recipe_fingerprint']}",
        "- seconds: "
        + ", ".join(f"{name} {seconds:,}" for name, seconds in record["stages"].items())
        + f"; {record['seconds']:,} in all, on {record['processes']} "
        + ("process" if record["processes"] == 1 else "processes"),
        *_read(record),
        (
            f"- resumes: {record['resumes']['exact']} exact, {record['resumes']['weights']} from "
            "weights alone"
        ),
        "- versions: " + ", ".join(f"{name} {of}" for name, of in record["versions"].items()),
    ]
    if record["commit"]:
        rows.append(f"- commit: {record['commit']}")
    return "\n".join(rows)


def _read(record: Mapping[str, Any]) -> list[str]:
    """A line on the tokens that were read; records of before 2026-11-29 do not know."""
    tokens = record.get("tokens")
    if not tokens:
        return []
    return ["- tokens read: " + ", ".join(f"{name} {n:,}" for name, n in tokens.items())]


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *rows])


def _filled(text: str) -> str:
    return textwrap.fill(text, width=_WIDTH, break_on_hyphens=False, break_long_words=False)
