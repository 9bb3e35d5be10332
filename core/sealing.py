"""Values sealed for storage, with keys that are in a file and never in the database. Nothing here knows a row.

AES-256-GCM with a random 96-bit nonce (NIST SP 800-38D; after 2**32 values of one key it is due for another).
A sealed value is nonce, ciphertext and tag, one after the other; it opens only as what it was sealed as.

The file has a line for each key, `<key id>:<base64 of 32 bytes>`: the first seals, all open. It is read again
when it changes, so that keys are replaced without a restart.
"""

from __future__ import annotations

import base64
import os
import re
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import orjson
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core.errors import LongshoreError

log = structlog.get_logger(__name__)

KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_LINE = re.compile(r"(?P<id>[A-Za-z0-9._-]{1,64}):(?P<key>[A-Za-z0-9+/]{43}=)", re.ASCII)


class KeysUnusable(LongshoreError):
    """There are no keys to seal or open with: no file is named, or it cannot be read. Says nothing of keys."""


class NotOpened(LongshoreError):
    """A sealed value stays closed: its key is not in the file, or it was sealed as something else."""


@dataclass(frozen=True)
class Sealed:
    """A value that can be kept anywhere. `key_id` says which key opens it."""

    key_id: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class _Keys:
    """The file as it was when its mark was taken. `by_id` keeps the file's order."""

    mark: tuple[int, ...]
    by_id: Mapping[str, AESGCM] = field(repr=False)


class SealingKeys:
    """The keys of one file. Safe to share between threads; `path` None is a platform without keys."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._keys: _Keys | None = None
        self._lock = threading.Lock()

    def first_id(self) -> str:
        """The id of the key that seals. Raises KeysUnusable."""
        return next(iter(self._read().by_id))

    def seal(self, value: bytes, *bound_to: object) -> Sealed:
        """Seal a value to what it is: it opens with the same `bound_to` only. Raises KeysUnusable."""
        keys = self._read().by_id
        key_id = next(iter(keys))
        nonce = os.urandom(_NONCE_BYTES)
        return Sealed(key_id, nonce + keys[key_id].encrypt(nonce, value, _bound(key_id, bound_to)))

    def open(self, sealed: Sealed, *bound_to: object) -> bytes:
        """The value. Raises KeysUnusable, NotOpened."""
        key = self._read().by_id.get(sealed.key_id)
        if key is None:
            raise NotOpened(f"it was sealed with the key {sealed.key_id!r}, which is not in the key file")
        nonce, rest = sealed.data[:_NONCE_BYTES], sealed.data[_NONCE_BYTES:]
        try:
            return key.decrypt(nonce, rest, _bound(sealed.key_id, bound_to))
        except (InvalidTag, ValueError):
            # From None: nothing of what was tried is to be in a traceback.
            raise NotOpened(f"the key {sealed.key_id!r} does not open it") from None

    def _read(self) -> _Keys:
        if self._path is None:
            raise KeysUnusable("no file of keys is set up (LONGSHORE_SECRET_KEYS_FILE)")
        with self._lock:
            try:
                status = self._path.stat()
                mark = _mark(status)
                if self._keys is None or self._keys.mark != mark:
                    if status.st_mode & _OF_OTHERS:
                        # Told and used: what mounts files into containers gives them modes of its own.
                        log.warning("secret_keys_open_to_others", mode=f"{stat.S_IMODE(status.st_mode):04o}")
                    self._keys = _Keys(mark, parse_keys(self._path.read_text("ascii")))
                return self._keys
            except (OSError, UnicodeDecodeError) as error:
                raise KeysUnusable(f"the file of keys cannot be read: {type(error).__name__}") from None


@lru_cache(maxsize=8)
def sealing_keys(path: Path | None) -> SealingKeys:
    """The keys of a file; one object for a process, so that the file is read once until it changes."""
    return SealingKeys(path)


def sealed_length(value_bytes: int) -> int:
    """The bytes that a value of so many bytes takes when it is sealed."""
    return _NONCE_BYTES + value_bytes + _TAG_BYTES


def new_key_line(key_id: str) -> str:
    """A line of the file with a new random key. Raises ValueError where the id cannot be one."""
    line = f"{key_id}:{base64.b64encode(os.urandom(KEY_BYTES)).decode()}"
    if _LINE.fullmatch(line) is None:
        raise ValueError("a key's id is of at most 64 of A-Z a-z 0-9 . _ -")
    return line + "\n"


def parse_keys(text: str) -> dict[str, AESGCM]:
    """The keys of a file's text, in its order. Raises KeysUnusable naming a bad line by its number alone."""
    keys: dict[str, AESGCM] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:
            raise KeysUnusable(f"line {number} of the file of keys is not <id>:<base64 of {KEY_BYTES} bytes>")
        if found["id"] in keys:
            raise KeysUnusable(f"line {number} of the file of keys has an id that an earlier line has")
        keys[found["id"]] = AESGCM(base64.b64decode(found["key"]))
    if not keys:
        raise KeysUnusable("the file of keys has no key in it")
    return keys


def _bound(key_id: str, bound_to: tuple[object, ...]) -> bytes:
    # As JSON, because joined texts could be cut elsewhere to give the same bytes.
    return orjson.dumps([key_id, *bound_to])


def _mark(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
