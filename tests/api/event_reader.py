"""Server-sent events as a client gets them, read by a thread."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.api.conftest import ACCOUNT


@dataclass
class EventReader:
    """What a stream has sent so far: (event, id, data) of each."""

    status: int = 0
    events: list[tuple[str, str, Any]] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)

    def names(self) -> list[str]:
        return [name for name, _, _ in self.events]

    def read(self, response: httpx.Response) -> None:
        event: dict[str, str] = {}
        try:
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if line == "" and event:
                    self.events.append((event["event"], event.get("id", ""), json.loads(event["data"])))
                    event = {}
                elif name in ("event", "data", "id"):
                    event[name] = value
        except httpx.TransportError:
            pass  # the test has left the stream
        finally:
            self.closed.set()


@contextmanager
def reading(url: str, key: str, path: str, last_id: str = "", **params: Any) -> Iterator[EventReader]:
    """A stream of the tests' account, gone on with after `last_id` where one is given."""
    headers = {"Authorization": f"Bearer {key}", **({"Last-Event-ID": last_id} if last_id else {})}
    reader = EventReader()
    whole = f"{url}/v1/accounts/{ACCOUNT}{path}"
    with (
        httpx.Client(timeout=30) as client,
        client.stream("GET", whole, params=params, headers=headers) as response,
    ):
        reader.status = response.status_code
        thread = threading.Thread(target=reader.read, args=(response,), daemon=True)
        thread.start()
        yield reader
        # A close alone would wait for the thread that is reading.
        with suppress(OSError):
            response.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        thread.join(10)
