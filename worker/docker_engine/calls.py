"""How one engine is called over aiodocker: its connections, their deadlines, and what a failure means.

aiodocker's default connector allows 100 connections, and streams use them up until every other call hangs;
so the connector is ours, without a limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiodocker
import aiohttp
import orjson
from aiodocker.exceptions import DockerError

from core.errors import NodeUnreachable
from worker.docker_engine.faults import call_fault
from worker.docker_engine.transport import (
    FORGETS_WHEN_CLOSED,
    EngineAccess,
    plain_url,
    ssh_tunnel,
    tls_files,
)
from worker.measures import engine_call

_CONNECT_SECONDS = 5.0
#: aiodocker's status of a call that reached no engine.
_NO_CONNECTION = 900
_TUNNEL_SECONDS = 0.05
#: After a piece of a stream that is smaller than this, the next is waited for so long, to be larger.
_SMALL_BYTES, _GATHERING_SECONDS = 16_384, 0.01
_LOST = (aiohttp.ClientError, asyncio.IncompleteReadError, OSError, TimeoutError)


class EngineCalls:
    """Calls of the engine at an endpoint. Raises NodeUnreachable wherever it does not answer.

    A call ends after `timeout_seconds`, a long answer when nothing is heard for so long, a stream when the engine
    ends it.
    """

    def __init__(self, endpoint: str, *, timeout_seconds: float, access: EngineAccess | None = None) -> None:
        self._endpoint = endpoint
        connect_seconds = min(_CONNECT_SECONDS, timeout_seconds)
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=connect_seconds)
        self._forever = aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds)
        self._while_heard = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_seconds, sock_read=timeout_seconds
        )
        url = endpoint
        connector: aiohttp.BaseConnector | None = None
        self._tls = tls_files(endpoint, access or EngineAccess())
        self._context = self._tls.context() if self._tls is not None else None
        self._tunnel = ssh_tunnel(endpoint, access or EngineAccess())
        if endpoint.startswith("unix://") or self._tunnel is not None:
            path = str(self._tunnel.socket) if self._tunnel is not None else endpoint.removeprefix("unix://")
            connector = aiohttp.UnixConnector(path, limit=0)
            url = "unix://localhost"
        elif endpoint.startswith("tcp://"):
            connector = aiohttp.TCPConnector(limit=0, ssl=self._context or True, socket_factory=_forgetting_socket)
            url = plain_url(endpoint)
            if self._context is not None:
                url = url.replace("http://", "https://", 1)
        self._connector = connector
        try:
            self._docker = aiodocker.Docker(url=url, connector=connector, timeout=self._timeout)
            # By HTTP 1.0 an answer of unknown length is bytes until the connection is closed. By 1.1 it is chunks,
            # one for each line of a log: to take them apart costs more than all that is done with the lines.
            unframed = aiohttp.ClientSession(
                connector=self._docker.connector, connector_owner=False, version=aiohttp.HttpVersion10
            )
            self._unframed = aiodocker.Docker(
                url=url, connector=self._docker.connector, session=unframed, timeout=self._timeout
            )
        except (DockerError, ImportError, ValueError) as error:
            raise NodeUnreachable(f"this host cannot speak to {endpoint}: {error}") from error

    async def close(self) -> None:
        """Close every connection, streams under way too."""
        await self._docker.close()
        await self._unframed.session.close()
        if self._connector is not None:
            await self._connector.close()
        if self._tunnel is not None:
            await asyncio.to_thread(self._tunnel.close)

    @asynccontextmanager
    async def call(
        self,
        what: str,
        path: str,
        *,
        method: str = "GET",
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        stream: bool = False,
        is_long: bool = False,
        until_closed: bool = False,
        missing_ok: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer of a call, which the engine may refuse: then the EngineError of that is raised.

        `what` is its name in sentences. `missing_ok`: that something is not there, or not in a state for it, is an
        answer of status 404. `until_closed`: the cheapest way to have many small pieces, for those who can do
        without being told that the engine went away.
        """
        with engine_call(self._endpoint, what) as timer:
            if self._tunnel is not None:
                while not self._tunnel.is_settled:
                    await asyncio.sleep(_TUNNEL_SECONDS)
                self._tunnel.check()
            engine = self._unframed if until_closed else self._docker
            try:
                async with engine._query(
                    path,
                    method,
                    params=params,
                    headers=headers,
                    data=data,
                    timeout=self._forever if stream else self._while_heard if is_long else self._timeout,
                ) as response:
                    if stream or is_long:
                        timer.note()
                    try:
                        yield response
                    finally:
                        response.close()
            except DockerError as error:
                if missing_ok and error.status in (404, 409):
                    yield _Missing()  # type: ignore[misc]
                    return
                if error.status == _NO_CONNECTION:
                    raise await self._unreachable(error.message) from None
                raise call_fault(what, error.status, error.message) from error
            except _LOST as error:
                # Not its repr: that of some of them has the request's headers, and so a registry's password.
                why = f"{type(error).__name__} {error}".strip()
                raise await self._unreachable(why) from None

    async def _unreachable(self, why: str) -> NodeUnreachable:
        """Why the engine does not answer. Certificate files may be new ones by now: they are read again."""
        if self._tls is not None and self._context is not None:
            fault = await asyncio.to_thread(self._tls.fault)
            with contextlib.suppress(OSError):
                self._context.load_cert_chain(self._tls.certificate, self._tls.key)
            if fault is not None:
                return NodeUnreachable(fault)
        if self._tunnel is not None and (said := await asyncio.to_thread(self._tunnel.fault)) is not None:
            return NodeUnreachable(said)
        return NodeUnreachable(f"the engine at {self._endpoint} does not answer: {why}")


def _forgetting_socket(address: tuple[Any, ...]) -> socket.socket:
    """What is given up is given up on the way too."""
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(*FORGETS_WHEN_CLOSED)
    return made


class _Missing:
    """Stands for the answer about something that is not there."""

    status = 404


async def json_lines(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """JSON objects, one a line, of any length."""
    pending = b""
    async for piece in response.content.iter_any():
        *lines, pending = (pending + piece).split(b"\n")
        for line in lines:
            if line.strip():
                yield orjson.loads(line)


async def gathered(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The answer as it comes, but not by every few bytes: an engine writes each line of a log by itself, and to be
    woken for it costs more than what is done with it. What waits meanwhile waits in the socket."""
    async for piece in response.content.iter_any():
        yield piece
        transport = response.connection.transport if response.connection is not None else None
        if transport is None or len(piece) >= _SMALL_BYTES or transport.is_closing() or not transport.is_reading():
            continue
        transport.pause_reading()
        try:
            await asyncio.sleep(_GATHERING_SECONDS)
        finally:
            # One of TLS that has been closed meanwhile can do nothing any more, not even this.
            if not transport.is_closing():
                transport.resume_reading()
