"""The worker's processes: the Celery worker for short steps, and beat. The supervisor has its own folder."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence

from celery import Celery
from celery.signals import after_task_publish
from celery.worker import state

from core.queue import CONTROL_QUEUE, OBJECTS_QUEUE, group_queue, make_celery, unanswered
from core.settings import Settings
from worker.hearing import LOOK_SECONDS, Hearing, keep_places
from worker.heartbeat import Heartbeat
from worker.tasks import register


def run_worker(settings: Settings) -> None:
    """Serve the control queue, the worker group's engines and, where it has one, the object store until SIGTERM.

    Steps under way are finished. One that is deaf begins anew, as after a kill.
    Threads, not processes: a step waits for an engine nearly all of its time.
    """
    queues = [CONTROL_QUEUE, group_queue(settings.worker_group)]
    if settings.object_store_url:
        queues.append(OBJECTS_QUEUE)
    app = make_celery(settings.broker_url, sweep_seconds=settings.sweep_seconds)
    hearing = Hearing(settings.worker_threads, lambda: is_rung_for(app, queues))
    register(app, settings, hearing)
    keep_places()
    hearing.watch(begin_anew, heard=Heartbeat(settings.heartbeat_file, LOOK_SECONDS).beat)
    app.worker_main(
        [
            "worker",
            "--pool=threads",
            f"--concurrency={settings.worker_threads}",
            f"--queues={','.join(queues)}",
            f"--hostname={settings.worker_group}@{socket.gethostname()}",
            "--loglevel=WARNING",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )


def is_rung_for(app: Celery, queues: Sequence[str]) -> bool:
    """Whether rings wait there for this process. Told to end, it finishes what it does and takes none."""
    return state.should_stop is None and any(unanswered(app, queues).values())


def begin_anew() -> None:
    """This process again from its beginning, under the same id: nobody has to start it."""
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # an image needs no shell


def run_beat(settings: Settings) -> None:
    """Ring the periodic steps until SIGTERM. The schedule is in memory: it has nothing worth keeping."""
    heartbeat = Heartbeat(settings.heartbeat_file, settings.sweep_seconds)

    def has_rung(**_: object) -> None:
        heartbeat.beat()

    after_task_publish.connect(has_rung, weak=False)
    make_celery(settings.broker_url, sweep_seconds=settings.sweep_seconds).start(
        ["beat", "--scheduler=celery.beat:Scheduler", "--loglevel=WARNING"]
    )
