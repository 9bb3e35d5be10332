"""A call to which no answer came is given up on the way too: what was not delivered yet must never arrive."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator

import pytest

from core.errors import NodeUnreachable
from worker.docker_engine.calls import EngineCalls
from worker.docker_engine.steps import DockerSteps
from worker.docker_engine.transport import EngineAccess

_GREETING = json.dumps({"ApiVersion": "1.41", "Os": "linux", "Arch": "amd64"}).encode()


class Mute:
    """Tells its version, and says nothing to any other request; notes how each of those connections ended."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.endpoint, self.access = f"tcp://{self.address}", EngineAccess(plain=frozenset({self.address}))
        self.ends: list[str] = []
        self.has_end = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            was_asked = False
            try:
                while said := connection.recv(65_536):
                    if was_asked := was_asked or b"/version" not in said.partition(b"\r\n")[0]:
                        continue
                    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(_GREETING)}"
                    connection.sendall(head.encode() + b"\r\n\r\n" + _GREETING)
                end = "closed"
            except ConnectionResetError:
                end = "reset"
            if was_asked:
                self.ends.append(end)
                self.has_end.set()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def mute() -> Iterator[Mute]:
    made = Mute()
    yield made
    made.close()


def test_step_that_is_not_answered_resets_its_connection(mute: Mute) -> None:
    steps = DockerSteps(mute.endpoint, timeout_seconds=1, access=mute.access)
    with pytest.raises(NodeUnreachable):
        steps.start("ls-job-1-0")
    assert mute.has_end.wait(10)
    assert mute.ends == ["reset"]


def test_call_of_a_supervisor_that_is_not_answered_resets_its_connection(mute: Mute) -> None:
    async def call() -> None:
        calls = EngineCalls(mute.endpoint, timeout_seconds=1, access=mute.access)
        try:
            async with calls.call("remove", "containers/ls-job-1-0", method="DELETE"):
                pass
        finally:
            await calls.close()

    with pytest.raises(NodeUnreachable):
        asyncio.run(call())
    assert mute.has_end.wait(10)
    assert mute.ends == ["reset"]
