"""How a process counts and times what it does, and says so in Prometheus' text format.

What all processes measure is here; what only one kind of them measures is beside what is measured (`api.measures`,
`worker.measures`).

These counters begin at 0 with their process: Prometheus' `rate` and `increase` know that. What must outlive every
process is counted in rows (`core.tallies`). No label has a value of a user's choice, or one for each job.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Metric,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

#: Where processes that share a port keep their counters, so that whichever is asked says the sum of all. Read
#: when prometheus_client is first imported, and so set before (`api.__main__`).
SHARED_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

disable_created_metrics()  # type: ignore[no-untyped-call]

RINGS = Counter(
    "longshore_rings",
    "Messages to the broker: rung, or lost because it did not take them. A lost one costs a sweep's time.",
    ["step", "outcome"],
)


def exposition(more: Iterable[Metric] = ()) -> bytes:
    """All that this process has measured, or all who share its port, and `more`."""
    registry = CollectorRegistry()
    registry.register(_Given(more))
    folder = os.environ.get(SHARED_FOLDER)
    if folder is None:
        return generate_latest(registry) + generate_latest(REGISTRY)
    _forget_dead(Path(folder))
    MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


class _Given(Collector):
    """Metrics that are there already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def _forget_dead(folder: Path) -> None:
    """Gauges of a process that has died say nothing any more; what it has counted stays counted."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists():
            # As `mark_process_dead`, which another scrape may be at too.
            file.unlink(missing_ok=True)
