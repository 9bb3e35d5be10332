"""Waiting for an event, no longer than so long, by whoever may be told to end meanwhile."""

from __future__ import annotations

import asyncio
import contextlib


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Whether it is set by then.

    Not `asyncio.wait_for`: before Python 3.12 it forgets that it was cancelled where what it waits for happens in
    the same turn of the loop, and whoever called it goes on for ever.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
