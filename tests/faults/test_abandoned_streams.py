"""L-7: clients that go away without a word, with their streams open: nothing of theirs is kept."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.lab.hosts import Host, Hosts, can_make_hosts
from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers

pytestmark = pytest.mark.skipif(bool(can_make_hosts()), reason=can_make_hosts())
_GONE_SECONDS = 60.0
#: Opens so many streams, says so when something has come on each, and waits.
_CLIENT = """
import signal, socket, sys
address, port, path, key, count = sys.argv[1:]
request = f"GET {path} HTTP/1.1\\r\\nHost: x\\r\\nAuthorization: Bearer {key}\\r\\n\\r\\n".encode()
streams = []
for _ in range(int(count)):
    streams.append(socket.create_connection((address, int(port)), timeout=60))
    streams[-1].sendall(request)
for stream in streams:
    got = b""
    while b"event: job" not in got:
        got += stream.recv(4096)
print("open", flush=True)
signal.pause()
"""


@pytest.fixture
def host() -> Iterator[Host]:
    """One with a cable and no engine."""
    lab = Hosts(0)
    try:
        yield lab.add_bare()
    finally:
        lab.end()


@pytest.fixture
def platform(servers: Servers, tmp_path: Path) -> Iterator[Platform]:
    ensure_busybox()
    started = Platform(servers, tmp_path, api_host="0.0.0.0", max_streams_per_account=2000)
    yield started
    started.stop()


def descriptors(pid: int, database_port: int) -> int:
    """Those that are open, without connections to the database: a burst of requests opens more, and they stay."""
    links = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()]
    of_pool = {f"socket:[{each.inode}]" for each in connections() if each.remote_port == database_port}
    return sum(link not in of_pool for link in links)


class Connected(NamedTuple):
    local_port: int
    remote_port: int
    inode: str


def connections() -> list[Connected]:
    """All that are established on this machine (`Documentation/networking/proc_net_tcp.rst` of Linux)."""
    fields = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [Connected(_port(each[1]), _port(each[2]), each[9]) for each in fields if each[3] == "01"]


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def connections_to(port: int) -> int:
    return sum(each.local_port == port for each in connections())


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_streams_whose_clients_are_gone_without_a_word_are_given_up(
    platform: Platform, host: Host, count: int
) -> None:
    client, api = platform.client, platform.pid("api")
    job = client.shell("sleep 300", image=BUSYBOX, stopGracePeriod="0s")
    client.wait_for(job["id"], lambda seen: seen["state"] == "RUNNING")
    database_port = urlsplit(platform.database_url).port or 0
    before, of_others = descriptors(api, database_port), connections_to(platform.port)
    key = client.http.headers["Authorization"].removeprefix("Bearer ")
    gateway = host.gateway
    path = f"/v1/accounts/{client.account}/batchJobs/{job['id']}:watch"
    words = [sys.executable, "-c", _CLIENT, gateway, str(platform.port), path, key, str(count)]
    away = subprocess.Popen(
        ["nsenter", f"--net=/var/run/netns/{host.name}", *words], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    try:
        assert away.stdout is not None
        assert away.stdout.readline() == b"open\n"
        assert connections_to(platform.port) >= count
        host.cut()
    finally:
        # What it would say to its connections does not arrive any more.
        away.kill()
        away.wait(10)
    wait_until(lambda: connections_to(platform.port) <= of_others, _GONE_SECONDS, "the streams are given up")
    # What watching opens for all streams together stays.
    allowed = before * 1.05 + 12
    wait_until(lambda: descriptors(api, database_port) <= allowed, 10, "nothing of them is open")
    assert platform.client.get(job["id"])["state"] == "RUNNING"
    client.cancel(job["id"])
    platform.wait_at_rest()
