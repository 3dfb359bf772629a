"""Weights that an index has no room for: above `max_weight` they all count alike.

Impacts of an export, sent as weights to an index of the encoder they came from, lie 255 times too
high, and what is found then is nearly chance.
"""

from collections.abc import Mapping
from typing import Any

SHARE = 0.05
"""Of all weights: an encoder's own hardly ever lie above what it says is its largest."""
CODE = "weights_saturated"
REMEDY = (
    "give weights of the index's own encoder (`lsr export --floats`), or make an index with a "
    "larger max_weight."
)


def saturated(info: Mapping[str, Any]) -> str | None:
    """What to tell of an index with these facts (`Index.info`); None where there is nothing.

    >>> saturated({"saturated_share": 0.01, "max_weight": 1.0}) is None
    True
    >>> print(saturated({"saturated_share": 0.5, "max_weight": 1.0}))
    50% of the weights lie above 1 and count as it, so documents are hardly told apart
    """
    share = info["saturated_share"]
    if share <= SHARE:
        return None
    return (
        f"{share:.0%} of the weights lie above {info['max_weight']:g} and count as it, so "
        "documents are hardly told apart"
    )
