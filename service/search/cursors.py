"""Cursors: pages of one commit, however the index changes meanwhile.

    base64url( version, generation, position, best, digests of request and index, HMAC-SHA256 )

A cursor is opaque and signed, so that nobody can ask for a place we did not offer, and it belongs
to one question: what decides a ranking must not change from page to page, while the size of a page
and what is told of each hit may. Each page ranks all hits up to its last, as there is no shorter
way to an exact page.
"""

import base64
import hashlib
import hmac
import json
import math
import struct
from dataclasses import dataclass
from typing import Any

from ..collection import Collection
from ..problems import Fault, ProblemError
from ..wire.search import FIRST_PAGE, SearchRequest

_LAYOUT = struct.Struct("<BQId12s8s")
_VERSION = 3
_SIGNATURE = 16
_RANKING = {"query", "filter", "require_terms", "exclude_terms", "min_score"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: `position` hits into the ranking of commit `generation`."""

    generation: int | None
    position: int
    best_possible: float | None = None
    """What the first page's relative `min_score` was a share of: documents added since do not raise
    it for the pages after."""


def digest(collection: Collection, request: SearchRequest) -> bytes:
    """12 bytes that are the same for the same request to the same index."""
    asked = _in_one_order(request.model_dump())
    whole = f"{collection.identity} {collection.view}\n".encode() + asked
    return hashlib.blake2b(whole, digest_size=12).digest()


def place_of(collection: Collection, request: SearchRequest, secret: bytes) -> Place:
    """Where the page that `request.cursor` names begins. Raises `ProblemError`."""
    assert request.cursor is not None
    if request.cursor == FIRST_PAGE:
        return Place(None, 0)
    try:
        padded = request.cursor + "=" * (-len(request.cursor) % 4)
        given = base64.b64decode(padded, altchars=b"-_", validate=True)
        sealed, signature = given[: _LAYOUT.size], given[_LAYOUT.size :]
        version, generation, position, best, question, identity = _LAYOUT.unpack(sealed)
    except (ValueError, struct.error):
        raise _invalid("The cursor is none of this server's.") from None
    if not hmac.compare_digest(signature, _signature(secret, sealed)) or version != _VERSION:
        raise _invalid("The cursor is none of this server's, or was given before it started.")
    if question != _question(collection, request):
        raise _invalid(
            "The cursor belongs to another request: query, filter, terms and min_score must stay "
            "what they were."
        )
    if identity != _identity(collection):  # rebuilt, rolled back or swapped since
        raise expired(
            collection,
            f"The cursor belongs to another index, or to '{collection.name}' before it was built "
            "anew, rolled back or swapped.",
        )
    return Place(generation, position, None if math.isnan(best) else best)


def next_cursor(collection: Collection, request: SearchRequest, secret: bytes, place: Place) -> str:
    """The cursor of the page that begins at `place`."""
    best = math.nan if place.best_possible is None else place.best_possible
    belongs = _question(collection, request), _identity(collection)
    sealed = _LAYOUT.pack(_VERSION, place.generation, place.position, best, *belongs)
    return base64.urlsafe_b64encode(sealed + _signature(secret, sealed)).rstrip(b"=").decode()


def _question(collection: Collection, request: SearchRequest) -> bytes:
    asked = _in_one_order(request.model_dump(include=_RANKING))
    return hashlib.blake2b(f"{collection.view}\n".encode() + asked, digest_size=12).digest()


def _in_one_order(asked: dict[str, Any]) -> bytes:
    """Members of a JSON object have no order: some clients write them in another each time."""
    return json.dumps(asked, sort_keys=True).encode()


def _identity(collection: Collection) -> bytes:
    return hashlib.blake2b(collection.identity.encode(), digest_size=8).digest()


def expired(collection: Collection, why: str | None = None) -> ProblemError:
    """What a cursor belongs to is no longer kept; by itself, its commit is not."""
    return ProblemError(
        "cursor_expired",
        why
        or f"Index '{collection.name}' has changed, and the commit that this cursor belongs to is "
        "no longer kept.",
        hint=f'Begin again with "cursor": "{FIRST_PAGE}".',
        faults=[Fault("/cursor", "expired")],
    )


def _signature(secret: bytes, sealed: bytes) -> bytes:
    return hmac.digest(secret, sealed, "sha256")[:_SIGNATURE]


def _invalid(detail: str) -> ProblemError:
    return ProblemError(
        "invalid_cursor",
        detail,
        hint=f'Begin with "cursor": "{FIRST_PAGE}" and hand on each next_cursor as it is.',
        faults=[Fault("/cursor", "not a cursor of this request")],
    )
