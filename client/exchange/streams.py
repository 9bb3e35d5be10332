"""Flows that read other flows' streams: until something is found, or to make something of each item."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from client.exchange.effects import Broken, Flow, Stream, Tell, step

S = TypeVar("S")
T = TypeVar("T")


def found_in(stream: Stream[S], pick: Callable[[S], object]) -> Flow[Any]:
    """What `pick` makes of the first item of which it makes something, or None once it was given every item."""
    came: Any = None
    while True:
        try:
            effect = step(stream, came)
        except StopIteration:
            return None
        if isinstance(effect, Tell):
            found = pick(effect.item)
            if found is not None:
                return found
            came = None
        else:
            came = yield from _passed_on(effect)


def each_made(stream: Stream[S], make: Callable[[S], Iterable[T]]) -> Stream[T]:
    """Tell what `make` makes of each item."""
    came: Any = None
    while True:
        try:
            effect = step(stream, came)
        except StopIteration:
            return
        if isinstance(effect, Tell):
            for made in make(effect.item):
                yield Tell(made)
            came = None
        else:
            came = yield from _passed_on(effect)


def _passed_on(effect: Any) -> Flow[Any]:
    """What came of an effect; Broken as a value, for the stream that asked for it."""
    try:
        return (yield effect)
    except Broken as broken:
        return broken
