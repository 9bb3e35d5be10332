"""Spans and moments of time, as people write and read them. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer

_SPAN = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])", re.ASCII)
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def seconds_of(text: str) -> float:
    """`90`, `90s`, `10m`, `1h30m`, `2d`. Raises BadParameter."""
    if _NUMBER.fullmatch(text):
        return float(text)
    if _SPAN.fullmatch(text) is None:
        raise typer.BadParameter(f"{text} is no span of time, such as 90s, 10m, 1h30m or 2d")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def moment_of(text: str, now: datetime) -> datetime:
    """A time (RFC 3339, local where it has no zone), or so long before `now`. Raises BadParameter."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            return now - timedelta(seconds=seconds_of(text))
        except OverflowError:
            raise typer.BadParameter(f"{text} is too long ago") from None
    return moment if moment.tzinfo is not None else moment.astimezone()


def lasted(seconds: float) -> str:
    """`8s`, `3m 20s`, `5h 12m`, `3d 4h`: two units at the most."""
    whole = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in _SECONDS.items():
        number, whole = divmod(whole, size)
        if number or (parts and len(parts) < 2):
            parts.append(f"{number}{unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0")) or "0s"


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago, by its larger unit."""
    return "" if moment is None else lasted((now - moment).total_seconds()).partition(" ")[0]


def clock(moment: datetime | None) -> str:
    """A moment in the time of this machine."""
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def now() -> datetime:
    return datetime.now(UTC)
