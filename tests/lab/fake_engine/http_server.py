"""HTTP for engines: requests in, answers and endless streams out, with no task for either. Knows no engine.

One `Connection` per client socket. A call's answer may come at once, by a timer, or bit by bit; until it has
come the next request of that connection waits. To a request of HTTP/1.0, a stream is bytes until it is closed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import httptools
import orjson

_PHRASES = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Request:
    """`path` is decoded and without its query; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class Reply:
    """The one answer to a request. `gone` is called when the client goes away during a stream.

    Where `is_lost` is set the connection is cut in place of a whole answer.
    """

    __slots__ = (
        "_common",
        "_connection",
        "_has_chunks",
        "_is_head",
        "_keep_alive",
        "_streaming",
        "closed",
        "gone",
        "is_lost",
    )

    def __init__(
        self, connection: Connection, *, is_head: bool, keep_alive: bool, has_chunks: bool, common: bytes
    ) -> None:
        self._connection = connection
        self._has_chunks = has_chunks
        self._is_head = is_head
        self._keep_alive = keep_alive
        self._common = common
        self._streaming = False
        self.closed = False
        self.is_lost = False
        self.gone: Callable[[], None] | None = None

    def json(self, status: int, value: Any) -> None:
        """Answer with a JSON document."""
        self.data(status, orjson.dumps(value) + b"\n", "application/json")

    def refuse(self, status: int, message: str) -> None:
        """Answer with an engine's error body."""
        self.json(status, {"message": message})

    def empty(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        """Answer without a body."""
        self.data(status, b"", "", headers)

    def data(self, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        """Answer with bytes of a media type."""
        head = self._head(status, kind, headers)
        if status not in (204, 304):
            head += b"Content-Length: %d\r\n" % len(body)
        self._finish(head + b"\r\n" + (b"" if self._is_head else body))

    def begin(self, kind: str = "") -> None:
        """Begin an answer of unknown length."""
        self._streaming = True
        # Only by closing can the end of such an answer be told without chunks, though the client asked to go on.
        self._keep_alive = self._keep_alive and self._has_chunks
        coding = b"Transfer-Encoding: chunked\r\n" if self._has_chunks else b""
        self._send(self._head(200, kind, None) + coding + b"\r\n")

    def chunk(self, data: bytes) -> None:
        """Send a piece of the answer begun; nothing where the client is gone."""
        if data and not self.closed:
            self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._has_chunks else data)

    def end(self) -> None:
        """End the answer begun; nothing where that has been done."""
        if not self.closed:
            self._finish(b"0\r\n\r\n" if self._has_chunks else b"")

    def _head(self, status: int, kind: str, headers: Mapping[str, str] | None) -> bytes:
        head = b"HTTP/1.%d %d %s\r\n%b" % (self._has_chunks, status, _PHRASES[status].encode(), self._common)
        if kind:
            head += f"Content-Type: {kind}\r\n".encode()
        for name, value in (headers or {}).items():
            head += f"{name}: {value}\r\n".encode()
        return head if self._keep_alive else head + b"Connection: close\r\n"

    def _send(self, data: bytes) -> None:
        self._connection.send(data)

    def _finish(self, data: bytes) -> None:
        if self.closed:
            return
        if self.is_lost:
            self.closed = True
            self._connection.abort()
            return
        self._send(data)
        self.closed = True
        self.gone = None
        self._connection.answered(keep_alive=self._keep_alive)


class Connection(asyncio.Protocol):
    """One client. `answer` is called with each request when the one before has its answer."""

    def __init__(
        self, answer: Callable[[Request, Reply], None], common: bytes, all_connections: set[Connection]
    ) -> None:
        self._answer = answer
        self._common = common
        self._all = all_connections
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        #: each with whether the connection outlives it, and whether its client knows chunks
        self._waiting: deque[tuple[Request, bool, bool]] = deque()
        self._reply: Reply | None = None
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # A follower that reads slowly is not waited for: what it has not read is kept here.
        transport.set_write_buffer_limits(high=1 << 30)
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.discard(self)
        self._waiting.clear()
        reply, self._reply = self._reply, None
        if reply is not None:
            reply.closed = True
            if reply.gone is not None:
                reply.gone()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def eof_received(self) -> bool:
        return False

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body = b"", {}, []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        parsed = httptools.parse_url(self._url)
        query = parse_qsl((parsed.query or b"").decode(), keep_blank_values=True)
        request = Request(
            self._parser.get_method().decode(),
            _unquoted(parsed.path),
            dict(query),
            self._headers,
            b"".join(self._body),
        )
        has_chunks = self._parser.get_http_version() != "1.0"
        self._waiting.append((request, self._parser.should_keep_alive(), has_chunks))
        self._next()

    def _next(self) -> None:
        if self._reply is None and self._waiting:
            request, keep_alive, has_chunks = self._waiting.popleft()
            is_head = request.method == "HEAD"
            reply = Reply(self, is_head=is_head, keep_alive=keep_alive, has_chunks=has_chunks, common=self._common)
            self._reply = reply
            self._answer(request, reply)

    def send(self, data: bytes) -> None:
        """Write to the client, if it is still there."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def answered(self, *, keep_alive: bool) -> None:
        """The request under way has its answer."""
        self._reply = None
        if keep_alive:
            self._next()
        else:
            self.close()

    def close(self) -> None:
        """Close, once what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()


def _unquoted(path: bytes) -> str:
    from urllib.parse import unquote

    text = path.decode("latin-1")
    return unquote(text) if "%" in text else text
