"""Indexes of the data directory: made, changed and removed, each in one step for everybody."""

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from index import Index, Settings, empty_index
from lsr.encoders import BM25Encoder, SparseEncoder, load_encoder
from lsr.errors import LsrError
from lsr.files import make_directory

from .home import Home, queue, registry, versions
from .home.registry import Entry
from .names import NAME_WANTED, is_name
from .numbering import begin_anywhere
from .problems import Fault, ProblemError, did_you_mean
from .wire.indexes import ChangeIndex, CreateIndex


def create(home: Home, wanted: CreateIndex, *, mounted: Collection[str] = ()) -> None:
    """Make an empty index. `mounted` are indexes outside the data directory, whose names are taken.

    Raises the problems `index_exists`, `invalid_request`, `unknown_encoder` and
    `index_unavailable`.
    """
    if not is_name(wanted.name):
        raise ProblemError(
            "invalid_request",
            f"'{wanted.name[:100]}' cannot name an index: wanted {NAME_WANTED}.",
            faults=[Fault("/name", NAME_WANTED)],
        )
    if wanted.name in mounted:
        raise registry.name_taken(wanted.name)
    settings: dict[str, Any] = {"encoder": wanted.encoder}
    if wanted.passages is not None:
        settings["passages"] = [wanted.passages.length, wanted.passages.overlap]
    if wanted.encoder == "bm25":
        settings[registry.LEARNS] = True
    folder = registry.new_folder(home, wanted.name)
    make_directory(folder)
    try:
        with _made(folder, wanted, encoder_of(home, wanted.encoder)) as made:
            begin_anywhere(made)
        with home.transaction() as connection:
            registry.enter(connection, wanted.name, folder, settings)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def change(home: Home, entry: Entry, wanted: ChangeIndex) -> None:
    """Change settings. Raises the problem `index_mounted`."""
    _refuse_mounted(entry)
    settings = dict(entry.settings)
    if "passages" in wanted.model_fields_set:
        settings.pop("passages", None)
        if wanted.passages is not None:
            settings["passages"] = [wanted.passages.length, wanted.passages.overlap]
    with home.transaction() as connection:
        registry.put_settings(connection, entry.name, settings)


def remove(home: Home, entry: Entry) -> None:
    """Delete an index, its files and what was still to be done to it.

    Raises the problems `index_mounted` and `index_in_use`.
    """
    _refuse_mounted(entry)
    kept = versions.versions_of(home, entry.name)
    with home.transaction() as connection:
        registry.leave(connection, entry.name)
        queue.abandon(connection, entry.name)
    for path in (entry.path, *(one.path for one in kept)):
        shutil.rmtree(path, ignore_errors=True)  # what is left goes when the worker starts


def encoder_of(home: Home, name: str | None) -> SparseEncoder | None:
    """The encoder of this name, None for none. Raises the problem `unknown_encoder`."""
    if name is None:
        return None
    if name == "bm25":
        return BM25Encoder.fit([])
    folders = home.encoders()
    if name not in folders:
        known = ["bm25", *folders]
        raise ProblemError(
            "unknown_encoder",
            f"There is no encoder '{name[:100]}' here; there are: {', '.join(known)}.",
            hint=did_you_mean(name, known)
            or "Whoever runs the server puts encoder folders into its data directory, under "
            "encoders/.",
            extensions={"available": known},
        )
    try:
        return load_encoder(folders[name])
    except LsrError as error:
        raise ProblemError(
            "index_unavailable",
            f"The encoder '{name}' cannot be loaded ({type(error).__name__}).",
            hint="The server's log says why.",
        ) from error


def _made(folder: Path, wanted: CreateIndex, encoder: SparseEncoder | None) -> Index:
    settings = Settings(order=wanted.order)
    if encoder is not None:
        return empty_index(folder, encoder, fields=wanted.fields, settings=settings)
    assert wanted.n_terms is not None
    assert wanted.max_weight is not None
    return Index.create(
        folder,
        n_terms=wanted.n_terms,
        max_weight=wanted.max_weight,
        fields=wanted.fields,
        settings=settings,
    )


def _refuse_mounted(entry: Entry) -> None:
    if entry.mounted:
        raise ProblemError(
            "index_mounted",
            f"Index '{entry.name}' was named on the command line of the server.",
            hint="Its documents can be changed; it is deleted where it was made.",
        )
