"""What a person's e-mail and a display name must be. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from core.errors import FieldViolation

MAX_DISPLAY_NAME = 63
MAX_EMAIL = 254
#: One @ with something on both sides and no white space: more is known only by writing to it.
_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+")


def email_violations(field: str, email: str) -> Iterator[FieldViolation]:
    """What is wrong with a required e-mail address."""
    if not email:
        yield FieldViolation(field, "is required")
    elif len(email) > MAX_EMAIL or _EMAIL.fullmatch(email) is None:
        yield FieldViolation(field, f"must be an e-mail address of at most {MAX_EMAIL} characters")


def display_name_violations(field: str, name: str) -> Iterator[FieldViolation]:
    """What is wrong with a display name; it may be empty."""
    if len(name) > MAX_DISPLAY_NAME:
        yield FieldViolation(field, f"must be of fewer than {MAX_DISPLAY_NAME + 1} characters")
