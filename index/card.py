"""What an index remembers of the encoder that built it."""

from dataclasses import dataclass, replace
from pathlib import Path

from lsr.encoders import learned_part
from lsr.encoders.folder import build_fingerprint
from lsr.encoders.protocol import SparseEncoder
from lsr.shipped import ENCODERS, shipped


@dataclass(frozen=True, slots=True)
class EncoderCard:
    """Which encoder an index belongs to; vectors of another `space` are refused."""

    name: str
    space: str
    build: str
    query_strategy: str
    text_fields: tuple[str, ...]
    path: str | None = None
    """Where the whole encoder was at build time."""
    copy: str | None = None
    """Fingerprint of the files in `encoder/`, None where there is no copy."""
    window_overlap: int | None = None
    """Tokens that windows of long documents shared; None where texts were cut or read whole."""


def encoder_card(encoder: SparseEncoder) -> EncoderCard:
    """The card of an encoder, before any copy of it is made."""
    network = learned_part(encoder)
    return EncoderCard(
        name=encoder.name,
        space=encoder.space,
        build=encoder.build,
        query_strategy=encoder.query_strategy,
        text_fields=tuple(encoder.text_fields),
        path=None if encoder.folder is None else str(encoder.folder.resolve()),
        window_overlap=None if network is None else network.card.window_overlap,
    )


def copied_card(encoder: SparseEncoder, path: Path) -> EncoderCard:
    """The card of an encoder for the index at `path`, which gets a copy of its query side unless
    queries need the whole network.
    """
    card = encoder_card(encoder)
    if encoder.query_strategy == "model":
        return card
    encoder.save(path / "encoder", queries_only=True)
    return replace(card, copy=build_fingerprint(path / "encoder"))


def whole_encoder(card: EncoderCard | None) -> Path | None:
    """The folder of the whole encoder: where it was at build time, else the shipped one of its
    name, which moves with this package; None where it is gone.
    """
    if card is None:
        return None
    if card.path is not None and Path(card.path).is_dir():
        return Path(card.path)
    return shipped(card.name) if card.name in ENCODERS else None


def encoder_argument(card: EncoderCard | None) -> str | None:
    """What names this encoder to a command: the name of a shipped one, else its folder."""
    if card is None or card.path is None:
        return None
    place = whole_encoder(card)
    ours = card.name in ENCODERS and place is not None
    return card.name if ours and place == shipped(card.name) else card.path


def copy_damage(card: EncoderCard | None, folder: Path) -> str | None:
    """How the copy in `folder` differs from the one that was stored; None when it is as it was."""
    if card is None or card.copy is None:
        return None
    if not folder.is_dir():
        return f"{folder} is missing: the index was built with a copy of its encoder"
    if build_fingerprint(folder) != card.copy:
        return f"{folder}: its files are not those that were stored"
    return None
