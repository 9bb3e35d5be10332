"""Looking at rows again and again, by a single task, for as long as somebody wants to know of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from core.errors import Unavailable

log = structlog.get_logger(__name__)

#: How soon something new is told.
LOOK_SECONDS: Final = 0.25


class Looking:
    """What a process's streams look for. Used on its event loop only."""

    def __init__(self, name: str, look: Callable[[], Awaitable[None]], is_wanted: Callable[[], bool]) -> None:
        """`look` is put off while the database is away; `name` says in the log which one it is."""
        self._name, self._look, self._is_wanted = name, look, is_wanted
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Look from now on, until it is not wanted any more; nothing where that is being done."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=self._name)

    async def close(self) -> None:
        """End it; the server ends the streams."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while self._is_wanted():
            try:
                await self._look()
            except Unavailable as error:
                log.warning(f"{self._name}_put_off", why=str(error))
            await asyncio.sleep(LOOK_SECONDS)
