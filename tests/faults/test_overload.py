"""L-3: ten times what can be done is asked for. What is refused is told when to come again, the rest is done."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.raw_http import Call, Connection
from tests.faults.harness.chaos import let_pass
from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers

#: Live jobs that the account may have: enough to keep every slot busy.
_LIVE = 40
_SLOTS = 12
_CLIENTS = 8
_BODY = {"imageRef": BUSYBOX, "shellExecutor": {"command": "true"}, "nodePoolId": "default"}


@pytest.fixture
def platform(servers: Servers, tmp_path: Path) -> Iterator[Platform]:
    ensure_busybox()
    started = Platform(servers, tmp_path, slots=_SLOTS, max_live_jobs=_LIVE, rate_limit_per_second=0)
    yield started
    started.stop()


class Flood:
    """So many requests a second for a job each, by several clients, for some seconds; what was answered.

    The clients take next to nothing of this machine: others have machines of their own.
    """

    def __init__(self, platform: Platform, per_second: float, seconds: float) -> None:
        self.statuses: Counter[int] = Counter()
        self.accepted: list[str] = []
        self.without_a_time = 0
        key = platform.client.http.headers["Authorization"].removeprefix("Bearer ")
        path = f"/v1/accounts/{platform.client.account}/batchJobs"
        self._request = Call("POST", path, key, json.dumps(_BODY).encode()).encoded()
        self._port = platform.port
        self._pause = _CLIENTS / per_second
        self._over = time.monotonic() + seconds
        self._lock = threading.Lock()
        threads = [threading.Thread(target=self._ask) for _ in range(_CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _ask(self) -> None:
        due, connection = time.monotonic(), Connection(self._port)
        while (now := time.monotonic()) < self._over:
            let_pass(due - now)
            due += self._pause
            reply = connection.exchange(self._request)
            with self._lock:
                self.statuses[reply.status] += 1
                if reply.status == 200:
                    self.accepted.append(json.loads(reply.body)["name"].rpartition("/")[2])
                elif not reply.header("Retry-After"):
                    self.without_a_time += 1
        connection.close()


def done_count(platform: Platform) -> int:
    return int(platform.query("SELECT count(*) FROM jobs WHERE state = 'COMPLETED'")[0][0])


@pytest.mark.parametrize(("seconds", "least"), [(8, 0.5), pytest.param(600, 0.9, marks=pytest.mark.slow)])
@pytest.mark.timeout(1800)
def test_ten_times_too_much_is_refused_politely_and_slows_nothing_down(
    platform: Platform, seconds: float, least: float
) -> None:
    # Twice what an engine of this machine does, so that the account's number of live jobs is reached.
    calm = Flood(platform, 20, seconds)
    calm_rate = done_count(platform) / seconds
    wait_until(lambda: done_count(platform) == len(calm.accepted), 120, "all that was taken is done")
    before = done_count(platform)
    flood = Flood(platform, max(100.0, 10 * calm_rate), seconds)
    rate = (done_count(platform) - before) / seconds
    print(
        f"{calm_rate:.1f} jobs a second, {rate:.1f} under {flood.statuses.total() / seconds:.0f} requests a second"
    )
    assert set(flood.statuses) <= {200, 429, 503}, flood.statuses
    assert flood.statuses[429], "it was no flood"
    assert flood.without_a_time == 0
    taken = len(calm.accepted) + len(flood.accepted)
    wait_until(lambda: done_count(platform) == taken, 180, "all that was taken is done")
    assert rate >= least * calm_rate
    platform.wait_at_rest()
