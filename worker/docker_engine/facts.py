"""From what an engine answers to our own values. Pure; both SDKs hand over the same JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from worker.engine import Observation

_NEVER = "0001-01-01T00:00:00Z"


def observation(inspected: Mapping[str, Any]) -> Observation:
    """From GET /containers/{id}/json."""
    state = inspected["State"]
    return Observation(
        container_id=inspected["Id"],
        status=state["Status"],
        exit_code=int(state["ExitCode"]),
        oom_killed=bool(state.get("OOMKilled")),
        error=state.get("Error") or "",
        started_at=engine_time(state["StartedAt"]),
        ended_at=engine_time(state["FinishedAt"]),
    )


def engine_time(text: str) -> datetime | None:
    """An engine's time stamp, to the microsecond; None for its "never"."""
    if text == _NEVER or not text:
        return None
    seconds, nanos = split_time(text)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanos // 1000)


def split_time(text: str) -> tuple[int, int]:
    """RFC 3339 with up to nine fraction digits → seconds since the epoch, and nanoseconds of the second."""
    whole, zone = (text[:-1], "+00:00") if text.endswith("Z") else (text[:-6], text[-6:])
    second, _, fraction = whole.partition(".")
    moment = datetime.fromisoformat(second + zone)
    return int(moment.timestamp()), int(fraction.ljust(9, "0")[:9] or 0)


def digest_of(reference: str, inspected: Mapping[str, Any]) -> str:
    """`repository@sha256:…` of an image as its registry knows it, or the image's id where none does."""
    repository = repository_of(reference)
    for digest in inspected.get("RepoDigests") or ():
        if repository_of(digest) == repository:
            return str(digest)
    return str(inspected["Id"])


def repository_of(reference: str) -> str:
    """A reference without its tag and its digest."""
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]
