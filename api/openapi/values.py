"""Types of answers' fields that neither Python's own nor a field's name can say. At run time they are plain.

Two are never needed: a string whose name ends in `Time` is a timestamp, an integer is of 32 bits (`document`).
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import WithJsonSchema

#: RFC 3339 in UTC, with `Z`.
TIMESTAMP_SCHEMA: Final[dict[str, Any]] = {"type": "string", "format": "date-time", "pattern": "Z$"}

Timestamp = Annotated[str, WithJsonSchema(TIMESTAMP_SCHEMA)]
#: Seconds with an `s`: `"1.5s"`.
Duration = Annotated[str, WithJsonSchema({"type": "string", "pattern": r"^\d{1,12}(\.\d{1,9})?s$"})]
#: A whole number of more than 32 bits that is answered as a JSON number.
Int64 = Annotated[int, WithJsonSchema({"type": "integer", "format": "int64"})]


def names_of(*names: str) -> WithJsonSchema:
    """For an enum's field: `Annotated[str, names_of("READY", "DOWN")]`."""
    return WithJsonSchema({"type": "string", "enum": [str(name) for name in names]})
