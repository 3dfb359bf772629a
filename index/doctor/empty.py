"""Documents without any term, which no search finds."""

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from ..live import positions_in
from ..snapshot import Snapshot
from .case import Case
from .finding import Finding, graded, percent, several

FAIL = 0.05
"""Share of all rows; a single one already warns."""
_LOOKED_AT = 1_000


@dataclass(frozen=True, slots=True)
class Empty:
    """Live rows without terms; `with_text` of the first thousand have a text all the same."""

    n_rows: int
    n_empty: int
    with_text: int
    examples: tuple[str, ...]


def empty_docids(snapshot: Snapshot) -> npt.NDArray[np.uint32]:
    """Docids of the live rows that have no term."""
    found = []
    for view in snapshot.views:
        lengths = np.diff(view.segment.forward().starts.astype(np.int64))
        live = positions_in(view.live, view.segment.n_docs)
        found.append(view.segment.docids[live[lengths[live] == 0]])
    return np.sort(np.concatenate(found)) if found else np.empty(0, np.uint32)


def check_empty(case: Case) -> Finding:
    """Warn of documents that cannot be found."""
    docids = empty_docids(case.snapshot)
    fields = ("title", "text") if case.index.encoder is None else case.index.encoder.text_fields
    documents = case.index.documents(docids[:_LOOKED_AT])
    found = Empty(
        case.snapshot.n_docs,
        len(docids),
        sum(bool(document.text(fields).strip()) for document in documents),
        tuple(document.doc_id for document in documents[:8]),
    )
    share = found.n_empty / max(1, found.n_rows)
    return Finding(
        "empty",
        graded(share, warn=0, fail=FAIL),
        f"{found.n_empty:,} of {found.n_rows:,} {case.rows_noun} ({percent(share)}) have no term"
        + (
            f", {found.with_text:,} of them though they have a text: "
            f"{several(list(found.examples))}"
            if found.n_empty
            else ""
        ),
        "no search finds them; look at their texts, at the fields the encoder reads "
        f"({', '.join(fields)}), and at how hard its vectors are pruned",
        ("lsr", "info", case.place),
        asdict(found),
    )
