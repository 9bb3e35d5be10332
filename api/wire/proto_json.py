"""Reading proto-JSON messages out of parsed JSON: each kind of field, and every fault at once. Pure.

A reader returns the value, or `UNREADABLE` after noting why. What a value must be beyond its kind is said by
the resource's rules. null means "not set", as in protobuf, but inside lists and maps it is a fault.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from api.wire.times import parse_duration
from core.errors import FieldViolation

Faults = list[FieldViolation]
UNREADABLE: Final = object()
_SHOWN_CHARACTERS = 100
_INT32 = range(-(2**31), 2**31)


@dataclass(frozen=True)
class Kind:
    """One kind of field: how it is read at a wire path, and what OpenAPI says of it."""

    read: Callable[[object, str, Faults], Any]
    schema: Mapping[str, Any]
    #: of a message: its fields' camelCase names by either spelling
    spellings: Mapping[str, str] = field(default_factory=dict)


def message(fields: Mapping[str, Kind], *, ignored: frozenset[str] = frozenset()) -> Kind:
    """A message: a dict of the fields that were set, by camelCase name; either spelling is read.

    `ignored` are output-only fields, which may hold anything; any other name is a fault.
    """
    spellings = {spelling: name for name in [*fields, *ignored] for spelling in (name, snake_case(name))}

    def read(value: object, path: str, faults: Faults) -> Any:
        if not isinstance(value, dict):
            return _fault(faults, path or "body", "must be an object")
        given: dict[str, object] = {}
        for spelling, each in value.items():
            name = spellings.get(spelling)
            if name is None:
                _fault(faults, _below(path, shown(spelling)), _unknown(spelling, spellings))
            elif name in given:
                _fault(faults, _below(path, name), f"is given twice, as {name} and as {snake_case(name)}")
            else:
                given[name] = each
        found = {}
        for name, each in given.items():
            if name in fields and each is not None:
                known = fields[name].read(each, _below(path, name), faults)
                if known is not UNREADABLE:
                    found[name] = known
        return found

    properties = {name: kind.schema for name, kind in fields.items()}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return Kind(read, schema, spellings)


def repeated(kind: Kind) -> Kind:
    """A list; the faults of its members are named by index."""

    def read(value: object, path: str, faults: Faults) -> Any:
        if not isinstance(value, list):
            return _fault(faults, path, "must be a list")
        before = len(faults)
        members = tuple(kind.read(each, f"{path}[{index}]", faults) for index, each in enumerate(value))
        return members if len(faults) == before else UNREADABLE

    return Kind(read, {"type": "array", "items": kind.schema})


def map_of(kind: Kind) -> Kind:
    """A map with string keys; the faults of its members are named by key."""

    def read(value: object, path: str, faults: Faults) -> Any:
        if not isinstance(value, dict):
            return _fault(faults, path, "must be an object")
        before = len(faults)
        for key in value:
            _read_string(key, key_path(path, key), faults)
        members = {key: kind.read(each, key_path(path, key), faults) for key, each in value.items()}
        return members if len(faults) == before else UNREADABLE

    return Kind(read, {"type": "object", "additionalProperties": kind.schema})


def enum(numbers: Mapping[str, int]) -> Kind:
    """An enum by its names or, as protobuf allows, by its numbers; the value is the name."""
    names = {number: name for name, number in numbers.items()}

    def read(value: object, path: str, faults: Faults) -> Any:
        if isinstance(value, str) and value in numbers:
            return value
        if isinstance(value, int) and not isinstance(value, bool) and value in names:
            return names[value]
        return _fault(faults, path, f"must be one of {', '.join(numbers)}")

    schema = [{"type": "string", "enum": list(numbers)}, {"type": "integer", "enum": list(numbers.values())}]
    return Kind(read, {"anyOf": schema})


def key_path(path: str, key: str) -> str:
    """The wire path of a map's member: `envVars["A=B"]`."""
    return f"{path}[{json.dumps(shown(key), ensure_ascii=False)}]"


def shown(text: str) -> str:
    """A caller's own text, short enough and clean enough to be said back."""
    clean = text.encode("utf-8", "replace").decode()
    return clean if len(clean) <= _SHOWN_CHARACTERS else f"{clean[:_SHOWN_CHARACTERS]}…"


def snake_case(name: str) -> str:
    """The name of a field in its .proto file."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def nearest(name: str, known: Mapping[str, str]) -> str:
    """The camelCase name of the known spelling that `name` is most like, or ""."""
    # Similarity is quadratic in length, and no field's name is long.
    found = difflib.get_close_matches(name[:64], list(known), n=1)
    return known[found[0]] if found else ""


def _unknown(name: str, spellings: Mapping[str, str]) -> str:
    meant = nearest(name, spellings)
    return f"unknown field; did you mean {meant}?" if meant else "unknown field"


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _fault(faults: Faults, path: str, description: str) -> object:
    faults.append(FieldViolation(path, description))
    return UNREADABLE


def _read_string(value: object, path: str, faults: Faults) -> Any:
    if not isinstance(value, str):
        return _fault(faults, path, "must be a string")
    if "\0" in value:
        return _fault(faults, path, "must not hold a NUL character")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return _fault(faults, path, "must not hold half of a surrogate pair")
    return value


def _read_bool(value: object, path: str, faults: Faults) -> Any:
    return value if isinstance(value, bool) else _fault(faults, path, "must be true or false")


def _read_int32(value: object, path: str, faults: Faults) -> Any:
    # 2.0 is the number 2 in JSON, and protobuf reads it so; strings are refused although protobuf would not.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return _fault(faults, path, "must be a whole number")
    return value if value in _INT32 else _fault(faults, path, "does not fit 32 bits")


def _read_duration(value: object, path: str, faults: Faults) -> Any:
    try:
        return parse_duration(value if isinstance(value, str) else "")
    except ValueError as error:
        return _fault(faults, path, str(error))


def _read_json_value(value: object, path: str, faults: Faults) -> Any:
    """Any JSON; only what Postgres and UTF-8 cannot keep is refused."""
    if isinstance(value, str):
        return _read_string(value, path, faults)
    if isinstance(value, dict):
        return map_of(JSON_VALUE).read(value, path, faults)
    if isinstance(value, list):
        members = repeated(JSON_VALUE).read(value, path, faults)
        return members if members is UNREADABLE else list(members)
    if isinstance(value, float) and not math.isfinite(value):
        return _fault(faults, path, "is out of range")
    return value


STRING = Kind(_read_string, {"type": "string"})
BOOL = Kind(_read_bool, {"type": "boolean"})
INT32 = Kind(_read_int32, {"type": "integer", "format": "int32"})
DURATION = Kind(_read_duration, {"type": "string", "examples": ["90s"]})
JSON_VALUE = Kind(_read_json_value, {})
#: A field that is only looked at: whether it was set is all that is asked.
ANYTHING = Kind(lambda value, _path, _faults: value, {})
