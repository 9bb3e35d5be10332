"""Checked conditions on a list's rows, as pure values that know no table. Their SQL is in `condition_sql`.

Every condition is true or false, never unknown. What is not set (a null time, a key that a map does not hold)
equals nothing and is neither before nor after anything; so `=`, `<`, `<=`, `>`, `>=` are false of it, and `!=`,
which is the negation of `=`, is true.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

#: What a field is compared with: text and enum names, flags, numbers and seconds, times with a zone.
Scalar = str | bool | int | float | Decimal | datetime


class Comparator(StrEnum):
    """Text is compared by code point, whatever the database's collation."""

    EQUAL = "="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="


@dataclass(frozen=True)
class Field:
    """A field by its wire name, dotted below messages: `pythonExecutor.target`."""

    name: str


@dataclass(frozen=True)
class Member:
    """A map's value by its key; of a list of text, the element that equals `key` (for `IsSet` only)."""

    field: str
    key: str


Operand = Field | Member


@dataclass(frozen=True)
class Compare:
    """The operand against a value of the field's type."""

    operand: Operand
    comparator: Comparator
    value: Scalar


@dataclass(frozen=True)
class Matches:
    """Text that is `pieces` in this order, with anything between two of them and nothing before or after.

    ("a", "") begins with a; ("", "a", "") contains it. `ignore_case` is of the letters A to Z only: what else
    has cases depends on the database's locale, and an answer must not.
    """

    operand: Operand
    pieces: tuple[str, ...]
    ignore_case: bool = False


@dataclass(frozen=True)
class IsSet:
    """Not null and not the zero value ("", 0, false, an empty map or list); a member is set when it is there."""

    operand: Operand


@dataclass(frozen=True)
class And:
    """All parts; true of everything when it has none."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Or:
    """Any part; false of everything when it has none."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Not:
    part: Condition


Condition = Compare | Matches | IsSet | And | Or | Not

EVERYTHING = And(())
