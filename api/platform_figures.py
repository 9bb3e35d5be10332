"""The figures of the whole platform as one process of the API has read them last.

Read by one thread at a time and kept for some seconds: however many scrape, the database is asked as often as by
one. Where it does not answer in time nothing is said in its place; what the process itself measures is said then
too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import structlog
from prometheus_client import Metric

from api.platform_metrics import figures_metrics, rings_metrics, up_metrics
from core.database import Database
from core.errors import Unavailable
from core.figures import Figures, read_figures
from core.queue import Bell

log = structlog.get_logger(__name__)

KEPT_SECONDS: Final = 5.0
#: Shorter than what Prometheus waits by default.
_PATIENCE_SECONDS: Final = 6.0


@dataclass(frozen=True)
class _Read:
    """What was read, and when (monotonic clock). None: it could not be."""

    at: float
    figures: Figures | None
    rings: dict[str, int] | None


class PlatformFigures:
    """Safe to ask from many threads."""

    def __init__(
        self,
        database: Database,
        bell: Bell,
        *,
        kept_seconds: float = KEPT_SECONDS,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        self._database, self._bell = database, bell
        self._kept_seconds, self._patience_seconds = kept_seconds, patience_seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="figures")
        self._lock = threading.Lock()
        self._reading: Future[_Read] | None = None

    def metrics(self) -> Iterator[Metric]:
        """All that there is to be said, read anew if it is time for that."""
        read = self._last()
        now = time.monotonic()
        yield from up_metrics(is_up=bool(read and read.figures), age_seconds=now - read.at if read else 0.0)
        yield from rings_metrics(read.rings if read else None)
        if read and read.figures:
            yield from figures_metrics(read.figures)

    def close(self) -> None:
        """Read nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _last(self) -> _Read | None:
        with self._lock:
            reading = self._reading
            if reading is None or (reading.done() and self._is_old(reading)):
                reading = self._reading = self._thread.submit(self._read)
        try:
            return reading.result(self._patience_seconds)
        except TimeoutError:
            log.warning("figures_not_read", why=f"not within {self._patience_seconds:g} s")
            return None

    def _is_old(self, reading: Future[_Read]) -> bool:
        return reading.exception() is not None or time.monotonic() - reading.result().at >= self._kept_seconds

    def _read(self) -> _Read:
        figures, rings = None, None
        try:
            figures = read_figures(self._database)
        except Unavailable as error:
            log.warning("figures_not_read", why=str(error))
        try:
            rings = self._bell.waiting(figures.worker_groups if figures else ())
        except Unavailable as error:
            log.warning("rings_not_counted", why=str(error))
        return _Read(time.monotonic(), figures, rings)
