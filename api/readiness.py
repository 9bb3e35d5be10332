"""Whether what this process stands on is there, part by part, within a time of its own.

A part that hangs is asked once: whoever comes meanwhile waits for the same answer, no longer than the deadline. So
however often and by however many it is asked, a probe costs one thread and one connection for each part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from api.kept import Kept
from core.database import Database
from core.errors import Unavailable
from core.queue import Bell
from core.schema_revision import schema_revision
from migrations.head import head

log = structlog.get_logger(__name__)

#: Shorter than what asks commonly waits.
DEADLINE_SECONDS: Final = 1.5

DATABASE: Final = "database"
MIGRATIONS: Final = "migrations"
BROKER: Final = "broker"
PARTS: Final = (DATABASE, MIGRATIONS, BROKER)
READY: Final = "ready"


class Readiness:
    """The parts of one process. What is said of a part is for anybody: it names no address."""

    def __init__(self, database: Database, bell: Bell, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._database, self._bell = database, bell
        self._deadline_seconds = deadline_seconds
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="readiness")
        self._of_parts = {
            DATABASE: Kept(self._threads, self._of_database),
            BROKER: Kept(self._threads, self._of_broker),
        }

    async def check(self, exclude: Collection[str] = ()) -> dict[str, str]:
        """What each part says that is not excluded: `ready`, or in a sentence why it is not."""
        asked = []
        if not {DATABASE, MIGRATIONS} <= set(exclude):
            asked.append(self._of_parts[DATABASE].ask())
        if BROKER not in exclude:
            asked.append(self._of_parts[BROKER].ask())
        if asked:
            # Looked at below, not cancelled: others may wait for the same.
            await asyncio.wait([asyncio.wrap_future(each) for each in asked], timeout=self._deadline_seconds)
        said = dict.fromkeys(PARTS, f"did not answer within {self._deadline_seconds:g} s")
        for each in asked:
            if not each.done():
                continue
            if (fault := each.exception()) is not None:
                log.error("not_ready", error=repr(fault))
                said |= dict.fromkeys(PARTS, "could not be asked")
            else:
                said |= each.result().value
        return {part: word for part, word in said.items() if part not in exclude}

    def close(self) -> None:
        """Ask nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _of_database(self) -> dict[str, str]:
        wanted = head()
        try:
            found = schema_revision(self._database)
        except Unavailable as error:
            log.warning("not_ready", part=DATABASE, error=str(error))
            return {DATABASE: "does not answer", MIGRATIONS: "not known: the database does not answer"}
        # One that is further was migrated for a newer version, beside which this one still serves.
        if found < wanted:
            log.warning("not_ready", part=MIGRATIONS, found=found, wanted=wanted)
            why = (
                f"the database is at {found or 'none'} and this version needs {wanted}: run `python -m migrations`"
            )
            return {DATABASE: READY, MIGRATIONS: why}
        return {DATABASE: READY, MIGRATIONS: READY}

    def _of_broker(self) -> dict[str, str]:
        try:
            self._bell.waiting()
        except Unavailable as error:
            log.warning("not_ready", part=BROKER, error=str(error))
            return {BROKER: "does not answer"}
        return {BROKER: READY}


def faults_in(said: Mapping[str, str]) -> dict[str, str]:
    """Those of the parts that are not ready, and why."""
    return {part: word for part, word in said.items() if word != READY}
