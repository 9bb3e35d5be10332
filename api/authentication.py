"""Whose key a request bears: answered from memory for half a second, limited in rate, noted as used.

Only positive answers are kept, by the digest of the whole key and never by the key. A key that is revoked
is refused at once by the process that revoked it, and by every other within `KEPT_SECONDS`: the promise is a
second.
"""

from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Address, ip_address, ip_network

import structlog
from fastapi import Request

from api.rate_limit import RateLimiter, whole_seconds
from core.accounts import Caller
from core.api_keys import authenticate_for, record_use
from core.database import Database
from core.errors import LongshoreError, ResourceExhausted, Unauthenticated
from core.settings import Settings

log = structlog.get_logger(__name__)

KEPT_SECONDS = 0.5
#: A key's use is written at most so often; `record_use` holds several processes to it.
USE_SECONDS = 60.0
_MAX_KEPT = 10_000


@dataclass(frozen=True)
class _Kept:
    caller: Caller
    until: float


class Authentication:
    """The callers of one process. `close` ends the thread that writes when keys were used."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._requests = RateLimiter(settings.rate_limit_per_second, settings.rate_limit_burst)
        self._failures = RateLimiter(settings.failed_key_limit_per_second, settings.failed_key_limit_burst)
        self._kept: dict[bytes, _Kept] = {}
        self._noted: dict[str, float] = {}
        self._lock = threading.Lock()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="key-use")

    def caller(self, request: Request) -> Caller:
        """Who asks. Raises Unauthenticated, the same for every kind of wrong key, or ResourceExhausted."""
        source = _source(request.client.host if request.client else "")
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            self._refuse_guessing(source)
            self._failures.take(source)
            raise Unauthenticated("no API key")
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        kept = self._kept.get(digest)
        if kept is None:
            # Nobody has proved this key yet: whoever guesses is slowed down before the database is asked.
            self._refuse_guessing(source)
        else:
            self._refuse_haste(digest)
        if kept is None or kept.until <= time.monotonic():
            caller = self._ask(key, digest, source)
            if kept is None:
                self._refuse_haste(digest)
        else:
            caller = kept.caller
        self._note_use(caller.key_id)
        return caller

    def ask_again(self) -> None:
        """Believe nothing that is kept: somebody's keys or rights were just changed here.

        Other processes find out when what they keep runs out.
        """
        with self._lock:
            self._kept = {digest: replace(kept, until=0.0) for digest, kept in self._kept.items()}

    def close(self) -> None:
        """Write what is still to be written."""
        self._writer.shutdown(wait=True)

    def _ask(self, key: str, digest: bytes, source: str) -> Caller:
        asked_at = time.monotonic()
        try:
            caller, seconds_left = authenticate_for(self._database, key)
        except Unauthenticated:
            self._failures.take(source)
            with self._lock:
                self._kept.pop(digest, None)
            raise
        # From before the question: what was true then may be answered for so long and no longer.
        until = asked_at + min(KEPT_SECONDS, seconds_left)
        with self._lock:
            self._kept.pop(digest, None)
            if len(self._kept) >= _MAX_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[digest] = _Kept(caller, until)
        return caller

    def _refuse_haste(self, digest: bytes) -> None:
        _refuse(self._requests.take(digest), "this API key asks too often")

    def _refuse_guessing(self, source: str) -> None:
        _refuse(self._failures.wait(source), "too many requests without a valid API key from this address")

    def _note_use(self, key_id: str) -> None:
        now = time.monotonic()
        if now - self._noted.get(key_id, -USE_SECONDS) < USE_SECONDS:
            return
        with self._lock:
            if len(self._noted) >= _MAX_KEPT:
                self._noted.clear()
            self._noted[key_id] = now
        self._writer.submit(self._write_use, key_id)

    def _write_use(self, key_id: str) -> None:
        try:
            record_use(self._database, key_id)
        except LongshoreError as error:
            log.warning("key_use_not_recorded", key_id=key_id, error=str(error))


@lru_cache(maxsize=1024)
def _source(address: str) -> str:
    """Whom failures are counted against: an address, or for IPv6 the /64 of which one host commonly has all."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv4Address):
        return address
    return str(parsed.ipv4_mapped or ip_network((int(parsed), 64), strict=False))


def _refuse(wait: float, why: str) -> None:
    if wait > 0:
        seconds = whole_seconds(wait)
        raise ResourceExhausted(f"{why}; try again in {seconds} s", retry_after_seconds=seconds)
