"""What every call stands on: for how long it may go on failing, how an answer becomes a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from client.errors import LongshoreError
from client.exchange.effects import Flow, Query, Request, Stream
from client.exchange.lists import each_item
from client.exchange.retrying import Patience, answered
from client.reads.wire import Read, read_object

R = TypeVar("R", bound=Read)
T = TypeVar("T")


class Asking:
    """Something that has verbs. `retry_seconds` bounds how long one call is tried again."""

    retry_seconds: float

    def patience(self) -> Patience:
        """A fresh budget, for one call."""
        return Patience(self.retry_seconds)

    def ask(self, request: Request, patience: Patience | None = None) -> Flow[Mapping[str, Any]]:
        """The object that a request is answered with."""
        reply = yield from answered(request, patience or self.patience())
        return read_object(reply.content)

    def read(self, request: Request, cls: type[R]) -> Flow[R]:
        """The same as a value."""
        return cls.of((yield from self.ask(request)))

    def do(self, method: str, path: str, body: Any = None) -> Flow[None]:
        """A request whose answer is empty, and that may be repeated."""
        yield from answered(Request(method, path, body=body), self.patience())

    def remove(self, path: str) -> Flow[None]:
        """Delete. That it is gone when a try whose answer was lost is repeated is what was wanted."""
        yield from answered(Request("DELETE", path, gone_is_done=True), self.patience())

    def each(
        self,
        path: str,
        items: str,
        read: Callable[[Mapping[str, Any]], T],
        query: Query | None = None,
        limit: int | None = None,
    ) -> Stream[T]:
        """What is in a list."""
        size = min(limit or 200, 200)
        request = Request("GET", path, {"pageSize": size, **(query or {})})
        yield from each_item(request, items, read, patience=self.patience, limit=limit)


def segment(value: str) -> str:
    """One part of a path, whatever is in it. Raises LongshoreError for what would name another resource."""
    if value in ("", ".", ".."):
        raise LongshoreError(f"{value!r} is no id")
    return quote(value, safe="")
