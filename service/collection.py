"""`Collection`: one open index, with the encoder of its queries."""

import copy
import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from index import Index, as_built, check_same_space, query_encoder, whole_encoder
from index.shards import FILE_NAME as SHARDS
from lsr.encoders import SparseEncoder, document_network, load_encoder

from .restricted import RestrictedIndex
from .settings import OnRay

MAX_RESTRICTED = 1000
"""Filters of keys that an index remembers how to apply."""


class Collection:
    """One open index, and the encoder of its queries unless it was built from vectors.

    `encoder_label` is name@build, as answers report it.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        index: Index,
        encoder: SparseEncoder | None,
        encoder_folder: Path | None = None,
    ) -> None:
        self.name = name
        self.path = path
        self.index = index
        self.encoder = encoder
        self.encoder_folder = encoder_folder
        """Where the settings say that the encoder lies; None for the one that built the index."""
        # Read once: an encoder may compute its fingerprint whenever it is asked.
        self.encoder_label = None if encoder is None else f"{encoder.name}@{encoder.build}"
        self.identity = f"{name} {index.identity} {self.encoder_label}"
        """What cursors and entity tags belong to: another index at this place has another."""
        self.view = ""
        """What a key with a filter sees of it: 64 hex digits, none for all."""
        self._restricted: dict[bytes, Collection] = {}
        self._whole: Collection | None = None
        """That of which this is what a key with a filter sees; both have one encoder."""

    @classmethod
    def open(
        cls,
        name: str,
        path: Path,
        encoder_folder: Path | None,
        *,
        doing: Callable[[str], None] = lambda step: None,
        ray: OnRay | None = None,
    ) -> "Collection":
        """Open an index and load its encoder; raises what either raises.

        `doing` hears each step. With `ray` a set of shards is opened on that cluster.
        """
        doing("opening the index")
        index = _opened(name, path, ray)
        try:
            from_vectors = index.encoder is None and not index.encoder_folder.is_dir()
            if encoder_folder is None and from_vectors:
                return cls(name, path, index, None)
            doing("loading the encoder")
            encoder = query_encoder(index, encoder_folder)
            # A network that cannot load (no torch, say) must show now, not at the first request.
            doing("trying the encoder")
            encoder.encode_queries(["ready"])
            return cls(name, path, index, encoder, encoder_folder)
        except BaseException:
            index.close()
            raise

    def restricted(self, forced: Mapping[str, Any]) -> "Collection":
        """What a key with this filter sees of it. Raises what `RestrictedIndex` raises."""
        name = orjson.dumps(forced, option=orjson.OPT_SORT_KEYS)
        known = self._restricted.get(name)
        if known is None:
            known = copy.copy(self)
            known._whole = self
            known.index = RestrictedIndex(self.index, forced)
            known.view = hashlib.sha256(name).hexdigest()
            known._restricted = {}
            if len(self._restricted) >= MAX_RESTRICTED:
                self._restricted.clear()
            self._restricted[name] = known
        return known

    @cached_property
    def term_numbers(self) -> Mapping[str, int]:
        """Vocabulary entry -> term number; made when the first query of tokens comes."""
        if self._whole is not None:
            return self._whole.term_numbers
        if self.encoder is None:
            return {}
        numbers: dict[str, int] = {}
        for number, term in enumerate(self.encoder.term_strings(range(self.index.n_terms))):
            numbers.setdefault(term, number)
        return numbers

    @cached_property
    def document_encoder(self) -> SparseEncoder | None:
        """What reads documents as this index's were read: loaded when it is first asked for.

        None where there is none to load. Raises what loading raises.
        """
        if self._whole is not None:
            return self._whole.document_encoder
        whole_already = document_network(self.encoder) is not None
        if self.encoder is None or self.encoder.query_strategy == "bm25" or whole_already:
            return self.encoder
        folder = self.encoder_folder or whole_encoder(self.index.encoder)
        if folder is None or not folder.is_dir():
            return None
        whole = load_encoder(folder)
        check_same_space(self.index, whole)
        return as_built(self.index, whole)


def _opened(name: str, path: Path, ray: OnRay | None) -> Index:
    if ray is None or not (path / SHARDS).is_file():
        return Index.open(path)
    from .ray_shards import open_on_ray

    return open_on_ray(name, path, ray)
