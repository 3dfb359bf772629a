"""Collapse has names: hand-made matrices of each kind, and runs that are driven into it."""

import itertools
import re
import tomllib
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from scipy import sparse

from lsr.types import SparseMatrix
from training import load_recipe, shipped_recipes
from training.advice import advice
from training.health import Illness, Side, diagnose, vitals
from training.recipe import Recipe


def matrix(rows: Any) -> SparseMatrix:
    return sparse.csr_array(np.asarray(rows, np.float32))


def words(terms: Sequence[int]) -> list[str]:
    return [f"w{term}" for term in terms]


def healthy(n: int = 40, n_terms: int = 400, active: int = 20) -> np.ndarray:
    rng = np.random.default_rng(0)
    rows = np.zeros((n, n_terms), np.float32)
    for row in rows:
        row[rng.choice(n_terms, active, replace=False)] = rng.gamma(2.0, 0.5, active) + 0.1
    return rows


def names(rows: Any, **given: Any) -> list[str]:
    return [finding.illness for finding in diagnose(matrix(rows), words, **given)]


def test_healthy_vectors_have_no_finding() -> None:
    assert names(healthy()) == []


def test_empty_documents_are_named() -> None:
    rows = healthy()
    rows[:3] = 0
    assert names(rows) == []  # 3 of 40 may be odd texts
    rows[:10] = 0
    assert names(rows) == ["all-zero"]
    assert names(np.zeros((5, 9))) == ["all-zero"]


def test_a_vocabulary_that_is_on_is_named() -> None:
    rows = np.random.default_rng(1).gamma(0.3, 1.0, (20, 50)) + 0.01
    assert names(rows) == ["all-on"]


def test_the_same_vector_for_every_text_is_named() -> None:
    rows = np.tile(healthy(1), (30, 1)) * np.linspace(1, 3, 30)[:, None]
    assert names(rows) == ["constant"]


def test_stop_words_that_carry_the_score_are_named_with_their_words() -> None:
    """Two terms in every document, with weights far above the rest."""
    rows = healthy()
    rows[:, [7, 3]] = np.random.default_rng(2).uniform(2, 6, (40, 2))
    (finding,) = diagnose(matrix(rows), words)
    assert finding.illness == "stop-words"
    assert "w7" in finding.evidence
    assert "w3" in finding.evidence


def test_frequent_terms_that_no_query_has_are_no_shortcut() -> None:
    """The score is the product with the query, and these terms are in none."""
    rows = healthy()
    queries = rows.copy()
    rows[:, [7, 3]] = np.random.default_rng(2).uniform(2, 6, (40, 2))
    queries[:, [7, 3]] = 0
    assert names(rows, queries=matrix(queries)) == []


def test_not_a_number_is_named_before_anything_else() -> None:
    rows = np.zeros((4, 9))
    rows[1, 2] = np.nan
    assert names(rows) == ["not-finite"]
    assert names(healthy(4, 9, 2), queries=matrix(rows), encoded_queries=True) == ["not-finite"]


@pytest.mark.parametrize(
    ("queries", "illness", "evidence"),
    [
        (np.zeros((40, 400)), "all-zero", "100% of the queries have no term at all"),
        (
            np.random.default_rng(1).gamma(0.3, 1.0, (40, 400)) + 0.01,
            "all-on",
            "400 of 400 terms are active in the mean query",
        ),
        (
            np.tile(healthy(1), (40, 1)),
            "constant",
            "two queries have a cosine of 1.00 on average",
        ),
    ],
)
def test_queries_of_a_network_are_judged_beside_healthy_documents(
    queries: np.ndarray, illness: Illness, evidence: str
) -> None:
    """They were only ever held against the documents: each of these was said to be healthy."""
    given = matrix(queries)
    (finding,) = diagnose(matrix(healthy()), words, queries=given, encoded_queries=True)
    assert (finding.illness, finding.side, finding.evidence) == (illness, "queries", evidence)
    assert finding.name == f"{illness} queries"
    assert names(healthy(), queries=given) == []  # the tokens of a table


def test_the_mean_cosine_is_that_of_all_pairs() -> None:
    rows = healthy(12)
    rows[4] = 0
    unit = [row / np.linalg.norm(row) for row in rows.astype(np.float64) if row.any()]
    expected = np.mean([a @ b for a, b in itertools.combinations(unit, 2)])
    assert vitals(matrix(rows)).cosine == pytest.approx(expected)  # sums in another order


