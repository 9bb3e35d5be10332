"""Server-sent events, gone on with after every break: by the id of the last one, without gap or repeat."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from client.errors import NoConnection
from client.exchange.effects import Broken, NextText, Open, Pause, Reply, Request, Stream, Tell
from client.exchange.retrying import Patience, wait_or_raise, wait_or_refuse

LAST_EVENT_ID = "Last-Event-ID"
#: Of the platform's streams; after them nothing comes.
LAST_EVENTS = frozenset({"end", "deleted"})


@dataclass(frozen=True)
class ServerEvent:
    """One event. `id` "" has none: it is told anew to whoever comes again."""

    name: str
    data: Any
    id: str = ""


class EventReader:
    """Text in, events out (the fields that the platform sends, of the HTML standard's 9.2.6).

    A line ends at a line feed and nowhere else: what `str.splitlines` also splits at, as U+2028, stands unescaped
    in JSON, and programs print it.
    """

    def __init__(self) -> None:
        self._name, self._id, self._data = "", "", list[str]()
        self._rest = ""

    def lines(self, text: str) -> list[str]:
        """The lines that a piece of the stream completes."""
        *whole, self._rest = (self._rest + text).split("\n")
        return [line.removesuffix("\r") for line in whole]

    def read(self, line: str) -> ServerEvent | None:
        """The event that a line completes."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                self._name = value
            elif name == "id":
                self._id = value
            elif name == "data":
                self._data.append(value)
            return None
        event = ServerEvent(self._name, json.loads("\n".join(self._data)), self._id) if self._data else None
        self._name, self._id, self._data = "", "", []
        return event


def each_event(request: Request, patience: Callable[[], Patience], after: str = "") -> Stream[ServerEvent]:
    """Every event of a stream, or those after the event of that id, to its end. Raises Refused, NoConnection.

    A break in the midst of an event loses nothing: an event counts once it is whole.
    """
    last_id, left = after, patience()
    while True:
        headers = {**request.headers, **({LAST_EVENT_ID: last_id} if last_id else {})}
        try:
            reply: Reply = yield Open(replace(request, headers=headers))
            if reply.status >= 300:
                yield from wait_or_refuse(reply, left)
                continue
            reader = EventReader()
            while (text := (yield NextText())) is not None:
                for line in reader.lines(text):
                    event = reader.read(line)
                    # Not for what has no id: a watch tells the job as it is at every connection, also at those
                    # that break right after it. A ping comes of one that has held for a while.
                    if line.startswith(":") or (event is not None and event.id):
                        left.renew()
                    if event is None:
                        continue
                    last_id = event.id or last_id
                    yield Tell(event)
                    if event.name in LAST_EVENTS:
                        return
        except Broken as broken:
            yield from wait_or_raise(broken, left, again=True)
            continue
        # Ended by the server without its last event: an api that stops does so, and so does a key that is revoked.
        delay = left.next_delay()
        if delay is None:
            raise NoConnection("the stream of events ends again and again before the job does")
        yield Pause(delay, "the stream ended; trying again")
