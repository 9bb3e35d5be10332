"""What a list's fields are: each by its wire name, with a type and the expression that it is in SQL.

A resource declares one `Listing` beside its other queries; filters, orders, tokens and SQL are all read from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.orm import InstrumentedAttribute


class FieldType(Enum):
    """The kinds of field. In the database: text, a number, boolean, timestamptz, JSONB."""

    TEXT = auto()
    NUMBER = auto()  # an integer or a double
    BOOL = auto()
    TIME = auto()
    DURATION = auto()  # seconds, an integer or a double
    ENUM = auto()  # its names, as text
    MAP = auto()  # a JSONB object, text by text
    LIST = auto()  # a JSONB array of text
    MESSAGE = auto()  # anything that is null where the message is not set; only its presence can be asked for


SORTABLE = frozenset(FieldType) - {FieldType.MAP, FieldType.LIST, FieldType.MESSAGE}
ORDERED_CHARACTERS = 256


@dataclass(frozen=True)
class ListField:
    """One field. `names` are an enum's; `free_text` marks text that a filter's bare words are looked for in.

    `unbounded` text is ordered by its first `ORDERED_CHARACTERS` only: a page token holds what is ordered by.
    """

    type: FieldType
    column: ColumnElement[Any] | InstrumentedAttribute[Any]
    nullable: bool = False
    names: tuple[str, ...] = ()
    free_text: bool = False
    unbounded: bool = False


@dataclass(frozen=True)
class OrderTerm:
    """One field to order by. Null, which is "not set", comes before everything ascending, after it descending."""

    field: str
    descending: bool = False


@dataclass(frozen=True)
class Listing:
    """A resource's list: fields by wire name, the order where none is asked for, and what breaks ties.

    `tie` must be unique in the list and not null; it takes the direction of the last term, and is in no filter.
    """

    fields: Mapping[str, ListField]
    default_order: tuple[OrderTerm, ...]
    tie: ListField
