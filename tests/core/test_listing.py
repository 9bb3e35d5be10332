"""Conditions and pages in SQL on a real Postgres, against the same asked of rows in memory, and under writers."""

from __future__ import annotations

import operator
import random
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Double,
    Integer,
    MetaData,
    Table,
    Text,
    delete,
    insert,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

from core.database import Database
from core.errors import InvalidArgument
from core.listing.condition_sql import condition_sql
from core.listing.conditions import (
    And,
    Comparator,
    Compare,
    Condition,
    Field,
    IsSet,
    Matches,
    Member,
    Not,
    Operand,
    Or,
)
from core.listing.fields import FieldType, ListField, Listing, OrderTerm
from core.listing.paging import ListQuery, Page, select_page

THINGS = Table(
    "things",
    MetaData(),
    Column("id", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("note", Text),
    Column("size", Integer, nullable=False),
    Column("weight", Double),
    Column("shared", Boolean, nullable=False),
    Column("made_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
    Column("kind", Text),
    Column("labels", JSONB),
    Column("parts", JSONB(none_as_null=True)),
)
COLUMN_OF = {"madeAt": "made_at", "endedAt": "ended_at", "message": "note"}


def _field(kind: FieldType, name: str, **more: Any) -> ListField:
    column = THINGS.c[COLUMN_OF.get(name, name)]
    return ListField(kind, column, nullable=bool(column.nullable), **more)


LISTING = Listing(
    {
        "title": _field(FieldType.TEXT, "title"),
        "note": _field(FieldType.TEXT, "note"),
        "size": _field(FieldType.NUMBER, "size"),
        "weight": _field(FieldType.DURATION, "weight"),
        "shared": _field(FieldType.BOOL, "shared"),
        "madeAt": _field(FieldType.TIME, "madeAt"),
        "endedAt": _field(FieldType.TIME, "endedAt"),
        "kind": _field(FieldType.ENUM, "kind", names=("A", "B")),
        "labels": _field(FieldType.MAP, "labels"),
        "parts": _field(FieldType.LIST, "parts"),
        "message": _field(FieldType.MESSAGE, "message"),
    },
    (OrderTerm("madeAt", descending=True),),
    ListField(FieldType.TEXT, THINGS.c.id),
)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
#: What LIKE, quoting, cases and collations could stumble over.
ALPHABET = "aAbBzZéÉ%_\\*'\" -😀ß"
TEXTS = ["", *ALPHABET, "ab", "AB", "a%b", "a_b", "a\\b", "aab", "bab", "éa", "😀a", "null", "x" * 300]
KEYS = ["team", "example.com/x", "0", "", "é", 'a"b', "{x}"]
SIZES = [-(2**31), -1, 0, 1, 2, 2**31 - 1]
WEIGHTS = [0.0, 0.1, 1.5, -2.0, 1e300]


def _moment(rng: random.Random) -> datetime:
    return EPOCH + timedelta(microseconds=rng.choice([0, 1, 999_999, 10**6]), days=rng.randrange(3))


def _row(rng: random.Random, name: str) -> dict[str, Any]:
    def or_null(value: Any) -> Any:
        return None if rng.random() < 0.3 else value

    return {
        "id": name,
        "title": rng.choice(TEXTS),
        "note": or_null(rng.choice(TEXTS)),
        "size": rng.choice(SIZES),
        "weight": or_null(rng.choice(WEIGHTS)),
        "shared": rng.random() < 0.5,
        "made_at": _moment(rng),
        "ended_at": or_null(_moment(rng)),
        "kind": or_null(rng.choice("AB")),
        "labels": or_null({key: rng.choice(TEXTS) for key in rng.sample(KEYS, rng.randrange(4))}),
        "parts": or_null(rng.sample(TEXTS, rng.randrange(3))),
    }


@pytest.fixture(scope="module")
def table(database: Database) -> Iterator[Database]:
    with database.transaction() as connection:
        THINGS.create(connection)
    yield database
    with database.transaction() as connection:
        THINGS.drop(connection)


@pytest.fixture(scope="module")
def rows(table: Database) -> list[dict[str, Any]]:
    rng = random.Random(7)
    made = [_row(rng, f"row-{number}") for number in range(300)]
    with table.transaction() as connection:
        connection.execute(delete(THINGS))
        connection.execute(insert(THINGS), made)
    return made


# --- the same conditions in memory

_ASCII_LOWER = str.maketrans({chr(code): chr(code + 32) for code in range(65, 91)})
_OPERATORS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def holds(condition: Condition, row: Mapping[str, Any]) -> bool:
    """Written from the words of `core.listing.conditions`, with no SQL in mind."""
    match condition:
        case And(parts):
            return all(holds(part, row) for part in parts)
        case Or(parts):
            return any(holds(part, row) for part in parts)
        case Not(part):
            return not holds(part, row)
        case IsSet(Member(name, key)):
            return key in (row[name] or ())
        case IsSet(Field(name)):
            found = value_of(Field(name), row)
            return found is not None if name in ("weight", "endedAt", "message") else bool(found)
        case Matches(operand, pieces, ignore_case):
            found = value_of(operand, row)
            return found is not None and matches(found, pieces, ignore_case)
    assert isinstance(condition, Compare)
    operand, comparator, value = condition.operand, condition.comparator, condition.value
    found = value_of(operand, row)
    if found is None:
        return comparator == "!="
    # A double is compared as doubles are; its decimal twin is the same number.
    return bool(_OPERATORS[comparator](found, float(value) if isinstance(found, float) else value))  # type: ignore[arg-type]


def value_of(operand: Operand, row: Mapping[str, Any]) -> Any:
    if isinstance(operand, Member):
        return (row[operand.field] or {}).get(operand.key)
    return row[COLUMN_OF.get(operand.name, operand.name)]


def matches(found: str, pieces: tuple[str, ...], ignore_case: bool) -> bool:
    if ignore_case:
        found, pieces = found.translate(_ASCII_LOWER), tuple(piece.translate(_ASCII_LOWER) for piece in pieces)
    if len(pieces) == 1:
        return found == pieces[0]
    first, *middle, last = pieces
    if not found.startswith(first) or len(found) < len(first) + len(last) or not found.endswith(last):
        return False
    place, end = len(first), len(found) - len(last)
    for piece in middle:
        at = found.find(piece, place, end)
        if at < 0:
            return False
        place = at + len(piece)
    return True


# --- random conditions

TEXT_OPERANDS = st.sampled_from([Field("title"), Field("note"), *(Member("labels", key) for key in KEYS)])
COMPARATORS = st.sampled_from(list(Comparator))
EQUALITIES = st.sampled_from([Comparator.EQUAL, Comparator.NOT_EQUAL])
SOME_TEXT = st.sampled_from(TEXTS) | st.text(alphabet=ALPHABET, max_size=3)
NUMBERS = st.sampled_from([*SIZES, 2**63 - 1, -(2**63)]) | st.sampled_from(
    [Decimal("0.5"), Decimal("1E+40"), Decimal("-1e30"), Decimal("0.1")]
)
TIMES = st.builds(_moment, st.randoms(use_true_random=False)) | st.sampled_from(
    [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)]
)
LEAVES: st.SearchStrategy[Condition] = st.one_of(
    st.builds(Compare, TEXT_OPERANDS, COMPARATORS, SOME_TEXT),
    st.builds(Matches, TEXT_OPERANDS, st.lists(SOME_TEXT, min_size=1, max_size=4).map(tuple), st.booleans()),
    st.builds(Compare, st.just(Field("size")), COMPARATORS, NUMBERS),
    st.builds(Compare, st.just(Field("weight")), COMPARATORS, st.sampled_from(WEIGHTS) | NUMBERS),
    st.builds(Compare, st.just(Field("shared")), EQUALITIES, st.booleans()),
    st.builds(Compare, st.sampled_from([Field("madeAt"), Field("endedAt")]), COMPARATORS, TIMES),
    st.builds(Compare, st.just(Field("kind")), EQUALITIES, st.sampled_from(["A", "B"])),
    st.builds(IsSet, st.sampled_from([Field(name) for name in LISTING.fields])),
    st.builds(IsSet, st.builds(Member, st.just("labels"), st.sampled_from(KEYS))),
    st.builds(IsSet, st.builds(Member, st.just("parts"), SOME_TEXT)),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda parts: st.one_of(
        st.builds(And, st.lists(parts, max_size=3).map(tuple)),
        st.builds(Or, st.lists(parts, max_size=3).map(tuple)),
        st.builds(Not, parts),
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(condition=CONDITIONS)
def test_condition_sql_agrees_with_an_evaluation_in_memory(
    table: Database, rows: list[dict[str, Any]], condition: Condition
) -> None:
    with table.transaction() as connection:
        wanted = select(THINGS.c.id).where(condition_sql(condition, LISTING.fields))
        found = set(connection.execute(wanted).scalars())
    assert found == {row["id"] for row in rows if holds(condition, row)}


# --- pages


def _page(database: Database, query: ListQuery) -> Page[dict[str, Any]]:
    with database.transaction() as connection:
        return select_page(connection, select(THINGS), LISTING, query, dict)


def _rank(row: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    value = row[COLUMN_OF.get(name, name)]
    return (False,) if value is None else (True, value)


def _sorted(rows: list[dict[str, Any]], order: tuple[OrderTerm, ...]) -> list[str]:
    terms = order or LISTING.default_order
    found = sorted(rows, key=lambda row: row["id"], reverse=terms[-1].descending)
    for term in reversed(terms):
        found.sort(key=lambda row, term=term: _rank(row, term.field), reverse=term.descending)  # type: ignore[misc]
    return [row["id"] for row in found]


def _terms(text_of_terms: str) -> tuple[OrderTerm, ...]:
    parts = [part.split() for part in text_of_terms.split(",") if part]
    return tuple(OrderTerm(words[0], words[1:] == ["desc"]) for words in parts)


ORDERS = [
    "",
    "title",
    "title desc,size",
    "note",
    "note desc",
    "endedAt,title desc",
    "endedAt desc,kind,weight desc",
    "shared,size desc",
    "weight desc,madeAt",
]


@pytest.mark.parametrize("limit", [1, 7, 1000])
@pytest.mark.parametrize("order", ORDERS)
def test_pages_in_any_order_are_the_sorted_rows(
    table: Database, rows: list[dict[str, Any]], order: str, limit: int
) -> None:
    given_ids: list[str] = []
    query = ListQuery(limit, order=_terms(order))
    while True:
        page = _page(table, query)
        assert page.total == len(rows) and len(page.items) <= limit
        assert set(page.items[0]) == set(THINGS.c.keys())
        given_ids += [row["id"] for row in page.items]
        if page.next_key is None:
            break
        query = ListQuery(limit, order=query.order, after=page.next_key)
    assert given_ids == _sorted(rows, query.order)


def test_total_of_a_filtered_list_counts_what_matches(table: Database, rows: list[dict[str, Any]]) -> None:
    condition = Compare(Field("shared"), Comparator.EQUAL, True)
    page = _page(table, ListQuery(3, condition))
    assert page.total == sum(row["shared"] for row in rows) and len(page.items) == 3
    with table.transaction() as connection:
        known = select_page(connection, select(THINGS), LISTING, ListQuery(3), dict, total=lambda: 12)
        counted = select_page(connection, select(THINGS), LISTING, ListQuery(3, condition), dict, total=lambda: 12)
    assert known.total == 12 and counted.total == page.total


@pytest.mark.parametrize("order", ["", "title", "endedAt,size desc", "note desc,title"])
def test_pages_under_writers_give_every_lasting_row_once(
    table: Database, rows: list[dict[str, Any]], order: str
) -> None:
    stop, written = threading.Event(), 0

    def write() -> None:
        nonlocal written
        rng = random.Random(order)
        while not stop.is_set():
            names = [f"passing-{rng.randrange(60)}" for _ in range(10)]
            with table.transaction() as connection:
                connection.execute(delete(THINGS).where(THINGS.c.id.in_(names)))
            with table.transaction() as connection:
                kept = list(dict.fromkeys(names[:5]))
                connection.execute(insert(THINGS), [_row(rng, name) for name in kept])
            written += 1

    writer = threading.Thread(target=write)
    writer.start()
    given_ids: list[str] = []
    try:
        query = ListQuery(5, order=_terms(order))
        while True:
            page = _page(table, query)
            given_ids += [row["id"] for row in page.items]
            if page.next_key is None:
                break
            query = ListQuery(5, order=query.order, after=page.next_key)
    finally:
        stop.set()
        writer.join(30)
        with table.transaction() as connection:
            connection.execute(delete(THINGS).where(THINGS.c.id.startswith("passing-")))
    assert written > 5, "nobody wrote while the pages were read"
    assert [name for name in given_ids if name.startswith("row-")] == _sorted(rows, query.order)


def test_page_whose_condition_takes_too_long_is_refused(table: Database, rows: list[dict[str, Any]]) -> None:
    endless = [{**rows[0], "id": f"endless-{number}", "title": "a" * 1_000_000} for number in range(3)]
    query = ListQuery(5, Matches(Field("title"), ("", "a" * 3000 + "b", "")))
    with table.transaction() as connection:
        connection.execute(insert(THINGS), endless)
    try:
        begun = time.monotonic()
        with (
            pytest.raises(InvalidArgument, match=r"filter: takes more than 0\.1 seconds"),
            table.transaction() as connection,
        ):
            select_page(connection, select(THINGS), LISTING, query, dict, max_seconds=0.1)
        assert time.monotonic() - begun < 20
        assert _page(table, ListQuery(1)).total == len(rows) + 3
    finally:
        with table.transaction() as connection:
            connection.execute(delete(THINGS).where(THINGS.c.id.startswith("endless-")))
