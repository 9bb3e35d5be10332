"""L-2: so many jobs wait that a queue's depth would show, then all of them run; on engines that are not there."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.bench.process_figures import resident_mib
from tests.bench.raw_http import Call, Connection, latencies
from tests.lab.fake_engine.process import FleetProcess
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers

_IMAGE = "busybox:1"
_NODES, _SLOTS = 20, 50
_BODY = {"imageRef": _IMAGE, "shellExecutor": {"command": "true"}, "nodePoolId": "default"}
_CONNECTIONS = 8
#: A scheduling round looks at no more candidates than this: rounds that do are alike, whatever waits behind them.
_FULL_ROUND = 499
_CALLS = 400
#: What a long run must come to (PROOFS).
_MOST_SECONDS, _MOST_TIMES, _MOST_GROWTH = 0.1, 2.0, 1.25
_WAITING = "SELECT count(*) FROM jobs WHERE state = 'QUEUED'"
_UNDONE = "SELECT count(*) FROM jobs WHERE state <> 'COMPLETED'"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[FleetProcess]:
    (sockets := tmp_path / "e").mkdir()
    started = FleetProcess(_NODES, sockets, _IMAGE)
    yield started
    started.close()


@pytest.fixture
def platform(servers: Servers, fleet: FleetProcess, tmp_path: Path) -> Iterator[Platform]:
    started = Platform(
        servers,
        tmp_path,
        slots=_SLOTS,
        endpoints=fleet.endpoints,
        network="host",
        commands={"worker": ("-m", "tests.bench.timed_worker", str(tmp_path / "passes.csv"))},
        rate_limit_per_second=0,
        max_live_jobs=10**8,
        max_live_ranks=10**8,
    )
    yield started
    started.stop()


class Queue:
    """What waits while its pool takes nothing, and what then becomes of it."""

    def __init__(self, platform: Platform, passes: Path) -> None:
        self._platform, self._passes = platform, passes
        self._key = platform.client.http.headers["Authorization"].removeprefix("Bearer ")
        self.ids: list[str] = []

    def fill(self, count: int) -> None:
        """Let so many jobs wait."""
        self._open(False)
        request = self._call("POST", "/batchJobs", json.dumps(_BODY).encode())

        def submit(share: int) -> list[str]:
            connection = Connection(self._platform.port)
            made = [json.loads(connection.ask(request))["name"].rpartition("/")[2] for _ in range(share)]
            connection.close()
            return made

        with ThreadPoolExecutor(_CONNECTIONS) as threads:
            for made in threads.map(submit, [count // _CONNECTIONS] * _CONNECTIONS):
                self.ids += made
        assert self._platform.query(_WAITING) == [(count // _CONNECTIONS * _CONNECTIONS,)]

    def drain(self, seconds: float) -> list[float]:
        """Let all of them run; the milliseconds of each scheduling round that had as much to look at as it may."""
        before = len(self._rounds())
        self._open(True)
        wait_until(lambda: self._platform.query(_UNDONE) == [(0,)], seconds, "all have run", every=0.5)
        return [sum(each[3:]) for each in self._rounds()[before:] if each[0] >= _FULL_ROUND]

    def read_seconds(self) -> tuple[list[float], list[float]]:
        """Of so many lists, and gets of jobs anywhere in the queue."""
        connection = Connection(self._platform.port)
        chance = random.Random(2)
        some = [self._call("GET", f"/batchJobs/{chance.choice(self.ids)}") for _ in range(_CALLS)]
        lists = latencies(connection, [self._call("GET", "/batchJobs?pageSize=50")] * _CALLS)
        gets = latencies(connection, some)
        connection.close()
        return lists, gets

    def _call(self, method: str, path: str, body: bytes = b"") -> bytes:
        return Call(method, f"/v1/accounts/{self._platform.client.account}{path}", self._key, body).encoded()

    def _rounds(self) -> list[list[float]]:
        return [[float(part) for part in line.split(",")] for line in self._passes.read_text().splitlines()]

    def _open(self, takes: bool) -> None:
        http = self._platform.client.http
        for node in http.get("/nodePools/default/nodes?pageSize=200").json()["nodes"]:
            verb = "undrain" if takes else "drain"
            path = node["name"].partition(f"accounts/{self._platform.client.account}")[2]
            assert http.post(f"{path}:{verb}", json={}).status_code == 200


def p99(values: Sequence[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


@pytest.mark.parametrize(
    ("shallow", "deep"),
    [(560, 800), pytest.param(4000, 100_000, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])],
)
def test_depth_of_the_queue_slows_neither_placing_nor_reading_and_all_of_it_runs(
    platform: Platform, tmp_path: Path, shallow: int, deep: int
) -> None:
    queue = Queue(platform, tmp_path / "passes.csv")
    queue.fill(shallow)
    base = queue.drain(300)
    before = {name: resident_mib(platform.pid(name)) for name in ("api", "worker", "supervisor")}
    queue.fill(deep)
    lists, gets = queue.read_seconds()
    rounds = queue.drain(6000)
    after = {name: resident_mib(platform.pid(name)) for name in before}
    assert platform.query("SELECT count(*), count(DISTINCT batch_job_id) FROM jobs") == [(shallow + deep,) * 2]
    assert base
    assert rounds
    growth = {name: after[name] / before[name] for name in before}
    print(
        f"{deep} waiting: list {p99(lists) * 1000:.1f} ms, get {p99(gets) * 1000:.1f} ms (99 %);"
        f" {len(rounds)} full rounds of {p99(rounds):.1f} ms, {p99(rounds) / p99(base):.2f} x those of {shallow};"
        f" memory x {growth}",
        file=sys.stderr,
    )
    if deep >= 100_000:
        assert p99(lists) <= _MOST_SECONDS
        assert p99(gets) <= _MOST_SECONDS
        assert p99(rounds) <= _MOST_TIMES * p99(base)
        assert all(each <= _MOST_GROWTH for each in growth.values()), growth
