"""A filter expression chooses exactly the documents that a reader of it would choose."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy import sparse

from index import Index
from index.columns import KINDS, Kind
from index.filtering import MAX_CLAUSES, MAX_DEPTH, MAX_VALUES, matching, parsed
from index.instants import instant
from lsr.commands._fields import field_kind
from lsr.errors import FilterError, QueryError, UnknownField, UsageError
from lsr.types import Document, SparseMatrix

FIELDS = {"lang": "keyword", "year": "int", "price": "float", "open": "bool", "at": "date"}
WORDS = ("", "de", "en", "日本")
YEARS = (-(2**63), 1999, 2000, 2024, 2**53 + 1, 2**63 - 1)
DATES = (
    "2024-05-31",
    "2024-05-31T00:00:00Z",
    "2024-05-31T01:00:00.000001+01:00",
    "1969-12-31T23:59:59.5-00:30",
    "0001-01-01",
    "9999-12-31",
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "lang": st.sampled_from(WORDS),
    "year": st.sampled_from(YEARS),
    "price": st.sampled_from((-1.5, 0.0, 2, 1e300)),
    "open": st.booleans(),
    "at": st.sampled_from(DATES),
}
OPERANDS = VALUES | {
    "year": st.sampled_from((*YEARS, 1999.5, 2000.0, float(2**53), 1e300, -1e300, 10**30))
}


def comparable(field: str, value: Any) -> Any:
    """The oracle reads dates by the standard library, everything else as it is."""
    if field != "at":
        return value
    return datetime.fromisoformat(value if "T" in value else f"{value}T00:00:00+00:00")


def holds(document: dict[str, Any], expression: dict[str, Any]) -> bool:
    """The meaning of the expression language, one document at a time."""
    if "all" in expression:
        return all(holds(document, part) for part in expression["all"])
    if "any" in expression:
        return any(holds(document, part) for part in expression["any"])
    if "not" in expression:
        return not holds(document, expression["not"])
    if "field" in expression:
        field = expression["field"]
        rest = {key: value for key, value in expression.items() if key != "field"}
        return condition_holds(document, field, rest)
    return all(
        condition_holds(
            document,
            field,
            value
            if isinstance(value, dict)
            else {"in": value}
            if isinstance(value, list)
            else {"eq": value},
        )
        for field, value in expression.items()
    )


def condition_holds(document: dict[str, Any], field: str, predicate: dict[str, Any]) -> bool:
    if document.get(field) is None:
        return predicate == {"exists": False}
    value = comparable(field, document[field])
    tests = {
        "eq": lambda wanted: value == comparable(field, wanted),
        "in": lambda wanted: any(value == comparable(field, one) for one in wanted),
        "gt": lambda wanted: value > comparable(field, wanted),
        "gte": lambda wanted: value >= comparable(field, wanted),
        "lt": lambda wanted: value < comparable(field, wanted),
        "lte": lambda wanted: value <= comparable(field, wanted),
        "exists": lambda wanted: wanted,
    }
    return all(tests[name](wanted) for name, wanted in predicate.items())


def predicates(field: str) -> st.SearchStrategy[dict[str, Any]]:
    operand = OPERANDS[field]
    ranges = {} if field == "open" else dict.fromkeys(("gt", "gte", "lt", "lte"), operand)
    optional: dict[str, st.SearchStrategy[Any]] = {
        "eq": operand,
        "in": st.lists(operand, max_size=5),
        "exists": st.booleans(),
        **ranges,
    }
    return st.fixed_dictionaries({}, optional=optional).filter(bool)


LEAVES = st.one_of(
    *(
        predicates(field).map(lambda predicate, field=field: {"field": field} | predicate)
        for field in FIELDS
    ),
    st.fixed_dictionaries(
        {},
        optional={
            field: st.one_of(
                OPERANDS[field], st.lists(OPERANDS[field], max_size=3), predicates(field)
            )
            for field in FIELDS
        },
    ).filter(bool),
)
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: {"all": parts}),
        st.lists(inner, max_size=3).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=6,
)
DOCUMENTS = st.fixed_dictionaries(
    {}, optional={field: st.none() | values for field, values in VALUES.items()}
)


def ones(n: int) -> SparseMatrix:
    return sparse.csr_array(np.ones((n, 1), np.float32))


def new_index(path: Path) -> Index:
    return Index.create(path, n_terms=1, max_weight=1.0, fields=FIELDS)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A merged segment, a sealed one and pending rows, with updates and deletes across them."""
    path = tmp_path_factory.mktemp("filters") / "i"
    draw = np.random.default_rng(3)

    def some(n: int) -> list[dict[str, Any]]:
        choices: dict[str, tuple[Any, ...]] = {
            "lang": (None, *WORDS),
            "year": (None, *YEARS),
            "price": (None, -1.5, 0.0, 2, 1e300),
            "open": (None, True, False),
            "at": (None, *DATES),
        }
        return [
            {name: values[draw.integers(len(values))] for name, values in choices.items()}
            for _ in range(n)
        ]

    alive: dict[str, dict[str, Any]] = {}
    with new_index(path) as index:

        def add(first: int, last: int) -> None:
            stored = some(last - first)
            ids = [f"d{i}" for i in range(first, last)]
            documents = [Document(a, b) for a, b in zip(ids, stored, strict=True)]
            index.add(documents, ones(len(ids)))
            alive.update(zip(ids, stored, strict=True))

        def delete(*numbers: int) -> None:
            index.delete([f"d{number}" for number in numbers])
            for number in numbers:
                alive.pop(f"d{number}", None)

        add(0, 70)
        delete(1, 5, 64)
        index.merge()
        add(70, 110)
        add(10, 15)
        index.seal()
        delete(20, 75)
        add(105, 130)
        add(30, 32)
        delete(129)
        yield index, alive


