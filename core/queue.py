"""The doorbell: Celery's configuration, and the rings. Losing every message here costs time, never work.

A ring carries ids and no data; what it asks for is found in rows. The settings answer traps that others
fell into: tasks are acknowledged late, one is fetched at a time, and no call waits long for a dead broker.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from celery import Celery
from kombu import Connection
from kombu.exceptions import ChannelError, OperationalError

from core.errors import Unavailable
from core.failpoints import Point, failpoint
from core.measures import RINGS

SCHEDULE = "longshore.schedule"
LAUNCH = "longshore.launch"
START = "longshore.start"
STOP = "longshore.stop"
NETWORK = "longshore.network"
SWEEP = "longshore.sweep"
PACK = "longshore.pack"

CONTROL_QUEUE = "control"
#: The steps that talk to the object store: of the workers that reach it, and no others.
OBJECTS_QUEUE = "objects"
#: Seconds after which an unacknowledged message is given out again. Steps take seconds and may repeat.
_VISIBILITY_SECONDS = 300

#: What goes first, by the broker's own steps (0 before 3 before 6): a gang that has been created, or is to end,
#: is not kept waiting by launches, of which there are as many as there is room. A pass makes more of those.
_PRIORITIES = {START: 0, STOP: 0, NETWORK: 0, SWEEP: 0, SCHEDULE: 3, LAUNCH: 6, PACK: 6}

#: A worker asks a broker that is away again after so long.
_ASK_AGAIN_SECONDS = 1.0
#: Rings for one pool that come within this of each other become one. A pass takes about as long.
_MOMENT_SECONDS = 0.05

log = structlog.get_logger(__name__)

# From the beginning, so that the first that is lost is one more.
for _task in _PRIORITIES:
    for _outcome in ("rung", "lost"):
        RINGS.labels(_task, _outcome)


def group_queue(worker_group: str) -> str:
    """The queue of the steps that talk to the engines of one worker group."""
    return f"engines.{worker_group}"


class _PromptConnection(Connection):
    """Kombu's own pauses grow to half a minute: for so long a worker would not hear a broker that is back."""

    def ensure_connection(self, *args: Any, **options: Any) -> Any:
        pauses = {"interval_start": _ASK_AGAIN_SECONDS, "interval_step": 0, "interval_max": _ASK_AGAIN_SECONDS}
        return super().ensure_connection(*args, **(pauses | options))


def make_celery(broker_url: str, *, sweep_seconds: float = 3.0) -> Celery:
    """The Celery application, without tasks; `worker.tasks` registers them by the names above."""
    app = Celery("longshore", broker=broker_url)
    transport: dict[str, Any] = {
        "visibility_timeout": _VISIBILITY_SECONDS,
        "unacked_restore_throttle": 1,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "health_check_interval": 5,
        "retry_on_timeout": False,
    }
    if not broker_url.startswith("redis+socket"):
        transport["socket_keepalive"] = True
    app.conf.update(
        broker_transport_options=transport,
        # The shortest visibility timeout of any part wins, so all three say the same.
        visibility_timeout=_VISIBILITY_SECONDS,
        result_backend_transport_options={"visibility_timeout": _VISIBILITY_SECONDS},
        broker_connection_retry_on_startup=True,
        # Celery's own is a hundred times, after which a worker ends: no outage may be too long for it.
        broker_connection_max_retries=None,
        broker_connection_timeout=2,
        broker_pool_limit=4,
        task_publish_retry=False,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        task_create_missing_queues=True,
        task_default_queue=CONTROL_QUEUE,
        task_store_errors_even_if_ignored=False,
        beat_schedule={
            "sweep": {
                "task": SWEEP,
                "schedule": sweep_seconds,
                # None expires, although one that comes late is worth nothing: a worker whose clock is ahead of
                # beat's would take none at all. Workers leave out those that come too soon after another.
                "options": {"queue": CONTROL_QUEUE},
            }
        },
    )
    app.amqp.Connection = _PromptConnection
    return app


def rings_waiting(app: Celery, queue_names: Iterable[str]) -> dict[str, int]:
    """How many rings wait in each of these queues. Raises Unavailable where the broker does not answer."""
    found: dict[str, int] = {}
    with app.connection_for_read() as connection:
        faults: tuple[type[BaseException], ...] = (OperationalError, OSError, *connection.connection_errors)
        try:
            # Left to itself it tries for as long as a connection may take, although it is refused at once.
            connection.ensure_connection(max_retries=1, interval_start=0)
            channel: Any = connection.default_channel
            for name in queue_names:
                try:
                    found[name] = int(channel.queue_declare(name, passive=True).message_count)
                except ChannelError:
                    # A queue of this broker that is empty is not there.
                    found[name] = 0
        except faults as error:
            raise Unavailable(f"the broker does not answer: {error}") from error
    return found


