"""The Celery tasks: one short, repeatable step each, by the names in `core.queue`. No logic lives here.

A task body is one of the three doors where any exception may be caught: what it was for is still in rows,
so the sweeper rings again, and the message is done with.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import structlog
from celery import Celery

from core.database import Database
from core.errors import NodeUnreachable, Superseded, Unavailable
from core.failpoints import Point, failpoint
from core.jobs.deadlines import enforce_deadlines
from core.jobs.idempotency import forget_old_keys
from core.jobs.losing import lose_silent_nodes
from core.jobs.placing import LaunchOrder
from core.jobs.retention import Retention
from core.jobs.stopping import Settled
from core.jobs.sweeping import Due, find_due, live_groups
from core.nodes import get_node
from core.object_store import ObjectStore
from core.queue import (
    LAUNCH,
    NETWORK,
    OBJECTS_QUEUE,
    PACK,
    SCHEDULE,
    START,
    STOP,
    SWEEP,
    Bell,
    group_queue,
    unanswered,
)
from core.settings import Settings
from core.tallies import count_marks
from core.tracing import job_span, note_step, now_ns, tell
from worker.docker_engine.steps import DockerSteps
from worker.docker_engine.transport import EngineAccess
from worker.engine import Engine
from worker.hearing import Hearing
from worker.launcher import Launcher
from worker.measures import STEP_SECONDS, SWEPT
from worker.pacing import Paced
from worker.packer import Packer
from worker.scheduler import Passes, run_pass
from worker.stopper import stop_ranks

#: A worker group with more rings than this to answer is busy, not deaf.
_BUSY_RINGS = 20
#: Of the time: a sweep over a hundred thousand ranks takes longer than beat waits before it asks for the next.
_SWEEPING_SHARE = 0.2
#: Likewise, of the time of one of a worker's threads: what is behind may be behind for long.
_PACKING_SHARE = 0.5
#: Steps whose first argument is a job's id.
_OF_ONE_JOB = frozenset({LAUNCH, NETWORK, START, STOP})

log = structlog.get_logger(__name__)


class Engines:
    """The engines that this process has spoken to; one client each, shared by its threads."""

    def __init__(self, timeout_seconds: float, access: EngineAccess | None = None) -> None:
        self._timeout_seconds = timeout_seconds
        self._access = access or EngineAccess()
        self._known: dict[str, Engine] = {}
        self._lock = threading.Lock()
        #: one for each engine: whoever waits for one that does not answer keeps nobody from the others
        self._locks: dict[str, threading.Lock] = {}

    def __call__(self, endpoint: str) -> Engine:
        """The engine at an endpoint. Raises NodeUnreachable."""
        with self._lock:
            known = self._known.get(endpoint)
            connecting = self._locks.setdefault(endpoint, threading.Lock())
        if known is not None:
            return known
        with connecting:
            if endpoint not in self._known:
                self._known[endpoint] = DockerSteps(
                    endpoint, timeout_seconds=self._timeout_seconds, access=self._access
                )
            return self._known[endpoint]


def register(app: Celery, settings: Settings, hearing: Hearing) -> None:
    """Give `app` the worker's tasks; `hearing` is told of each that is taken."""
    database = Database(settings.database_url, pool_size=settings.worker_threads + 2)
    bell = Bell(app)
    engines = Engines(settings.engine_timeout_seconds, EngineAccess.of(settings))
    launcher = Launcher(database, bell, settings, engines)

    passes = Passes()

    def schedule(pool_row: int) -> None:
        # One launch goes on here, if its engine is ours: for a single job that saves a way through the
        # broker. Whatever becomes of this process, its rows say PLACED and the sweeper rings.
        ours: list[LaunchOrder] = []

        def one_pass() -> None:
            begun_ns = now_ns()
            for order in run_pass(database, pool_row, settings.network_range):
                note_step(SCHEDULE, order.job_id, begun_ns)
                if not ours and order.worker_group == settings.worker_group:
                    ours.append(order)
                else:
                    bell.launch(order.worker_group, order.job_id, order.attempt, order.node_id)

        passes.run(pool_row, one_pass)
        for order in ours:
            with job_span(LAUNCH, order.job_id, attempt=order.attempt, node=order.node_id):
                launcher.launch(order.job_id, order.attempt, order.node_id)

    def start(job_id: str, attempt: int, node_id: int) -> None:
        launcher.start(job_id, attempt, node_id, get_node(database, node_id).endpoint)

    def stop(job_id: str, attempt: int, node_id: int) -> None:
        stop_ranks(database, bell, engines, job_id, attempt, node_id, settings.worker_group)

    sweeps = Paced(_SWEEPING_SHARE, least_seconds=settings.sweep_seconds / 2)

    def sweep() -> bool:
        return sweeps.run(lambda: _sweep(app, database, bell, settings))

    steps: dict[str, Callable[..., object]] = {
        SCHEDULE: schedule,
        LAUNCH: launcher.launch,
        NETWORK: launcher.make_network,
        START: start,
        STOP: stop,
        SWEEP: sweep,
        **_packing(database, settings),
    }
    for name, step in steps.items():
        app.task(name=name)(_guarded(name, step, hearing))


