"""Aliases: list, move together, roll back."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from ..access import needs
from ..home import aliases
from ..home.aliases import Action
from ..versions import gate as gates
from ..versions.gate import Gate
from ..wire.aliases import (
    AliasAction,
    AliasChange,
    AliasChanges,
    AliasHistory,
    AliasList,
    AliasRequest,
)
from .answering import (
    OF_CHANGES,
    OF_HOME,
    OF_INDEX,
    collection_of,
    engine_of,
    json,
    problems,
)
from .guarding import GuardedRoute

router = APIRouter(route_class=GuardedRoute)

AliasName = Annotated[str, Path(description="The alias.")]


@router.get(
    "/v1/aliases",
    tags=["aliases"],
    summary="List the aliases",
    response_model=AliasList,
    responses=problems(*OF_HOME),
)
@needs("monitor", of="server")
def list_aliases(request: Request) -> Response:
    """What every alias means."""
    home = engine_of(request).writable_home()
    return json({"aliases": [asdict(one) for one in aliases.aliases_of(home)]})


@router.post(
    "/v1/aliases",
    tags=["aliases"],
    summary="Change aliases together",
    response_model=AliasChanges,
    responses=problems(
        *OF_CHANGES,
        *OF_INDEX,
        "unknown_alias",
        "alias_exists",
        "alias_changed",
        "unknown_judged",
        "no_encoder",
        "gate_failed",
    ),
)
@needs("admin", of="server")
def change_aliases(body: AliasRequest, request: Request) -> Response:
    """All actions or none. With a `gate`, every alias that moves to another index is measured over
    judged queries first, and all is refused when one would lose more than `min_delta`.
    """
    engine = engine_of(request)
    home = engine.writable_home()
    mounted = engine.settings.indexes
    actions = [_action(one) for one in body.actions]
    if body.gate is None:
        changes = aliases.apply(home, actions, mounted=mounted)
        return json({"changes": [asdict(one) for one in changes], "gates": []})
    gate = Gate.asked(home, body.gate.model_dump(mode="json"))
    measured: list[dict[str, Any]] = []
    meant = engine.registry().aliases
    expected: dict[str, str | None] = {}
    for action in actions:
        if action.index is None:
            continue
        old = expected[action.alias] = meant.get(action.alias)
        told = _measured(request, gate, old, action.index)
        if not told["passed"]:
            raise gates.refused(f"the alias '{action.alias}'", told)
        measured.append({"alias": action.alias, **told})
    changes = aliases.apply(
        home, actions, why={"gates": measured}, expected=expected, mounted=mounted
    )
    return json({"changes": [asdict(one) for one in changes], "gates": measured})


@router.get(
    "/v1/aliases/{alias}/history",
    tags=["aliases"],
    summary="What an alias meant before",
    response_model=AliasHistory,
    responses=problems(*OF_HOME, "unknown_alias"),
)
@needs("monitor", of="server")
def read_history(alias: AliasName, request: Request) -> Response:
    """The newest changes first, each with the gate that let it through."""
    home = engine_of(request).writable_home()
    return json({"changes": [asdict(one) for one in aliases.history_of(home, alias)]})


@router.post(
    "/v1/aliases/{alias}/rollback",
    tags=["aliases"],
    summary="Roll an alias back",
    response_model=AliasChange,
    responses=problems(*OF_CHANGES, "unknown_alias", "nothing_to_roll_back"),
)
@needs("admin", of="server")
def roll_back(alias: AliasName, request: Request) -> Response:
    """It means again what it meant before its last change; a second time undoes the first."""
    return json(asdict(aliases.rollback(engine_of(request).writable_home(), alias)))


def _action(one: AliasAction) -> Action:
    if one.add is not None:
        return Action("add", one.add.alias, one.add.index)
    if one.swap is not None:
        return Action("swap", one.swap.alias, one.swap.index, one.swap.must_exist)
    assert one.remove is not None
    return Action("remove", one.remove.alias, None, one.remove.must_exist)


def _measured(request: Request, gate: Gate, old: str | None, new: str) -> dict[str, Any]:
    """What the gate says to `new` in place of `old`."""
    names = ([] if old is None else [old]) + [new]
    sides = [collection_of(request, name, "admin") for name in names]
    values = [gates.values_of(one.index, one.encoder, gate.judged, gate.measure) for one in sides]
    return gates.decide(gate, values[0] if len(values) == 2 else None, values[-1])
