"""What a request may do: the need that each route declares, the rights of the key it came with.

A route without a need cannot be made (`routes/guarding.py`), so that none is open by oversight.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from .home.keys import Action, Key
from .problems import ProblemError

Whose = Literal["index", "some", "server"]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Need:
    """What a route asks of a key.

    `public` asks for none, `anonymous` looks at one only if it is shown. `action` None is content
    with any key. `of` says on what the action must be allowed: the index of the address, some index
    at least (the handler asks for each that the body names), or the server. A `whole` route is
    closed to keys with a filter. `streamed` bodies are read by the handler; `always` answers even
    when all places are taken.
    """

    action: Action | None = None
    of: Whose = "index"
    public: bool = False
    anonymous: bool = False
    whole: bool = False
    streamed: bool = False
    always: bool = False


def needs(
    action: Action | None,
    *,
    of: Whose = "index",
    whole: bool = False,
    streamed: bool = False,
    always: bool = False,
) -> Callable[[Endpoint], Endpoint]:
    """Declare what a route needs; below the line that declares its address."""
    need = Need(action, of, whole=whole, streamed=streamed, always=always)

    def declare(endpoint: Endpoint) -> Endpoint:
        endpoint.__dict__["need"] = need
        return endpoint

    return declare


def public(endpoint: Endpoint) -> Endpoint:
    """Declare that a route asks for no key."""
    endpoint.__dict__["need"] = Need(public=True, always=True)
    return endpoint


def anonymous(endpoint: Endpoint) -> Endpoint:
    """Declare that a route answers without a key too, and tells more to one."""
    endpoint.__dict__["need"] = Need(anonymous=True, always=True)
    return endpoint


def need_of(endpoint: Callable[..., Any]) -> Need:
    """What was declared. A route that declares nothing is a defect of ours."""
    need = endpoint.__dict__.get("need")
    assert isinstance(need, Need), (
        f"{endpoint.__module__}.{endpoint.__name__} does not say what it needs: write @needs(...) "
        "or @public below its @router line"
    )
    return need


@dataclass(frozen=True, slots=True)
class Access:
    """The rights of one request: those of its key, or all where no key is asked for.

    An `anonymous` one came without a key although the server asks for keys: it may do nothing.
    """

    key: Key | None = None
    anonymous: bool = False

    @property
    def filter(self) -> Mapping[str, Any] | None:
        """What the documents pass that the key sees; None where it sees all."""
        return None if self.key is None else self.key.filter

    def may(self, action: Action, names: Iterable[str]) -> bool:
        """Whether this is allowed on an index, given all the names that mean it."""
        if self.key is None:
            return True
        scopes = [scope for scope in self.key.scopes if scope.action in (action, "admin")]
        return any(scope.covers(name) for name in names for scope in scopes)

    def may_somewhere(self, action: Action) -> bool:
        """Whether this is allowed on some index, whether or not there is one."""
        return self.key is None or any(s.action in (action, "admin") for s in self.key.scopes)

    def may_everywhere(self, action: Action) -> bool:
        """Whether this is allowed on every index there may ever be, and so on the server."""
        return self.key is None or any(
            scope.action in (action, "admin") and scope.pattern == "*" for scope in self.key.scopes
        )

    def sees(self, names: Iterable[str]) -> bool:
        """Whether the key has to do with an index, so that it may know that it exists."""
        if self.anonymous:
            return False
        if self.key is None or self.may_everywhere("monitor"):
            return True
        names = list(names)
        return any(scope.covers(name) for scope in self.key.scopes for name in names)

    def require(self, action: Action, names: Iterable[str]) -> None:
        """Raise the problem `forbidden` unless this is allowed on the index of these names."""
        names = list(names)
        if not self.may(action, names):
            raise self.forbidden(f"{action}:{names[0][:100]}")

    def require_everywhere(self, action: Action) -> None:
        """Raise the problem `forbidden` unless this is allowed on the server."""
        if not self.may_everywhere(action):
            raise self.forbidden(f"{action}:*")

    def require_whole(self) -> None:
        """Raise the problem `forbidden` for a key that sees a part of each index only."""
        if self.key is not None and self.filter is not None:
            raise ProblemError(
                "forbidden",
                f"The key {self.key.id} sees some documents only, this is about all of them.",
                hint="Use a key without a filter.",
                headers=_INSUFFICIENT,
            )

    def forbidden(self, wanted: str) -> ProblemError:
        """The problem of lacking a scope."""
        assert self.key is not None
        held = ", ".join(map(str, self.key.scopes))
        return ProblemError(
            "forbidden",
            f"This needs the scope {wanted}; the key {self.key.id} has {held[:300]}.",
            hint="`lsr keys create --data DIR --scope SCOPE` makes another key.",
            headers=_INSUFFICIENT,
        )


_INSUFFICIENT = {"WWW-Authenticate": 'Bearer realm="lsr-search", error="insufficient_scope"'}


def key_required() -> ProblemError:
    """The problem of a request without a key, where there are keys."""
    return ProblemError(
        "key_required",
        "This server asks for a key.",
        hint="Send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`; whoever runs the server "
        "makes one with `lsr keys create`.",
        headers={"WWW-Authenticate": 'Bearer realm="lsr-search"'},
    )
