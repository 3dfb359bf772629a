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
from .folder import copy_files, data_files, read_json, read_object, replacing
from .joined import LEARNED
from .networks import NETWORK_FILE
from .stated import stated_record

Tensors = dict[str, npt.NDArray[Any]]
_TOKENS = ("tokenizer.json", "vocab.txt")
_COUNTED = ("bm25.json", "terms.txt", "df.safetensors", "joined.json")
"""Of BM25, which may stand beside a network."""
_MODULES, _ROUTER = "modules.json", "router_config.json"
_HEADS = ("_SpladePooling", "_UHDHead", "_LiteralResidual")
"""How the folders end whose config.json says what becomes of the network's output."""
_POOLING = {"pooling_strategy": "max", "activation_function": "relu"}
"""The keys of a pooling that decide, and what `layout` reads where one is missing."""


def average(folders: Sequence[Path], output: Path, shares: Sequence[float], *, name: str) -> int:
    """Write into `output` the encoder whose weights are the means of those of `folders`.

    `shares` are their parts of the mean, scaled to sum to 1. Everything that is no tensor is the
    first's; the card keeps what each was trained on, and the largest `max_weight`. Returns the
    number of weights. Raises `EncoderError` where folders differ in tensors, shapes or tokens, or
    in how they read a text.
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
            if path.name == CARD:  # of the network inside a joined encoder
                _scaled([Card.read(folder / path.parent) for folder in folders]).write(place.parent)
                continue
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
    odd = [p for p in odd if p.suffix == ".safetensors" or p.name in _TOKENS or _decides(p)]
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
        if _decides(path):
            _check_alike(first / path, other / path, _reading(first / path), _reading(other / path))
    for place in sorted({path.parent for path in layout if path.name == _MODULES}):
        ours, others = (folder / place / CARD for folder in (first, other))
        _check_alike(ours, others, _of_card(ours.parent), _of_card(others.parent))


def _decides(path: Path) -> bool:
    """Whether the file says how an encoder reads a text."""
    of_head = path.name == "config.json" and path.parent.name.endswith(_HEADS)
    return of_head or path.name in (_MODULES, _ROUTER, NETWORK_FILE)


def _reading(path: Path) -> dict[str, Any]:
    """What such a file decides, by key; classes by their last name, which releases share."""
    if path.name == _MODULES:
        modules = read_json(path)
        if not isinstance(modules, list) or not all(isinstance(m, dict) for m in modules):
            raise EncoderError(f"{path}: a list of modules was expected; copy the encoder again")
        return {"modules": [f"{_class(m.get('type'))} in '{m.get('path')}'" for m in modules]}
    content = read_object(path)
    if path.name == _ROUTER:
        types = content.get("types")
        named = {k: _class(v) for k, v in types.items()} if isinstance(types, dict) else types
        return {"types": named, "structure": content.get("structure")}
    if path.parent.name.endswith(_HEADS[0]):
        return {key: content.get(key, default) for key, default in _POOLING.items()}
    return content


def _class(name: object) -> str:
    return str(name).rpartition(".")[2].removeprefix("MLM")


def _of_card(folder: Path) -> dict[str, Any]:
    card = Card.read(folder)
    return {"window_overlap": card.window_overlap, "binary": card.binary}


def _check_alike(first: Path, other: Path, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    for key in sorted({*ours, *theirs}):
        if ours.get(key) != theirs.get(key):
            raise EncoderError(
                f"{first} and {other} differ in {key}: {ours.get(key)} and {theirs.get(key)}, so "
                "one's weights do not mean what the other's do; average encoders that read texts "
                "alike"
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
    """The first's with the largest scale; its record of training has those of the others in it."""
    cards = [Card.read(folder) for folder in folders]
    records: list[dict[str, Any]] = []
    shares: list[float] = []
    for folder, card, part in zip(folders, cards, parts, strict=True):
        for record, share in _leaves(folder, card):
            records.append(record)
            shares.append(part * share)
    training = records[0] | {"averaged": {"shares": shares, "others": records[1:]}}
    return replace(_scaled(cards), name=name, training=training)


def _scaled(cards: Sequence[Card]) -> Card:
    """The first, at a scale that holds the weights of every one: below it an index cuts them off.

    What an export measured was measured of one of them.
    """
    return replace(cards[0], max_weight=max(card.max_weight for card in cards), export=None)


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
