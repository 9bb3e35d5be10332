"""A notebook while it runs: what papermill has written of it, kept as it grows, for those who want to see it."""

from __future__ import annotations

import asyncio
import time

import orjson

from core.errors import EngineError
from core.jobs.ending import keep_running_notebook
from worker.engine import RankKey
from worker.executors.notebook import EXECUTED_NOTEBOOK
from worker.supervisor.scope import NodeScope
from worker.supervisor.waiting import is_set_within

#: A large notebook is read seldom: reading takes no more than this part of the time.
_MOST_OF_THE_TIME = 0.05


async def keep_while_running(scope: NodeScope, key: RankKey, container_id: str, ended: asyncio.Event) -> None:
    """Until the container has ended, or this is cancelled. What cannot be read now is read the next time."""
    settings = scope.settings
    known, pause = b"", settings.notebook_seconds
    while not await is_set_within(ended, pause):
        begun = time.monotonic()
        try:
            content = await scope.engine.read_file(
                container_id, EXECUTED_NOTEBOOK, limit_bytes=settings.notebook_max_bytes
            )
        except EngineError:
            content = None
        if content and content != known and _is_whole(content):
            database, job, attempt, rank = scope.database, key.job_id, key.attempt, key.rank
            await scope.verb(keep_running_notebook, database, job, attempt, rank, content)
            known = content
        pause = max(settings.notebook_seconds, (time.monotonic() - begun) / _MOST_OF_THE_TIME)


def _is_whole(content: bytes) -> bool:
    """Papermill may be writing it just now."""
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError:
        return False
    return True
