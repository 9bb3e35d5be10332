"""Whose turn it is, and what a sampler does with engines that answer, or do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import docker
import pytest

from core.database import Database
from core.nodes import nodes_of_group
from core.queue import Bell, make_celery
from core.settings import Settings
from core.usage.reading import RankSeries, get_series
from tests.core.attempts_lab import RowsOnly
from tests.lab.fake_engine import FakeFleet, FakeImage, ServedEngine
from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import ENGINE, free_octet
from tests.worker.engine_contract.subject import Subject
from worker.docker_engine.streams import DockerStreams
from worker.engine import RankKey
from worker.supervisor.log_writer import LogWriter
from worker.supervisor.output_capture import OutputLimits
from worker.supervisor.rank_watch import RankWatch
from worker.supervisor.scope import NodeScope, ProcessScope
from worker.supervisor.told_exits import ToldExits
from worker.supervisor.usage_sampler import AT_ONCE, UsageSampler


async def _never_began() -> None:
    """No engine is restarted here."""


class Lab:
    """A job's row and the container that its rank is said to be; `watching` is what a node's watch would have."""

    def __init__(self, rows: RowsOnly, subject: Subject, settings: Settings) -> None:
        self.rows, self.subject, self.settings = rows, subject, settings
        self.watching: dict[RankKey, RankWatch] = {}

    @asynccontextmanager
    async def sampling(self) -> AsyncIterator[NodeScope]:
        """A sampler and a writer at work."""
        async with self.subject.streams() as streams:
            scope = self.scope(streams)
            self.sampler = UsageSampler(scope, self.watching)
            parts = [
                asyncio.create_task(self.sampler.run()),
                asyncio.create_task(scope.process.usage.run()),
            ]
            try:
                yield scope
            finally:
                for part in parts:
                    part.cancel()
                await asyncio.gather(*parts, return_exceptions=True)
                await scope.process.usage.write_all()

    def scope(self, streams: DockerStreams) -> NodeScope:
        process = ProcessScope(self.rows.database, Bell(make_celery(self.settings.broker_url)), self.settings)
        node = nodes_of_group(self.rows.database, self.rows.account)[0]
        return NodeScope(node, process, streams)

    def watch(self, scope: NodeScope, job: str, container: str) -> RankWatch:
        """As the node's watch does when a rank starts."""
        key = RankKey(job, 1, 0)
        self.watching[key] = self.new_watch(scope, key, container)
        self.sampler.notice()
        return self.watching[key]

    def new_watch(self, scope: NodeScope, key: RankKey, container: str) -> RankWatch:
        return RankWatch(
            scope,
            LogWriter(scope),
            key,
            container,
            ToldExits(),
            _never_began,
            keeps_notebook=False,
            in_gang=False,
            output_limits=OutputLimits(1),
            is_new=True,
        )

    def series(self, job: str) -> RankSeries:
        return get_series(self.rows.database, self.rows.account, job, 0, most=1000)

    async def wait(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while not await asyncio.to_thread(condition):
                await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def settings(database_url: str, broker_url: str) -> Settings:
    return Settings(database_url=database_url, broker_url=broker_url, usage_seconds=1)


@pytest.fixture
def lab(database: Database, settings: Settings) -> Iterator[Lab]:
    """On a real engine."""
    ensure_busybox()
    client = docker.DockerClient(base_url=ENGINE)
    subject = Subject("real", ENGINE, BUSYBOX, free_octet(client))
    client.close()
    yield Lab(RowsOnly(database), subject, settings)
    subject.remove_all()
    subject.api.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServedEngine]:
    with FakeFleet(1, tmp_path, images=(FakeImage(BUSYBOX),)) as fleet:
        yield fleet.engines[0]


@pytest.fixture
def fake_lab(database: Database, settings: Settings, served: ServedEngine) -> Lab:
    return Lab(RowsOnly(database), Subject("fake", served.endpoint, BUSYBOX, 10), settings)


def test_rank_is_sampled_while_it_runs_and_its_numbers_are_there_after_its_end(lab: Lab) -> None:
    job = lab.rows.run(1)
    container = lab.subject.started("while true; do :; done")

    async def work() -> None:
        async with lab.sampling() as scope:
            watch = lab.watch(scope, job, container)
            # A row is written only every ten seconds or so while the rank runs.
            await lab.wait(lambda: lab.series(job).usage.cpu_seconds > 0.5)
            watch.ended.set()
            await asyncio.to_thread(lab.subject.steps.remove, container)
            del lab.watching[watch.key]

    asyncio.run(work())
    points = lab.series(job).points
    assert len(points) >= 3 and points[-1].memory_bytes > 0
    assert [point.cpu_us for point in points] == sorted(point.cpu_us for point in points)
    spent, passed = points[-1].cpu_us - points[0].cpu_us, 1000 * (points[-1].time_ms - points[0].time_ms)
    assert 0 < spent < passed + 300_000, "half a core is what it may have"


def test_rank_is_asked_about_as_soon_as_it_is_seen_and_one_that_is_gone_does_no_harm(fake_lab: Lab) -> None:
    short, gone = fake_lab.rows.run(1), fake_lab.rows.run(1)
    container = fake_lab.subject.started("sleep 600")

    async def work() -> None:
        async with fake_lab.sampling() as scope:
            fake_lab.watch(scope, gone, "ls-nothing-1-0")
            watch = fake_lab.watch(scope, short, container)
            await fake_lab.wait(lambda: scope.process.usage.has(watch.key))
            watch.ended.set()
            # Long before the rows of those that run are written.
            await fake_lab.wait(lambda: len(fake_lab.series(short).points) > 0)

    asyncio.run(work())
    assert list(fake_lab.series(gone).points) == []


def test_engine_is_asked_about_no_more_ranks_than_may_be_at_once(fake_lab: Lab) -> None:
    async def work() -> None:
        async with fake_lab.subject.streams() as streams:
            scope = fake_lab.scope(streams)
            sampler = UsageSampler(scope, fake_lab.watching)
            for rank in range(2 * AT_ONCE + 1):
                fake_lab.watching[RankKey("job", 1, rank)] = fake_lab.new_watch(
                    scope, RankKey("job", 1, rank), "c"
                )
            first = sampler.turn(10.0)
            assert len(set(first)) == AT_ONCE
            assert sampler.turn(1000.0) == [], "none of them has been answered"
            assert scope.process.usage.least_period_seconds == (2 * AT_ONCE + 1) / 200

    asyncio.run(work())


def test_sampling_that_is_not_wanted_asks_nothing(fake_lab: Lab) -> None:
    fake_lab.settings = fake_lab.settings.model_copy(update={"usage_seconds": 0})

    async def work() -> None:
        async with fake_lab.subject.streams() as streams:
            async with asyncio.timeout(5):
                await UsageSampler(fake_lab.scope(streams), fake_lab.watching).run()

    asyncio.run(work())
