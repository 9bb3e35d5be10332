"""Programs that print: as ranks of a job, and as containers straight on the engine, read by curl."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import docker

from tests.lab.images import BUSYBOX, PYTHON
from tests.lab.platform import ENGINE
from worker.docker_engine.payload import log_config

_LINE = "x" * 99
#: Prints what it is told in lines of 100 bytes, and how long that took. It sleeps to keep its pace.
_PACED = """\
import os, sys, time
rate, seconds = int(sys.argv[1]), float(sys.argv[2])
piece = (b"x" * 99 + b"\\n") * (rate // 1000)
begun = time.monotonic()
for number in range(1, int(seconds * 10) + 1):
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(1, rest):]
    # The pace is what is wanted.
    time.sleep(max(0.0, begun + number / 10 - time.monotonic()))
print("took", time.monotonic() - begun, flush=True)
"""


def as_fast_as_it_can(size_bytes: int) -> str:
    """A shell command that prints so much, in lines of 100 bytes."""
    return f"yes {_LINE} | head -c {size_bytes}"


def paced(bytes_per_second: int, seconds: float) -> list[str]:
    """Arguments of Python: prints at a rate, and at the end `took` and the seconds that it needed."""
    return ["-u", "-c", _PACED, str(bytes_per_second), str(seconds)]


class RawPrinters:
    """Containers of the engine, with nothing in front of it."""

    def __init__(self) -> None:
        self._api: Any = docker.APIClient(base_url=ENGINE, version="auto", timeout=600)

    def read_rate(self, count: int, size_bytes: int) -> float:
        """Bytes a second that as many of curl read, all together, of containers that print as fast as they can."""
        command = ["sh", "-c", as_fast_as_it_can(size_bytes)]
        with self._created(BUSYBOX, [command] * count) as containers:
            begun = time.monotonic()
            for container in containers:
                self._api.start(container)
            # Each frame of a line has a head of eight bytes.
            whole = size_bytes + 8 * (size_bytes // 100)
            followed = [(container, _curl(container, follow=True)) for container in containers]
            # A follower of 20.10 may be told of the end before it has been given all: who wants all reads again.
            short = [container for container, reader in followed if _size(reader) < whole]
            again = [_curl(container, follow=False) for container in short]
            sizes = [_size(reader) for reader in again]
            took = time.monotonic() - begun
        assert sizes == [whole] * len(sizes)
        return count * size_bytes / took

    def paced_seconds(self, bytes_per_second: int, seconds: float) -> float:
        """What `paced` takes where nobody reads."""
        with self._created(PYTHON, [["python3", *paced(bytes_per_second, seconds)]]) as (container,):
            self._api.start(container)
            self._api.wait(container)
            last = self._api.logs(container, tail=1).decode()
        return float(last.split()[1])

    @contextmanager
    def _created(self, image: str, commands: list[list[str]]) -> Iterator[list[str]]:
        config = self._api.create_host_config(network_mode="none", log_config=log_config(4 << 30))
        made = [
            str(
                self._api.create_container(image, entrypoint=command[:1], command=command[1:], host_config=config)[
                    "Id"
                ]
            )
            for command in commands
        ]
        try:
            yield made
        finally:
            for container in made:
                self._api.remove_container(container, force=True)


def _size(reader: subprocess.Popen[bytes]) -> int:
    """How much it has read, once it has read all that it is given."""
    return int(reader.communicate()[0])


def _curl(container: str, *, follow: bool) -> subprocess.Popen[bytes]:
    url = f"http://engine/containers/{container}/logs?follow={follow:d}&stdout=1&stderr=1"
    socket = urlsplit(ENGINE).path
    command = ["curl", "-sN", "--unix-socket", socket, "-o", "/dev/null", "-w", "%{size_download}", url]
    return subprocess.Popen(command, stdout=subprocess.PIPE)
