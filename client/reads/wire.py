"""JSON of the wire to frozen values: names, times, int64 as strings. Nothing of a particular resource.

A newer platform answers fields that this client does not know, an older one lacks some that it does: the first are
in `fields`, the second have their default.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Self

from client.errors import Refused

_BELOW = re.compile(r"_(.)")


@dataclass(frozen=True, kw_only=True)
class Read:
    """One resource as it was answered. `fields` is all of it, by the wire's names."""

    fields: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """The value of an answer's object."""
        return cls(**values_of(cls, fields))


def values_of(cls: type[Read], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that make a `cls` of an answer's object."""
    values = {
        name: convert(fields[wire])
        for name, (wire, convert) in _plan(cls).items()  # type: ignore[arg-type]  # a class is hashable
        if fields.get(wire) is not None
    }
    return {**values, "fields": fields}


def read_json(content: bytes) -> Any:
    """The JSON of an answer, None where it is none."""
    try:
        return json.loads(content)
    except ValueError:
        return None


def read_object(content: bytes) -> Mapping[str, Any]:
    """The object of a 2xx answer. Raises Refused where whoever answered is not the platform."""
    found = read_json(content)
    if not isinstance(found, dict):
        raise Refused("what answers there is not Longshore: its answer is no JSON object", status=200)
    return found


def camel(name: str) -> str:
    """The wire's name of a Python one: `num_ranks` → `numRanks`."""
    return _BELOW.sub(lambda found: found[1].upper(), name)


@cache
def _plan(cls: type[Read]) -> dict[str, tuple[str, Callable[[Any], Any]]]:
    """By each field's name, the wire's, and what makes its value of the wire's."""
    hints = typing.get_type_hints(cls)
    return {
        each.name: (camel(each.name), _converter(hints[each.name]))
        for each in dataclasses.fields(cls)
        if each.name != "fields"
    }


def _converter(hint: Any) -> Callable[[Any], Any]:
    """For the few kinds that reads are made of. Null never gets here: it is the field's default."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _converter(next(each for each in arguments if each is not types.NoneType))
    if origin is tuple:
        item = _converter(arguments[0])
        return lambda values: tuple(item(each) for each in values)
    if hint is datetime:
        return datetime.fromisoformat
    if hint in (int, float):
        # int64 is a string on the wire.
        return typing.cast(Callable[[Any], Any], hint)
    if isinstance(hint, type) and issubclass(hint, Read):
        return hint.of
    return lambda value: value
