"""Lists, read page by page as they are iterated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from client.exchange.effects import Request, Stream, Tell
from client.exchange.retrying import Patience, answered
from client.reads.wire import read_object

T = TypeVar("T")


def each_item(
    request: Request,
    items: str,
    read: Callable[[Mapping[str, Any]], T],
    *,
    patience: Callable[[], Patience],
    limit: int | None = None,
) -> Stream[T]:
    """What is in a list, in its order; of `limit` items at the most. Pages may be empty and yet not the last."""
    told, token = 0, ""
    while limit is None or told < limit:
        query = {**request.query, "pageToken": token}
        reply = yield from answered(replace(request, query=query), patience())
        page = read_object(reply.content)
        for fields in page.get(items) or ():
            if told == limit:
                return
            told += 1
            yield Tell(read(fields))
        token = page.get("nextPageToken") or ""
        if not token:
            return
