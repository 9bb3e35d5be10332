"""What an engine remembers and tells of what happens on it: the last 256 events, and whoever listens."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tests.lab.fake_engine.http_server import Reply

#: As engines do (moby, daemon/events: eventsLimit).
_KEPT = 256


@dataclass(frozen=True, slots=True)
class Event:
    """`kind` is container, network or image; `attributes` include the labels of what it happened to."""

    ns: int
    kind: str
    action: str
    id: str
    attributes: Mapping[str, str]

    def line(self) -> bytes:
        """As the events call sends it."""
        said: dict[str, Any] = {}
        if self.kind == "container":
            said = {"status": self.action, "id": self.id, "from": self.attributes.get("image", "")}
        said |= {
            "Type": self.kind,
            "Action": self.action,
            "Actor": {"ID": self.id, "Attributes": self.attributes},
            "scope": "local",
            "time": self.ns // 1_000_000_000,
            "timeNano": self.ns,
        }
        return orjson.dumps(said) + b"\n"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A listener's filters; an empty one lets everything through. All labels must match, one of the others."""

    kinds: frozenset[str]
    actions: frozenset[str]
    containers: frozenset[str]
    labels: tuple[str, ...]

    def takes(self, event: Event) -> bool:
        """Whether the event is for this listener."""
        return (
            (not self.kinds or event.kind in self.kinds)
            and (not self.actions or event.action in self.actions)
            and (not self.containers or bool({event.id, event.attributes.get("name", "")} & self.containers))
            and has_labels(event.attributes, self.labels)
        )


def has_labels(there: Mapping[str, str], wanted: tuple[str, ...]) -> bool:
    """Whether labels are there, each `name` or `name=value`."""
    for label in wanted:
        name, equals, value = label.partition("=")
        if name not in there or (equals and there[name] != value):
            return False
    return True


class EventLog:
    """`muted` engines drop events for their listeners, as real ones do for slow ones."""

    def __init__(self) -> None:
        self._kept: deque[Event] = deque(maxlen=_KEPT)
        self._listeners: dict[Reply, Wanted] = {}
        self.muted = False

    def tell(self, event: Event) -> None:
        """Keep an event and send it to whoever wants it."""
        self._kept.append(event)
        if self.muted:
            return
        line = b""
        for reply, wanted in tuple(self._listeners.items()):
            if wanted.takes(event):
                line = line or event.line()
                reply.chunk(line)

    def listen(self, reply: Reply, wanted: Wanted, since_ns: int | None) -> None:
        """Send what is kept since a moment, and all that comes until the listener goes away."""
        self.replay(reply, wanted, since_ns)
        self._listeners[reply] = wanted
        reply.gone = lambda: self.forget(reply)

    def replay(self, reply: Reply, wanted: Wanted, since_ns: int | None, until_ns: int | None = None) -> None:
        """Send what is kept of a span of time."""
        if since_ns is None:
            return
        for event in self._kept:
            if event.ns >= since_ns and (until_ns is None or event.ns <= until_ns) and wanted.takes(event):
                reply.chunk(event.line())

    def forget(self, reply: Reply) -> None:
        """The listener has gone."""
        self._listeners.pop(reply, None)

    @property
    def listener_count(self) -> int:
        """Listeners now."""
        return len(self._listeners)
