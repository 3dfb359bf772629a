"""What every encoder with a card tells of itself in the same words."""

from functools import cached_property
from pathlib import Path

from .card import Card
from .folder import build_fingerprint


class Described:
    """Base of the network encoders: what follows from `card`, `folder` and `space` alone."""

    card: Card
    folder: Path | None

    @property
    def space(self) -> str:
        """16 hex digits: vocabulary + document encoder."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """Short human name."""
        return self.card.name

    @cached_property
    def build(self) -> str:
        """16 hex digits: every file of the folder; in memory, the same as the space."""
        if self.card.build is not None:
            return self.card.build
        return self.space if self.folder is None else build_fingerprint(self.folder)

    @property
    def max_weight(self) -> float:
        """The document weight that the largest impact represents."""
        return self.card.max_weight

    @property
    def text_fields(self) -> tuple[str, ...]:
        """The document fields it reads."""
        return self.card.text_fields