def _packing(database: Database, settings: Settings) -> dict[str, Callable[..., object]]:
    """The step of a worker that reaches the object store."""
    if not settings.object_store_url:
        return {}
    store = ObjectStore(settings.object_store_url)
    packer = Packer(
        database,
        store,
        compact_after_seconds=settings.compact_after_seconds,
        retention=Retention(settings.retention_days, settings.retention_bytes),
    )
    paced = Paced(_PACKING_SHARE)

    def pack() -> bool:
        return paced.run(packer.step)

    return {PACK: pack}


def _sweep(app: Celery, database: Database, bell: Bell, settings: Settings) -> None:
    _ring_settled(bell, enforce_deadlines(database))
    _ring_settled(bell, lose_silent_nodes(database, settings.lost_after_seconds))
    queues = {group: group_queue(group) for group in live_groups(database)}
    waiting = unanswered(app, (*queues.values(), OBJECTS_QUEUE))
    busy = [group for group, name in queues.items() if waiting[name] > _BUSY_RINGS]
    _ring_due(bell, find_due(database, busy))
    count_marks(database)
    forget_old_keys(database, settings.idempotency_seconds)
    # Never more than one: where no worker reaches the object store, rings for it would heap up.
    if settings.object_store_url and not waiting[OBJECTS_QUEUE]:
        bell.pack()


def _ring_due(bell: Bell, due: Due) -> None:
    for pool_row in due.pools:
        bell.schedule(pool_row)
    for step, ring, orders in (
        (LAUNCH, bell.launch, due.launches),
        (START, bell.start, due.starts),
        (STOP, bell.stop, due.stops),
    ):
        SWEPT.labels(step).inc(len(orders))
        for order in orders:
            ring(order.worker_group, order.job_id, order.attempt, order.node_id)


def _ring_settled(bell: Bell, ended: Iterable[Settled]) -> None:
    for settled in ended:
        for order in settled.stops:
            bell.stop(order.worker_group, order.job_id, order.attempt, order.node_id)
        if settled.slots_freed:
            bell.schedule(settled.pool_row)


def _guarded(name: str, step: Callable[..., object], hearing: Hearing) -> Callable[..., None]:
    """`step` says False where it was left out, for one that is under way or was just made."""
    # From the beginning, so that the first that fails is one more.
    for known in ("done", "failed"):
        STEP_SECONDS.labels(name, known)

    def task(*args: Any) -> None:
        failpoint(Point.STEP_TAKEN, name, *args)
        outcome, begun = "done", time.perf_counter()
        # Whatever is logged within says which job it is about.
        about = {"job": args[0]} if name in _OF_ONE_JOB else {}
        with structlog.contextvars.bound_contextvars(**about), _traced(name, args):
            try:
                with hearing.step():
                    if step(*args) is False:
                        outcome = "left_out"
            except Superseded as error:
                outcome = "superseded"
                log.info("step_superseded", task=name, args=args, why=str(error))
            except (Unavailable, NodeUnreachable) as error:
                outcome = "put_off"
                log.warning("step_put_off", task=name, args=args, why=str(error))
            except Exception:
                outcome = "failed"
                log.exception("step_failed", task=name, args=args)
            tell(outcome=outcome)
        STEP_SECONDS.labels(name, outcome).observe(time.perf_counter() - begun)

    return task


def _traced(name: str, args: tuple[Any, ...]) -> AbstractContextManager[object]:
    """What is done for one job is in its trace."""
    # A ring of another version, or of somebody else, fails where failures are told.
    if name not in _OF_ONE_JOB or len(args) != 3:
        return nullcontext()
    job_id, attempt, node_id = args
    return job_span(name, job_id, attempt=attempt, node=node_id)
