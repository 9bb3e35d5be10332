"""Image pulls of one node: each image once for each credential, with progress for every job that waits for it.

A pull with an account's own secret asks the registry first, and what not everybody may have is recorded as
private before it comes. An image that is there already is asked for again where it is private, and not pulled.

A registry that asks to wait, or does not answer, is asked again with growing delays, for as long as a job waits
and the time for a pull lasts. Each job's own clock (`timeouts.pull`) runs meanwhile, and ends it with these words.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping

import structlog

from core.errors import EngineError, NodeUnreachable, RegistryBusy, RegistryUnreachable
from core.failpoints import Point, failpoint
from core.images import (
    OPERATORS_CREDENTIAL,
    PullFailure,
    WantedImage,
    WantedPull,
    drop_unwanted,
    is_private,
    jobs_waiting_for,
    record_private,
    record_pull,
    wanted_images,
)
from core.jobs.launching import write_progress
from core.sealing import sealing_keys
from core.secret_use import open_pull_secret
from worker.docker_engine.streams import PullStep
from worker.image_names import repository_of
from worker.measures import PULL_SECONDS
from worker.registry_auth import auth_header, secret_header
from worker.supervisor.scope import NodeScope

log = structlog.get_logger(__name__)

_AT_ONCE = 3
_REPORT_SECONDS = 0.5
#: A registry that has not said by then who may have an image does not answer.
_ASK_SECONDS = 20.0
#: Between two tries at a registry: doubled each time, and spread, so that not all nodes come at once.
_FIRST_DELAY_SECONDS, _MOST_DELAY_SECONDS, _SPREAD = 1.0, 60.0, 0.25
#: While a registry is waited for, jobs are told so often how long that will be.
_TELL_SECONDS = 5.0


class Pulls:
    """Pulls what rows want. A row stays WANTED until its pull has ended, so a new supervisor begins again."""

    def __init__(self, scope: NodeScope) -> None:
        self._scope = scope
        self._going: dict[WantedImage, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._keys = sealing_keys(scope.settings.secret_keys_file)

    async def look(self, group: asyncio.TaskGroup) -> None:
        """Begin every wanted pull that is not under way."""
        for pull in await self._scope.verb(wanted_images, self._scope.database, self._scope.node.id):
            if pull.image not in self._going:
                name = f"pull {pull.image.image_ref}"
                self._going[pull.image] = group.create_task(self._pull(pull), name=name)

    async def _pull(self, pull: WantedPull) -> None:
        image = pull.image
        failure: PullFailure | None = None
        granted, begun = True, time.monotonic()
        try:
            granted = await self._bring_patiently(pull)
        except _Unwanted:
            log.info("pull_unwanted", image=image.image_ref)
            self._forget(image)
            return
        except EngineError as error:
            failure = PullFailure(error.reason, str(error))
        except TimeoutError:
            failure = PullFailure("PULL_TIMEOUT", f"{image.image_ref}: the pull made no progress or took too long")
        PULL_SECONDS.labels(failure.reason if failure else "done").observe(time.monotonic() - begun)
        if failure is not None:
            log.warning("pull_failed", image=image.image_ref, reason=failure.reason, why=failure.message)
        orders = await self._scope.verb(
            record_pull, self._scope.database, self._scope.node.id, image, failure, granted=granted
        )
        self._forget(image)
        failpoint(Point.PULL_RECORDED, image.image_ref)
        for order in orders:
            self._scope.bell.launch(order.worker_group, order.job_id, order.attempt, order.node_id)

    def _forget(self, image: WantedImage) -> None:
        """Its row is not WANTED any more, unless somebody has asked since: then he was taken for one who waits."""
        del self._going[image]
        self._scope.woken.set()

    async def _bring_patiently(self, pull: WantedPull) -> bool:
        """`_bring`, again and again while a registry only asks for patience. Raises _Unwanted besides."""
        began, tries = time.monotonic(), 0
        while True:
            try:
                return await self._bring(pull)
            except RegistryUnreachable as error:
                if not error.passes:
                    raise
                tries += 1
                delay = retry_delay_seconds(tries, _asked_for(error), random.uniform(-1, 1))  # noqa: S311
                allowed = self._scope.settings.pull_timeout_seconds
                if time.monotonic() - began + delay > allowed:
                    raise type(error)(f"{error}; not pulled within {allowed:g} s, {tries} tries") from None
                log.warning("registry_waited_for", image=pull.image.image_ref, seconds=delay, why=str(error))
                await self._wait(pull.image, error, delay)

    async def _wait(self, image: WantedImage, error: RegistryUnreachable, delay_seconds: float) -> None:
        """Wait, and tell the jobs that do; raises _Unwanted once there are none."""
        until = time.monotonic() + delay_seconds
        while (left := until - time.monotonic()) > 0:
            jobs = await self._scope.verb(jobs_waiting_for, self._scope.database, self._scope.node.id, image)
            if jobs:
                status = f"{str(error).rstrip('. ')}; trying again in {max(1, round(left))} s"
                await self._scope.verb(write_progress, self._scope.database, jobs, status, error.reason)
            elif await self._scope.verb(drop_unwanted, self._scope.database, self._scope.node.id, image):
                raise _Unwanted
            await asyncio.sleep(min(left, _TELL_SECONDS))

    async def _bring(self, pull: WantedPull) -> bool:
        """Have the image on the node; whether a registry has granted it to this credential.

        Raises the EngineError that says why not, or TimeoutError.
        """
        image_ref, scope = pull.image.image_ref, self._scope
        # It may have been asked for while another pull was just ending. Looked at before its repository is:
        # a private one is recorded before it is pulled.
        present = await scope.engine.has_image(image_ref)
        private = await scope.verb(is_private, scope.database, repository_of(image_ref))
        if present and not private:
            return False
        headers = await self._headers(pull.image)
        if present:
            await self._ask_again(pull, headers)
            return True
        if pull.image.pull_secret != OPERATORS_CREDENTIAL:
            await self._ask(image_ref, headers)
            if not private and not await self._is_everybodys(image_ref):
                await scope.verb(record_private, scope.database, repository_of(image_ref))
                log.info("repository_private", repository=repository_of(image_ref))
        async with self._places, asyncio.timeout(scope.settings.pull_timeout_seconds):
            await self._fetch(pull.image, headers)
        log.info("image_pulled", image=image_ref)
        return True

    async def _headers(self, image: WantedImage) -> Mapping[str, str]:
        """The credential as the engine takes it, read anew each time. Raises EngineError."""
        if image.pull_secret == OPERATORS_CREDENTIAL:
            return auth_header(self._scope.settings.registry_config, image.image_ref)
        secret = await self._scope.verb(open_pull_secret, self._scope.database, self._keys, image.pull_secret)
        return secret_header(secret, image.image_ref)

    async def _ask_again(self, pull: WantedPull, headers: Mapping[str, str]) -> None:
        """A registry that does not answer takes back nothing that it has granted to this very row."""
        try:
            await self._ask(pull.image.image_ref, headers)
        except RegistryUnreachable as error:
            if not pull.granted_before:
                raise
            log.warning("access_not_asked", image=pull.image.image_ref, why=str(error))

    async def _is_everybodys(self, image_ref: str) -> bool:
        """Whether a job that names no secret gets the image too."""
        try:
            await self._ask(image_ref, auth_header(self._scope.settings.registry_config, image_ref))
        except (NodeUnreachable, RegistryUnreachable):
            raise
        except EngineError:
            return False
        return True

    async def _ask(self, image_ref: str, headers: Mapping[str, str]) -> None:
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                await self._scope.engine.ask_registry(image_ref, headers)
        except TimeoutError:
            raise RegistryUnreachable(f"{image_ref}: the registry does not answer") from None

    async def _fetch(self, image: WantedImage, headers: Mapping[str, str]) -> None:
        progress = PullProgress()
        reported_at = 0.0
        steps = self._scope.engine.pull(image.image_ref, headers)
        while True:
            try:
                async with asyncio.timeout(self._scope.settings.pull_stall_seconds):
                    step = await anext(steps)
            except StopAsyncIteration:
                return
            progress.add(step)
            if time.monotonic() - reported_at >= _REPORT_SECONDS:
                reported_at = time.monotonic()
                await self._report(image, progress)

    async def _report(self, image: WantedImage, progress: PullProgress) -> None:
        jobs = await self._scope.verb(jobs_waiting_for, self._scope.database, self._scope.node.id, image)
        if jobs:
            status = f"pulling {image.image_ref}: {progress.percent} %"
            await self._scope.verb(write_progress, self._scope.database, jobs, status, "PULLING")


class _Unwanted(Exception):
    """No job waits any more for what is being pulled."""


def retry_delay_seconds(tries: int, asked_for_seconds: float | None, spread: float) -> float:
    """How long to wait after so many tries at a registry; what it asked for at the least, where that is known.

    `spread` is between -1 and 1. A wait that was asked for is only ever made longer.
    """
    doubled: float = _FIRST_DELAY_SECONDS * 2 ** min(tries - 1, 30)
    delay = min(doubled, _MOST_DELAY_SECONDS) * (1 + _SPREAD * spread)
    if asked_for_seconds is None or asked_for_seconds <= delay:
        return delay
    return asked_for_seconds * (1 + _SPREAD * abs(spread))


def _asked_for(error: RegistryUnreachable) -> float | None:
    return error.retry_after_seconds if isinstance(error, RegistryBusy) else None


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
