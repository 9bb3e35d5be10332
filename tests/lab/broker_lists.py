"""Where the broker keeps what is in a queue, for tests that look past Celery."""

from __future__ import annotations

from kombu.transport.redis import PRIORITY_STEPS, Channel


def lists_of(queue_name: str) -> list[str]:
    """The keys of a queue's lists, one for each step of priority (kombu's Redis transport)."""
    return [queue_name, *(f"{queue_name}{Channel.sep}{step}" for step in PRIORITY_STEPS if step)]
