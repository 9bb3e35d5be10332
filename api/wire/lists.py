"""What every list route does: its query parameters, its page tokens, its answer.

    asked = read_list(request.query_params.multi_items(), BATCH_JOBS, caller.account)
    page = list_jobs(platform.database, caller.account, asked.query)
    return json_response(asked.answer(map(batch_job, page.items), page))

A token holds the key of the last row given, and is bound to the list, to what the route binds it to (at least the
account), and to every other parameter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from api.wire.filter_grammar.parsing import MAX_CHARACTERS
from api.wire.filters import read_filter
from api.wire.order_by import read_order_by
from api.wire.page_tokens import bad_page_token, make_page_token, read_page_token
from api.wire.query import TEXT, Parameter, page_size, plain_text, read_query, single
from api.wire.read_mask import ReadMask, read_mask_parameter
from api.wire.times import from_microseconds, to_microseconds
from core.listing.conditions import EVERYTHING, Condition, Scalar
from core.listing.fields import SORTABLE, FieldType, ListField, Listing, OrderTerm
from core.listing.paging import Key, ListQuery, Page

DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 50, 200


@dataclass(frozen=True)
class ListSchema:
    """A resource's list on the wire. `plural` names it in answers and tokens; `read_type` is an item's TypedDict.

    `extra` are the route's own parameters, found in `ListRequest.extra`; their values must be plain JSON values.
    """

    plural: str
    listing: Listing
    read_type: Any
    extra: Mapping[str, Parameter] = field(default_factory=dict)

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """For `openapi_parameters`, and for reading."""
        fields = self.listing.fields
        return {
            "pageSize": page_size(DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE),
            "pageToken": TEXT,
            "filter": Parameter(
                lambda values: read_filter(single(values), fields), EVERYTHING, _filter_schema(fields)
            ),
            "orderBy": Parameter(
                lambda values: read_order_by(plain_text(values), fields), (), _order_schema(fields)
            ),
            "readMask": read_mask_parameter(self.read_type),
            **self.extra,
        }


@dataclass(frozen=True)
class ListRequest:
    """What a call asks for. `query` is for `select_page`, `mask` for every item of the answer."""

    schema: ListSchema
    query: ListQuery
    mask: ReadMask
    extra: Mapping[str, Any]
    bound_to: tuple[object, ...]

    def answer(self, items: Iterable[Mapping[str, Any]], page: Page[Any]) -> dict[str, Any]:
        """`{plural: [...], nextPageToken, totalSize}`; `items` are the page's, as the wire shows them."""
        token = "" if page.next_key is None else make_page_token(list(map(_stored, page.next_key)), *self.bound_to)
        return {
            self.schema.plural: [self.mask.apply(item) for item in items],
            "nextPageToken": token,
            "totalSize": page.total,
        }


def read_list(given: Iterable[tuple[str, str]], schema: ListSchema, *bound_to: object) -> ListRequest:
    """The call's query. Raises InvalidArgument naming every parameter that is wrong, and what is wrong in it."""
    values = read_query(given, schema.parameters)
    condition: Condition = values["filter"]
    order: tuple[OrderTerm, ...] = values["orderBy"] or schema.listing.default_order
    mask: ReadMask = values["readMask"]
    extra = {name: values[name] for name in schema.extra}
    # What was read, not what was written: the spelling of a parameter may change between two pages.
    asked = (values["pageSize"], repr(condition), repr(order), repr(mask), extra)
    bound = (schema.plural, *bound_to, *asked)
    after = None
    if values["pageToken"]:
        after = _key(read_page_token(values["pageToken"], *bound), schema.listing, order)
    query = ListQuery(values["pageSize"], condition, order, after)
    return ListRequest(schema, query, mask, extra, bound)


def _filter_schema(fields: Mapping[str, ListField]) -> dict[str, Any]:
    searched = ", ".join(name for name, each in fields.items() if each.free_text) or "no field"
    description = f"AIP-160. Fields: {', '.join(fields)}. Words without a field are looked for in: {searched}."
    return {"type": "string", "maxLength": MAX_CHARACTERS, "description": description}


def _order_schema(fields: Mapping[str, ListField]) -> dict[str, Any]:
    sortable = ", ".join(name for name, each in fields.items() if each.type in SORTABLE)
    return {"type": "string", "description": f"Fields with commas between, each with asc or desc: {sortable}."}


def _stored(value: Scalar | None) -> object:
    return to_microseconds(value) if isinstance(value, datetime) else value


def _key(found: object, listing: Listing, order: tuple[OrderTerm, ...]) -> Key:
    """A token's values as the key that they must be. Raises InvalidArgument."""
    fields = [*(listing.fields[term.field] for term in order), listing.tie]
    if not isinstance(found, list) or len(found) != len(fields):
        raise bad_page_token()
    return tuple(_key_value(value, each) for value, each in zip(found, fields, strict=True))


def _key_value(value: object, of: ListField) -> Scalar | None:
    if value is None and of.nullable:
        return None
    match of.type, value:
        case FieldType.BOOL, bool(flag):
            return flag
        case _, bool():
            raise bad_page_token()
        case FieldType.TIME, int(microseconds):
            try:
                return from_microseconds(microseconds)
            except OverflowError:
                raise bad_page_token() from None
        case ((FieldType.NUMBER | FieldType.DURATION), int(number)) if abs(number) < 2**63:
            return number
        case ((FieldType.NUMBER | FieldType.DURATION), float(number)) if math.isfinite(number):
            return number
        case ((FieldType.TEXT | FieldType.ENUM), str(text)) if "\0" not in text:
            return text
    raise bad_page_token()
