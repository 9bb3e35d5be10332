"""Flows that read other flows' streams: until something is found, to the end, or to make something of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from client.errors import NoConnection
from client.exchange.effects import Broken, Flow, Stream, Tell

S = TypeVar("S")
T = TypeVar("T")


def found_in(stream: Stream[S], pick: Callable[[S], T | None]) -> Flow[T]:
    """What `pick` makes of the first item of which it makes something. Raises NoConnection where there is none."""
    came: Any = None
    while True:
        try:
            effect = _step(stream, came)
        except StopIteration:
            raise NoConnection("the stream ended before what was waited for") from None
        if isinstance(effect, Tell):
            found = pick(effect.item)
            if found is not None:
                return found
            came = None
        else:
            came = yield from _passed_on(effect)


def each_to(stream: Stream[S], take: Callable[[S], object]) -> Flow[None]:
    """Give `take` every item."""
    came: Any = None
    while True:
        try:
            effect = _step(stream, came)
        except StopIteration:
            return
        if isinstance(effect, Tell):
            take(effect.item)
            came = None
        else:
            came = yield from _passed_on(effect)


def each_made(stream: Stream[S], make: Callable[[S], Iterable[T]]) -> Stream[T]:
    """Tell what `make` makes of each item."""
    came: Any = None
    while True:
        try:
            effect = _step(stream, came)
        except StopIteration:
            return
        if isinstance(effect, Tell):
            for made in make(effect.item):
                yield Tell(made)
            came = None
        else:
            came = yield from _passed_on(effect)


def _step(stream: Stream[Any], came: object) -> Any:
    """What the stream asks for next, or tells."""
    return stream.throw(came) if isinstance(came, Broken) else stream.send(came)


def _passed_on(effect: Any) -> Flow[Any]:
    """What came of an effect; Broken as a value, for the stream that asked for it."""
    try:
        return (yield effect)
    except Broken as broken:
        return broken
