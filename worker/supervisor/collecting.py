"""Tars of what ranks left, from engines to the object store: a few at the same time in one process.

Engines are read on the event loop, the store is written by threads; nothing waits in between but the piece that is
being handed over, so that memory does not depend on how much there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from itertools import chain

from core.errors import NoObjectStore, Unavailable
from core.object_store import ObjectStore
from core.output_packing import Limits, OutputPacking

#: Each holds some tens of MiB: parts on their way to the store.
_AT_ONCE = 4
#: A thread that waits for a piece looks so often whether anybody still waits for it.
_LOOK_SECONDS = 1.0


class Collecting:
    """Of one process. `store_url` empty: there is no store, and every `collect` that finds files says so."""

    def __init__(self, store_url: str) -> None:
        self._store_url = store_url
        self._store: ObjectStore | None = None
        self._lock = threading.Lock()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="collecting")

    async def collect(
        self, pieces: AsyncGenerator[bytes, None], path: str, limits: Limits
    ) -> tuple[OutputPacking, int]:
        """Write the folder whose tar `pieces` are to the store, as far as it is kept; its size there, 0 where
        nothing of it is kept.

        Raises Unavailable (NoObjectStore), or the EngineError of whoever gives the pieces.
        """
        async with self._turns:
            bridge = _Bridge(asyncio.get_running_loop(), pieces)
            packing = OutputPacking(limits)
            try:
                written = await asyncio.get_running_loop().run_in_executor(
                    self._threads, self._write, packing, bridge, path
                )
            finally:
                bridge.close()
                # Not where a thread is still at it, which is told to end.
                with contextlib.suppress(RuntimeError):
                    await pieces.aclose()
            return packing, written

    async def remove(self, path: str) -> None:
        """Remove an object that nothing leads to. Raises Unavailable."""
        await asyncio.get_running_loop().run_in_executor(self._threads, lambda: self._opened().remove([path]))

    def close(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _write(self, packing: OutputPacking, bridge: _Bridge, path: str) -> int:
        parts = packing.parts(iter(bridge))
        first = next(parts, None)
        if first is None:
            return 0
        return self._opened().write(path, chain([first], parts))

    def _opened(self) -> ObjectStore:
        """Opened when it is first needed: a folder of a host may not be there yet when its supervisor starts."""
        if not self._store_url:
            raise NoObjectStore(
                "there is no object store: LONGSHORE_OBJECT_STORE_URL is not set for its supervisor"
            )
        with self._lock:
            if self._store is None:
                try:
                    self._store = ObjectStore(self._store_url)
                except (OSError, ValueError) as error:
                    raise Unavailable(f"the object store cannot be opened: {error}") from error
            return self._store


class _Bridge:
    """Pieces of an asynchronous generator for a thread, one at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pieces: AsyncGenerator[bytes, None]) -> None:
        self._loop, self._pieces = loop, pieces
        self._is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        while not self._is_closed:
            piece = self._given(asyncio.run_coroutine_threadsafe(self._next(), self._loop))
            if not piece:
                return
            yield piece
        raise Unavailable("nobody waits for it any more")

    def _given(self, asked: Future[bytes]) -> bytes:
        while True:
            try:
                if wait([asked], timeout=_LOOK_SECONDS).done:
                    return asked.result()
            except CancelledError:
                raise Unavailable("nobody waits for it any more") from None
            # A loop that has ended answers nothing any more, and says nothing of it.
            if self._is_closed:
                asked.cancel()
                raise Unavailable("nobody waits for it any more")

    async def _next(self) -> bytes:
        return await anext(self._pieces, b"")

    def close(self) -> None:
        """Let a thread that is still at it end with its next piece."""
        self._is_closed = True