def test_the_commonest_terms_come_first_with_their_shares() -> None:
    signs = vitals(matrix([[1, 1, 0, 0], [0, 2, 0, 0], [0, 1, 5, 0], [0, 0, 1, 0]]))
    assert signs.top_terms.tolist() == [1, 2, 0]
    assert signs.top_shares.tolist() == [0.75, 0.5, 0.25]
    assert signs.frequent_terms == 1


def known_keys(cls: Any, prefix: str = "") -> set[str]:
    """Every dotted key a recipe may hold."""
    found: set[str] = set()
    for key, hint in get_type_hints(cls).items():
        if key not in {field.name for field in fields(cls)}:
            continue
        kinds = [kind for kind in (hint, *get_args(hint)) if is_dataclass(kind)]
        found.add(prefix + key)
        for kind in kinds:
            found |= known_keys(kind, f"{prefix}{key}.")
    return found


def advised(said: str) -> dict[str, Any]:
    """What a reader of the advice would write: dotted keys and values."""
    value = r"(\[[^\]]*\]|[^\s;,]+)"
    pairs = re.findall(rf"\b((?:run|stage|model)(?:\.[a-z_0-9]+)+) = {value}", said)
    for section, keys in re.findall(r"\[(stage\.\w+)\]((?:,? \w+ = \d+)+)", said):
        pairs += [(f"{section}.{key}", n) for key, n in re.findall(r"(\w+) = (\d+)", keys)]
    return {key: tomllib.loads(f"x = {value}")["x"] for key, value in pairs}


def held(recipe: Recipe, key: str) -> Any:
    """What the recipe says under a dotted key; None where a section is not there."""
    found: Any = recipe
    for part in key.split("."):
        found = getattr(found, part, None)
    return list(found) if isinstance(found, tuple) else found


@pytest.mark.parametrize("illness", get_args(Illness))
@pytest.mark.parametrize("name", shipped_recipes())
def test_every_recipe_takes_the_advice_it_is_given(illness: Illness, name: str) -> None:
    """It told UHD to calibrate a head, sampled terms to measure lengths, penalties of weight 0 to
    press elsewhere, and moved weights that a controller moves."""
    recipe = load_recipe(name)
    sides: tuple[Side, ...] = ("documents",)
    if illness != "stop-words" and recipe.model.kind != "inference-free":
        sides = get_args(Side)
    for side in sides:
        said = advice(illness, recipe, side)
        changes = advised(said)
        assert set(changes) <= known_keys(Recipe), said  # a renamed key leaves no stale advice
        assert changes, said
        changed = load_recipe(name, changes)
        assert not [key for key in changes if held(changed, key) == held(recipe, key)], said
        ranking = changed.stage.ranking
        if "stage.ranking.sparsity.penalty" in changes:
            assert ranking.sparsity.documents, said
        if f"stage.ranking.sparsity.{side}" in changes and getattr(ranking.controller, side):
            assert "stage.ranking.controller." in said
        other = {"documents": "queries", "queries": "documents"}[side]
        assert f"sparsity.{other}" not in said


@pytest.mark.parametrize(
    ("given", "illness", "side", "wanted"),
    [
        # The weight lies at its floor: starting from less is starting from the same.
        (
            {"stage.ranking.controller.documents": 90, "stage.ranking.sparsity.documents": 1e-8},
            "all-zero",
            "documents",
            ["stage.ranking.controller.documents", "stage.ranking.learning_rate"],
        ),
        (
            {"stage.ranking.controller.documents": 90},
            "all-on",
            "documents",
            ["stage.ranking.controller.rate", "stage.ranking.sparsity.documents"],
        ),
        (
            {
                "stage.ranking.controller.documents": 90,
                "stage.ranking.sparsity.penalty": "df-flops",
            },
            "stop-words",
            "documents",
            ["stage.ranking.controller.documents"],
        ),
        # Stages before ranking reach a query network with a checkpoint of its own as well.
        (
            {"model.kind": "separate", "model.query_backbone": "a/b", "stage.calibrate": None},
            "all-on",
            "queries",
            ["stage.ranking.sparsity.queries", "stage.calibrate.active_terms"],
        ),
        # What is quantized multiplies in bfloat16.
        (
            {
                "model.decoder": {},
                "model.lora.quantize": "4bit",
                "run.bf16": True,
            },
            "not-finite",
            "documents",
            ["stage.ranking.learning_rate"],
        ),
    ],
)
def test_advice_is_about_what_moves(
    given: dict[str, Any], illness: Illness, side: Side, wanted: list[str]
) -> None:
    said = advised(advice(illness, load_recipe("smoke", given), side))
    assert [key for key in said if not key.startswith("stage.ranking.sparsity.a")] == wanted
