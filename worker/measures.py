"""What workers and supervisors count and time of themselves, and the small HTTP listener that says so.

A worker runs its steps in threads of one process and a supervisor is one process, so each has one set of counters.
The listener is a thread of its own, off unless a port is set. It knows no keys: its address is this host's own, or
one that only Prometheus reaches.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from prometheus_client import Counter, Gauge, Histogram, Summary, start_http_server

from core.errors import EngineError
from core.tracing import call_span

log = structlog.get_logger(__name__)

_CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_STEP_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_PULL_SECONDS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0)

#: Buckets for calls, not for engines: with a thousand engines each bucket of each would be a series.
ENGINE_CALL_SECONDS = Histogram(
    "longshore_engine_call_seconds",
    "Calls of engines, by call; of streams, until they begin.",
    ["call"],
    buckets=_CALL_SECONDS,
)
ENGINE_SECONDS = Summary(
    "longshore_engine_seconds", "The same calls, by engine and call: how many, and their time.", ["engine", "call"]
)
ENGINE_ERRORS = Counter(
    "longshore_engine_errors",
    "Calls that an engine refused, or did not answer (NODE_UNREACHABLE).",
    ["engine", "call", "reason"],
)
STEP_SECONDS = Histogram(
    "longshore_step_seconds",
    "Steps of workers by how they ended: done, left_out (another of the kind is enough), superseded, put_off"
    " (tried again), failed (a fault of ours).",
    ["step", "outcome"],
    buckets=_STEP_SECONDS,
)
SWEPT = Counter(
    "longshore_swept_rings",
    "Steps that a sweep found due and rang for: their own ring was late or lost.",
    ["step"],
)
LOG_BYTES = Counter("longshore_log_captured_bytes", "Output of ranks that was stored, before compression.")
PULL_SECONDS = Histogram(
    "longshore_pull_seconds", "Image pulls, by outcome: done, or why not.", ["outcome"], buckets=_PULL_SECONDS
)
EVENTS = Counter("longshore_engine_events", "Events of containers that engines told of.", ["action"])
FOUND_BY_LISTING = Counter(
    "longshore_found_by_listing",
    "What a listing found that no event had told of: running containers that nobody watched (at a supervisor's"
    " start all of them), ends whose removal was left, rows without a container, containers without a row.",
    ["what"],
)
NODES_HELD = Gauge("longshore_supervisor_nodes_held", "Nodes whose lease this supervisor has.")
RANKS_WATCHED = Gauge("longshore_supervisor_ranks_watched", "Containers that it watches.")

#: What of an EngineError is an answer rather than a fault: the container had ended already.
_ANSWERS: Final = frozenset({"CONTAINER_GONE"})


class CallTimer:
    """Times one call of one engine, and counts it once."""

    def __init__(self, engine: str, call: str) -> None:
        self._engine, self._call = engine, call
        self._begun = time.perf_counter()
        self._is_noted = False

    def note(self) -> None:
        """It has come to its answer; what follows is not the engine's time."""
        if not self._is_noted:
            self._is_noted = True
            seconds = time.perf_counter() - self._begun
            ENGINE_CALL_SECONDS.labels(self._call).observe(seconds)
            ENGINE_SECONDS.labels(self._engine, self._call).observe(seconds)


@contextmanager
def engine_call(engine: str, call: str) -> Iterator[CallTimer]:
    """Measure and trace a call at an engine's door: its time, and what was raised of it."""
    timer = CallTimer(engine, call)
    try:
        with call_span(f"engine: {call}", engine=engine):
            yield timer
    except EngineError as error:
        if error.reason not in _ANSWERS:
            ENGINE_ERRORS.labels(engine, call, error.reason).inc()
        raise
    finally:
        timer.note()


def serve_measures(host: str, port: int) -> None:
    """Answer HTTP with what this process has measured, from now on; nothing where the port is 0.

    A port that is taken stops no work: it is logged, and Prometheus finds nothing there.
    """
    if not port:
        return
    try:
        start_http_server(port, host)
    except OSError as error:
        log.error("measures_not_served", host=host, port=port, why=str(error))
    else:
        log.info("measures_served", host=host, port=port)
