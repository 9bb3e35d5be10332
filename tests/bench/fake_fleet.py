"""What a fleet of fake engines costs: containers per second of one process, and its memory.

    python -m tests.bench.fake_fleet --engines 1000 --containers 20000

Each container is created, started, heard of by its engine's event stream when it ends, inspected and removed. The
callers are as lean as can be and are a process of their own; the fleet's processor time says what it could do with
a core to itself.

On two shared cores, other work going on: 1,000 engines, idle, 32 MiB, 7.1 KiB each; with a client and an event
stream each, after the load, 106 MiB; 20,000 containers in 12.5 s, 3,030 per second of the fleet's processor
time (50 engines: 3,890).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import TypeVar

import orjson

from core.jobs.launching import RankLimits
from worker.descriptor_limit import raise_descriptor_limit
from worker.docker_engine.payload import container_payload, network_payload
from worker.engine import ContainerSpec, NetworkSpec, RankKey

T = TypeVar("T")

_IMAGE = "busybox:1"
_LABELS = {"longshore.installation": "bench", "longshore.job": "j", "longshore.attempt": "1"}
_NETWORK = NetworkSpec("bench", IPv4Network("10.1.0.0/16"), True, _LABELS)


@dataclass(frozen=True)
class Costs:
    """Of one run. `cpu_seconds` and bytes are the fleet's process's: with one engine, with all, after the load."""

    engines: int
    containers: int
    seconds: float
    cpu_seconds: float
    one_bytes: int
    all_bytes: int
    after_bytes: int

    def lines(self) -> list[str]:
        """For a person."""
        return [
            f"{self.engines} engines, idle: {self.all_bytes / 2**20:.0f} MiB,"
            f" {(self.all_bytes - self.one_bytes) / self.engines / 1024:.1f} KiB for each",
            f"with a client and an event stream each, after the load: {self.after_bytes / 2**20:.0f} MiB,"
            f" {(self.after_bytes - self.one_bytes) / self.engines / 1024:.1f} KiB for each",
            f"{self.containers} containers in {self.seconds:.1f} s: {self.containers / self.seconds:.0f}"
            f" per second, {self.containers / self.cpu_seconds:.0f} per second of the fleet's processor time",
        ]


class _Client:
    """One kept connection of HTTP/1.1 to one engine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_unix_connection(str(self._path))

    async def call(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        self._writer.write(
            f"{method} /v1.41{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        status, length = await self.head()
        return status, await self._reader.readexactly(length)

    async def head(self) -> tuple[int, int]:
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return int(head[9:12]), int(length or 0)

    async def ends(self) -> None:
        """Return the moment the event stream tells of an end."""
        while b'"Action":"die"' not in await self._reader.readuntil(b"}\n\r\n"):
            pass

    async def listen(self) -> None:
        filters = orjson.dumps({"label": ["longshore.installation=bench"], "event": ["start", "die"]}).decode()
        self._writer.write(f"GET /v1.41/events?filters={filters} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await self.head()

    def close(self) -> None:
        self._writer.close()


async def _load(folder: Path, engines: int, containers: int, at_once: int) -> float:
    """Seconds for all containers, spread over the engines, `at_once` of them under way."""
    numbers = iter(range(containers))
    free: asyncio.Queue[int] = asyncio.Queue()
    for engine in range(engines):
        free.put_nowait(engine)
    callers = [_Client(folder / f"{engine}.sock") for engine in range(engines)]
    listeners = [_Client(folder / f"{engine}.sock") for engine in range(engines)]
    for caller, listener in zip(callers, listeners, strict=True):
        await caller.open()
        await caller.call("POST", "/networks/create", orjson.dumps(network_payload(_NETWORK)))
        await listener.open()
        await listener.listen()

    async def work() -> None:
        for number in numbers:
            engine = await free.get()
            await _one(callers[engine], listeners[engine], number)
            free.put_nowait(engine)

    began = time.monotonic()
    await asyncio.gather(*(work() for _ in range(at_once)))
    seconds = time.monotonic() - began
    for client in (*callers, *listeners):
        client.close()
    return seconds


async def _one(caller: _Client, listener: _Client, number: int) -> None:
    key = RankKey(f"j{number}", 1, 0)
    spec = ContainerSpec(
        key, _IMAGE, ("/bin/sh", "-c"), ("echo done",), {"RANK": "0"}, _LABELS, RankLimits(1, 1 << 30, 99), "bench"
    )
    body = orjson.dumps(container_payload(spec))
    status, made = await caller.call("POST", f"/containers/create?name={key.container_name}", body)
    assert status == 201, made
    container = orjson.loads(made)["Id"]
    status, _ = await caller.call("POST", f"/containers/{container}/start")
    assert status == 204
    await listener.ends()
    status, seen = await caller.call("GET", f"/containers/{container}/json")
    assert orjson.loads(seen)["State"]["Status"] == "exited"
    status, _ = await caller.call("DELETE", f"/containers/{container}?v=1&force=1")
    assert status == 204


def measured(engines: int, containers: int, at_once: int) -> Costs:
    """Start a fleet, load it, end it."""
    raise_descriptor_limit()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one_bytes = _served(folder, 1, _resident_bytes)

        def load(process: int) -> Costs:
            idle, cpu = _resident_bytes(process), _cpu_seconds(process)
            seconds = asyncio.run(_load(folder, engines, containers, at_once))
            used = _cpu_seconds(process) - cpu
            return Costs(engines, containers, seconds, used, one_bytes, idle, _resident_bytes(process))

        return _served(folder, engines, load)


def _served(folder: Path, count: int, work: Callable[[int], T]) -> T:
    """What `work` makes of a fleet's process id."""
    command = ["-m", "tests.lab.fake_engine", "--count", str(count), "--folder", str(folder), _IMAGE]
    process = subprocess.Popen([sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        return work(process.pid)
    finally:
        process.stdin.close()
        process.wait(30)


def _resident_bytes(process: int) -> int:
    """proc(5), statm: resident pages."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()


def _cpu_seconds(process: int) -> float:
    """proc(5), stat: user and system time, the 14th and 15th field."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", type=int, default=1000)
    parser.add_argument("--containers", type=int, default=20_000)
    parser.add_argument("--at-once", type=int, default=64)
    options = parser.parse_args()
    print("\n".join(measured(options.engines, options.containers, options.at_once).lines()))


if __name__ == "__main__":
    main()
