"""The worker's processes: the Celery worker for short steps, and beat. The supervisor has its own folder."""

from __future__ import annotations

import socket

from celery import Celery

from core.queue import CONTROL_QUEUE, OBJECTS_QUEUE, group_queue, make_celery
from core.settings import Settings


def make_app(settings: Settings) -> Celery:
    """The Celery application with the worker's tasks."""
    from worker.tasks import register  # noqa: PLC0415  # tasks need the application they are made for

    app = make_celery(settings.broker_url, sweep_seconds=settings.sweep_seconds)
    register(app, settings)
    return app


def run_worker(settings: Settings) -> None:
    """Serve the control queue, the worker group's engines and, where it has one, the object store until SIGTERM.

    Steps under way are finished.
    Threads, not processes: a step waits for an engine nearly all of its time.
    """
    queues = [CONTROL_QUEUE, group_queue(settings.worker_group)]
    if settings.object_store_url:
        queues.append(OBJECTS_QUEUE)
    make_app(settings).worker_main(
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


def run_beat(settings: Settings) -> None:
    """Ring the periodic steps until SIGTERM. The schedule is in memory: it has nothing worth keeping."""
    make_celery(settings.broker_url, sweep_seconds=settings.sweep_seconds).start(
        ["beat", "--scheduler=celery.beat:Scheduler", "--loglevel=WARNING"]
    )
