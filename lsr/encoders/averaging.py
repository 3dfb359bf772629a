"""One encoder of several that were trained from the same start: the mean of their weights.

Runs that share a start and keep to its neighbourhood lie in one basin of the loss, and their mean
is often better than each, most of all on texts that none of them saw (model soups, Wortsman et
al., ICML 2022, arXiv 2203.05482). Of unrelated networks the mean is noise: nothing here can tell.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..errors import EncoderError
from .card import CARD, Card
from .folder import copy_files, data_files, replacing
from .joined import LEARNED
from .stated import stated_record

Tensors = dict[str, npt.NDArray[Any]]
_TOKENS = ("tokenizer.json", "vocab.txt")
_COUNTED = ("bm25.json", "terms.txt", "df.safetensors", "joined.json")
"""Of BM25, which may stand beside a network."""


def average(folders: Sequence[Path], output: Path, shares: Sequence[float], *, name: str) -> int:
    """Write into `output` the encoder whose weights are the means of those of `folders`.

    `shares` are their parts of the mean, scaled to sum to 1. Everything that is no tensor is the
    first's; the card keeps what each was trained on. Returns the number of weights. Raises
    `EncoderError` where folders differ in tensors, shapes or tokens.
    """
    if len(folders) < 2 or len(folders) != len(shares):
        raise EncoderError(
            f"got {len(folders)} encoders and {len(shares)} shares; wanted 2 or more, a share each"
        )
    if not all(np.isfinite(share) and share > 0 for share in shares):
        raise EncoderError(f"shares are {list(shares)}; wanted numbers above 0")
    parts = [share / sum(shares) for share in shares]
    first, *others = folders
    layout = _files(first)
    for other in others:
        _check(first, layout, other)
    n_weights = 0
    with replacing(output) as fresh:
        for path in layout:
            place = fresh / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix != ".safetensors":
                copy_files(first, fresh, [first / path])
                continue
            mean = _mean(path, folders, parts)
            n_weights += sum(tensor.size for tensor in mean.values())
            save_file(mean, place, metadata={"format": "pt"})
        _card(folders, parts, name).write(fresh)
    return n_weights


def _files(folder: Path) -> list[Path]:
    if not (folder / "modules.json").is_file():
        raise EncoderError(f"{folder} is no encoder folder: it has no modules.json")
    found = [path.relative_to(folder) for path in data_files(folder)]
    for path in found:
        if path.suffix == ".onnx":
            raise EncoderError(
                f"{folder / path} is a graph, whose weights are rounded and renamed; average the "
                "encoders that graphs were exported from, or what `lsr thaw` makes of them"
            )
    return [path for path in found if path.as_posix() != CARD]


def _check(first: Path, layout: Sequence[Path], other: Path) -> None:
    theirs = _files(other)
    odd = sorted({p for p in (*layout, *theirs) if (p in layout) != (p in theirs)})
    odd = [path for path in odd if path.suffix == ".safetensors" or path.name in _TOKENS]
    if odd:
        raise EncoderError(f"{first} and {other}: only one of them has {odd[0]}; wanted like ones")
    for path in layout:
        if path.name in _TOKENS and (first / path).read_bytes() != (other / path).read_bytes():
            raise EncoderError(
                f"{first / path} and {other / path} differ, so one's terms are not the other's; "
                "average encoders that were trained from the same start"
            )
        counted = path.name in _COUNTED
        if counted and (first / path).read_bytes() != (other / path).read_bytes():
            raise EncoderError(
                f"{first / path} and {other / path} differ: counts of other texts, or another "
                f"weight, have no mean. Average their networks, {first / LEARNED} and so on, and "
                "put words beside the mean with `lsr join`"
            )


def _mean(path: Path, folders: Sequence[Path], parts: Sequence[float]) -> Tensors:
    total: dict[str, npt.NDArray[np.float64]] = {}
    kinds: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    for folder, part in zip(folders, parts, strict=True):
        tensors = _read(folder / path)
        shapes = {key: (tensor.shape, tensor.dtype) for key, tensor in tensors.items()}
        if kinds and shapes != kinds:
            key = next(k for k in sorted({*kinds, *shapes}) if kinds.get(k) != shapes.get(k))
            raise EncoderError(
                f"{folder / path}: tensor {key} is {shapes.get(key)}, in {folders[0] / path} it is "
                f"{kinds.get(key)}; average encoders of one architecture"
            )
        kinds = shapes
        for key, tensor in tensors.items():
            share = part * tensor.astype(np.float64)
            total[key] = total[key] + share if key in total else share
    return {key: value.astype(kinds[key][1]) for key, value in total.items()}


def _read(path: Path) -> Tensors:
    try:
        return load_file(path)
    except (OSError, SafetensorError, TypeError, KeyError) as error:
        raise EncoderError(
            f"{path} cannot be read as float16 or float32 tensors ({error}); save it in one of them"
        ) from error


def _card(folders: Sequence[Path], parts: Sequence[float], name: str) -> Card:
    """The first's, whose record of training has those of the others in it."""
    cards = [Card.read(folder) for folder in folders]
    records: list[dict[str, Any]] = []
    shares: list[float] = []
    for folder, card, part in zip(folders, cards, parts, strict=True):
        for record, share in _leaves(folder, card):
            records.append(record)
            shares.append(part * share)
    training = records[0] | {"averaged": {"shares": shares, "others": records[1:]}}
    return replace(cards[0], name=name, training=training)


def _leaves(folder: Path, card: Card) -> list[tuple[dict[str, Any], float]]:
    """The runs behind an encoder with their shares: a mean of means is one mean of all runs.

    One that came without a record has what its README states.
    """
    if card.training is None:
        return [(stated_record(folder), 1.0)]
    own = {key: value for key, value in card.training.items() if key != "averaged"}
    averaged = card.training.get("averaged", {"shares": [1.0], "others": []})
    try:
        others = [{**other} for other in averaged["others"]]
        shares = [float(share) for share in averaged["shares"]]
        return list(zip([own, *others], shares, strict=True))
    except (KeyError, TypeError, ValueError) as error:
        raise EncoderError(
            f"{CARD} of {card.name}: training.averaged wants as many shares as records, its own "
            f"included ({error}); restore the file, or take training.averaged out of it"
        ) from error
