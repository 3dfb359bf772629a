"""`lsr idf`: how rare each token is in a corpus, as counts to keep or as a new query table."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from ..errors import EncoderError, UsageError
from ..shipped import encoder_place
from . import _completing as complete
from . import _printing as out
from ._census import Census
from ._counted_words import refresh_words

if TYPE_CHECKING:
    from ..encoders import InferenceFreeEncoder, JoinedEncoder, TextTokenizer
    from ..encoders.token_counts import TokenCounts

EXAMPLES = """\b
Examples:
  lsr idf corpus.jsonl --encoder runs/encoder --output runs/refreshed
  lsr idf corpus.jsonl --encoder runs/encoder --output runs/refreshed --blend 0.5
  lsr idf corpus.jsonl --encoder lsr-mini --output mini-refreshed
  lsr idf january.jsonl --tokenizer runs/encoder --output january.counts
  lsr idf january.counts february.jsonl --encoder runs/encoder --output runs/refreshed
"""


@click.command(epilog=EXAMPLES)
@click.argument(
    "corpora", nargs=-1, required=True, metavar="CORPUS...", shell_complete=complete.datasets
)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="A new folder.")
@click.option(
    "--encoder",
    metavar="NAME|FOLDER",
    help="Write this inference-free encoder with the new table.",
    shell_complete=complete.encoders,
)
@click.option(
    "--tokenizer",
    metavar="FOLDER",
    help="Write the counts alone, for the tokenizer of this encoder or checkpoint.",
)
@click.option(
    "--blend",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="With --encoder: mix document frequencies, so much new, the rest old. Default: 1",
)
@click.option(
    "--clip",
    type=click.FloatRange(min=0, min_open=True),
    help="With --encoder: the largest weight; tokens never seen have ln(2 N + 2) otherwise.",
)
@click.option(
    "--smoothing",
    type=click.FloatRange(min=0, min_open=True),
    help="With --encoder: s in ln(1 + (N - df + s) / (df + s)). Default: 0.5",
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Count by so many processes; the result is the same.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def idf(
    *,
    corpora: tuple[str, ...],
    output: Path,
    encoder: str | None,
    tokenizer: str | None,
    blend: float | None,
    clip: float | None,
    smoothing: float | None,
    processes: int,
    overwrite: bool,
    json: bool,
) -> None:
    """Count in how many documents of each CORPUS every token occurs.

    With --encoder, its query table becomes the idf of these documents: no training, and indexes
    stay valid. Of an encoder with words beside its network, such as lsr-mini, the words are counted
    and the table of the network stays. With --tokenizer, the counts are kept. A CORPUS may be such
    a folder of counts; those of several are added up.
    """
    if (encoder is None) == (tokenizer is None):
        raise UsageError(
            "wanted either --encoder, to give it a new table, or --tokenizer, to keep the counts"
        )
    only = {"--blend": blend, "--clip": clip, "--smoothing": smoothing}
    given = [name for name, value in only.items() if value is not None]
    if tokenizer is not None and given:
        raise UsageError(
            f"{given[0]} belongs to --encoder: counts are kept as they are, weights made from them"
        )
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; choose another path, or replace it with --overwrite")
    from ..encoders import JoinedEncoder

    started = time.perf_counter()
    whole = None if encoder is None else _with_table(encoder)
    if isinstance(whole, JoinedEncoder):
        given = [name for name in ("--clip", "--smoothing") if only[name] is not None]
        given += ["--processes"] if processes > 1 else []
        if given:
            raise UsageError(
                f"{given[0]} is about sub-words; {encoder} has words counted, as BM25 does. Leave "
                "it out"
            )
        refresh_words(whole, corpora, output, blend=blend, json=json)
        return
    if whole is not None:
        reader, fields = whole.queries.tokenizer, whole.text_fields
    else:
        assert tokenizer is not None
        reader, fields = _tokenizer(encoder_place(tokenizer))
    counts, n_read = _counts(corpora, reader, fields, processes)
    took = time.perf_counter() - started
    seen = int((np.delete(counts.df, counts.special) > 0).sum())
    facts: dict[str, Any] = {
        "output": output,
        "passages": counts.n_passages,
        "tokens": len(counts.df),
        "seen": seen,
        "seconds": took,
        "tokenizer": counts.tokenizer,
        "corpora": counts.corpora,
    }
    if whole is None:
        counts.save(output, text_fields=list(fields))
    else:
        facts |= _swap(whole, counts, output, blend=blend, clip=clip, smoothing=smoothing)
    if json:
        out.as_json(facts)
        return
    out.fact(
        "counted",
        out.columns(
            out.counted(counts.n_passages, "passage"),
            f"{seen:,} of {len(counts.df):,} tokens occur, {out.counted(n_read, 'document')} read "
            f"in {out.duration(took)}",
        ),
    )
    if whole is None:
        out.fact("wrote", str(output))
        out.next_step("lsr", "idf", str(output), "--encoder", "ENCODER", "--output", "NEW")
        return
    out.fact(
        "weights",
        f"mean {facts['mean_before']:.2f} before, {facts['mean']:.2f} now, largest "
        f"{facts['largest']:.2f}, correlation {facts['correlation']:.3f}",
    )
    out.fact("wrote", out.columns(str(output), f"space {facts['space']}, as before"))
    out.next_step("lsr", "search", "INDEX", "your question", "--encoder", str(output))


def _swap(
    encoder: "InferenceFreeEncoder",
    counts: "TokenCounts",
    output: Path,
    *,
    blend: float | None,
    clip: float | None,
    smoothing: float | None,
) -> dict[str, Any]:
    """Write the encoder with its new table; what to tell of the two tables."""
    from ..encoders.idf import SMOOTHING, blend_idf
    from ..encoders.swapping import save_with_table

    smoothing = SMOOTHING if smoothing is None else smoothing
    old = encoder.queries.weights
    new = counts.idf(n_terms=encoder.n_terms, smoothing=smoothing, clip=clip)
    if blend is not None:
        new = blend_idf(old, new, blend)
    record = {
        "corpora": list(counts.corpora),
        "n_passages": counts.n_passages,
        "smoothing": smoothing,
        "clip": clip,
        "blend": blend,
    }
    swapped = save_with_table(encoder, new, output, record=record)
    used = (old > 0) & (new > 0)
    alike = bool(used.sum() < 2 or old[used].std() == 0 or new[used].std() == 0)
    return {
        "space": swapped.space,
        "mean_before": float(old[used].mean()) if used.any() else 0.0,
        "mean": float(new[used].mean()) if used.any() else 0.0,
        "largest": float(new.max(initial=0.0)),
        "correlation": 1.0 if alike else float(np.corrcoef(old[used], new[used])[0, 1]),
        **record,
    }


def _counts(
    corpora: Sequence[str], tokenizer: "TextTokenizer", fields: Sequence[str], processes: int
) -> tuple["TokenCounts", int]:
    """The counts over everything named, and how many documents were read for them."""
    from ..datasets import Dataset, load_dataset
    from ..encoders.token_counts import CARD, TokenCounts, count_tokens
    from ..progress import Bar, bar

    fingerprint = tokenizer.fingerprint()
    kept: dict[str, TokenCounts] = {}
    fresh: dict[str, Dataset] = {}
    for name in corpora:  # everything is looked at before the first document is read
        if (Path(name) / CARD).is_file():
            kept[name] = TokenCounts.load(Path(name))
            kept[name].check_tokenizer(fingerprint, "the encoder")
        else:
            fresh[name] = load_dataset(name)

    def texts(dataset: Dataset, counter: "Bar[None]") -> Iterator[str]:
        census = Census(names_fields=False)
        for text in census.texts(dataset, fields):
            yield text
            counter.update()
        census.require_strings(dataset, fields)

    total: TokenCounts | None = None
    counter: Bar[None] = bar(None, unit="documents", desc="counting")
    with counter:
        for name in corpora:
            counts = kept.get(name) or count_tokens(
                texts(fresh[name], counter),
                tokenizer,
                corpus=fresh[name].fingerprint,
                processes=processes,
            )
            total = counts if total is None else total + counts
    assert total is not None
    if total.n_passages == 0:
        raise UsageError(f"{', '.join(corpora)}: no document has any text in {', '.join(fields)}")
    return total, counter.n


def _with_table(folder: str) -> "InferenceFreeEncoder | JoinedEncoder":
    from ..encoders import InferenceFreeEncoder, JoinedEncoder, load_encoder

    encoder = load_encoder(folder)
    if not isinstance(encoder, InferenceFreeEncoder | JoinedEncoder):
        raise EncoderError(
            f"{folder}: only an inference-free encoder has a query table to replace; the queries "
            "of this one go through a network or BM25"
        )
    return encoder


def _tokenizer(folder: Path) -> tuple["TextTokenizer", tuple[str, ...]]:
    """The tokenizer of an encoder or a checkpoint, and the fields the encoder reads."""
    from ..encoders import TextTokenizer, load_encoder, query_tokenizer
    from ..encoders.card import DEFAULT_TEXT_FIELDS

    if not (folder / "modules.json").is_file():
        return TextTokenizer.load(folder), DEFAULT_TEXT_FIELDS
    encoder = load_encoder(folder, queries_only=True)
    tokenizer = query_tokenizer(encoder)
    if tokenizer is None:
        raise EncoderError(
            f"{folder}: BM25 has no tokenizer with numbered tokens; name another encoder"
        )
    return tokenizer, encoder.text_fields
