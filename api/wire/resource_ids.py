"""Ids that clients choose: the last part of a resource name. Pure.

As AIP-122 has it: small letters, digits and dashes, a letter first, a letter or digit last, at most 63.
"""

from __future__ import annotations

import re

from core.errors import FieldViolation

MAX_LENGTH = 63
PATTERN = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
_ID = re.compile(PATTERN.strip("^$"), re.ASCII)
RULE = f"must be of at most {MAX_LENGTH} of a-z 0-9 -, a letter first, a letter or digit last"


def id_violations(field: str, given: str) -> list[FieldViolation]:
    """What is wrong with an id that is to be made; `field` is its wire name."""
    return [] if is_resource_id(given) else [FieldViolation(field, RULE)]


def is_resource_id(given: str) -> bool:
    """Whether a resource can have this id; one that cannot is an id that does not exist."""
    return _ID.fullmatch(given) is not None
