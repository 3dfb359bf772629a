"""Aliases: what they mean, how they are moved, what stands in the way."""

from typing import Any

from pydantic import ConfigDict, Field, model_validator

from .base import Answer, Strict, Text

MAX_ACTIONS = 100


class JudgedQuery(Strict):
    """A query of a gate."""

    id: Text = Field(min_length=1, max_length=256)
    text: Text = Field(max_length=10_000)


class GateRequest(Strict):
    """Judged queries, given here or by the name of a set in the data directory.

    The gate of a rebuild may leave both out, where there is a set of the index's own name.
    """

    judged: Text | None = Field(
        default=None, description="A judged set in the data directory: judged/NAME.json."
    )
    queries: list[JudgedQuery] | None = Field(default=None, min_length=1, max_length=10_000)
    qrels: dict[Text, dict[Text, int]] | None = Field(
        default=None, description="Grade of each judged document by query."
    )
    measure: Text = Field(default="nDCG@10", max_length=40, description="As ir_measures spells it.")
    min_delta: float = Field(
        default=-0.005, ge=-1, le=1, description="The least change of the mean that is let through."
    )

    @model_validator(mode="after")
    def _one_source(self) -> "GateRequest":
        inline = self.queries is not None or self.qrels is not None
        if inline and self.judged is not None:
            raise ValueError("give either 'judged' or both 'queries' and 'qrels'")
        if inline and (self.queries is None or self.qrels is None):
            raise ValueError("'queries' and 'qrels' belong together")
        return self


class AddAlias(Strict):
    """A new alias."""

    alias: Text
    index: Text


class SwapAlias(Strict):
    """Another index for an alias; without `must_exist` the alias may be new."""

    alias: Text
    index: Text
    must_exist: bool = True


class RemoveAlias(Strict):
    """An alias less; without `must_exist` it may be gone already."""

    alias: Text
    must_exist: bool = True


class AliasAction(Strict):
    """Exactly one of the three."""

    add: AddAlias | None = None
    swap: SwapAlias | None = None
    remove: RemoveAlias | None = None

    @model_validator(mode="after")
    def _one(self) -> "AliasAction":
        if sum(one is not None for one in (self.add, self.swap, self.remove)) != 1:
            raise ValueError("give exactly one of 'add', 'swap' and 'remove'")
        return self


class AliasRequest(Strict):
    """Actions that are applied together or not at all."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"actions": [{"add": {"alias": "docs", "index": "docs-1"}}]},
                {
                    "actions": [{"swap": {"alias": "docs", "index": "docs-2"}}],
                    "gate": {"judged": "docs"},
                },
            ]
        }
    )

    actions: list[AliasAction] = Field(min_length=1, max_length=MAX_ACTIONS)
    gate: GateRequest | None = None

    @model_validator(mode="after")
    def _judged(self) -> "AliasRequest":
        if self.gate is not None and self.gate.judged is None and self.gate.queries is None:
            raise ValueError("gate: give either 'judged' or both 'queries' and 'qrels'")
        return self


class AliasInfo(Answer):
    """What an alias means; `since` in seconds since 1970."""

    alias: str
    index: str
    since: float


class AliasList(Answer):
    """Every alias, by name."""

    aliases: list[AliasInfo]


class GateResult(Answer):
    """What a gate measured: means over the judged queries, paired by query."""

    alias: str
    measure: str
    judged: str | None
    n_queries: int
    min_delta: float
    old: float | None
    new: float
    delta: float | None
    p_value: float | None = Field(description="Of a randomisation test; null for a single query.")
    low: float | None = Field(default=None, description="95 % interval of delta.")
    high: float | None = None
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None
    passed: bool


class AliasChange(Answer):
    """One change; `index` is null for an alias that was removed, `previous` for a new one."""

    number: int
    alias: str
    index: str | None
    previous: str | None
    at: float
    why: dict[str, Any]


class AliasChanges(Answer):
    """What was changed, and what the gate measured."""

    changes: list[AliasChange]
    gates: list[GateResult]


class AliasHistory(Answer):
    """The newest changes first."""

    changes: list[AliasChange]
