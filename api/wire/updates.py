"""What a PATCH changes: the fields of its body, or those that `updateMask` names. Pure.

AIP-134: without a mask, the fields present in the body; `*` replaces every mutable field; a path that is not a
field is a fault. A field that the mask names and the body lacks gets its zero value. The body's `name` says
only which resource is meant, and the path says so already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from api.wire.proto_json import Faults, Kind, message, nearest, shown, snake_case
from core.errors import FieldViolation

_NAME = "name"


def read_update(
    body: object,
    mask: str,
    faults: Faults,
    *,
    mutable: Mapping[str, Kind],
    zero: Mapping[str, Any],
    immutable: Iterable[str] = (),
    output_only: Iterable[str] = (),
) -> dict[str, Any]:
    """The new values by camelCase name. `zero` has the value of each mutable field that is reset.

    Faults: a field that cannot be read, is not known, or cannot be changed, each by its name.
    """
    fixed = {**dict.fromkeys(immutable, "is immutable"), **dict.fromkeys(output_only, "is output only")}
    fixed.pop(_NAME, None)
    given = message(mutable, ignored=frozenset({_NAME, *fixed})).read(body, "", faults)
    if not isinstance(body, dict) or not isinstance(given, dict):
        return {}
    named = _masked(mask, mutable, fixed, faults)
    if named is not None:
        return {name: given.get(name, zero[name]) for name in named}
    spellings = {spelling: name for name in fixed for spelling in (name, snake_case(name))}
    present = {spellings[key] for key, value in body.items() if key in spellings and value is not None}
    faults += [FieldViolation(name, f"{fixed[name]}; it cannot be changed") for name in sorted(present)]
    return given


def update_schema(mutable: Mapping[str, Kind]) -> Mapping[str, Any]:
    """For OpenAPI: the body of a PATCH."""
    return message(mutable).schema


def _masked(
    mask: str, mutable: Mapping[str, Kind], fixed: Mapping[str, str], faults: Faults
) -> tuple[str, ...] | None:
    """The fields that a mask names, or None where there is no mask."""
    paths = [path.strip() for path in mask.split(",") if path.strip()]
    if not paths:
        return None
    if paths == ["*"]:
        return tuple(mutable)
    known = {spelling: name for name in [*mutable, *fixed] for spelling in (name, snake_case(name))}
    named: list[str] = []
    for path in paths:
        name = known.get(path)
        if name is None:
            meant = nearest(path, known)
            hint = f"; did you mean {meant}?" if meant else ""
            faults.append(FieldViolation("updateMask", f"{shown(path)} is not a field{hint}"))
        elif name in fixed:
            faults.append(FieldViolation(name, f"{fixed[name]}; it cannot be changed"))
        elif name not in named:
            named.append(name)
    return tuple(named)
