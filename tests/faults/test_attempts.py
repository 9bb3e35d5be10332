"""Attempts while the broker forgets everything again and again and processes are killed: none lost, none twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import Platform
from tests.lab.servers import Servers

#: The gang fails on its first two attempts, each time by another rank and in another way.
SCRIPT = """
echo attempt $LONGSHORE_ATTEMPT
case $LONGSHORE_ATTEMPT$RANK in 10) exit 3;; 21) kill -9 $$;; esac
[ $LONGSHORE_ATTEMPT -lt 3 ] && sleep 60
sleep 0.5
"""


@pytest.fixture(scope="module")
def platform(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    ensure_busybox()
    started = Platform(
        servers,
        tmp_path_factory.mktemp("attempts"),
        slots=8,
        lease_seconds=3,
        step_lease_seconds=5,
        listing_seconds=2,
        sweep_seconds=1,
    )
    yield started
    started.stop()


@contextmanager
def forgetful_broker(platform: Platform, every_seconds: float) -> Iterator[None]:
    """The broker loses all that it holds, again and again."""
    path, _, number = platform.broker_url.removeprefix("redis+socket://").partition("?virtual_host=")
    broker = redis.Redis(unix_socket_path=path, db=int(number))
    over = threading.Event()

    def forget() -> None:
        while not over.wait(every_seconds):
            broker.flushall()

    thread = threading.Thread(target=forget)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        broker.close()


def test_attempts_follow_each_other_although_messages_and_processes_are_lost(platform: Platform) -> None:
    client = platform.client
    with forgetful_broker(platform, 0.7):
        jobs = [
            client.shell(SCRIPT, image=BUSYBOX, ranks=2, rankFailurePolicy="RESTART_ALL", stopGracePeriod="1s")[
                "id"
            ]
            for _ in range(4)
        ]
        client.wait_for(jobs[0], lambda job: job["attempt"] == 2, 120)
        for name in ("worker", "supervisor"):
            platform.kill(name)
            platform.start(name)
        ends = [client.wait_end(job_id, 240) for job_id in jobs]
    assert [(done["state"], done["attempt"]) for done in ends] == [("COMPLETED", 3)] * 4, ends
    overlapping = platform.query(
        "SELECT a.job_id FROM ranks a JOIN ranks b ON a.job_id = b.job_id AND a.attempt < b.attempt"
        " WHERE a.released_at IS NULL OR a.released_at > b.placed_at"
    )
    assert overlapping == []
    states = platform.query(
        "SELECT attempt, rank, state, exit_code, count(*) FROM ranks GROUP BY 1, 2, 3, 4 ORDER BY 1, 2"
    )
    assert states == [
        (1, 0, "FAILED", 3, 4),
        (1, 1, "STOPPED", 143, 4),
        (2, 0, "STOPPED", 143, 4),
        (2, 1, "FAILED", 137, 4),
        (3, 0, "SUCCEEDED", 0, 4),
        (3, 1, "SUCCEEDED", 0, 4),
    ]
    for job_id in jobs:
        for attempt in (1, 2, 3):
            lines = [entry["message"] for entry in client.logs(job_id, attempt=attempt)]
            assert lines == [f"attempt {attempt}"] * 2, "each rank of each attempt ran once"
    platform.wait_at_rest()
