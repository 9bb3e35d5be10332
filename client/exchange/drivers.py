"""The two that do what flows ask for: one waits in its thread, one on its event loop. Nothing is decided here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import TypeVar

import httpx

from client.exchange.connection import FAILURES, STREAM_TIMEOUT, Connection, reply_of
from client.exchange.effects import Ask, Flow, NextBytes, NextText, Open, Pause, Reply, Request, Stream, Tell, step

T = TypeVar("T")


class Threaded:
    """Drives flows in the caller's thread. May be used from several."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.http = httpx.Client(**connection.options)

    def run(self, flow: Flow[T]) -> T:
        """A flow's answer."""
        came: object = None
        with _Reading(self) as reading:
            while True:
                try:
                    effect = step(flow, came)
                except StopIteration as done:
                    answer: T = done.value
                    return answer
                came = reading.perform(effect)

    def each(self, flow: Stream[T]) -> Iterator[T]:
        """What a flow tells."""
        came: object = None
        with _Reading(self) as reading:
            while True:
                try:
                    effect = step(flow, came)
                except StopIteration:
                    return
                if isinstance(effect, Tell):
                    came = None
                    yield effect.item
                else:
                    came = reading.perform(effect)


class _Reading(ExitStack):
    """What one flow does, and the stream that it has open."""

    def __init__(self, driver: Threaded) -> None:
        super().__init__()
        self._driver = driver
        self._text: Iterator[str] = iter(())
        self._bytes: Iterator[bytes] = iter(())

    def perform(self, effect: object) -> object:
        """What came of it; Broken is an answer here, that `step` raises in the flow."""
        connection, http = self._driver.connection, self._driver.http
        try:
            match effect:
                case Ask(request):
                    response = http.request(**connection.sent(request))
                    return reply_of(response, response.content)
                case Open(request):
                    return self._open(request)
                case NextText():
                    return next(self._text, None)
                case NextBytes():
                    return next(self._bytes, None)
                case Pause(seconds):
                    connection.retrying(effect)
                    # What the flow asks for is the time itself: a server's Retry-After, or a growing pause.
                    time.sleep(seconds)
        except FAILURES as error:
            return connection.broken(error)
        return None

    def _open(self, request: Request) -> Reply:
        self.close()
        sent = self._driver.connection.sent(request)
        response = self.enter_context(self._driver.http.stream(**sent, timeout=STREAM_TIMEOUT))
        # Each begins to read when it is asked first, and one of them only.
        self._text, self._bytes = response.iter_text(), response.iter_bytes()
        return reply_of(response, response.read() if response.status_code >= 300 else b"")


class OnLoop:
    """Drives flows on the running event loop."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.http = httpx.AsyncClient(**connection.options)

    async def run(self, flow: Flow[T]) -> T:
        """A flow's answer."""
        came: object = None
        async with _LoopReading(self) as reading:
            while True:
                try:
                    effect = step(flow, came)
                except StopIteration as done:
                    answer: T = done.value
                    return answer
                came = await reading.perform(effect)

    async def each(self, flow: Stream[T]) -> AsyncIterator[T]:
        """What a flow tells."""
        came: object = None
        async with _LoopReading(self) as reading:
            while True:
                try:
                    effect = step(flow, came)
                except StopIteration:
                    return
                if isinstance(effect, Tell):
                    came = None
                    yield effect.item
                else:
                    came = await reading.perform(effect)


class _LoopReading(AsyncExitStack):
    """The same on a loop."""

    def __init__(self, driver: OnLoop) -> None:
        super().__init__()
        self._driver = driver
        self._text: AsyncIterator[str] | None = None
        self._bytes: AsyncIterator[bytes] | None = None

    async def perform(self, effect: object) -> object:
        connection, http = self._driver.connection, self._driver.http
        try:
            match effect:
                case Ask(request):
                    response = await http.request(**connection.sent(request))
                    return reply_of(response, response.content)
                case Open(request):
                    return await self._open(request)
                case NextText():
                    return None if self._text is None else await anext(self._text, None)
                case NextBytes():
                    return None if self._bytes is None else await anext(self._bytes, None)
                case Pause(seconds):
                    connection.retrying(effect)
                    await asyncio.sleep(seconds)
        except FAILURES as error:
            return connection.broken(error)
        return None

    async def _open(self, request: Request) -> Reply:
        await self.aclose()
        sent = self._driver.connection.sent(request)
        response = await self.enter_async_context(self._driver.http.stream(**sent, timeout=STREAM_TIMEOUT))
        self._text, self._bytes = response.aiter_text(), response.aiter_bytes()
        return reply_of(response, await response.aread() if response.status_code >= 300 else b"")