def unanswered(app: Celery, queue_names: Iterable[str]) -> dict[str, int]:
    """The same; none where the broker does not answer, so that whoever asks rings once more."""
    names = list(queue_names)
    try:
        return rings_waiting(app, names)
    except Unavailable:
        return dict.fromkeys(names, 0)


class Bell:
    """Rings from a thread of its own, so that no caller ever waits for the broker.

    Schedule rings for one pool are made one where they come close upon each other: the first goes out at
    once, those of the next moment as one at its end. A ring that fails is dropped and logged: the sweeper
    finds what it was for.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._rings: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        #: pools that are to be rung for, and when each may be rung for again; of the thread alone
        self._due: dict[int, float] = {}
        self._rung_at: dict[int, float] = {}
        self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
        self._thread.start()

    def schedule(self, pool_row: int) -> None:
        """Ask for a scheduling pass over a pool."""
        self._rings.put(lambda: self._want(pool_row))

    def launch(self, worker_group: str, job_id: str, attempt: int, node_id: int) -> None:
        """Ask a node's workers to create an attempt's containers there."""
        self._put(LAUNCH, [job_id, attempt, node_id], group_queue(worker_group))

    def network(self, worker_group: str, job_id: str, attempt: int, node_id: int) -> None:
        """Ask the workers of a swarm's manager to make an attempt's network there."""
        self._put(NETWORK, [job_id, attempt, node_id], group_queue(worker_group))

    def start(self, worker_group: str, job_id: str, attempt: int, node_id: int) -> None:
        """Ask a node's workers to start what has been created there."""
        self._put(START, [job_id, attempt, node_id], group_queue(worker_group))

    def stop(self, worker_group: str, job_id: str, attempt: int, node_id: int, *, in_seconds: float = 0.0) -> None:
        """Ask a node's workers to stop an attempt's ranks there, now or when a grace period has passed."""
        self._put(STOP, [job_id, attempt, node_id], group_queue(worker_group), in_seconds)

    def waiting(self, worker_groups: Iterable[str] = ()) -> dict[str, int]:
        """How many rings nobody has taken yet, by queue. Raises Unavailable. It waits for the broker."""
        names = (CONTROL_QUEUE, OBJECTS_QUEUE, *(group_queue(group) for group in worker_groups))
        return rings_waiting(self._app, names)

    def pack(self) -> None:
        """Ask a worker that reaches the object store to bring it and the rows together."""
        self._put(PACK, [], OBJECTS_QUEUE)

    def close(self, timeout_seconds: float = 3.0) -> None:
        """Send what is waiting, then end the thread."""
        self._rings.put(None)
        self._thread.join(timeout_seconds)

    def _put(self, task: str, args: list[Any], queue_name: str, in_seconds: float = 0.0) -> None:
        self._rings.put(lambda: self._send(task, args, queue_name, in_seconds))

    def _send(self, task: str, args: list[Any], queue_name: str, in_seconds: float = 0.0) -> None:
        failpoint(Point.RING_DUE, task, *args)
        try:
            self._app.send_task(
                task,
                args=args,
                queue=queue_name,
                countdown=in_seconds or None,
                priority=_PRIORITIES[task],
                retry=False,
            )
            RINGS.labels(task, "rung").inc()
        except (OperationalError, OSError) as error:
            RINGS.labels(task, "lost").inc()
            log.warning("ring_lost", task=task, args=args, error=str(error))

    def _want(self, pool_row: int) -> None:
        """Ring for a pool now, or a moment after its last ring."""
        if pool_row not in self._due:
            self._due[pool_row] = self._rung_at.get(pool_row, -_MOMENT_SECONDS) + _MOMENT_SECONDS

    def _ring_due(self, *, all_of_them: bool = False) -> float | None:
        """Ring for the pools that are due; seconds until the next one is, None where there is none."""
        now = time.monotonic()
        for pool_row in [pool for pool, at in self._due.items() if all_of_them or at <= now]:
            del self._due[pool_row]
            self._rung_at[pool_row] = now
            self._send(SCHEDULE, [pool_row], CONTROL_QUEUE)
        return max(min(self._due.values()) - now, 0.0) if self._due else None

    def _run(self) -> None:
        wait: float | None = None
        ending = False
        while not ending:
            ring = self._next_ring(wait)
            ending = ring is None
            try:
                if ring is not None:
                    ring()
                wait = self._ring_due(all_of_them=ending)
            except Exception:
                # The thread must outlive any one message; a dead bell would silence the whole process.
                log.exception("ring_failed")

    def _next_ring(self, wait: float | None) -> Callable[[], None] | None:
        """The next ring that is put, or one that does nothing when the wait is over. None ends it all."""
        try:
            return self._rings.get(timeout=wait)
        except queue.Empty:
            return lambda: None
