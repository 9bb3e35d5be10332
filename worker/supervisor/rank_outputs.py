"""What one ended rank left in its folder for outputs: into the object store, and rows that say so.

While it cannot be had or kept, it is tried again, and the container stays as it is; but not for ever, since the
rank's slot is held meanwhile. Then the record says what became of it, and the rank ends as it did.
"""

from __future__ import annotations

import contextlib

import structlog

from core.errors import EngineError, NodeUnreachable, NoObjectStore, NotFound, Superseded, Unavailable
from core.failpoints import Point, failpoint
from core.jobs.object_paths import rank_outputs_path
from core.jobs.outputs import CollectedOutputs, record_outputs, recorded_outputs
from core.output_packing import Limits, OutputPacking
from worker.engine import RankKey
from worker.output_folder import OUTPUT_FOLDER, UNTOUCHED_AT
from worker.supervisor.scope import NodeScope
from worker.supervisor.waiting import Patience

log = structlog.get_logger(__name__)


class RankOutputsCollector:
    """Of one rank, whose container has ended and is there."""

    def __init__(self, scope: NodeScope, key: RankKey, container_id: str) -> None:
        self._scope, self._key, self._container_id = scope, key, container_id
        self._row = (key.job_id, key.attempt, key.rank)
        settings = scope.settings
        self._limits = Limits(settings.output_max_bytes, settings.output_max_files)

    async def may_be_there(self) -> bool:
        """Whether the folder is to be read: a short call, and no for most ranks. Raises NodeUnreachable."""
        try:
            changed_at = await self._scope.engine.changed_at(self._container_id, OUTPUT_FOLDER)
        except NodeUnreachable:
            raise
        except EngineError as error:
            log.warning("outputs_not_seen", job=self._key.job_id, rank=self._key.rank, why=str(error))
            return True
        return changed_at is not None and changed_at != UNTOUCHED_AT

    async def collect(self) -> str:
        """Collect what there is; a sentence where not all of it is kept, or "".

        Raises NodeUnreachable: then whoever comes next begins again.
        """
        known = await self._scope.verb(recorded_outputs, self._scope.database, *self._row)
        if known is not None:
            # Whoever was here before came so far, and died.
            return known.error
        found = await self._patiently_kept(rank_outputs_path(*self._row))
        if not (found.files or found.left_out_count or found.error):
            return ""
        failpoint(Point.OUTPUTS_WRITTEN, self._key.job_id, f"rank-{self._key.rank}")
        await self._record(found)
        failpoint(Point.OUTPUTS_RECORDED, self._key.job_id, f"rank-{self._key.rank}")
        return found.error

    async def _patiently_kept(self, path: str) -> CollectedOutputs:
        patience = Patience(self._scope.settings.output_patience_seconds)
        while True:
            try:
                return await self._kept(path)
            except (EngineError, Unavailable) as error:
                if isinstance(error, NodeUnreachable):
                    # Raises the same where the engine is away; else it is this answer that does not come.
                    await self._scope.engine.observe(self._container_id)
                log.warning("outputs_put_off", job=self._key.job_id, rank=self._key.rank, why=str(error))
                if isinstance(error, NoObjectStore) or patience.is_over:
                    return CollectedOutputs("", 0, 0, 0, f"the outputs are not kept: {_why(error)}", ())
            await patience.pause()

    async def _kept(self, path: str) -> CollectedOutputs:
        pieces = self._scope.engine.archive(self._container_id, OUTPUT_FOLDER)
        packing, size = await self._scope.process.collecting.collect(pieces, path, self._limits)
        error = "" if packing.is_whole else _too_much(packing)
        files = packing.files
        return CollectedOutputs(
            path if files else "", size, packing.byte_count, packing.other_count, error, tuple(files)
        )

    async def _record(self, found: CollectedOutputs) -> None:
        try:
            await self._scope.verb(record_outputs, self._scope.database, *self._row, found)
        except Superseded as error:
            log.info("outputs_superseded", job=self._key.job_id, rank=self._key.rank, why=str(error))
        except NotFound as error:
            log.info("outputs_of_nobody", job=self._key.job_id, rank=self._key.rank, why=str(error))
            if found.path:
                with contextlib.suppress(Unavailable):
                    await self._scope.process.collecting.remove(found.path)
        else:
            log.info(
                "outputs_collected",
                job=self._key.job_id,
                rank=self._key.rank,
                files=len(found.files),
                bytes=found.byte_count,
                error=found.error,
            )


def _why(error: EngineError | Unavailable) -> str:
    """What of an error is for users to read: a store's own words name its hosts and folders."""
    if isinstance(error, EngineError | NoObjectStore):
        return str(error)
    return "the object store does not answer"


def _too_much(packing: OutputPacking) -> str:
    limits, at_least = packing.limits, "at least " if packing.is_cut else ""
    return (
        f"the outputs are {at_least}{packing.found_bytes} bytes in {packing.found_count} files, and"
        f" {limits.byte_count} bytes in {limits.file_count} files are allowed:"
        f" {len(packing.files)} of the files, {packing.byte_count} bytes, are kept"
    )
