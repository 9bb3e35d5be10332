"""How an API key is written, and what of it is kept. Pure, but for the random bits.

A key reads `lsk_<id>_<secret>`: the prefix lets leak scanners see it, the id finds the row, the secret is
256 random bits. What is kept is the SHA-256 of the secret; a fast hash is right for a secret of that size, and
a slow one would cost each request 0.1 s.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

PREFIX = "lsk"
_KEY_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
#: No key of ours is longer; what is longer is not even hashed.
_MAX_LENGTH = 128


@dataclass(frozen=True)
class MintedKey:
    """A new key: `text` is for its owner alone, and only once."""

    key_id: str
    secret_sha256: bytes
    text: str


def mint() -> MintedKey:
    """A key that nobody else has."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    return MintedKey(key_id, secret_digest(secret), f"{PREFIX}_{key_id}_{secret}")


def split(key: str) -> tuple[str, str] | None:
    """The id and the secret of what looks like a key of ours."""
    parts = key.split("_", 2) if len(key) <= _MAX_LENGTH else []
    if len(parts) != 3 or parts[0] != PREFIX or not is_key_id(parts[1]):
        return None
    return parts[1], parts[2]


def is_key_id(text: str) -> bool:
    """Whether a key can have this id."""
    return _KEY_ID.fullmatch(text) is not None


def shown_prefix(key_id: str) -> str:
    """What a key begins with: enough to know it by, and no part of the secret."""
    return f"{PREFIX}_{key_id}"


def secret_digest(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
