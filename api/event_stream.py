"""Server-sent events as the API sends them: streams that are counted, kept alive, and gone on with by an id."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Final

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

LAST_EVENT_ID: Final = "Last-Event-ID"
_PING_SECONDS = 15


class HeldStream(EventSourceResponse):
    """A stream that gives its place back however it ends, also when it never began."""

    def __init__(self, held: ExitStack, events: AsyncIterator[ServerSentEvent]) -> None:
        super().__init__(events, ping=_PING_SECONDS)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


def sent_event(name: str, data: bytes, event_id: str | None = None) -> ServerSentEvent:
    """An event whose data is one line of JSON; with an id, by which a client goes on after it."""
    return ServerSentEvent(data.decode(), event=name, id=event_id, sep="\n")
