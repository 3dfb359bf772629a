"""`lsr idf --encoder` where BM25's words stand beside a network: their frequencies anew."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..encoders import JoinedEncoder
from ..errors import UsageError
from . import _printing as out
from ._census import Census


def refresh_words(
    encoder: JoinedEncoder, corpora: Sequence[str], output: Path, *, blend: float | None, json: bool
) -> None:
    """Write `encoder` with the document frequencies that the words have in `corpora`, and tell.

    The table of its sub-words stays as it is, and so does the space. With `blend`, frequencies are
    so many parts new, the rest old. Raises `UsageError` for counts of sub-words.
    """
    from ..datasets import load_dataset
    from ..encoders.swapping import save_with_words
    from ..encoders.token_counts import CARD
    from ..progress import Bar, bar

    for name in corpora:
        if (Path(name) / CARD).is_file():
            raise UsageError(
                f"{name} holds counts of sub-words, and {encoder.name} counts words; name the "
                "documents themselves"
            )
    datasets = [load_dataset(name) for name in corpora]
    started = time.perf_counter()
    counter: Bar[None] = bar(None, unit="documents", desc="counting")

    def texts() -> Iterator[str]:
        for dataset in datasets:
            census = Census(names_fields=False)
            for text in census.texts(dataset, encoder.text_fields):
                yield text
                counter.update()
            census.require_strings(dataset, encoder.text_fields)

    with counter:
        df, n_docs = encoder.words.count(texts())
    if not n_docs:
        fields = ", ".join(encoder.text_fields)
        raise UsageError(f"{', '.join(corpora)}: no document has any text in {fields}")
    old = encoder.words.statistics
    known = df[: len(old.terms)]
    seen = int(np.count_nonzero(known))
    n_counted = n_docs
    if blend is not None:  # shares of documents, as counts among the larger number of them
        n_counted = max(n_docs, old.n_docs)
        mixed = blend * known / n_docs + (1 - blend) * old.df / max(1, old.n_docs)
        known = np.rint(mixed * n_counted).astype(np.int64)
    words = encoder.words.with_frequencies(known, n_counted)
    record: dict[str, Any] = {
        "corpora": [dataset.fingerprint for dataset in datasets],
        "n_passages": n_docs,
        "blend": blend,
    }
    swapped = save_with_words(encoder, words, output, record=record)
    numbers = np.flatnonzero(df[: len(old.terms)])
    means = [float(one.idf(numbers).mean()) if seen else 0.0 for one in (encoder.words, words)]
    took = time.perf_counter() - started
    if json:
        told = {"words": len(old.terms), "seen": seen, "seconds": took, "space": swapped.space}
        means_told = {"mean_before": means[0], "mean": means[1]}
        out.as_json({"output": output, **told, **means_told, **record})
        return
    out.fact(
        "counted",
        out.columns(
            out.counted(n_docs, "document"),
            f"{seen:,} of {len(old.terms):,} words occur, in {out.duration(took)}",
        ),
    )
    out.fact("weights", f"of the words that occur: mean {means[0]:.2f} before, {means[1]:.2f} now")
    out.fact(
        "kept",
        f"{encoder.learned.n_terms:,} weights of sub-words, which come of the learned encoder",
    )
    out.fact("wrote", out.columns(str(output), f"space {swapped.space}, as before"))
    out.next_step("lsr", "search", "INDEX", "your question", "--encoder", str(output))
