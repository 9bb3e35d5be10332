"""Everything that is watched on one node while its lease is held: containers, pulls, networks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from core.errors import EngineError, NodeUnreachable, Unavailable
from core.jobs.ending import watched_rank, watched_ranks
from core.jobs.gang_networks import (
    MANAGER,
    held_networks,
    networks_to_remove,
    record_network_gone,
)
from core.nodes import EngineFacts, Floor, record_answer, record_facts, record_silence
from worker.docker_engine.streams import ContainerEvent, ListedContainer
from worker.engine import (
    LABEL_EXECUTOR,
    LABEL_LOG_FILE,
    LABEL_NETWORK,
    LABEL_RANKS,
    RankKey,
    gang_network_name,
    gang_of_network,
)
from worker.measures import EVENTS, FOUND_BY_LISTING, RANKS_WATCHED
from worker.supervisor.disk_relief import DiskRelief
from worker.supervisor.log_writer import LogWriter
from worker.supervisor.output_capture import OutputLimits
from worker.supervisor.pulls import Pulls
from worker.supervisor.rank_watch import RankWatch
from worker.supervisor.reconcile import compare
from worker.supervisor.scope import NodeScope
from worker.supervisor.told_exits import ToldExits
from worker.supervisor.usage_sampler import UsageSampler
from worker.supervisor.waiting import is_set_within

log = structlog.get_logger(__name__)

#: As the engine's events name it.
_SIGKILL = "9"
_RECONNECT_SECONDS = 0.5
#: States of a container whose program has ended.
_OVER = ("exited", "dead")
_POLL_SECONDS = 2.0
#: Wanted pulls are told of; a look without being told is for what was said while nobody listened.
_WANTED_SECONDS = 10.0
#: Of the time between two listings, the least that is waited: the first time, and later.
_FIRST_EARLIEST, _EARLIEST = 0.2, 0.8


class NodeWatch:
    """The watch over one node. `run` goes on until it is cancelled."""

    def __init__(self, scope: NodeScope) -> None:
        self._scope = scope
        self._writer = LogWriter(scope)
        self._pulls = Pulls(scope)
        self._watching: dict[RankKey, RankWatch] = {}
        self._told = ToldExits()
        self._usage = UsageSampler(scope, self._watching)
        self._listing_due = asyncio.Event()
        self._facts_due_at = 0.0
        #: a swarm's networks are removed by those who manage it
        self._manages = False
        self._facts_asked: asyncio.Task[EngineFacts] | None = None
        settings = scope.settings
        self._floor = Floor(settings.min_free_disk_bytes, settings.min_free_inodes)
        self._relief = DiskRelief(scope, settings.min_free_disk_bytes)

    async def run(self) -> None:
        """Watch until cancelled."""
        engines, node_id = self._scope.process.engines, self._scope.node.id
        try:
            await self._greeted()
            await self._watch_all()
        finally:
            for engine_id in [each for each, holder in engines.items() if holder == node_id]:
                del engines[engine_id]

    async def _greeted(self) -> None:
        """Wait for the engine's first answer; the engine is this node's from then on.

        An engine that is another node already is not watched twice: each would take the other's containers for
        strays and remove them.
        """
        scope, said = self._scope, ""
        while True:
            try:
                facts = await scope.engine.facts()
                holder = scope.process.engines.setdefault(facts.engine_id, scope.node.id)
                if holder == scope.node.id:
                    await self._record_facts(facts)
                    return
                why = "not used: its engine is that of another node, by another endpoint"
            except EngineError as error:
                why = str(error)
            if why != said:
                log.warning("node_not_greeted", node=scope.node.name, why=why)
            await scope.verb(record_silence, scope.database, scope.node.id, why)
            said = why
            await asyncio.sleep(_POLL_SECONDS)

    async def _watch_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            for part in (self._events, self._listings, self._wanted, self._networks, self._relief.relieve):
                group.create_task(self._for_ever(part), name=part.__name__)
            group.create_task(self._writer.run(), name="log_writer")
            group.create_task(self._usage.run(), name="usage")

    async def _for_ever(self, part: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run a part again whenever the engine or the database goes away under it."""
        while True:
            try:
                await part()
            except (EngineError, Unavailable) as error:
                log.warning("watch_interrupted", part=part.__name__, node=self._scope.node.name, why=str(error))
                # Whether the engine was restarted is to be known before its containers are looked at again.
                self._facts_due_at = 0.0
                if isinstance(error, NodeUnreachable):
                    await self._scope.verb(record_silence, self._scope.database, self._scope.node.id, str(error))
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _events(self) -> None:
        # Listening begins before the listing that covers what happened earlier.
        self._facts_due_at = 0.0
        self._listing_due.set()
        async for event in self._scope.engine.events():
            self._notice(event)

    def _notice(self, event: ContainerEvent) -> None:
        EVENTS.labels(event.action).inc()
        self._told.notice(event)
        if event.action == "start":
            self._watch(event.key, event.container_id, event.labels.get, is_new=True)
        elif event.action == "oom":
            # Kept by the watch: on a busy host the engine says so too late for its own record of the end.
            if event.key in self._watching:
                self._watching[event.key].out_of_memory.set()
        elif event.action == "kill":
            if event.key in self._watching and event.labels.get("signal") == _SIGKILL:
                self._watching[event.key].killed_by_call = True
        elif event.key in self._watching:
            self._watching[event.key].ended.set()
        else:
            self._listing_due.set()

    def _watch(self, key: RankKey, container_id: str, label: Callable[[str], str | None], *, is_new: bool) -> None:
        if key in self._watching:
            return
        watch = RankWatch(
            self._scope,
            self._writer,
            key,
            container_id,
            self._told,
            self._engine_began,
            keeps_notebook=label(LABEL_EXECUTOR) == "notebook",
            in_gang=label(LABEL_NETWORK) == "gang",
            output_limits=self._output_limits(label),
            is_new=is_new,
        )
        self._watching[key] = watch
        self._usage.notice()
        self._group.create_task(self._guarded_watch(watch), name=key.container_name)

    def _output_limits(self, label: Callable[[str], str | None]) -> OutputLimits:
        kept = self._scope.settings.log_max_bytes // (_count(label(LABEL_RANKS)) or 1)
        # Containers of before this label was made have small files, and no limit by them.
        return OutputLimits(kept, _count(label(LABEL_LOG_FILE)))

    async def _guarded_watch(self, watch: RankWatch) -> None:
        try:
            with RANKS_WATCHED.track_inprogress():
                await watch.run()
        except (EngineError, Unavailable) as error:
            # The next listing finds the container, or its row, and begins again from what is stored.
            log.warning("rank_watch_interrupted", job=watch.key.job_id, rank=watch.key.rank, why=str(error))
        except Exception:
            log.exception("rank_watch_failed", job=watch.key.job_id, rank=watch.key.rank)
        finally:
            self._watching.pop(watch.key, None)

    async def _listings(self) -> None:
        earliest = _FIRST_EARLIEST
        while True:
            self._listing_due.clear()
            await self._list()
            # Nodes that were taken together are not to be listed together for ever.
            wait = self._scope.settings.listing_seconds * random.uniform(earliest, 1)  # noqa: S311
            earliest = _EARLIEST
            await is_set_within(self._listing_due, wait)

    async def _list(self) -> None:
        scope = self._scope
        if asyncio.get_running_loop().time() >= self._facts_due_at:
            await self._record_facts(await scope.engine.facts())
        else:
            version = await scope.engine.version()
            if await scope.verb(record_answer, scope.database, scope.node.id, version):
                scope.bell.schedule(scope.node.pool_row)
        rows = await scope.verb(watched_ranks, scope.database, scope.node.id)
        told_of = self._told.known()
        listing = await scope.engine.list_containers()
        self._told.forget(told_of - {container.container_id for container in listing})
        self._notice_ends(listing)
        findings = compare(
            rows,
            listing,
            self._watching.keys(),
            now=datetime.now(UTC),
            orphan_grace=timedelta(seconds=scope.settings.orphan_grace_seconds),
        )
        for what in ("watch", "finish", "vanished", "unexplained"):
            FOUND_BY_LISTING.labels(what).inc(len(getattr(findings, what)))
        for key, container in findings.watch:
            self._watch(key, container.container_id, container.labels.get, is_new=False)
        for key in findings.vanished:
            # Its watch finds nothing at the engine, and records that.
            self._watch(key, key.container_name, dict[str, str]().get, is_new=False)
        for key in findings.finish:
            await self._finish(key)
        for container in findings.unexplained:
            await self._remove_orphan(container)
        if not scope.networks_due.is_set() and rows:
            return
        scope.networks_due.set()

    def _notice_ends(self, listing: Sequence[ListedContainer]) -> None:
        """Of what is watched: its stream and the events may have been cut without a word."""
        for container in listing:
            watch = self._watching.get(container.key) if container.key is not None else None
            if watch is not None and container.status in _OVER:
                watch.ended.set()

    async def _record_facts(self, facts: EngineFacts) -> None:
        scope = self._scope
        self._manages = facts.swarm_role == MANAGER
        if await scope.verb(record_facts, scope.database, scope.node.id, facts, self._floor):
            scope.bell.schedule(scope.node.pool_row)
        self._relief.notice(facts)
        self._facts_due_at = asyncio.get_running_loop().time() + scope.settings.facts_seconds

    async def _engine_began(self) -> datetime | None:
        """When the engine's present run began, if it ends its containers when it is restarted.

        Asked anew each time, as it may just have been; those who ask at the same time share an answer.
        """
        if self._facts_asked is None or self._facts_asked.done():
            # Not in the group: a failure is of those who asked.
            self._facts_asked = asyncio.create_task(self._scope.engine.facts())
        facts = await asyncio.shield(self._facts_asked)
        return None if facts.keeps_containers else facts.started_at

    async def _finish(self, key: RankKey) -> None:
        """The row says ended; what is left of the finaliser's work is the container and the slot."""
        await self._scope.engine.remove(key.container_name)
        await self._scope.process.releases.give(key, None)
        self._scope.networks_due.set()

    async def _remove_orphan(self, container: ListedContainer) -> None:
        key = container.key
        if key is not None:
            row = await self._scope.verb(
                watched_rank, self._scope.database, self._scope.node.id, key.job_id, key.attempt, key.rank
            )
            if row is not None and not row.released:
                return
        log.warning("orphan_removed", container=container.name)
        await self._scope.engine.remove(container.container_id)

    async def _wanted(self) -> None:
        while True:
            wait = max(_WANTED_SECONDS, self._scope.settings.listing_seconds) * random.uniform(_EARLIEST, 1)  # noqa: S311
            self._scope.woken.clear()
            await self._pulls.look(self._group)
            await is_set_within(self._scope.woken, wait)

    async def _networks(self) -> None:
        """Remove the networks of gangs that are over, and those that no row explains."""
        scope = self._scope
        while True:
            await scope.networks_due.wait()
            scope.networks_due.clear()
            for job_id, attempt in await scope.verb(networks_to_remove, scope.database, scope.node.id):
                if await self._remove_network(gang_network_name(job_id, attempt)):
                    await scope.verb(record_network_gone, scope.database, job_id, attempt, scope.node.id)
            # A network without a row is one whose removal was not seen through. Listed before rows are
            # read: a row is there before its network is.
            listed = await scope.engine.list_gang_networks(of_swarm=self._manages)
            gangs = [gang for name in listed if (gang := gang_of_network(name)) is not None]
            held = await scope.verb(held_networks, scope.database, gangs) if gangs else set()
            for name in set(listed) - {gang_network_name(*key) for key in held}:
                log.warning("stray_network", network=name)
                await self._remove_network(name)

    async def _remove_network(self, name: str) -> bool:
        """Whether it is gone. An engine may say that a network is in use when nothing is on it any more (it
        counts wrong when many ends come at once, and right again after its restart): the next listing asks again.
        """
        try:
            await self._scope.engine.remove_network(name)
        except NodeUnreachable:
            raise
        except EngineError as error:
            log.warning("network_kept", network=name, why=str(error))
            return False
        return True


def _count(label: str | None) -> int | None:
    """As the container says; whoever else put a label of that name on something may have put anything there."""
    return (int(label) or None) if label is not None and label.isdecimal() else None
