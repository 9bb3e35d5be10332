"""A keep-alive HTTP client that costs next to nothing, so that a benchmark measures the server."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    """One request, ready to be sent."""

    method: str
    path: str
    key: str
    body: bytes = b""

    def encoded(self) -> bytes:
        head = (
            f"{self.method} {self.path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


@dataclass(frozen=True)
class Reply:
    """`head` in small letters, the status line first."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str:
        """What it says; "" where it is not there."""
        return self.head.partition(f"\r\n{name.lower()}:".encode())[2].partition(b"\r\n")[0].decode().strip()


class Connection:
    """One connection, kept."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def ask(self, request: bytes) -> bytes:
        """The body of the reply, which must be 200."""
        reply = self.exchange(request)
        assert reply.status == 200, reply.head + reply.body[:2000]
        return reply.body

    def exchange(self, request: bytes) -> Reply:
        """The reply, whatever it is."""
        self._socket.sendall(request)
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        head = data[:end].lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = data[end + 4 :]
        while len(body) < length:
            body += self._more()
        self._rest = body[length:]
        return Reply(int(head.split(b" ", 2)[1]), head, body[:length])

    def close(self) -> None:
        self._socket.close()

    def _more(self) -> bytes:
        data = self._socket.recv(1 << 18)
        assert data, "the server closed the connection"
        return data


def rate(port: int, call: Call, *, count: int, connections: int) -> float:
    """Requests per second over so many connections at a time."""
    request = call.encoded()

    def run(share: int) -> None:
        connection = Connection(port)
        for _ in range(share):
            connection.ask(request)
        connection.close()

    begun = time.perf_counter()
    with ThreadPoolExecutor(connections) as threads:
        list(threads.map(run, [count // connections] * connections))
    return count // connections * connections / (time.perf_counter() - begun)


def latencies(connection: Connection, requests: Sequence[bytes]) -> list[float]:
    """Seconds of each request, one after the other."""
    found = []
    for request in requests:
        begun = time.perf_counter()
        connection.ask(request)
        found.append(time.perf_counter() - begun)
    return found
