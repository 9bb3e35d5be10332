"""The launch step: an attempt's ranks on one node, from reserved to started, or a reason why not.

Repeating it is safe at every point: ranks are claimed under a lease, containers are found by their names,
and a start that may have happened is looked at before it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

import structlog

from core.database import Database
from core.errors import (
    CommandNotStarted,
    EngineError,
    ImageDiffers,
    NameTaken,
    NodeUnreachable,
    OtherImageFixed,
    Superseded,
)
from core.failpoints import Point, failpoint
from core.images import PullFailure, WantedImage, request_pull
from core.jobs import launching, starting, stopping
from core.jobs.files import read_files
from core.jobs.gang_networks import BRIDGE, OVERLAY, overlay_home, record_overlay
from core.jobs.launching import LaunchWork
from core.jobs.starting import StartWork
from core.queue import Bell
from core.sealing import sealing_keys
from core.secret_use import SecretGone, open_variables
from core.secrets import secret_name
from core.settings import Settings
from worker.containers import container_of, network_of, overlay_of
from worker.engine import Engine, ImageFacts, NetworkSpec, RankKey
from worker.executors import invocation_of
from worker.host_addresses import with_numeric_addresses
from worker.image_access import ImageAccess
from worker.output_folder import is_root
from worker.rank_start import Contents, files_archive, put_output_folder, start_once
from worker.secret_variables import secret_variables_archive
from worker.step_lease import StepLease

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Launcher:
    """The steps of one worker process. `engine_of` gives the engine at an endpoint."""

    def __init__(
        self, database: Database, bell: Bell, settings: Settings, engine_of: Callable[[str], Engine]
    ) -> None:
        self._database = database
        self._bell = bell
        self._settings = settings
        self._engine_of = engine_of
        self._keys = sealing_keys(settings.secret_keys_file)
        self._access = ImageAccess(database, settings.image_access_seconds)
        # Engines get slower, not faster, with more starts at once than this.
        self._parallel = ThreadPoolExecutor(settings.starts_per_node, thread_name_prefix="gang")

    def launch(self, job_id: str, attempt: int, node_id: int) -> None:
        """Create the attempt's containers on the node and, when the whole gang has its own, start them.

        An engine that does not answer, like any fault of ours, gives the claim back: the sweeper rings again.
        """
        lease = self._settings.step_lease_seconds
        held = StepLease(lease)
        work = launching.claim_launch(self._database, job_id, attempt, node_id, lease)
        if work is None:
            return
        failpoint(Point.LAUNCH_CLAIMED, job_id)
        try:
            start = self._launch(work, held)
        except BaseException:
            # Whatever is still being created is anybody's again at once, not when the lease has run out.
            if not held.is_over:
                launching.give_back(self._database, job_id, attempt, work.ranks, message="will be tried again")
            raise
        if start is not None:
            for other in start.others:
                self._bell.start(other.worker_group, other.job_id, other.attempt, other.node_id)
            self._start(self._engine_of(work.endpoint), work.job_id, work.attempt, start, held)

    def _launch(self, work: LaunchWork, held: StepLease) -> StartWork | None:
        """From claimed to created; None where there is nothing to start."""
        engine = self._engine_of(work.endpoint)
        try:
            wanted = _wanted_image(work)
            # Values that cannot be had are found out before any rank of the gang runs; they are not kept.
            open_variables(self._database, self._keys, work.account, work.spec.secret_env_vars)
            image = _find_image(engine, work)
            if image is None or not self._access.is_open(work.node_id, wanted, image.image_id):
                self._wait_for_image(work, wanted)
                return None
            containers = self._create(engine, work, image, held)
        except NodeUnreachable:
            raise
        except EngineError as error:
            self._fail(work, work.ranks, error)
            return None
        if containers is None:
            return None
        failpoint(Point.LAUNCH_CREATED, work.job_id)
        held.renew()
        try:
            start = launching.record_created(
                self._database,
                work.job_id,
                work.attempt,
                work.node_id,
                containers,
                work.image_digest or image.digest,
                self._settings.step_lease_seconds,
            )
        except Superseded as error:
            self._undo(engine, work, str(error))
            return None
        except OtherImageFixed as error:
            self._make_anew(engine, work, held, str(error))
            return None
        failpoint(Point.LAUNCH_SAVED, work.job_id)
        spec = work.spec
        return replace(
            start, account=work.account, secret_env_vars=spec.secret_env_vars, has_files=bool(spec.files)
        )

    def make_network(self, job_id: str, attempt: int, node_id: int) -> None:
        """Make an attempt's overlay on a manager of its swarm, for launches on nodes of other worker groups."""
        home = overlay_home(self._database, job_id, attempt)
        if home.is_ready or home.node_id != node_id:
            return
        self._engine_of(home.endpoint).ensure_network(overlay_of(job_id, attempt, home.subnet, self._settings))
        for order in record_overlay(self._database, job_id, attempt):
            self._bell.launch(order.worker_group, order.job_id, order.attempt, order.node_id)

    def start(self, job_id: str, attempt: int, node_id: int, endpoint: str) -> None:
        """Start what has been created on the node, once the whole gang has been."""
        held = StepLease(self._settings.step_lease_seconds)
        work = starting.claim_start(self._database, job_id, attempt, node_id, self._settings.step_lease_seconds)
        self._start(self._engine_of(endpoint), job_id, attempt, work, held)

    def _wait_for_image(self, work: LaunchWork, wanted: WantedImage) -> None:
        """Hand the ranks back first: the pull may end, and look for who waits, at any moment after."""
        launching.give_back(self._database, work.job_id, work.attempt, work.ranks, message="waits for its image")
        status = f"waiting for the image {wanted.image_ref}"
        launching.write_progress(self._database, [work.job_id], status, "PULLING", at_first=True)
        failure = request_pull(self._database, work.node_id, wanted, work.job_id, work.attempt)
        if failure is not None:
            self._record_failure(work, work.ranks, failure)

    def _create(
        self, engine: Engine, work: LaunchWork, image: ImageFacts, held: StepLease
    ) -> Mapping[int, str] | None:
        """Every container of this node, or None after a failure has been recorded and undone."""
        work = with_numeric_addresses(work)
        held.require()
        network = network_of(work, self._settings)
        if not self._ensure_network(engine, work, network):
            return None
        failpoint(Point.NETWORK_MADE, work.job_id)

        makes_folder = invocation_of(work.spec).makes_output_folder and is_root(image.user)

        def create(rank: int) -> str | EngineError:
            try:
                spec = container_of(work, rank, image.image_id, network, self._settings, own_command=image.command)
                held.require()
                container_id = engine.create(spec)
                if not makes_folder:
                    put_output_folder(engine, container_id, held)
                failpoint(Point.RANK_CREATED, work.job_id, f"rank-{rank}")
                return container_id
            except EngineError as error:
                return error

        containers: dict[int, str] = {}
        failures: dict[int, EngineError] = {}
        for rank, outcome in zip(work.ranks, self._each(create, work.ranks), strict=True):
            if isinstance(outcome, EngineError):
                failures[rank] = outcome
            else:
                containers[rank] = outcome
        if not failures:
            return containers
        if any(isinstance(failure, NodeUnreachable) for failure in failures.values()):
            raise next(f for f in failures.values() if isinstance(f, NodeUnreachable))
        held.require()
        # By their names: but what is somebody else's is left alone.
        _remove_all(engine, work, [r for r in work.ranks if not isinstance(failures.get(r), NameTaken)])
        rank = min(failures)
        self._fail(work, [rank], failures[rank])
        self._fail(work, [other for other in work.ranks if other != rank], failures[rank])
        return None

    def _ensure_network(self, engine: Engine, work: LaunchWork, network: NetworkSpec) -> bool:
        """Whether there is the network that the ranks are to be on; where not, those who can make it are rung for.

        Then the ranks are handed back first: it may be made, and who waits be looked for, at any moment after.
        """
        if network.driver == BRIDGE:
            engine.ensure_network(network)
        if network.driver != OVERLAY or work.network_is_ready:
            return True
        home = overlay_home(self._database, work.job_id, work.attempt)
        if home.is_ready:
            return True
        if home.worker_group != self._settings.worker_group:
            message = "waits for a manager of the swarm to make its network"
            launching.give_back(self._database, work.job_id, work.attempt, work.ranks, message=message)
            self._bell.network(home.worker_group, work.job_id, work.attempt, home.node_id)
            return False
        self._engine_of(home.endpoint).ensure_network(network)
        record_overlay(self._database, work.job_id, work.attempt)
        return True

    def _start(self, engine: Engine, job_id: str, attempt: int, work: StartWork, held: StepLease) -> None:
        contents = self._contents(job_id, work)

        def start(rank: int) -> datetime | EngineError | None:
            if isinstance(contents, EngineError):
                return contents
            outcome = start_once(engine, work.containers[rank], contents, held, looked_at=rank in work.retaken)
            failpoint(Point.RANK_STARTED, job_id, f"rank-{rank}")
            return outcome

        started: dict[int, datetime] = {}
        failures: dict[int, EngineError] = {}
        for rank, outcome in zip(work.containers, self._each(start, list(work.containers)), strict=True):
            if isinstance(outcome, EngineError):
                failures[rank] = outcome
            elif outcome is not None:
                started[rank] = outcome
        if started:
            failpoint(Point.LAUNCH_STARTED, job_id)
            settled = starting.record_started(self._database, job_id, attempt, started)
            log.info("ranks_started", job=job_id, attempt=attempt, ranks=len(started))
            if settled is not None:
                self._ring(settled)
        for rank, failure in failures.items():
            held.require()
            self._fail_start(engine, RankKey(job_id, attempt, rank), failure)

    def _contents(self, job_id: str, work: StartWork) -> Contents | EngineError:
        """The job's files, and what its secret variables are now; or why those cannot be had."""
        if not work.containers:
            return Contents()
        files = files_archive(read_files(self._database, job_id)) if work.has_files else None
        if not work.secret_env_vars:
            return Contents(files)
        try:
            opened = open_variables(self._database, self._keys, work.account, work.secret_env_vars)
        except EngineError as error:
            return error
        return Contents(files, secret_variables_archive(opened))

    def _fail_start(self, engine: Engine, key: RankKey, failure: EngineError) -> None:
        reason = failure.reason
        message = str(failure)
        if isinstance(failure, CommandNotStarted):
            log.info("rank_not_started", job=key.job_id, rank=key.rank, why=message)
        settled = launching.record_failure(
            self._database,
            key.job_id,
            key.attempt,
            [key.rank],
            reason=reason,
            message=message,
            released=False,
        )
        self._ring(settled)
        engine.remove(key.container_name)
        freed = stopping.release(self._database, key.job_id, key.attempt, [key.rank])
        if freed is not None and freed.slots_freed:
            self._bell.schedule(freed.pool_row)

    def _fail(self, work: LaunchWork, ranks: Sequence[int], error: EngineError) -> None:
        if ranks:
            self._record_failure(work, ranks, PullFailure(error.reason, str(error)))

    def _record_failure(self, work: LaunchWork, ranks: Sequence[int], failure: PullFailure) -> None:
        """No container of these ranks is left; their job is judged, and their slots are free."""
        try:
            settled = launching.record_failure(
                self._database,
                work.job_id,
                work.attempt,
                ranks,
                reason=failure.reason,
                message=failure.message,
                released=True,
            )
        except Superseded as error:
            log.info("failure_superseded", job=work.job_id, why=str(error))
            return
        self._ring(settled)
        self._bell.schedule(settled.pool_row)

    def _undo(self, engine: Engine, work: LaunchWork, why: str) -> None:
        """The job was stopped, or another step took over, while containers were being created."""
        log.info("launch_superseded", job=work.job_id, attempt=work.attempt, why=why)
        held = launching.still_held(self._database, work.job_id, work.attempt, work.ranks)
        _remove_all(engine, work, held)
        if held:
            self._record_failure(work, held, PullFailure("STOPPED_BEFORE_START", why))

    def _make_anew(self, engine: Engine, work: LaunchWork, held: StepLease, why: str) -> None:
        """Two nodes looked at the same time what the image's name means, and found two images."""
        log.warning("image_moved", job=work.job_id, attempt=work.attempt, why=why)
        held.require()
        _remove_all(engine, work, work.ranks)
        message = "its image had moved on between two nodes"
        launching.give_back(self._database, work.job_id, work.attempt, work.ranks, message=message)
        self._bell.launch(self._settings.worker_group, work.job_id, work.attempt, work.node_id)

    def _ring(self, settled: stopping.Settled) -> None:
        for order in settled.stops:
            self._bell.stop(order.worker_group, order.job_id, order.attempt, order.node_id)

    def _each(self, call: Callable[[int], T], ranks: Sequence[int]) -> list[T]:
        if len(ranks) == 1:
            return [call(ranks[0])]
        # What is logged and traced there is this step's.
        contexts = [copy_context() for _ in ranks]
        return list(self._parallel.map(lambda context, rank: context.run(call, rank), contexts, ranks))


