"""Weights above what impact 255 stands for: they count as that, however much heavier they are."""

from .case import Case
from .finding import Finding, graded, percent

WARN, FAIL = 0.001, 0.02
"""Shares of postings; above 0.1 % a rebuild with a larger max_weight is advised."""


def check_saturation(case: Case) -> Finding:
    """Warn where the scale of the index is too small for its weights."""
    share = float(case.snapshot.summary()["saturated_share"])
    largest = float(case.vectors.data.max(initial=0.0))
    if case.index.settings.binary:
        return Finding("saturation", "ok", "presence alone is kept, so nothing saturates")
    return Finding(
        "saturation",
        graded(share, warn=WARN, fail=FAIL),
        f"{percent(share)} of the weights lie above max_weight {case.index.max_weight:g}; the "
        f"largest of {case.vectors.shape[0]:,} sampled rows is {largest:.3g}",
        "the heaviest terms are no longer told apart; set max_weight in the encoder's lsr.json "
        f"above {largest:.3g} and build again",
        (
            *("lsr", "index", case.corpus, case.place),
            *("--encoder", case.encoder_name, "--overwrite"),
        ),
        {"saturated": share, "max_weight": case.index.max_weight, "largest": largest},
    )
