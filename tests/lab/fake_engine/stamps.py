"""Time stamps as engines write them. Pure, but for the clock itself."""

from __future__ import annotations

import time

NEVER = "0001-01-01T00:00:00Z"
_NANOSECONDS = 1_000_000_000


def now_ns() -> int:
    """Wall clock, in nanoseconds since the epoch."""
    return time.time_ns()


def fixed_stamp(ns: int) -> str:
    """RFC 3339 in UTC with nine fraction digits, as log frames have it."""
    seconds, nanos = divmod(ns, _NANOSECONDS)
    return f"{_second(seconds)}.{nanos:09d}Z"


def short_stamp(ns: int) -> str:
    """RFC 3339 in UTC without trailing zeros, as inspection has it; the engine's "never" for 0."""
    if ns == 0:
        return NEVER
    seconds, nanos = divmod(ns, _NANOSECONDS)
    fraction = f"{nanos:09d}".rstrip("0")
    return f"{_second(seconds)}.{fraction}Z" if fraction else f"{_second(seconds)}Z"


def parsed_moment(text: str) -> int:
    """`seconds[.nanoseconds]` of a `since` or `until` → nanoseconds. Raises ValueError."""
    seconds, _, fraction = text.partition(".")
    return int(seconds) * _NANOSECONDS + int(fraction.ljust(9, "0")[:9] or 0)


_seconds_known: dict[int, str] = {}


def _second(seconds: int) -> str:
    # Nearly every stamp is of the same second as the one before.
    known = _seconds_known.get(seconds)
    if known is None:
        if len(_seconds_known) > 64:
            _seconds_known.clear()
        known = _seconds_known[seconds] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return known
