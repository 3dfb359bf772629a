"""The side card `lsr.json` of an encoder folder: what sentence-transformers has no key for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import EncoderError
from .folder import read_object, write_json

FORMAT = 1
CARD = "lsr.json"
DEFAULT_MAX_WEIGHT = 4.0
"""log1p(relu) weights of published SPLADE models end a little above 3; 4 leaves them room."""
DEFAULT_TEXT_FIELDS = ("title", "text")


@dataclass(frozen=True)
class Card:
    """Name, scale and text fields of an encoder, and the record of a query-only copy.

    `space` and `build` are set only in a folder that holds nothing but a query side: they were
    those of the whole encoder when the copy was made.
    """

    name: str
    max_weight: float = DEFAULT_MAX_WEIGHT
    text_fields: tuple[str, ...] = DEFAULT_TEXT_FIELDS
    binary: bool = False
    """Every weight is exactly 1: an index keeps presence alone and its scores are match counts."""
    window_overlap: int | None = None
    """Tokens that neighbouring windows of a long document share; None cuts it at max_length."""
    space: str | None = None
    build: str | None = None
    export: Mapping[str, Any] | None = None
    """What `onnx_export` measured when it made this encoder from another: sizes and differences."""
    training: Mapping[str, Any] | None = None
    """What `training.card` recorded; copies and exports keep it, so that what an encoder has seen
    is known wherever it goes."""

    @property
    def queries_only(self) -> bool:
        """Whether the folder holds only what queries need."""
        return self.space is not None

    @classmethod
    def read(cls, folder: Path, *, name: str | None = None) -> "Card":
        """Read `lsr.json`; a folder without one (made elsewhere) gets the defaults."""
        path = folder / CARD
        name = name or folder.resolve().name
        if not path.is_file():
            return cls(name)
        raw = read_object(path)
        version = raw.get("format")
        if version != FORMAT:
            raise EncoderError(
                f"{path}: card format {version!r}, this release reads {FORMAT}; upgrade lsr-search"
            )
        card = cls(name)
        try:
            card = replace(card, name=_string(raw, "name", name))
            card = replace(card, max_weight=_weight(raw), text_fields=_fields(raw))
            if raw.get("binary", False) not in (True, False):
                raise ValueError(f"binary must be true or false, got {raw['binary']!r}")
            card = replace(card, binary=bool(raw.get("binary", False)))
            card = replace(card, window_overlap=_overlap(raw))
            if "space" in raw:
                card = replace(
                    card, space=_string(raw, "space", ""), build=_string(raw, "build", "")
                )
            if isinstance(raw.get("export"), Mapping):
                card = replace(card, export=raw["export"])
            if isinstance(raw.get("training"), Mapping):
                card = replace(card, training=raw["training"])
        except ValueError as error:
            raise EncoderError(f"{path}: {error}") from None
        return card

    def write(self, folder: Path) -> None:
        """Write `lsr.json`."""
        card: dict[str, Any] = {
            "format": FORMAT,
            "name": self.name,
            "max_weight": self.max_weight,
            "text_fields": list(self.text_fields),
        }
        if self.binary:
            card["binary"] = True
        if self.window_overlap is not None:
            card["window_overlap"] = self.window_overlap
        if self.space is not None:
            card |= {"space": self.space, "build": self.build or ""}
        if self.export is not None:
            card["export"] = dict(self.export)
        if self.training is not None:
            card["training"] = dict(self.training)
        write_json(folder / CARD, card)


def _string(raw: Mapping[str, Any], key: str, default: str) -> str:
    value = raw.get(key, default)
    if not isinstance(value, str):
        raise ValueError(f"{key} must be a string, got {value!r}")
    return value


def _weight(raw: Mapping[str, Any]) -> float:
    value = raw.get("max_weight", DEFAULT_MAX_WEIGHT)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise ValueError(f"max_weight must be a number above 0 and below 1e6, got {value!r}")
    return float(value)


def _overlap(raw: Mapping[str, Any]) -> int | None:
    value = raw.get("window_overlap")
    if value is not None and (type(value) is not int or value < 0):
        raise ValueError(f"window_overlap must be a number of tokens or null, got {value!r}")
    return value


def _fields(raw: Mapping[str, Any]) -> tuple[str, ...]:
    value = raw.get("text_fields", list(DEFAULT_TEXT_FIELDS))
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise ValueError(f"text_fields must be a list of field names, got {value!r}")
    return tuple(value)