def _remove_all(engine: Engine, work: LaunchWork, ranks: Sequence[int]) -> None:
    for rank in ranks:
        engine.remove(RankKey(work.job_id, work.attempt, rank).container_name)


def _wanted_image(work: LaunchWork) -> WantedImage:
    """What is to be on the node: by its digest once that is known. Raises SecretGone."""
    if work.pull_secret is None:
        gone = secret_name(work.account, work.spec.image_pull_secret)
        raise SecretGone(f"imagePullSecret: there is no secret {gone} any more")
    reference = work.image_digest if "@" in work.image_digest else work.spec.image_ref
    return WantedImage(reference, work.pull_secret)


def _find_image(engine: Engine, work: LaunchWork) -> ImageFacts | None:
    """The job's image on the node; None where it is to be pulled.

    Raises ImageDiffers where the job runs one that came from no registry, and the node has another of its name:
    no pull would ever bring it.
    """
    image = engine.find_image(work.image_digest or work.spec.image_ref)
    if image is None and work.image_digest and "@" not in work.image_digest:
        other = engine.find_image(work.spec.image_ref)
        if other is not None:
            here, wanted = other.image_id[:19], work.image_digest[:19]
            raise ImageDiffers(
                f"{work.spec.image_ref} is another image on this node ({here}) than the one that the job runs"
                f" ({wanted}); push it to a registry, or load the same one on every host"
            )
    return image
