"""L-6: ranks that print much, with many who follow and one who does not keep up: nobody slows a job down."""

from __future__ import annotations

import asyncio
import re
import shlex
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import pytest

from tests.lab.api_client import ApiClient
from tests.lab.images import PYTHON, ensure_busybox
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers

#: Numbered lines at a rate; at the end, by its own clock, how many times as long as it should it took.
_PROGRAM = """\
import os, sys, time
rate, seconds, size = map(int, sys.argv[1:])
each = rate // size // 10
time.sleep(3)
begun = time.monotonic()
for tenth in range(seconds * 10):
    lines = (b"%s %08d" % (os.environb[b"RANK"], tenth * each + number) for number in range(each))
    rest = memoryview(b"".join(line.ljust(size - 1, b"x") + b"\\n" for line in lines))
    while rest:
        rest = rest[os.write(1, rest):]
    time.sleep(max(0.0, begun + (tenth + 1) / 10 - time.monotonic()))
print("took %.3f" % ((time.monotonic() - begun) / seconds), flush=True)
"""


@dataclass(frozen=True)
class Load:
    """`slowed` is how many times as long as it should a rank's program may take."""

    ranks: int
    bytes_per_second: int
    seconds: int
    line_bytes: int
    followers: int
    slowed: float

    @property
    def lines(self) -> int:
        """Of each rank."""
        return self.bytes_per_second // self.line_bytes // 10 * 10 * self.seconds


_SHORT = Load(ranks=3, bytes_per_second=500_000, seconds=6, line_bytes=500, followers=20, slowed=1.5)
_LONG = Load(ranks=8, bytes_per_second=10_000_000, seconds=60, line_bytes=10_000, followers=200, slowed=1.05)


@pytest.fixture
def platform(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    ensure_busybox()
    folder = tmp_path_factory.mktemp("followers")
    started = Platform(servers, folder, max_streams_per_account=300, log_max_bytes=8 << 30)
    yield started
    started.stop()


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("load", [_SHORT, pytest.param(_LONG, marks=pytest.mark.slow)], ids=["short", "long"])
def test_many_who_follow_and_one_who_does_not_keep_up_slow_no_job_down(platform: Platform, load: Load) -> None:
    client = platform.client
    command = [
        "exec",
        "python3",
        "-c",
        _PROGRAM,
        *map(str, (load.bytes_per_second, load.seconds, load.line_bytes)),
    ]
    job = client.shell(shlex.join(command), image=PYTHON, ranks=load.ranks)["id"]
    with _one_who_reads_nothing(client, job), _following(client, job, load.followers) as followed:
        done = client.wait_end(job, 60 + 10 * load.seconds)
    assert done["state"] == "COMPLETED", done["status"]
    assert followed.result(600) == ["end"] * load.followers
    for rank in range(load.ranks):
        _assert_whole(client, job, rank, load)


def _assert_whole(client: ApiClient, job: str, rank: int, load: Load) -> None:
    expected, took = 0, 0.0
    for entry in client.each_entry(job, ranks=rank):
        if match := re.match(r"took (.*)\n?$", entry["message"]):
            took = float(match[1])
        else:
            assert entry["message"].startswith(f"{rank} {expected:08d}x"), entry["message"][:40]
            assert len(entry["message"]) == load.line_bytes - 1
            expected += 1
    assert expected == load.lines
    assert 1.0 <= took <= load.slowed


@contextmanager
def _one_who_reads_nothing(client: ApiClient, job: str) -> Iterator[None]:
    """It has asked for the stream and never takes anything of it."""
    url = urlsplit(str(client.http.base_url))
    with socket.create_connection((url.hostname, url.port), timeout=30) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        key = client.http.headers["Authorization"]
        path = f"{url.path.rstrip('/')}/batchJobs/{job}:streamLogs"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n\r\n".encode())
        yield


@contextmanager
def _following(client: ApiClient, job: str, count: int) -> Iterator[Future[list[str]]]:
    """Streams of the job's output, all open; how each ended."""
    opened = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        ends = pool.submit(asyncio.run, _ends(client, job, count, opened))
        wait_until(lambda: opened.is_set() or ends.done(), 60, "all streams are open")
        yield ends


async def _ends(client: ApiClient, job: str, count: int, opened: threading.Event) -> list[str]:
    answered = 0
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=client.http.base_url, headers=client.http.headers, timeout=120, limits=limits
    ) as http:

        async def follow() -> str:
            """The last event's name."""
            nonlocal answered
            tail = b""
            async with http.stream("GET", f"/batchJobs/{job}:streamLogs") as answer:
                assert answer.status_code == 200, answer.status_code
                answered += 1
                if answered == count:
                    opened.set()
                # Not taken apart: this process has to keep up with all of them.
                async for some in answer.aiter_raw():
                    tail = tail[-100_000:] + some
            events: list[bytes] = re.findall(rb"event: (\w+)", tail)
            return events[-1].decode()

        return await asyncio.gather(*(follow() for _ in range(count)))
