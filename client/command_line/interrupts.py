"""Ctrl-C while a job is followed: it asks what is meant. A second one, or no terminal to ask on, detaches."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto

from client.command_line.screen import Screen

_QUESTION = "d = detach, the job goes on; c = cancel it; Enter = keep following: "


class Wish(Enum):
    """What the user wants of the job that he has interrupted."""

    DETACH = auto()
    CANCEL = auto()
    GO_ON = auto()


class Interrupts:
    """Counts Ctrl-C on the running loop, instead of having it raised wherever the program is."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._happened = asyncio.Event()

    @contextmanager
    def heard(self) -> Iterator[None]:
        """From here to the end of the block."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._happened.set)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    async def one(self) -> None:
        """Return at the next one."""
        await self._happened.wait()
        self._happened.clear()

    async def ask(self) -> Wish:
        """What is meant by it."""
        if not (sys.stdin.isatty() and self._screen.err.is_terminal):
            return Wish.DETACH
        self._screen.err.file.write(f"\n{_QUESTION}")
        self._screen.err.file.flush()
        answer = asyncio.ensure_future(_line())
        again = asyncio.ensure_future(self.one())
        try:
            await asyncio.wait({answer, again}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                self._screen.err.file.write("\n")
                return Wish.DETACH
            return _wish(answer.result())
        finally:
            answer.cancel()
            again.cancel()


def _wish(answer: bytes) -> Wish:
    if not answer:
        return Wish.DETACH  # Ctrl-D
    return {b"d": Wish.DETACH, b"c": Wish.CANCEL}.get(answer.strip().lower()[:1], Wish.GO_ON)


async def _line() -> bytes:
    """A line that is typed; b"" at the end of input. The terminal itself collects it."""
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[bytes] = loop.create_future()
    descriptor = sys.stdin.fileno()

    def read() -> None:
        if not typed.done():
            typed.set_result(os.read(descriptor, 1024))

    loop.add_reader(descriptor, read)
    try:
        return await typed
    finally:
        loop.remove_reader(descriptor)
