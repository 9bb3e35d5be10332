"""One comparison of a filter, by the type of its field: what may be asked of it, and of which values. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from api.wire.filter_grammar.parsing import FilterFault
from api.wire.filter_grammar.tree import Value
from api.wire.proto_json import nearest, shown
from api.wire.times import from_microseconds, parse_duration, parse_time_ns
from core.listing.conditions import (
    EVERYTHING,
    Comparator,
    Compare,
    Condition,
    Field,
    IsSet,
    Matches,
    Member,
    Not,
    Operand,
)
from core.listing.fields import FieldType, ListField

_EQUALITIES = frozenset({"=", "!=", ":"})
#: Doubles are compared exactly up to here; nothing that is counted comes near.
_NUMBER = re.compile(r"-?\d{1,30}(?:\.\d{1,30})?(?:[eE][+-]?\d{1,2})?", re.ASCII)
_NULLABLE_MESSAGES = frozenset({FieldType.TIME, FieldType.DURATION, FieldType.MESSAGE})


@dataclass(frozen=True)
class _Asked:
    operand: Operand
    field: ListField
    comparator: str
    value: Value

    @property
    def name(self) -> str:
        return self.operand.name if isinstance(self.operand, Field) else self.operand.field

    def fault(self, problem: str) -> FilterFault:
        return FilterFault(self.value.column, problem)

    def refuse_order(self, kind: str) -> None:
        if self.comparator not in _EQUALITIES:
            raise self.fault(f"{self.name} is {kind}: it has no order, only = != and :")

    def equality(self, found: Condition) -> Condition:
        return Not(found) if self.comparator == "!=" else found


def typed_comparison(operand: Operand, field: ListField, comparator: str, value: Value) -> Condition:
    """`operand comparator value` as a condition. Raises FilterFault at the value's column."""
    asked = _Asked(operand, field, comparator, value)
    if comparator == ":" and value.pieces == ("", ""):
        return IsSet(operand)
    if value.text == "null" and not value.quoted and field.type in _NULLABLE_MESSAGES:
        asked.refuse_order("null or not")
        return IsSet(operand) if comparator == "!=" else Not(IsSet(operand))
    if isinstance(operand, Member):
        return _text(asked)
    return _READERS[field.type](asked)


def _text(asked: _Asked) -> Condition:
    value = asked.value
    if asked.comparator == ":" and isinstance(asked.operand, Field):
        return Matches(asked.operand, ("", *value.pieces, ""), ignore_case=True)
    if len(value.pieces) > 1 and asked.comparator in _EQUALITIES:
        return asked.equality(Matches(asked.operand, value.pieces))
    return Compare(asked.operand, _comparator(asked), value.text)


def _number(asked: _Asked) -> Condition:
    text = asked.value.text
    if _NUMBER.fullmatch(text) is None:
        raise asked.fault(f"{asked.name} is a number: write it as 3, -1.5 or 2e9")
    number = Decimal(text)
    whole = number == number.to_integral_value() and abs(number) < 2**63
    return Compare(asked.operand, _comparator(asked), int(number) if whole else number)


def _bool(asked: _Asked) -> Condition:
    asked.refuse_order("true or false")
    if asked.value.text not in ("true", "false"):
        raise asked.fault(f"{asked.name} must be true or false")
    return Compare(asked.operand, _comparator(asked), asked.value.text == "true")


def _enum(asked: _Asked) -> Condition:
    asked.refuse_order("an enum")
    name, names = asked.value.text, asked.field.names
    if name not in names:
        meant = nearest(name.upper(), {each: each for each in names})
        hint = f"; did you mean {meant}?" if meant else ""
        raise asked.fault(f"{asked.name} must be one of {', '.join(names)}{hint}")
    return Compare(asked.operand, _comparator(asked), name)


def _duration(asked: _Asked) -> Condition:
    try:
        seconds = parse_duration(asked.value.text)
    except ValueError as error:
        raise asked.fault(f"{asked.name} {error}") from None
    return Compare(asked.operand, _comparator(asked), seconds)


def _time(asked: _Asked) -> Condition:
    """Stored times are whole microseconds; one between two of them is compared as what it is."""
    text = asked.value.text
    try:
        microseconds, rest = divmod(parse_time_ns(text), 1000)
        moment = from_microseconds(microseconds)
    except ValueError as error:
        raise asked.fault(f"{asked.name} {error}") from None
    except OverflowError:
        raise asked.fault(f"{asked.name} must be of the years 1 to 9999 in UTC") from None
    comparator = _comparator(asked)
    return Compare(asked.operand, comparator, moment) if not rest else _between(asked, comparator, moment)


def _between(asked: _Asked, comparator: Comparator, below: datetime) -> Condition:
    match comparator:
        case Comparator.EQUAL:
            return Not(EVERYTHING)
        case Comparator.NOT_EQUAL:
            return EVERYTHING
        case Comparator.LESS | Comparator.LESS_OR_EQUAL:
            return Compare(asked.operand, Comparator.LESS_OR_EQUAL, below)
    return Compare(asked.operand, Comparator.GREATER, below)


def _map(asked: _Asked) -> Condition:
    if asked.comparator != ":":
        example = f'{asked.name}.key {asked.comparator} "{shown(asked.value.text)[:20]}"'
        raise asked.fault(
            f"{asked.name} is a map: compare one value, {example}, or ask for a key, {asked.name}:key"
        )
    return IsSet(Member(asked.name, asked.value.text))


def _list(asked: _Asked) -> Condition:
    if asked.comparator != ":":
        raise asked.fault(f"{asked.name} is a list: ask for an element, {asked.name}:element")
    return IsSet(Member(asked.name, asked.value.text))


def _message(asked: _Asked) -> Condition:
    raise asked.fault(f"{asked.name} is a message: ask whether it is set, {asked.name}:*, or for a field below it")


def _comparator(asked: _Asked) -> Comparator:
    return Comparator.EQUAL if asked.comparator == ":" else Comparator(asked.comparator)


_READERS: dict[FieldType, Callable[[_Asked], Condition]] = {
    FieldType.TEXT: _text,
    FieldType.NUMBER: _number,
    FieldType.BOOL: _bool,
    FieldType.TIME: _time,
    FieldType.DURATION: _duration,
    FieldType.ENUM: _enum,
    FieldType.MAP: _map,
    FieldType.LIST: _list,
    FieldType.MESSAGE: _message,
}
