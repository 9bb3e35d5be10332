"""A condition as SQL over a listing's fields. Every part is true or false, so that NOT means what it says."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    DateTime,
    Double,
    Numeric,
    Text,
    and_,
    collate,
    false,
    func,
    literal,
    not_,
    or_,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

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
    Scalar,
)
from core.listing.fields import FieldType, ListField

_OPERATORS: dict[Comparator, Callable[[Any, Any], ColumnElement[bool]]] = {
    Comparator.EQUAL: operator.eq,
    Comparator.NOT_EQUAL: operator.ne,
    Comparator.LESS: operator.lt,
    Comparator.LESS_OR_EQUAL: operator.le,
    Comparator.GREATER: operator.gt,
    Comparator.GREATER_OR_EQUAL: operator.ge,
}
_ORDERED = frozenset(Comparator) - {Comparator.EQUAL, Comparator.NOT_EQUAL}
_ASCII_LOWER = str.maketrans({chr(code): chr(code + 32) for code in range(ord("A"), ord("Z") + 1)})
_EMPTY_JSON: tuple[Any, ...] = ({}, [], JSONB.NULL)
_LIKE_SPECIAL = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})


def condition_sql(condition: Condition, fields: Mapping[str, ListField]) -> ColumnElement[bool]:
    """The condition on the fields' columns. It must have been checked against the same fields."""
    match condition:
        case And(parts):
            return and_(true(), *(condition_sql(part, fields) for part in parts))
        case Or(parts):
            return or_(false(), *(condition_sql(part, fields) for part in parts))
        case Not(part):
            return not_(condition_sql(part, fields))
        case IsSet(operand):
            return _is_set(operand, fields)
        case Matches(operand, pieces, ignore_case):
            return _known(operand, fields, _like(_value(operand, fields), pieces, ignore_case), unset=False)
        case Compare(operand, comparator, value):
            return _known(operand, fields, _compare(operand, fields, comparator, value), unset=comparator == "!=")


def bound(value: Scalar) -> ColumnElement[Any]:
    """The value as a parameter that holds all of it: a column's own type could be too narrow for it."""
    return literal(value, _bound_type(value))


def _bound_type(value: Scalar) -> TypeEngine[Any]:
    if isinstance(value, bool):
        return Boolean()
    if isinstance(value, int):
        return BigInteger()
    if isinstance(value, float):
        return Double()
    if isinstance(value, str):
        return Text()
    return Numeric() if isinstance(value, Decimal) else DateTime(timezone=True)


def _compare(
    operand: Operand, fields: Mapping[str, ListField], comparator: Comparator, value: Scalar
) -> ColumnElement[bool]:
    column = _value(operand, fields)
    if isinstance(value, str) and comparator in _ORDERED:
        # Equality is the same under every collation that we meet, and plain it can use an index.
        column = collate(column, "C")
    return _OPERATORS[comparator](column, bound(value))


def _like(column: ColumnElement[Any], pieces: tuple[str, ...], ignore_case: bool) -> ColumnElement[bool]:
    pattern = "%".join(piece.translate(_LIKE_SPECIAL) for piece in pieces)
    column = collate(column, "C")
    if ignore_case:
        # Under this collation `lower` changes A to Z and nothing else.
        column, pattern = func.lower(column, type_=Text()), pattern.translate(_ASCII_LOWER)
    return column.like(literal(pattern, Text()), escape="\\")


def _value(operand: Operand, fields: Mapping[str, ListField]) -> ColumnElement[Any]:
    match operand:
        case Field(name):
            return fields[name].column  # type: ignore[return-value]
        case Member(name, key):
            return fields[name].column.op("->>", return_type=Text())(literal(key, Text()))


def _known(
    operand: Operand, fields: Mapping[str, ListField], found: ColumnElement[bool], *, unset: bool
) -> ColumnElement[bool]:
    """SQL's unknown, which comes of what is not set, made true or false."""
    if isinstance(operand, Field) and not fields[operand.name].nullable:
        return found
    return func.coalesce(found, literal(unset, Boolean()), type_=Boolean())


def _is_set(operand: Operand, fields: Mapping[str, ListField]) -> ColumnElement[bool]:
    if isinstance(operand, Member):
        has_key = fields[operand.field].column.op("?", return_type=Boolean())(literal(operand.key, Text()))
        return _known(operand, fields, has_key, unset=False)
    field = fields[operand.name]
    column = field.column
    match field.type:
        case FieldType.TIME | FieldType.DURATION | FieldType.MESSAGE:
            return column.is_not(None)
        case FieldType.TEXT | FieldType.ENUM:
            found = column != literal("", Text())
        case FieldType.NUMBER:
            found = column != literal(0, BigInteger())
        case FieldType.BOOL:
            found = column.is_(True)
        case FieldType.MAP | FieldType.LIST:
            # JSON has a null of its own, which is not SQL's.
            found = column.not_in([literal(empty, JSONB()) for empty in _EMPTY_JSON])
    return _known(operand, fields, found, unset=False)
