"""One client's download of an object, or of a part of one, from the object store: by pieces, in bounded memory.

Read on the readers of those who follow output, so that downloads do not take a process from anybody; nothing is
held between two pieces, however slowly the client takes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from api.dependencies import Platform
from api.download import Broken
from core.accounts import Caller
from core.api_keys import still_valid
from core.errors import NoObjectStore, NotFound, Unavailable

#: A download ends within this and one piece after its key.
_CHECK_SECONDS: Final = 0.5


class ObjectDownload:
    """`size` bytes of the object at `path`, from `start` on. `begin` comes first, then `pieces`, once."""

    def __init__(self, platform: Platform, caller: Caller, path: str, start: int, size: int) -> None:
        if platform.objects is None:
            raise NoObjectStore("this api has no object store")
        self.size = size
        self._database, self._feeds, self._caller = platform.database, platform.feeds, caller
        self._left = platform.objects.stream_range(path, start=start, length=size)
        self._first = b""
        self._checked_at = 0.0

    async def begin(self) -> None:
        """Read the first piece: what cannot be read is refused while that can be said. Raises Unavailable."""
        try:
            self._first = await self._next()
        except NotFound as error:
            # Its rows say that it is there, and they are the truth: whoever removed it was not the platform.
            raise Unavailable(str(error)) from error
        self._checked_at = asyncio.get_running_loop().time()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Its bytes. Raises Broken where it cannot be whole."""
        piece = self._first
        while piece:
            yield piece
            await self._check()
            try:
                piece = await self._next()
            except (NotFound, Unavailable) as error:
                raise Broken(str(error)) from error

    async def _next(self) -> bytes:
        return await self._feeds.read(partial(next, self._left, b""))

    async def _check(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._checked_at + _CHECK_SECONDS:
            return
        self._checked_at = now
        try:
            is_valid = await self._feeds.read(partial(still_valid, self._database, {self._caller.key_id}))
        except Unavailable:
            # The database is away: that says nothing of the key, and what is sent comes from elsewhere.
            return
        if not is_valid:
            raise Broken("its key has ended")
