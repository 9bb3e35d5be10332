"""Keeps the object store and the rows in step: ended attempts' output goes there, what is doomed goes from there.

What is kept no longer is doomed here too. One step is bounded work and may be repeated, or done by two workers at
once: objects are written before a row says so, and removed after.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice

import structlog

from core.database import Database
from core.errors import NotFound, Superseded, Unavailable
from core.failpoints import Point, failpoint
from core.jobs.object_paths import KINDS, Owner, owner_of_path
from core.jobs.objects import doomed_folders, forget_doomed, jobs_gone
from core.jobs.packing import (
    AttemptKey,
    RankChunks,
    WrittenObject,
    chunks_of_ranks,
    delete_chunks,
    find_due,
    read_chunks,
    record_packed,
)
from core.jobs.retention import (
    Retention,
    find_expired,
    remove_expired,
    remove_old_notebooks,
    removed_among,
)
from core.log_packing import Packing, encode_index
from core.object_store import ObjectStore

#: Each part of a step begins nothing further after so long; what it does at the most: attempts that it looks at,
#: folders that it empties, or dooms, and notebooks, of up to `notebook_max_bytes` each, that it removes.
_STEP_SECONDS = 5.0
_ATTEMPTS, _FOLDERS, _NOTEBOOKS = 500, 200, 20
#: The hunt for objects of no job begins anew after so long; objects younger than the grace are left alone.
HUNT_SECONDS, HUNT_GRACE_SECONDS = 6 * 3600.0, 3600.0
#: Objects that a step of the hunt looks at.
_HUNTED = 1000

#: Without a word from the accounts.
KEEP_ALL = Retention()

log = structlog.get_logger(__name__)


class Packer:
    """The steps of one worker process; one at a time. `compact_after_seconds` as in the settings."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        *,
        compact_after_seconds: float,
        retention: Retention = KEEP_ALL,
        hunt_seconds: float = HUNT_SECONDS,
        hunt_grace_seconds: float = HUNT_GRACE_SECONDS,
    ) -> None:
        self._database, self._store = database, store
        self._settled_seconds, self._retention = compact_after_seconds, retention
        self._hunt_seconds, self._grace_seconds = hunt_seconds, hunt_grace_seconds
        self._searched_to: AttemptKey | None = None
        #: folders that the store has refused to empty: tried again when all others have been
        self._put_off: set[str] = set()
        self._hunt: Iterator[str] = iter(())
        # Not at once: a process that is started again and again would hunt all the time.
        self._next_hunt = time.monotonic() + hunt_seconds

    def step(self) -> None:
        """Remove what is doomed, doom what is kept no longer, pack what is due, hunt for what nobody knows of.

        Raises Unavailable, at the end: what the store refuses must not keep the rest from it.
        """
        refused = self._remove_doomed()
        self._pack_due()
        self._hunt_on()
        if refused is not None:
            raise refused

    def _remove_doomed(self) -> Unavailable | None:
        """What is doomed goes; what the store has refused of it, if anything."""
        begun, folders = time.monotonic(), doomed_folders(self._database, _FOLDERS, but=self._put_off)
        if len(folders) < _FOLDERS:
            self._put_off.clear()
        refused: Unavailable | None = None
        for folder in folders:
            if time.monotonic() - begun > _STEP_SECONDS:
                return refused
            try:
                self._store.remove(self._store.paths_below(folder))
            except Unavailable as error:
                refused = refused or error
                self._put_off.add(folder)
                continue
            failpoint(Point.OBJECTS_REMOVED, folder)
            forget_doomed(self._database, folder)
            log.info("objects_removed", folder=folder)
        if refused is None and len(folders) < _FOLDERS:
            # Else there is more of it than a step can remove: no more is added until that is done.
            self._remove_expired()
        return refused

    def _remove_expired(self) -> None:
        begun = time.monotonic()
        for expired in find_expired(self._database, self._retention, _FOLDERS):
            if time.monotonic() - begun > _STEP_SECONDS:
                return
            if remove_expired(self._database, expired):
                failpoint(Point.OUTPUT_REMOVED, expired.job_id)
                log.info("output_removed", job=expired.job_id, attempt=expired.attempt, why=expired.because)
        if count := remove_old_notebooks(self._database, self._retention, _NOTEBOOKS):
            log.info("notebooks_removed", count=count)

    def _pack_due(self) -> None:
        begun = time.monotonic()
        search = find_due(self._database, self._searched_to, settled_seconds=self._settled_seconds, most=_ATTEMPTS)
        for found in search.due:
            if time.monotonic() - begun > _STEP_SECONDS:
                return
            # Whatever becomes of it: one that the store refuses must not keep the others from it.
            self._searched_to = (found.job_id, found.attempt)
            try:
                if not found.is_packed:
                    self._pack(found.job_id, found.attempt)
                delete_chunks(self._database, found.job_id, found.attempt)
            except Superseded as error:
                log.info("packing_superseded", job=found.job_id, attempt=found.attempt, why=str(error))
            except Unavailable:
                raise
            except Exception:
                log.exception("packing_failed", job=found.job_id, attempt=found.attempt)
        self._searched_to = search.searched_to

    def _pack(self, job_id: str, attempt: int) -> None:
        planned = chunks_of_ranks(self._database, job_id, attempt)
        written = [self._write(chunks) for chunks in planned]
        failpoint(Point.OBJECTS_WRITTEN, job_id)
        try:
            record_packed(self._database, job_id, attempt, written)
        except NotFound as error:
            # Nothing leads to them any more, and whoever else packs the attempt comes to the same.
            self._store.remove(chunks.path for chunks in planned)
            raise Superseded(str(error)) from error
        failpoint(Point.OUTPUT_PACKED, job_id)
        log.info("output_packed", job=job_id, attempt=attempt, objects=len(written))

    def _write(self, chunks: RankChunks) -> WrittenObject:
        packing = Packing()
        size = self._store.write(chunks.path, packing.parts(read_chunks(self._database, chunks)))
        return WrittenObject(chunks, encode_index(packing.blocks), size)

    def _hunt_on(self) -> None:
        """Go on with the search for what a crash has left of jobs that are gone, and a worker that was frozen of
        attempts that are kept no longer."""
        if time.monotonic() >= self._next_hunt:
            self._hunt, self._next_hunt = self._all_paths(), time.monotonic() + self._hunt_seconds
        try:
            paths = list(islice(self._hunt, _HUNTED))
        except Unavailable:
            self._hunt = iter(())
            raise
        owners = {path: owner for path in paths if (owner := owner_of_path(path)) is not None}
        strays = [
            path
            for path, is_stray in zip(owners, self._are_strays(list(owners.values())), strict=True)
            if is_stray
        ]
        self._store.remove(strays)
        if strays:
            log.warning("stray_objects_removed", count=len(strays), first=strays[0])

    def _are_strays(self, owners: Sequence[Owner]) -> list[bool]:
        gone = jobs_gone(self._database, {owner.job_id for owner in owners}) if owners else set()
        removed = {
            kind: removed_among(
                self._database, kind, {(owner.job_id, owner.attempt) for owner in owners if owner.kind == kind}
            )
            for kind in KINDS
        }
        return [owner.job_id in gone or (owner.job_id, owner.attempt) in removed[owner.kind] for owner in owners]

    def _all_paths(self) -> Iterator[str]:
        for kind in KINDS:
            yield from self._store.paths_below(f"{kind}/", older_than_seconds=self._grace_seconds)
