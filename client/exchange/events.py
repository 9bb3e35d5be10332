"""Server-sent events, gone on with after every break: by the id of the last one, without gap or repeat."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from client.errors import NoConnection
from client.exchange.effects import Broken, NextLine, Open, Pause, Reply, Request, Stream, Tell
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
    """Lines in, events out (the fields that the platform sends, of the HTML standard's 9.2.6)."""

    def __init__(self) -> None:
        self._name, self._id, self._data = "", "", list[str]()

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
            while (line := (yield NextLine())) is not None:
                event = reader.read(line)
                if event is None:
                    continue
                left.renew()
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
        yield Pause(delay)
