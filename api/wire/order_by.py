"""`orderBy` (AIP-132): `create_time desc, display_name`, in either spelling of names. Pure.

Dotted fields of messages can be ordered by; values of maps cannot.
"""

from __future__ import annotations

from collections.abc import Mapping

from api.wire.field_names import FieldNames
from api.wire.proto_json import shown
from core.errors import FieldViolation, InvalidArgument
from core.listing.fields import SORTABLE, ListField, OrderTerm

_FIELD = "orderBy"
_DIRECTIONS = {"asc": False, "desc": True}
_MAX_SHOWN_FAULTS = 20


def read_order_by(text: str, fields: Mapping[str, ListField]) -> tuple[OrderTerm, ...]:
    """The terms; none of an empty text. Raises InvalidArgument on `orderBy`, naming every fault."""
    if not text.strip():
        return ()
    sortable = [name for name, field in fields.items() if field.type in SORTABLE]
    names = FieldNames(sortable)
    terms: dict[str, OrderTerm] = {}
    faults = []
    for part in text.split(","):
        words = part.split()
        name = names.find(words[0].split(".")) if words else None
        if not words:
            faults.append("a field's name is missing beside a comma")
        elif name is None:
            faults.append(names.unknown(shown(words[0])))
        elif len(words) > 2 or (len(words) == 2 and words[1].lower() not in _DIRECTIONS):
            faults.append(f"after {name} only asc or desc may follow, and then a comma")
        elif name in terms:
            faults.append(f"{name} is given twice")
        else:
            terms[name] = OrderTerm(name, len(words) == 2 and _DIRECTIONS[words[1].lower()])
        if len(faults) == _MAX_SHOWN_FAULTS:
            break
    if faults:
        raise InvalidArgument(FieldViolation(_FIELD, fault) for fault in faults)
    return tuple(terms.values())
