"""Filters against typed fields: what each means, and what is said of each that is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Text, literal

from api.wire.filters import read_filter
from api.wire.order_by import read_order_by
from core.errors import InvalidArgument
from core.listing.conditions import (
    EVERYTHING,
    And,
    Comparator,
    Compare,
    Condition,
    Field,
    IsSet,
    Matches,
    Member,
    Not,
    Or,
)
from core.listing.fields import FieldType, ListField, OrderTerm


def _field(kind: FieldType, **more: Any) -> ListField:
    return ListField(kind, literal("", Text()), **more)


FIELDS = {
    "displayName": _field(FieldType.TEXT, free_text=True),
    "status": _field(FieldType.TEXT, free_text=True),
    "imageRef": _field(FieldType.TEXT),
    "numRanks": _field(FieldType.NUMBER),
    "shared": _field(FieldType.BOOL),
    "createTime": _field(FieldType.TIME),
    "endTime": _field(FieldType.TIME, nullable=True),
    "stopGracePeriod": _field(FieldType.DURATION, nullable=True),
    "state": _field(FieldType.ENUM, names=("QUEUED", "RUNNING")),
    "annotations": _field(FieldType.MAP),
    "pythonExecutor": _field(FieldType.MESSAGE, nullable=True),
    "pythonExecutor.targetType": _field(FieldType.ENUM, names=("MODULE", "FILENAME")),
    "pythonExecutor.args": _field(FieldType.LIST),
}
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
RUNNING = Compare(Field("state"), Comparator.EQUAL, "RUNNING")
SHARED = Compare(Field("shared"), Comparator.EQUAL, True)
QUEUED = Compare(Field("state"), Comparator.EQUAL, "QUEUED")


def compare(name: str, comparator: str, value: Any) -> Compare:
    return Compare(Field(name), Comparator(comparator), value)


def team(comparator: str, value: str) -> Compare:
    return Compare(Member("annotations", "team"), Comparator(comparator), value)


def anywhere(*pieces: str) -> Or:
    fields = [Field("displayName"), Field("status")]
    return Or(tuple(Matches(field, ("", *pieces, ""), ignore_case=True) for field in fields))


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("", EVERYTHING),
        ("state = RUNNING", RUNNING),
        ('state:"RUNNING"', RUNNING),
        ("state != RUNNING", compare("state", "!=", "RUNNING")),
        ("state=RUNNING numRanks>1", And((RUNNING, compare("numRanks", ">", 1)))),
        ("state=RUNNING AND state=QUEUED OR shared=true", And((RUNNING, Or((QUEUED, SHARED))))),
        ("state = (RUNNING OR QUEUED)", Or((RUNNING, QUEUED))),
        ("state != (RUNNING OR QUEUED)", Not(Or((RUNNING, QUEUED)))),
        ("-state:(RUNNING QUEUED)", Not(And((RUNNING, QUEUED)))),
        ("num_ranks >= 2", compare("numRanks", ">=", 2)),
        ("numRanks < -1.5", compare("numRanks", "<", Decimal("-1.5"))),
        ("numRanks < 2.997e9", compare("numRanks", "<", 2_997_000_000)),
        ("numRanks < 1e20", compare("numRanks", "<", Decimal("1e20"))),
        ("numRanks:3", compare("numRanks", "=", 3)),
        ("shared = false", compare("shared", "=", False)),
        ("display_name = 'a b'", compare("displayName", "=", "a b")),
        ("displayName = a.b.c", compare("displayName", "=", "a.b.c")),
        ("displayName = null", compare("displayName", "=", "null")),
        ("displayName > 'a*'", compare("displayName", ">", "a*")),
        ("displayName = 'a*b'", Matches(Field("displayName"), ("a", "b"))),
        ("displayName != *x", Not(Matches(Field("displayName"), ("", "x")))),
        (r"displayName = 'a\*b'", compare("displayName", "=", "a*b")),
        ("displayName:Ab", Matches(Field("displayName"), ("", "Ab", ""), ignore_case=True)),
        ("displayName:*", IsSet(Field("displayName"))),
        ("createTime > 2026-01-31T12:00:00Z", compare("createTime", ">", NOON)),
        ('create_time <= "2026-01-31T14:00:00+02:00"', compare("createTime", "<=", NOON)),
        ("createTime < 2026-01-31T12:00:00.0000005Z", compare("createTime", "<=", NOON)),
        ("createTime >= 2026-01-31T12:00:00.0000005Z", compare("createTime", ">", NOON)),
        ("createTime = 2026-01-31T12:00:00.0000005Z", Not(EVERYTHING)),
        ("createTime != 2026-01-31T12:00:00.0000005Z", EVERYTHING),
        ("endTime = null", Not(IsSet(Field("endTime")))),
        ("endTime != null", IsSet(Field("endTime"))),
        ("NOT endTime:*", Not(IsSet(Field("endTime")))),
        ("stopGracePeriod >= 1.5s", compare("stopGracePeriod", ">=", 1.5)),
        ("annotations:team", IsSet(Member("annotations", "team"))),
        ("annotations.team:*", IsSet(Member("annotations", "team"))),
        ("annotations:*", IsSet(Field("annotations"))),
        ("annotations.team = a", team("=", "a")),
        ("annotations.team:a", team("=", "a")),
        ("annotations.team < b", team("<", "b")),
        ("annotations.team != 'a*'", Not(Matches(Member("annotations", "team"), ("a", "")))),
        ('annotations."example.com/x"=1', Compare(Member("annotations", "example.com/x"), Comparator.EQUAL, "1")),
        ("annotations.example.com/x=1", Compare(Member("annotations", "example.com/x"), Comparator.EQUAL, "1")),
        ("annotations.AND=1", Compare(Member("annotations", "AND"), Comparator.EQUAL, "1")),
        ("pythonExecutor:*", IsSet(Field("pythonExecutor"))),
        ("python_executor = null", Not(IsSet(Field("pythonExecutor")))),
        ("python_executor.target_type = MODULE", compare("pythonExecutor.targetType", "=", "MODULE")),
        ("pythonExecutor.args:--lr", IsSet(Member("pythonExecutor.args", "--lr"))),
        ("Victor Hugo", And((anywhere("Victor"), anywhere("Hugo")))),
        ('"Victor Hugo"', anywhere("Victor Hugo")),
        ("a.b*c", anywhere("a.b", "c")),
        ("-state", Not(anywhere("state"))),
    ],
)
def test_filter_gives_its_condition(text: str, condition: Condition) -> None:
    assert read_filter(text, FIELDS) == condition


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("a =", 4, "expected a value"),
        ("numRank = 3", 1, "unknown field numRank; did you mean numRanks?"),
        ("shared = true qqq = 3", 15, "unknown field qqq; there are displayName,"),
        ('"displayName.x" = 3', 1, "unknown field"),
        ("displayName.x = 3", 13, "displayName has nothing below it"),
        ("pythonExecutor.target = x", 16, "pythonExecutor has nothing below it"),
        ('annotations."a"."b" = x', 13, "annotations has nothing below it"),
        ("numRanks = abc", 12, "write it as 3, -1.5 or 2e9"),
        ("numRanks > '1 '", 12, "is a number"),
        ("numRanks = 1e999", 12, "is a number"),
        ("numRanks = " + "9" * 400, 12, "is a number"),
        ("numRanks = NaN", 12, "is a number"),
        ("numRanks = ١", 12, "is a number"),
        ("numRanks = 3*", 12, "is a number"),
        ("shared = yes", 10, "must be true or false"),
        ("shared > true", 10, "no order"),
        ("state = RUNING", 9, "must be one of QUEUED, RUNNING; did you mean RUNNING?"),
        ("state = running", 9, "did you mean RUNNING?"),
        ("state < RUNNING", 9, "no order"),
        ("state = R*", 9, "must be one of"),
        ("createTime > yesterday", 14, "RFC 3339"),
        ("createTime > 2026-01-31", 14, "RFC 3339"),
        ("createTime > 2026-01-31T12:00:00", 14, "RFC 3339"),
        ("createTime > 2026-02-31T12:00:00Z", 14, "not a time that exists"),
        ("createTime > 0001-01-01T00:00:00+10:00", 14, "years 1 to 9999"),
        ("createTime > 9999-12-31T23:59:59-10:00", 14, "years 1 to 9999"),
        ("createTime > null", 14, "no order"),
        ("stopGracePeriod = 90", 19, '"90s"'),
        ("annotations = x", 15, "is a map"),
        ("pythonExecutor.args = x", 23, "is a list"),
        ("pythonExecutor = x", 18, "is a message"),
        ("state = (RUNNING OR shared=true)", 21, "only values in brackets"),
        ("state = (RUNNING OR nothing)", 21, "must be one of"),
    ],
)
def test_filter_with_a_fault_is_refused_naming_the_column(text: str, column: int, said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_filter(text, FIELDS)
    (violation,) = caught.value.violations
    assert violation.field == "filter"
    assert violation.description.startswith(f"column {column}: ") and said in violation.description


def test_filter_with_several_faults_of_meaning_names_them_all() -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_filter("numRanks = x OR state = (Y OR Z) AND NOT shared > true", FIELDS)
    columns = [violation.description.split(":")[0] for violation in caught.value.violations]
    assert columns == ["column 12", "column 26", "column 31", "column 51"]


def test_filter_with_hundreds_of_faults_names_the_first_of_them() -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_filter(" ".join(f"unknown{number} = 1" for number in range(150)), FIELDS)
    assert len(caught.value.violations) == 20


def test_filter_with_more_words_than_are_looked_for_is_refused() -> None:
    fields = {f"title{number}": _field(FieldType.TEXT, free_text=True) for number in range(10)}
    read_filter("word " * 40, fields)
    with pytest.raises(InvalidArgument, match="column 201: must have at most 40 words"):
        read_filter("word " * 41, fields)


def test_filter_with_words_where_none_are_searched_asks_for_a_field() -> None:
    with pytest.raises(InvalidArgument, match="column 1: expected a field with a comparator; fields are numRanks"):
        read_filter("word", {"numRanks": FIELDS["numRanks"]})


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", ()),
        ("  ", ()),
        ("displayName", (OrderTerm("displayName"),)),
        ("create_time desc, display_name", (OrderTerm("createTime", True), OrderTerm("displayName"))),
        (" createTime   DESC ,state asc", (OrderTerm("createTime", True), OrderTerm("state"))),
        ("python_executor.targetType", (OrderTerm("pythonExecutor.targetType"),)),
    ],
)
def test_order_by_gives_its_terms(text: str, terms: tuple[OrderTerm, ...]) -> None:
    assert read_order_by(text, FIELDS) == terms


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("qqqq", "unknown field qqqq; there are displayName, status"),
        ("displayNam", "did you mean displayName? there are displayName, status"),
        ("createTime, create_time desc", "createTime is given twice"),
        ("createTime descending", "only asc or desc"),
        ("createTime asc desc", "only asc or desc"),
        ("createTime,", "missing beside a comma"),
        (",", "missing beside a comma"),
        ("annotations", "unknown field annotations"),
        ("annotations.team", "unknown field annotations.team"),
        ("pythonExecutor", "unknown field pythonExecutor"),
        ("x" * 10_000, "unknown field x"),
    ],
)
def test_order_by_with_a_fault_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_order_by(text, FIELDS)
    assert all(violation.field == "orderBy" for violation in caught.value.violations)
    assert said in caught.value.violations[0].description and len(caught.value.violations) <= 20
