"""The leases of one process, renewed together: one statement for all nodes, however many it holds.

By a thread of its own. A process that watches many nodes may be seconds behind with its events, and to let go of
every node then would have it begin everything anew, with still more to do. A loop that does not turn at all is
another matter: what hangs must not keep others from its nodes.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Collection

import structlog

from core.database import Database
from core.errors import Unavailable
from core.nodes import renew_leases

log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 0.5
_TURN_SECONDS = 0.5
#: A loop that has not turned for so long is taken to hang, and its leases run out.
_HUNG_SECONDS = 60.0


class Leases:
    """What `owner` holds, and until when by this process's own clock. `run` renews it.

    `renewed` is called, by the thread that renews, after each time at which it could.
    """

    def __init__(
        self, database: Database, owner: str, seconds: float, renewed: Callable[[], None] = lambda: None
    ) -> None:
        self._database = database
        self._owner = owner
        self._seconds = seconds
        self._renewed = renewed
        self._held_until: dict[int, float] = {}
        self._lost: dict[int, asyncio.Event] = {}
        #: of the two above, which the thread that renews looks at as well
        self._lock = threading.Lock()
        self._turned_at = time.monotonic()
        self._over = threading.Event()

    async def while_held(self, node_id: int, asked_at: float) -> None:
        """Return when the lease that was asked for then (loop time) is another's, or was not renewed in time."""
        lost = asyncio.Event()
        with self._lock:
            self._lost[node_id] = lost
            self._held_until[node_id] = asked_at + self._seconds
        try:
            while not lost.is_set() and (left := self._held_until[node_id] - time.monotonic()) > 0:
                await asyncio.wait({waiting := asyncio.ensure_future(lost.wait())}, timeout=left)
                waiting.cancel()
        finally:
            with self._lock:
                del self._held_until[node_id], self._lost[node_id]

    async def run(self) -> None:
        """Renew at each third of the lease, sooner what could not be renewed; until cancelled."""
        loop = asyncio.get_running_loop()
        self._turned_at = time.monotonic()
        threading.Thread(target=self._renew_for_ever, args=(loop,), name="leases", daemon=True).start()
        try:
            while True:
                self._turned_at = time.monotonic()
                await asyncio.sleep(_TURN_SECONDS)
        finally:
            self._over.set()

    def _renew_for_ever(self, loop: asyncio.AbstractEventLoop) -> None:
        wait = self._seconds / 3
        while not self._over.wait(wait):
            wait = _AGAIN_SECONDS
            if time.monotonic() - self._turned_at > _HUNG_SECONDS:
                log.error("leases_given_up", why=f"nothing has happened here for {_HUNG_SECONDS:g} s")
            elif self._renew(loop):
                wait = self._seconds / 3
                self._renewed()

    def _renew(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether everything is renewed or known to be lost."""
        asked_at = time.monotonic()
        with self._lock:
            nodes = list(self._held_until)
        if not nodes:
            return True
        try:
            renewed, lost = renew_leases(self._database, nodes, self._owner, self._seconds)
        except Unavailable as error:
            log.warning("leases_not_renewed", why=str(error))
            return False
        self._note(renewed, lost, asked_at, loop)
        return len(renewed) + len(lost) == len(nodes)

    def _note(
        self, renewed: Collection[int], lost: Collection[int], asked_at: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        with self._lock:
            for node_id in renewed:
                if node_id in self._held_until:
                    self._held_until[node_id] = max(self._held_until[node_id], asked_at + self._seconds)
            gone = [self._lost[node_id] for node_id in lost if node_id in self._lost]
        # A loop that is closed by now has nobody who waits.
        with contextlib.suppress(RuntimeError):
            for each in gone:
                loop.call_soon_threadsafe(each.set)
