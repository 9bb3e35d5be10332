"""That a worker goes on taking steps: what Celery's consumer loses with a broker, and a watch over what remains.

A worker that takes nothing any more looks healthy: its process is there, its connections are open. The broker's
lists tell: somebody rings, and there are threads for it, and nothing is taken.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from kombu.transport import redis, virtual

#: Between two looks, and how long rings wait and nothing is taken until a worker is called deaf.
LOOK_SECONDS, DEAF_SECONDS = 3.0, 30.0

log = structlog.get_logger(__name__)


class ReturningQoS(redis.QoS):
    """Kombu's count of what has been taken, in which an acknowledgement that fails counts as one all the same.

    Kombu's own keeps the message's place for ever. Once as many have failed as there are threads, it asks for
    nothing more, and never finds out that its connection is gone. The message itself is given out again when its
    visibility is over, as after a kill.
    """

    def ack(self, delivery_tag: str) -> None:
        """Raises what the broker's client raises."""
        try:
            super().ack(delivery_tag)
        except Exception:
            virtual.QoS.ack(self, delivery_tag)
            raise

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Likewise."""
        try:
            super().reject(delivery_tag, requeue=requeue)
        except Exception:
            virtual.QoS.ack(self, delivery_tag)
            raise


def keep_places() -> None:
    """Have every consumer of this process count as `ReturningQoS` does."""
    redis.Channel.QoS = ReturningQoS


class Hearing:
    """Whether a worker of so many threads takes what it is rung for.

    `is_rung_for` says whether rings wait in its queues that it is to take: False where the broker does not say,
    and once it was told to end.
    """

    def __init__(
        self, threads: int, is_rung_for: Callable[[], bool], *, deaf_seconds: float = DEAF_SECONDS
    ) -> None:
        self._threads, self._is_rung_for, self._deaf_seconds = threads, is_rung_for, deaf_seconds
        self._lock = threading.Lock()
        self._running, self._has_taken = 0, False
        self._unheard_since: float | None = None

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around every step that is taken."""
        with self._lock:
            self._running += 1
            self._has_taken = True
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1

    def is_deaf(self, now: float) -> bool:
        """To be asked every few seconds. `now` is of a monotonic clock, in seconds."""
        is_rung_for = self._is_rung_for()
        with self._lock:
            has_taken, self._has_taken = self._has_taken, False
            if has_taken or not is_rung_for or self._running >= self._threads:
                self._unheard_since = None
            elif self._unheard_since is None:
                self._unheard_since = now
            return self._unheard_since is not None and now - self._unheard_since >= self._deaf_seconds

    def watch(
        self,
        begin_anew: Callable[[], None],
        *,
        heard: Callable[[], None] = lambda: None,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """Look from a thread of its own, and have the worker begun anew once it is deaf.

        `heard` is called at each look at which nothing waits for it in vain.
        """

        def look() -> None:
            while True:
                time.sleep(look_seconds)
                try:
                    if self.is_deaf(time.monotonic()):
                        log.error("worker_deaf", seconds=self._deaf_seconds)
                        begin_anew()
                        return
                    if self._unheard_since is None:
                        heard()
                except Exception:
                    # Whatever a broker answers, the next look may find it well.
                    log.exception("hearing_not_known")

        threading.Thread(target=look, name="hearing", daemon=True).start()
