"""`readMask` (AIP-157): which fields of an answer are wanted. Pure; works on answers that are plain dicts.

A comma-separated list of field names, either spelling; dots go below messages, and into maps by key, the rest of
the path being the key; a key that holds a comma goes into backquotes (AIP-161). `*` and an empty mask are all.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from typing_extensions import get_type_hints, is_typeddict

from api.wire.proto_json import nearest, shown, snake_case
from api.wire.query import Parameter, plain_text
from core.errors import FieldViolation, InvalidArgument

_FIELD = "readMask"
_PARTS = re.compile(r"`[^`]*+`|[^,`]++|[,`]")
_MAX_SHOWN_FAULTS = 20


@dataclass(frozen=True)
class ReadMask:
    """The fields wanted, each with what is wanted below it. None: everything."""

    wanted: Mapping[str, ReadMask] | None = None

    def apply(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The answer without the fields that are not wanted; what a mask names and is not there stays absent."""
        if self.wanted is None:
            return dict(answer)
        return {
            name: below.apply(answer[name]) if isinstance(answer[name], dict) else answer[name]
            for name, below in self.wanted.items()
            if name in answer
        }


EVERYTHING = ReadMask()


@dataclass(frozen=True)
class Shape:
    """What paths there are: a message's fields by camelCase name, a map of any key, or a leaf."""

    fields: Mapping[str, Shape] = field(default_factory=dict)
    is_map: bool = False

    @cached_property
    def spellings(self) -> Mapping[str, str]:
        return {spelling: name for name in self.fields for spelling in (name, snake_case(name))}


@cache
def shape_of(read_type: Any) -> Shape:
    """The paths below a TypedDict of an answer. Lists have none below them, as in protobuf."""
    read_type = _plain(read_type)
    if is_typeddict(read_type):
        return Shape({name: shape_of(hint) for name, hint in get_type_hints(read_type).items()})
    return Shape(is_map=typing.get_origin(read_type) is dict)


def read_mask(text: str, shape: Shape) -> ReadMask:
    """The mask. Raises InvalidArgument on `readMask`, naming every path that there is not."""
    paths = _paths(text)
    if paths == [""]:
        return EVERYTHING
    steps = {path: _steps(path, shape) for path in paths if path != "*"}
    unknown = [path for path, found in steps.items() if found is None]
    if unknown:
        raise InvalidArgument(FieldViolation(_FIELD, _fault(path, shape)) for path in unknown[:_MAX_SHOWN_FAULTS])
    if "*" in paths:
        return EVERYTHING
    root: _Tree = {}
    for found in steps.values():
        _add(root, found or ())
    return _mask(root)


def read_mask_parameter(read_type: Any) -> Parameter:
    """The query parameter, for an answer of this TypedDict or for the items of one; its value is a `ReadMask`."""
    shape = shape_of(read_type)
    return Parameter(lambda values: read_mask(plain_text(values), shape), EVERYTHING, {"type": "string"})


#: Names to what is wanted below them; None is everything.
_Tree = dict[str, "_Tree | None"]


def _paths(text: str) -> list[str]:
    """The text between commas, of which those in backquotes are none."""
    paths = [""]
    for part in _PARTS.findall(text):
        if part == ",":
            paths.append("")
        else:
            paths[-1] += part
    return [path.strip() for path in paths]


def _steps(path: str, shape: Shape) -> tuple[str, ...] | None:
    """The names on the way down a path, or None where the shape has no such path."""
    steps: list[str] = []
    rest: str | None = path
    while rest is not None:
        if shape.is_map:
            return (*steps, rest[1:-1] if len(rest) > 2 and rest[0] == rest[-1] == "`" else rest) if rest else None
        given, dot, below = rest.partition(".")
        name = shape.spellings.get(given)
        if name is None:
            return None
        steps.append(name)
        shape, rest = shape.fields[name], below if dot else None
    return tuple(steps)


def _add(tree: _Tree, steps: tuple[str, ...]) -> None:
    """A path into the tree; one that ends above another takes it in."""
    for name in steps[:-1]:
        below = tree.setdefault(name, {})
        if below is None:
            return
        tree = below
    tree[steps[-1]] = None


def _mask(tree: _Tree) -> ReadMask:
    return ReadMask({name: EVERYTHING if below is None else _mask(below) for name, below in tree.items()})


def _fault(path: str, shape: Shape) -> str:
    if not path:
        return "a field's name is missing beside a comma"
    meant = nearest(path, shape.spellings)
    return f"unknown field {shown(path)}; " + (
        f"did you mean {meant}?" if meant else f"there are {', '.join(shape.fields)}"
    )


def _plain(read_type: Any) -> Any:
    """Without None beside it: a message that may be null has the paths of the message."""
    if typing.get_origin(read_type) in (typing.Union, types.UnionType):
        return next(each for each in typing.get_args(read_type) if each is not type(None))
    return read_type
