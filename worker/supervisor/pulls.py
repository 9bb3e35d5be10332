"""Image pulls of one node: each image once, with progress for every job that waits for it."""

from __future__ import annotations

import asyncio
import time

import structlog

from core.errors import EngineError
from core.images import PullFailure, jobs_waiting_for, record_pull, wanted_images
from core.jobs.launching import write_progress
from worker.docker_engine.streams import PullStep
from worker.registry_auth import auth_header
from worker.supervisor.scope import NodeScope

log = structlog.get_logger(__name__)

_AT_ONCE = 3
_REPORT_SECONDS = 0.5


class Pulls:
    """Pulls what rows want. A row stays WANTED until its pull has ended, so a new supervisor begins again."""

    def __init__(self, scope: NodeScope) -> None:
        self._scope = scope
        self._going: dict[str, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def look(self, group: asyncio.TaskGroup) -> None:
        """Begin every wanted pull that is not under way."""
        for image_ref in await self._scope.verb(wanted_images, self._scope.database, self._scope.node.id):
            if image_ref not in self._going:
                self._going[image_ref] = group.create_task(self._pull(image_ref), name=f"pull {image_ref}")

    async def _pull(self, image_ref: str) -> None:
        failure: PullFailure | None = None
        try:
            async with self._places, asyncio.timeout(self._scope.settings.pull_timeout_seconds):
                # It may have been asked for while the pull before was just ending.
                if not await self._scope.engine.has_image(image_ref):
                    await self._fetch(image_ref)
                    log.info("image_pulled", image=image_ref)
        except EngineError as error:
            failure = PullFailure(error.reason, str(error))
        except TimeoutError:
            failure = PullFailure("PULL_TIMEOUT", f"{image_ref}: the pull made no progress or took too long")
        if failure is not None:
            log.warning("pull_failed", image=image_ref, reason=failure.reason, why=failure.message)
        # Forgotten before it is recorded: whoever asks again after that is a new pull.
        del self._going[image_ref]
        orders = await self._scope.verb(record_pull, self._scope.database, self._scope.node.id, image_ref, failure)
        for order in orders:
            self._scope.bell.launch(order.worker_group, order.job_id, order.attempt, order.node_id)

    async def _fetch(self, image_ref: str) -> None:
        headers = auth_header(self._scope.settings.registry_config, image_ref)
        progress = PullProgress()
        reported_at = 0.0
        steps = self._scope.engine.pull(image_ref, headers)
        while True:
            try:
                async with asyncio.timeout(self._scope.settings.pull_stall_seconds):
                    step = await anext(steps)
            except StopAsyncIteration:
                return
            progress.add(step)
            if time.monotonic() - reported_at >= _REPORT_SECONDS:
                reported_at = time.monotonic()
                await self._report(image_ref, progress)

    async def _report(self, image_ref: str, progress: PullProgress) -> None:
        jobs = await self._scope.verb(jobs_waiting_for, self._scope.database, self._scope.node.id, image_ref)
        if jobs:
            status = f"pulling {image_ref}: {progress.percent} %"
            await self._scope.verb(write_progress, self._scope.database, jobs, status, "PULLING")


class PullProgress:
    """How far a pull is, from its steps. Downloading and extracting count a half each; layers by their bytes."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}

    def add(self, step: PullStep) -> None:
        """Take one step into account."""
        if not step.layer:
            return
        done, total = self._layers.get(step.layer, (0, 0))
        match step.status:
            case "Downloading" if step.total_bytes:
                done, total = step.done_bytes, 2 * step.total_bytes
            case "Extracting" if step.total_bytes:
                done, total = step.total_bytes + step.done_bytes, 2 * step.total_bytes
            case "Download complete":
                done = max(done, total // 2)
            case "Pull complete" | "Already exists":
                done, total = max(total, 1), max(total, 1)
            case "Pulling fs layer" | "Waiting":
                total = max(total, 1)
        self._layers[step.layer] = (done, total)

    @property
    def percent(self) -> int:
        """0 to 100."""
        total = sum(size for _, size in self._layers.values())
        return 100 * sum(done for done, _ in self._layers.values()) // total if total else 0