@settings(max_examples=150, deadline=None)
@given(expression=EXPRESSIONS)
@example(expression={"not": {"lang": "en"}})
@example(expression={"all": []})
@example(expression={"any": []})
@example(expression={"field": "year", "gt": 2**53, "lt": float(2**53 + 2)})
def test_an_expression_chooses_what_a_reader_would(
    world: tuple[Index, dict[str, dict[str, Any]]], expression: dict[str, Any]
) -> None:
    """Over several segments, pending rows, updates and deletes: nothing deleted ever comes back."""
    index, alive = world
    expected = {doc_id for doc_id, document in alive.items() if holds(document, expression)}
    hits = index.search(ones(1), 1000, filter=expression)
    assert set(hits.doc_ids) == expected
    assert len(hits) == len(expected)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stored=st.lists(DOCUMENTS, min_size=1, max_size=40), expression=EXPRESSIONS)
def test_the_same_holds_of_any_documents(
    tmp_path_factory: pytest.TempPathFactory,
    stored: list[dict[str, Any]],
    expression: dict[str, Any],
) -> None:
    with new_index(tmp_path_factory.mktemp("any") / "i") as index:
        index.add([Document(f"d{i}", one) for i, one in enumerate(stored)], ones(len(stored)))
        expected = [f"d{i}" for i, one in enumerate(stored) if holds(one, expression)]
        assert index.search(ones(1), 100, filter=expression).doc_ids == expected
        index.merge()
        assert index.search(ones(1), 100, filter=expression).doc_ids == expected


