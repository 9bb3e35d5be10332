"""A message's fields by dotted path, so that a mask can name what is below one, and a rule need not look. Pure.

{"dockerNodePool": {"ranksPerNode": 4}}   ⇄   {"dockerNodePool.ranksPerNode": 4}
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from api.wire.proto_json import ANYTHING, Faults, Kind, message, snake_case
from api.wire.updates import read_update

#: The fields of a message; a nested mapping is a message below it.
Fields = Mapping[str, "Kind | Fields"]


def nested_kind(fields: Fields, *, ignored: frozenset[str] = frozenset()) -> Kind:
    """The message that these fields are."""
    kinds = {name: field if isinstance(field, Kind) else nested_kind(field) for name, field in fields.items()}
    return message(kinds, ignored=ignored)


def flat_kinds(fields: Fields, prefix: str = "") -> dict[str, Kind]:
    """The kind of every field that is not a message, by path."""
    found: dict[str, Kind] = {}
    for name, field in fields.items():
        found |= {prefix + name: field} if isinstance(field, Kind) else flat_kinds(field, f"{prefix}{name}.")
    return found


def flattened(given: Mapping[str, Any], fields: Fields, prefix: str = "") -> dict[str, Any]:
    """What `nested_kind` has read, by path. A message that is there and empty leaves nothing."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        below = fields.get(name)
        if below is None or isinstance(below, Kind):
            found[prefix + name] = value
        else:
            found |= flattened(value, below, f"{prefix}{name}.")
    return found


def flat_mask(mask: str, fields: Fields) -> str:
    """An `updateMask` in which every message is named by all of its fields."""
    messages = dict(_messages(fields, ""))
    paths = []
    for path in mask.split(","):
        plain = path.strip()
        paths += messages.get(plain, [plain])
    return ",".join(paths)


def read_flat_update(
    body: object, mask: str, fields: Fields, faults: Faults, *, fixed: Collection[str], ignored: frozenset[str]
) -> dict[str, Any]:
    """What a PATCH sets, by path; None for what it resets. A message in the body without a mask is merged.

    `fixed` are immutable fields. `ignored` are output only: a body that was answered may be sent back.
    """
    given = nested_kind(fields, ignored=ignored | frozenset(fixed)).read(body, "", faults)
    if not isinstance(body, dict) or not isinstance(given, dict):
        return {}
    spellings = {spelling: name for name in fixed for spelling in (name, snake_case(name))}
    kept = {spellings[key]: value for key, value in body.items() if key in spellings}
    paths = flat_kinds(fields)
    return read_update(
        {**flattened(given, fields), **kept},
        flat_mask(mask, fields),
        faults,
        # They have been read already.
        mutable=dict.fromkeys(paths, ANYTHING),
        zero=dict.fromkeys(paths),
        immutable=fixed,
        output_only=ignored - set(kept),
    )


def _messages(fields: Fields, prefix: str) -> Iterator[tuple[str, list[str]]]:
    for name, field in fields.items():
        if not isinstance(field, Kind):
            path = prefix + name
            leaves = list(flat_kinds(field, f"{path}."))
            yield path, leaves
            yield snake_case(path), leaves
            yield from _messages(field, f"{path}.")
