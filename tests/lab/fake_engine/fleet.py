"""Fake engines behind unix sockets: any number of them in one thread of this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tests.lab.fake_engine.calls import answer
from tests.lab.fake_engine.engine import FakeEngine, HostFacts
from tests.lab.fake_engine.http_server import Connection
from tests.lab.fake_engine.images import FakeImage, FakeRegistries
from worker.descriptor_limit import raise_descriptor_limit

T = TypeVar("T")

#: The longest path of a unix socket on Linux, without its final NUL.
_LONGEST_PATH = 107
_COMMON = (
    b"Api-Version: 1.41\r\nDocker-Experimental: false\r\nOstype: linux\r\nServer: Docker/%b (linux)\r\n"
    b"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
)
_DEADLINE_SECONDS = 30.0


class ServedEngine:
    """One engine of a fleet and its socket. `endpoint` is what clients are given."""

    def __init__(self, fleet: FakeFleet, engine: FakeEngine, path: Path) -> None:
        self._fleet = fleet
        self.engine = engine
        self.path = path
        self.endpoint = f"unix://{path}"
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._common = _COMMON % engine.facts.version.encode()

    async def listen(self) -> None:
        """Accept connections. On the fleet's loop."""
        self.path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._connection, str(self.path), backlog=512)

    def _connection(self) -> Connection:
        return Connection(partial(answer, self.engine), self._common, self._connections)

    async def close(self) -> None:
        """Refuse connections, and cut those there are. On the fleet's loop."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.path.unlink(missing_ok=True)
        for connection in tuple(self._connections):
            connection.abort()

    def go_away(self) -> None:
        """From now on connections are refused, and those there were are cut; containers go on."""
        self._fleet.run(self.close())

    def come_back(self) -> None:
        """Accept connections again."""
        self._fleet.run(self.listen())

    def go_silent(self) -> None:
        """From now on calls are accepted and never answered. `speak` ends it, and cuts what waits."""
        self.engine.silent = True

    def speak(self) -> None:
        """Answer again."""
        self.engine.silent = False
        self._fleet.call(self._abort_all)

    def cut(self) -> None:
        """Close every connection there is, streams too; new ones are accepted."""
        self._fleet.call(self._abort_all)

    def _abort_all(self) -> None:
        for connection in tuple(self._connections):
            connection.abort()

    @property
    def connection_count(self) -> int:
        return len(self._connections)


class FakeFleet:
    """`count` engines, each on a socket file of `folder`, from construction until `close`.

    Engines share one set of registries. Images given are on every engine. `configure` may change each engine
    before it is reached.
    """

    def __init__(
        self,
        count: int,
        folder: Path,
        *,
        images: tuple[FakeImage, ...] = (),
        time_scale: float = 1.0,
        facts: Callable[[int], HostFacts] | None = None,
        configure: Callable[[FakeEngine], None] | None = None,
    ) -> None:
        raise_descriptor_limit()
        self.registries = FakeRegistries()
        self.engines: list[ServedEngine] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-fleet", daemon=True)
        for number in range(count):
            path = folder / f"{number}.sock"
            if len(str(path)) > _LONGEST_PATH:
                raise ValueError(f"a socket's path has at most {_LONGEST_PATH} bytes: {path}")
            told = facts(number) if facts else HostFacts(f"fake-{folder.name}-{number}", str(folder))
            engine = FakeEngine(told, self.registries, time_scale=time_scale)
            for image in images:
                engine.add_image(image)
            if configure is not None:
                configure(engine)
            self.engines.append(ServedEngine(self, engine, path))
        self._thread.start()
        self.run(self._listen_all())

    async def _listen_all(self) -> None:
        for served in self.engines:
            await served.listen()

    async def _close_all(self) -> None:
        for served in self.engines:
            await served.close()
        # Two turns of the loop: one for transports to close, one for their protocols to hear of it.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the fleet's loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_DEADLINE_SECONDS)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function on the fleet's loop, and wait for it: for whatever changes an engine's state."""

        async def work() -> T:
            return function(*arguments)

        return self.run(work())

    def close(self) -> None:
        """End everything, and wait for the thread."""
        if self._thread.is_alive():
            self.run(self._close_all())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_DEADLINE_SECONDS)
            self._loop.close()

    def __enter__(self) -> FakeFleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