@pytest.mark.parametrize(
    ("filter", "path", "message"),
    [
        ({"yaer": 1}, ("yaer",), "not declared"),
        ({"all": [{"lang": "en"}, {"field": "yaer", "eq": 1}]}, ("all", 1, "field"), "declared"),
        ({"any": [{"not": {"year": "x"}}]}, ("any", 0, "not", "year"), "takes a finite number"),
        ({"field": "year", "in": [1, 2, "x"]}, ("in", 2), "takes a finite number"),
        ({"year": {"in": [None]}}, ("year", "in", 0), "exists"),
        ({"lang": ["en", 5]}, ("lang", 1), "takes a string"),
        ({"year": {"like": 3}}, ("year", "like"), "no condition 'like'"),
        ({"open": {"gt": True}}, ("open", "gt"), "no condition 'gt' on a bool field"),
        ({"field": "year"}, (), "empty condition"),
        ({"lang": {}}, ("lang",), "empty condition"),
        ({"field": 3, "eq": 1}, ("field",), "not declared"),
        ({"all": {"lang": "en"}}, ("all",), "takes a list"),
        ({"all": [{}]}, ("all", 0), "leave it out"),
        ({"not": {}}, ("not",), "leave it out"),
        ({"not": ["x"]}, ("not",), "is an object"),
        ({"any": [], "lang": "en"}, (), "stands alone"),
        ({"all": ["en"]}, ("all", 0), "is an object"),
        ({"at": {"gte": "2024-05"}}, ("at", "gte"), "ISO 8601"),
        ({"at": {"gte": "2024-05-31T12:00:00"}}, ("at", "gte"), "with offset"),
    ],
)
def test_a_mistake_is_named_with_its_place(
    filter: dict[str, Any], path: tuple[str | int, ...], message: str
) -> None:
    with pytest.raises(FilterError, match=message) as caught:
        parsed(filter, FIELDS)  # type: ignore[arg-type]
    assert caught.value.path == path
    assert str(caught.value).startswith("/".join(["filter", *map(str, path)]) + ": ")
    place: Any = filter
    for key in path:
        place = place[key] if not isinstance(place, str) else place
    if caught.value.got is not None:
        assert caught.value.got in (place, path[-1] if path else None)


def test_an_undeclared_field_says_which_there_are() -> None:
    with pytest.raises(UnknownField) as caught:
        parsed({"yaer": 1}, {"year": "int", "lang": "keyword"})
    assert (caught.value.got, caught.value.allowed) == ("yaer", ("lang", "year"))


