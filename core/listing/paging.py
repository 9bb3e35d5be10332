"""A page of a list, by key: it begins after the last row that was given, whatever came or went since.

A row that is in the list throughout, and whose order does not change, is given exactly once. A list ordered by
what changes (`updateTime`, `state`) gives a row again, or not at all, when it moves over the place reached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from psycopg.errors import QueryCanceled
from sqlalchemy import (
    ColumnElement,
    Connection,
    Label,
    Select,
    Text,
    and_,
    collate,
    false,
    func,
    or_,
    text,
    tuple_,
)
from sqlalchemy.exc import OperationalError

from core.errors import InvalidArgument
from core.listing.condition_sql import bound, condition_sql
from core.listing.conditions import EVERYTHING, Condition, Scalar
from core.listing.fields import ORDERED_CHARACTERS, FieldType, ListField, Listing, OrderTerm

#: The values of a row's order terms and of its tie-breaker; None for what is not set.
Key = tuple[Scalar | None, ...]
T = TypeVar("T")
#: Some megabytes of text can be made to cost hours by a pattern that nearly matches everywhere.
MAX_SECONDS = 5.0
_LIMIT_TIME = text("SELECT set_config('statement_timeout', :milliseconds, true)")


@dataclass(frozen=True)
class ListQuery:
    """One page that is asked for: at most `limit` rows that meet `condition`, in `order`, beyond `after`.

    An empty order is the listing's own. `after` is a page's `next_key`, of the same condition and order.
    """

    limit: int
    condition: Condition = EVERYTHING
    order: tuple[OrderTerm, ...] = ()
    after: Key | None = None


@dataclass(frozen=True)
class Page(Generic[T]):
    """`next_key` is None on the last page; `total` counts all that meet the condition."""

    items: tuple[T, ...]
    next_key: Key | None
    total: int


def select_page(
    connection: Connection,
    base: Select[*tuple[Any, ...]],
    listing: Listing,
    query: ListQuery,
    read: Callable[[dict[str, Any]], T],
    *,
    total: Callable[[], int] | None = None,
    max_seconds: float = MAX_SECONDS,
) -> Page[T]:
    """The page of `base`: columns, joins and whose rows, with neither order nor limit.

    `read` makes an item of a row's columns by name. `total` gives the number of all rows of `base`, where that
    is known without counting them. What no index is promised for, a condition or an order that is not the
    listing's own, may take `max_seconds` per statement. Raises InvalidArgument when it takes longer.
    """
    order = query.order or listing.default_order
    matching, asked = base, "orderBy"
    if query.condition != EVERYTHING:
        matching, asked = base.where(condition_sql(query.condition, listing.fields)), "filter"
    if asked == "filter" or order != listing.default_order:
        connection.execute(_LIMIT_TIME, {"milliseconds": f"{max_seconds * 1000:.0f}"})
    try:
        result = connection.execute(page_statement(matching, listing, query))
        names, rows = list(result.keys())[: -len(order) - 1], result.all()
        next_key = tuple(rows[query.limit - 1][-len(order) - 1 :]) if len(rows) > query.limit else None
        if query.after is None and next_key is None:
            count = len(rows)
        elif total is not None and query.condition == EVERYTHING:
            count = total()
        else:
            counting = matching.with_only_columns(func.count(), maintain_column_froms=True)
            count = connection.execute(counting).scalar_one()
    except OperationalError as error:
        if isinstance(error.orig, QueryCanceled):
            raise InvalidArgument.field(asked, f"takes more than {max_seconds:g} seconds: ask for less") from None
        raise
    items = tuple(read(dict(zip(names, row, strict=False))) for row in rows[: query.limit])
    return Page(items, next_key, count)


def page_statement(matching: Select[Any], listing: Listing, query: ListQuery) -> Select[Any]:
    """The rows of a page and one more, which says that there is another; after their columns, their keys."""
    keys = _keys(listing, query.order or listing.default_order)
    beyond = matching if query.after is None else matching.where(_beyond(keys, query.after))
    with_keys = beyond.add_columns(*(key.column for key in keys))
    return with_keys.order_by(*(key.direction() for key in keys)).limit(query.limit + 1)


@dataclass(frozen=True)
class _OrderKey:
    column: Label[Any]
    nullable: bool
    descending: bool

    def direction(self) -> ColumnElement[Any]:
        directed = self.column.desc() if self.descending else self.column.asc()
        if not self.nullable:
            return directed  # said of a column without nulls, the place of nulls keeps an index from serving
        return directed.nulls_last() if self.descending else directed.nulls_first()

    def equals(self, value: Scalar | None) -> ColumnElement[bool]:
        return self._expression.is_(None) if value is None else self._expression == bound(value)

    def beyond(self, value: Scalar | None) -> ColumnElement[bool]:
        """That a row comes after one with this value. Nulls are first ascending and last descending."""
        if value is None:
            return false() if self.descending else self._expression.is_not(None)
        if not self.descending:
            return self._expression > bound(value)
        less = self._expression < bound(value)
        return or_(less, self._expression.is_(None)) if self.nullable else less

    @property
    def _expression(self) -> ColumnElement[Any]:
        return self.column.element


def _keys(listing: Listing, order: tuple[OrderTerm, ...]) -> list[_OrderKey]:
    terms = [(listing.fields[term.field], term.descending) for term in order]
    keys = [(_ordered(field), field.nullable, descending) for field, descending in terms]
    # As it is, so that an index that ends in it serves: it only has to be the same order in every page.
    keys.append((listing.tie.column, False, terms[-1][1]))  # type: ignore[arg-type]
    return [
        _OrderKey(column.label(f"order_{index}"), nullable, descending)
        for index, (column, nullable, descending) in enumerate(keys)
    ]


def _ordered(field: ListField) -> ColumnElement[Any]:
    """The field's column; text with the collation that orders it by code point, in any database."""
    if field.type not in (FieldType.TEXT, FieldType.ENUM):
        return field.column  # type: ignore[return-value]  # an attribute of a row class is a column to SQL
    column = func.left(field.column, ORDERED_CHARACTERS, type_=Text()) if field.unbounded else field.column
    return collate(column, "C")


def _beyond(keys: Sequence[_OrderKey], after: Key) -> ColumnElement[bool]:
    """That a row comes after the key, compared term by term as text is letter by letter."""
    if len({key.descending for key in keys}) == 1 and not any(key.nullable for key in keys):
        # One comparison of rows is what a b-tree can begin at.
        row = tuple_(*(key.column.element for key in keys))
        place = tuple_(*(bound(value) for value in after if value is not None))
        return row < place if keys[0].descending else row > place
    *before, last = zip(keys, after, strict=True)
    condition = last[0].beyond(last[1])
    for key, value in reversed(before):
        condition = or_(key.beyond(value), and_(key.equals(value), condition))
    return condition
