"""Timestamps and durations as proto-JSON writes them. Pure.

RFC 3339, UTC, `Z`, with 0, 3, 6 or 9 digits of a second; durations are seconds with an `s`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_NS = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII)
_DURATION = re.compile(r"(\d{1,12})(?:\.(\d{1,9}))?s", re.ASCII)


def format_time(moment: datetime) -> str:
    """A time with a zone."""
    return format_time_ns(to_microseconds(moment) * 1000)


def format_time_ns(time_ns: int) -> str:
    """Nanoseconds since the epoch."""
    seconds, rest = divmod(time_ns, _NS)
    moment = _EPOCH + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}{_fraction(rest)}Z"


def parse_time_ns(text: str) -> int:
    """Nanoseconds since the epoch; may be negative. Raises ValueError, saying what would be right."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("must be an RFC 3339 time with a zone, such as 2026-01-31T12:00:00Z")
    plain, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(plain + zone.replace("Z", "+00:00"))
    except ValueError:
        raise ValueError("is not a time that exists") from None
    return (moment - _EPOCH) // timedelta(seconds=1) * _NS + int((fraction or "").ljust(9, "0"))


def to_microseconds(moment: datetime) -> int:
    """Microseconds since the epoch of a time with a zone, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_microseconds(microseconds: int) -> datetime:
    """The inverse of `to_microseconds`. Raises OverflowError past the year 9999."""
    return _EPOCH + timedelta(microseconds=microseconds)


def format_duration(seconds: float) -> str:
    """Seconds, at most nanoseconds exact."""
    whole, rest = divmod(round(seconds * _NS), _NS)
    return f"{whole}{_fraction(rest)}s"


def parse_duration(text: str) -> float:
    """Seconds, not negative. Raises ValueError, saying what would be right."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError('must be seconds with an "s", such as "90s" or "1.5s"')
    return float(text[:-1])


def _fraction(nanoseconds: int) -> str:
    if nanoseconds == 0:
        return ""
    digits = f"{nanoseconds:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f".{digits}"
