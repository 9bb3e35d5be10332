"""The figures of the whole platform as one process of the API has read them last.

Read by one thread at a time and kept for some seconds: however many scrape, database and broker are asked as often
as by one. Of one that does not answer in time nothing is said; what the other has answered, and what the process
itself measures, is said then too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Final, TypeVar

import structlog
from prometheus_client import Metric

from api.kept import Answer, Kept
from api.platform_metrics import figures_metrics, rings_metrics, up_metrics
from core.database import Database
from core.figures import Figures, read_figures
from core.queue import Bell

T = TypeVar("T")

log = structlog.get_logger(__name__)

KEPT_SECONDS: Final = 5.0
#: Shorter than what Prometheus waits by default.
_PATIENCE_SECONDS: Final = 6.0


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
        self._patience_seconds = patience_seconds
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="figures")
        self._figures = Kept(self._threads, self._read_figures, kept_seconds=kept_seconds)
        self._rings = Kept(self._threads, self._count_rings, kept_seconds=kept_seconds)
        #: as the figures had them last
        self._worker_groups: tuple[str, ...] = ()

    def metrics(self) -> Iterator[Metric]:
        """All that there is to be said, read anew if it is time for that."""
        asked_figures, asked_rings = self._figures.ask(), self._rings.ask()
        asked: tuple[Future[Any], ...] = (asked_figures, asked_rings)
        wait(asked, self._patience_seconds)
        figures, rings = self._said(asked_figures, "figures"), self._said(asked_rings, "rings")
        age_seconds = time.monotonic() - figures.at if figures else 0.0
        yield from up_metrics(is_up=figures is not None, age_seconds=age_seconds)
        yield from rings_metrics(rings.value if rings else None)
        if figures:
            yield from figures_metrics(figures.value)

    def close(self) -> None:
        """Read nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _said(self, asked: Future[Answer[T]], what: str) -> Answer[T] | None:
        if not asked.done():
            log.warning("figures_not_read", what=what, why=f"not within {self._patience_seconds:g} s")
            return None
        if (fault := asked.exception()) is not None:
            log.warning("figures_not_read", what=what, why=str(fault))
            return None
        return asked.result()

    def _read_figures(self) -> Figures:
        found = read_figures(self._database)
        self._worker_groups = tuple(found.worker_groups)
        return found

    def _count_rings(self) -> dict[str, int]:
        return self._bell.waiting(self._worker_groups)
