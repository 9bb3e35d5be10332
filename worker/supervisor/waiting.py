"""Waiting: for an event, no longer than so long, by whoever may be told to end meanwhile; before another try."""

from __future__ import annotations

import asyncio
import contextlib

_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.5, 8.0
#: An answer that does not come takes as long as a call may: some of those in a row are no reason to give up.
_LEAST_TRIES = 3


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Whether it is set by then.

    Not `asyncio.wait_for`: before Python 3.12 it forgets that it was cancelled where what it waits for happens in
    the same turn of the loop, and whoever called it goes on for ever.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


class Patience:
    """How long something that cannot be had is tried again: for so many seconds, and at least three times, with
    growing pauses."""

    def __init__(self, seconds: float) -> None:
        self._until = asyncio.get_running_loop().time() + seconds
        self._tries, self._pause = 1, _FIRST_PAUSE_SECONDS

    @property
    def is_over(self) -> bool:
        """Whether the try that is under way, or was just made, is the last."""
        return self._tries >= _LEAST_TRIES and asyncio.get_running_loop().time() + self._pause > self._until

    async def pause(self) -> None:
        """To be awaited between two tries."""
        await asyncio.sleep(self._pause)
        self._tries, self._pause = self._tries + 1, min(2 * self._pause, _LAST_PAUSE_SECONDS)