def test_a_filter_has_a_budget() -> None:
    """However it is written, a request cannot make one search cost thousands of passes."""
    nested: dict[str, Any] = {"lang": "en"}
    for _ in range(MAX_DEPTH - 1):
        nested = {"not": nested}
    parsed(nested, FIELDS)  # type: ignore[arg-type]
    with pytest.raises(FilterError, match=f"at most {MAX_DEPTH} levels"):
        parsed({"not": nested}, FIELDS)  # type: ignore[arg-type]
    wide = {"any": [{"field": "year", "eq": i} for i in range(MAX_CLAUSES)]}
    with pytest.raises(FilterError, match="at most 1,000 clauses") as caught:
        parsed(wide, FIELDS)  # type: ignore[arg-type]
    assert caught.value.path == ("any", MAX_CLAUSES - 1)
    lists = {"any": [{"year": {"in": [7] * (MAX_VALUES // 2)}}, {"year": [7] * MAX_VALUES}]}
    with pytest.raises(FilterError, match="at most 100,000 values"):
        parsed(lists, FIELDS)  # type: ignore[arg-type]


def test_a_field_may_be_called_like_a_word_of_the_language(tmp_path: Path) -> None:
    names = dict.fromkeys(("all", "any", "not", "field"), "keyword")
    with Index.create(tmp_path / "i", n_terms=1, max_weight=1.0, fields=names) as index:
        index.add([Document("a", dict.fromkeys(names, "x")), Document("b")], ones(2))
        for name in names:
            found = index.search(ones(1), filter={"field": name, "eq": "x"})
            assert found.doc_ids == ["a"]
            with pytest.raises(QueryError):
                index.search(ones(1), filter={name: "x"})


def test_a_filter_that_says_the_same_is_looked_up_not_computed_again(
    world: tuple[Index, dict[str, dict[str, Any]]],
) -> None:
    index, _ = world
    segment = index.refresh().views[0].segment
    same: list[dict[str, Any]] = [
        {"all": [{"year": {"gt": 1999}}, {"lang": ["en", "de"]}]},
        {"all": [{"lang": ["de", "en", "de"]}, {"field": "year", "gte": 2000.0}]},
        {"lang": ["de", "en"], "year": {"gte": 1999.5, "gt": -5}},
    ]
    words = []
    for one in same:
        expression = parsed(one, index.fields)
        assert expression is not None
        words.append(matching(expression, segment))
    assert words[0] is words[1] is words[2]
    with pytest.raises(ValueError, match="read-only"):
        words[0][0] = 1


def test_the_documented_expression_is_one() -> None:
    text = Path(__file__).parents[1].joinpath("service", "README.md").read_text(encoding="utf-8")
    shown = text.partition("## Filters and cursors")[2].partition("```json")[2].partition("```")[0]
    fields: dict[str, Kind] = {
        "lang": "keyword",
        "published": "date",
        "pinned": "bool",
        "year": "int",
    }
    expression = json.loads(shown)
    assert parsed(expression, fields) is not None
    assert holds({"lang": "de", "pinned": True}, expression)


def test_every_kind_can_be_asked_for_on_the_command_line() -> None:
    assert [field_kind(f"name:{kind}") for kind in KINDS] == [("name", kind) for kind in KINDS]
    with pytest.raises(UsageError, match="keyword, int, float, bool or date"):
        field_kind("name:time")


def test_the_id_is_no_field_to_filter_by() -> None:
    """`--field _id:keyword` was taken, and `--filter _id=2` found nothing."""
    with pytest.raises(UsageError, match="the id of a document is no field"):
        field_kind("_id:keyword")


def test_dates_compare_as_instants_and_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "i"
    written = ["2024-05-31T01:30:00+02:00", "2024-05-30T23:30:00Z", "2024-05-31", None]
    with new_index(path) as index:
        index.add([Document(f"d{i}", {"at": at}) for i, at in enumerate(written)], ones(4))
        index.seal()
    with Index.open(path) as index:

        def found(**conditions: Any) -> list[str]:
            return index.search(ones(1), filter={"at": conditions}).doc_ids

        assert found(eq="2024-05-30T23:30:00.000Z") == ["d0", "d1"]
        assert found(gte="2024-05-31") == ["d2"]
        assert found(lt="2024-05-31") == ["d0", "d1"]
        assert found(gt="2024-05-30T23:30:00Z", lt="2024-06-01") == ["d2"]
        assert found(exists=False) == ["d3"]
        stored = [index.get(f"d{i}") for i in range(4)]
        assert [one and one.fields["at"] for one in stored] == written


@pytest.mark.parametrize(
    "text",
    [
        "2024-02-30",
        "2024-5-31",
        "20240531",
        "2024-W22-5",
        "2024-05-31T25:00:00Z",
        "2024-05-31T12:00:00",
        "2024-05-31T12:00.5Z",
        "2024-05-31T12Z",
        "2024-05-31 ",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-01:00",
        "２０２４-05-31",
        "",
    ],
)
def test_what_is_no_point_in_time_is_refused_when_it_is_added(tmp_path: Path, text: str) -> None:
    assert instant(text) is None
    with new_index(tmp_path / "i") as index:
        with pytest.raises(UsageError, match=r"document 'a': field 'at'.*ISO 8601"):
            index.add([Document("a", {"at": text})], ones(1))
        assert index.n_docs == 0


@given(
    at=st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31)),
    offset=st.integers(min_value=-23 * 60 - 59, max_value=23 * 60 + 59),
)
def test_an_instant_is_days_seconds_and_offset_in_microseconds(at: datetime, offset: int) -> None:
    hours, minutes = divmod(abs(offset), 60)
    text = f"{at.isoformat()}{'-' if offset < 0 else '+'}{hours:02}:{minutes:02}"
    days = at.toordinal() - 719_163  # of 1970-01-01
    seconds = 3600 * at.hour + 60 * at.minute + at.second - 60 * offset
    assert instant(text) == (days * 86_400 + seconds) * 1_000_000 + at.microsecond


def test_masks_of_long_lists_are_let_go_of_before_short_ones_are_many() -> None:
    """Sixty-four lists of 80,000 values took half a gigabyte."""
    from index.live import MAX_VALUES, WordsCache

    cache, words = WordsCache(), np.zeros(1, np.uint64)
    for number in range(10):
        cache.keep(number, words, n_values=MAX_VALUES // 4)
    cache.keep(9, words, n_values=MAX_VALUES // 4)  # again
    assert [number for number in range(10) if cache.get(number) is not None] == [6, 7, 8, 9]
    cache.keep("short", words)
    assert cache.get("short") is not None
    cache.keep("huge", words, n_values=MAX_VALUES + 1)
    assert cache.get("huge") is None
    cache.keep("one", words, n_values=1)
    assert cache.get("one") is not None
