"""Answers that come by small pieces, read a few at a time, and what ends them: the same over TLS and without."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from deploy.certificates import Authority
from worker.docker_engine.calls import gathered

_LINES = 50


@pytest.fixture(params=["plain", "tls"])
def contexts(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[ssl.SSLContext, ssl.SSLContext] | None]:
    """Of server and client."""
    if request.param == "plain":
        yield None
        return
    authority = Authority.ensure(tmp_path / "ca")
    authority.issue_server(tmp_path / "server", ["127.0.0.1"])
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(tmp_path / "server" / "cert.pem", tmp_path / "server" / "key.pem")
    client = ssl.create_default_context(cafile=tmp_path / "server" / "ca.pem")
    yield server, client


async def _read(contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None, *, pause_seconds: float) -> bytes:
    """What is read of an answer of `_LINES` lines, after which the server hangs up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        for number in range(_LINES):
            writer.write(b"%d\n" % number)
            await writer.drain()
            await asyncio.sleep(pause_seconds)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=contexts and contexts[0])
    port = server.sockets[0].getsockname()[1]
    async with server, aiohttp.ClientSession() as session:
        url = f"{'https' if contexts else 'http'}://127.0.0.1:{port}/"
        async with session.get(url, ssl=contexts[1] if contexts else True) as response:
            return b"".join([piece async for piece in gathered(response)])


@pytest.mark.parametrize("pause_seconds", [0.0, 0.0005, 0.003])
def test_answer_that_ends_while_its_pieces_are_gathered_is_whole(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None, pause_seconds: float
) -> None:
    expected = b"".join(b"%d\n" % number for number in range(_LINES))
    for _ in range(5):
        assert asyncio.run(_read(contexts, pause_seconds=pause_seconds)) == expected
