"""What capture itself costs: processor time of storing a megabyte of output, and the rate, with no engine at work.

    python -m tests.bench.capture_cost [--ranks 8] [--bytes 10000000] [--line 100] [--piece 65536]
                                        [--ended] [--profile]

A process of its own gives a log as an engine does (time stamps, by HTTP 1.1 a chunk for each frame), from memory,
so many bytes at a time; what is measured is all that the supervisor does with it, until it is committed.
`--profile` says where the time of the event loop's thread went.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import json
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from core.database import Database
from core.nodes import NodeRecord
from core.queue import Bell, make_celery
from core.settings import Settings
from tests.core.placing_site import Site
from tests.lab.servers import Servers
from worker.docker_engine.streams import DockerStreams
from worker.engine import RankKey
from worker.supervisor.log_writer import LogWriter
from worker.supervisor.output_capture import OutputCapture, OutputLimits
from worker.supervisor.scope import NodeScope, ProcessScope

_BEGAN = 1_700_000_000
#: Between two lines of a rank that prints a megabyte a second.
_GAP_NS = 100_000
_JSON = b"\r\nContent-Type: application/json"
_VERSION = b"HTTP/1.1 200 OK" + _JSON, b'{"Version":"20.10.24","ApiVersion":"1.41"}'
_GONE = b"HTTP/1.1 404 Not Found" + _JSON, b'{"message":"No such container"}'
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def recorded(size_bytes: int, line_bytes: int) -> list[bytes]:
    """The frames of a log, as the engine sends them."""
    line = b"x" * (line_bytes - 1) + b"\n"
    frames = []
    for number in range(size_bytes // line_bytes):
        seconds, nanos = divmod(number * _GAP_NS, 10**9)
        stamp = datetime.fromtimestamp(_BEGAN + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{nanos:09d}Z "
        data = stamp.encode() + line
        frames.append(b"\x01\0\0\0%b%b" % (len(data).to_bytes(4, "big"), data))
    return frames


async def serve(path: str, frames: list[bytes], piece_bytes: int) -> None:
    """Answer as an engine whose containers have all printed that, and are gone then."""
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(frame), frame) for frame in frames) + b"0\r\n\r\n"
    plain = b"".join(frames)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                path, version = request.split()[1:3]
                if b"/logs" in path:
                    is_old = version == b"HTTP/1.0"
                    body = plain if is_old else chunked
                    writer.write(b"HTTP/1.0 200 OK\r\n\r\n" if is_old else _CHUNKED)
                    for at in range(0, len(body), piece_bytes):
                        writer.write(body[at : at + piece_bytes])
                        await writer.drain()
                else:
                    is_old = False
                    told = _VERSION if b"/version" in path else _GONE
                    writer.write(told[0] + b"\r\nContent-Length: %d\r\n\r\n" % len(told[1]) + told[1])
                    await writer.drain()
                if is_old:
                    writer.close()
                    return

    server = await asyncio.start_unix_server(answer, path)
    print("ready", flush=True)
    await server.serve_forever()


@contextlib.asynccontextmanager
async def storing(scope: NodeScope) -> AsyncIterator[LogWriter]:
    """A writer at work."""
    writer = LogWriter(scope)
    running = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        running.cancel()
        await asyncio.wait({running})


async def capture(scope: NodeScope, job_id: str, ranks: int, *, have_ended: bool) -> int:
    """Follow so many at once, or read what those have printed that have ended; the bytes that are stored."""
    async with storing(scope) as writer:
        keys = [RankKey(job_id, 1, rank) for rank in range(ranks)]
        limits = OutputLimits(1 << 40)
        captures = [OutputCapture(scope, writer, key, key.container_name, limits) for key in keys]
        readings = (each.read_rest() if have_ended else each.follow(asyncio.Event()) for each in captures)
        await asyncio.gather(*readings)
        await asyncio.gather(*(each.flush() for each in captures))
    return sum(each.byte_count for each in captures)


async def measure(
    database: Database, settings: Settings, endpoint: str, ranks: int, *, have_ended: bool
) -> dict[str, float]:
    """Of one run. The first tenth of a second is waited, not worked (`OutputCapture.follow`)."""
    job_id = Site(database).submit(ranks)
    streams = DockerStreams(endpoint, "bench", timeout_seconds=30)
    bell = Bell(make_celery(settings.broker_url))
    node = NodeRecord(1, 1, "bench", endpoint, "bench")
    scope = NodeScope(node, ProcessScope(database, bell, settings), streams)
    try:
        begun, worked = time.monotonic(), time.process_time()
        size = await capture(scope, job_id, ranks, have_ended=have_ended)
        worked, took = time.process_time() - worked, time.monotonic() - begun
    finally:
        await streams.close()
    return {"mb": size / 1e6, "cpu_ms_per_mb": round(worked * 1e9 / size, 2), "mb_s": round(size / took / 1e6, 1)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--bytes", type=int, default=10_000_000, help="of each rank")
    parser.add_argument("--line", type=int, default=100)
    parser.add_argument("--piece", type=int, default=65_536)
    parser.add_argument("--ended", action="store_true", help="read it as of containers that have ended")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--serve", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve, recorded(options.bytes, options.line), options.piece))
        return
    servers = Servers()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "engine.sock")
        command = [sys.executable, "-m", "tests.bench.capture_cost", "--serve", path, *sys.argv[1:]]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as engine:
            try:
                assert engine.stdout is not None
                assert engine.stdout.readline() == b"ready\n"
                _measure(servers, f"unix://{path}", options)
            finally:
                engine.terminate()
                servers.stop()


def _measure(servers: Servers, endpoint: str, options: argparse.Namespace) -> None:
    database = Database(servers.new_database(), pool_size=17)
    settings = Settings(database_url=database.url, broker_url=servers.new_broker())
    profile = cProfile.Profile()
    if options.profile:
        profile.enable()
    measuring = measure(database, settings, endpoint, options.ranks, have_ended=options.ended)
    print(json.dumps(asyncio.run(measuring)), flush=True)
    if options.profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
    database.close()


if __name__ == "__main__":
    main()
