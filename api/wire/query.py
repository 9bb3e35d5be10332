"""Query parameters: read by either spelling, every fault at once, an unknown name refused. Pure.

FastAPI's own parameters are not used: they take the last of two values, know one spelling and answer 422.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from api.wire.proto_json import nearest, shown, snake_case
from api.wire.times import parse_time_ns
from core.errors import FieldViolation, InvalidArgument

#: The values of `readMask` that ask for everything.
WHOLE_RESOURCE = frozenset({"", "*"})
_INT32_MAX = 2**31 - 1
_HALF_OF_A_PAIR = re.compile("[\ud800-\udfff]")
_WHOLE_NUMBER = re.compile(r"-?\d{1,10}", re.ASCII)


@dataclass(frozen=True)
class Parameter:
    """One parameter. `read` gets every value given; what is wrong it raises as ValueError or InvalidArgument."""

    read: Callable[[list[str]], Any]
    absent: Any
    schema: Mapping[str, Any]


def read_query(given: Iterable[tuple[str, str]], known: Mapping[str, Parameter]) -> dict[str, Any]:
    """Every known parameter by camelCase name, those not given at their absent value.

    Raises InvalidArgument naming every parameter that is unknown or wrong.
    """
    spellings = {spelling: name for name in known for spelling in (name, snake_case(name))}
    values: dict[str, list[str]] = {}
    faults: list[FieldViolation] = []
    for spelling, value in given:
        name = spellings.get(spelling)
        if name is None:
            meant = nearest(spelling, spellings)
            hint = f"; did you mean {meant}?" if meant else ""
            faults.append(FieldViolation(shown(spelling), f"unknown query parameter{hint}"))
        else:
            values.setdefault(name, []).append(value)
    query = {name: parameter.absent for name, parameter in known.items()}
    for name, found in values.items():
        try:
            query[name] = known[name].read(found)
        except ValueError as error:
            faults.append(FieldViolation(name, str(error)))
        except InvalidArgument as error:
            faults.extend(error.violations)
    if faults:
        raise InvalidArgument(faults)
    return query


def openapi_parameters(known: Mapping[str, Parameter]) -> dict[str, Any]:
    """What a route declares of its query, since FastAPI does not see it."""
    return {
        "parameters": [
            {"name": name, "in": "query", "schema": dict(parameter.schema)} for name, parameter in known.items()
        ]
    }


def page_size(default: int, most: int) -> Parameter:
    """0 and absence mean the default; more than `most` is cut silently; negative is a fault."""

    def read(values: list[str]) -> int:
        size = whole_number(single(values))
        if size < 0:
            raise ValueError("must not be negative")
        return min(size or default, most)

    return Parameter(read, default, {"type": "integer", "default": default, "maximum": most})


def whole_number(text: str) -> int:
    """A decimal int32. Raises ValueError, saying what would be right."""
    if _WHOLE_NUMBER.fullmatch(text) is None or abs(int(text)) > _INT32_MAX:
        raise ValueError("must be a whole number of 32 bits")
    return int(text)


def single(values: list[str]) -> str:
    """The one value, as it was sent. Raises ValueError where there are more."""
    if len(values) > 1:
        raise ValueError("is given more than once")
    return values[0]


def plain_text(values: list[str]) -> str:
    """The one value, which Postgres and UTF-8 can keep. Raises ValueError."""
    text = single(values)
    if "\0" in text:
        raise ValueError("must not hold a NUL character")
    if _HALF_OF_A_PAIR.search(text):
        raise ValueError("must not hold half of a surrogate pair")
    return text


def _read_flag(values: list[str]) -> bool:
    text = single(values).lower()
    if text not in ("true", "false", "1", "0"):
        raise ValueError("must be true or false")
    return text in ("true", "1")


def _read_numbers(values: list[str]) -> tuple[int, ...] | None:
    """`a=0&a=1` and `a=0,1` are the same; in order, without repeats; an empty value is none at all."""
    numbers = {whole_number(part.strip()) for value in values if value for part in value.split(",")}
    if any(number < 0 for number in numbers):
        raise ValueError("must not be negative")
    return tuple(sorted(numbers)) or None


def _read_time(values: list[str]) -> int:
    text = single(values)
    return parse_time_ns(text) if text else 0


TEXT = Parameter(plain_text, "", {"type": "string"})
FLAG = Parameter(_read_flag, False, {"type": "boolean", "default": False})
NUMBERS = Parameter(_read_numbers, None, {"type": "array", "items": {"type": "integer"}})
#: Nanoseconds since the epoch.
TIME = Parameter(_read_time, 0, {"type": "string", "format": "date-time"})
