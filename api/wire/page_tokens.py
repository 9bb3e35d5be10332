"""Page tokens: a position in a list, bound to the list that it was given for. Pure.

A token is not a secret and grants nothing: whoever makes one up can only name a place in a list of his own
account. The digest is there so that a token of another account or query is an error, not a wrong page; what is
in a token is checked by its reader all the same.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import orjson

from core.errors import InvalidArgument

_DIGEST_BYTES = 12


def make_page_token(position: object, *bound_to: object) -> str:
    """The token for a position (plain JSON values), valid with the same `bound_to` only."""
    payload = orjson.dumps(position)
    return base64.urlsafe_b64encode(_digest(payload, bound_to) + payload).decode()


def read_page_token(token: str, *bound_to: object) -> Any:
    """The position of a token. Raises InvalidArgument where it is not ours, or of another query."""
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except ValueError:
        raise bad_page_token() from None
    digest, payload = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    # Base64 has several spellings of the same bytes; only ours is a token.
    if digest != _digest(payload, bound_to) or base64.urlsafe_b64encode(raw).decode() != token:
        raise bad_page_token()
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        raise bad_page_token() from None


def bad_page_token() -> InvalidArgument:
    """The answer to every token that cannot be used."""
    return InvalidArgument.field(
        "pageToken", "is not a token of this list: repeat the call that gave it, with the same parameters"
    )


def _digest(payload: bytes, bound_to: tuple[object, ...]) -> bytes:
    return hashlib.sha256(orjson.dumps(bound_to) + b"\n" + payload).digest()[:_DIGEST_BYTES]
