"""How a method that is written once, as a flow, is a plain method of one client and a coroutine of the other.

`@verb` is for flows with one answer, `@feed` for those that tell many things. On an object that is `Blocking` they
give the answer and an iterator, on one that is `Looped` a coroutine and an asynchronous iterator.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from client.exchange.drivers import OnLoop, Threaded
from client.exchange.effects import Flow, Stream

S = TypeVar("S")
T = TypeVar("T")
P = ParamSpec("P")


class Blocking:
    """Whose verbs wait in the caller's thread."""

    _driver: Threaded


class Looped:
    """Whose verbs are awaited."""

    _driver: OnLoop


class verb(Generic[S, P, T]):  # noqa: N801  # used as a decorator
    """A method with one answer."""

    def __init__(self, flow: Callable[Concatenate[S, P], Flow[T]]) -> None:
        self.flow = flow
        self.__doc__ = flow.__doc__
        self.__name__ = flow.__name__

    @overload
    def __get__(self, instance: None, owner: type) -> verb[S, P, T]: ...
    @overload
    def __get__(self, instance: Blocking, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: Looped, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        return _named(lambda *args, **kwargs: instance._driver.run(self.flow(instance, *args, **kwargs)), self)


class feed(Generic[S, P, T]):  # noqa: N801  # used as a decorator
    """A method that is iterated."""

    def __init__(self, flow: Callable[Concatenate[S, P], Stream[T]]) -> None:
        self.flow = flow
        self.__doc__ = flow.__doc__
        self.__name__ = flow.__name__

    @overload
    def __get__(self, instance: None, owner: type) -> feed[S, P, T]: ...
    @overload
    def __get__(self, instance: Blocking, owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, instance: Looped, owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        return _named(lambda *args, **kwargs: instance._driver.each(self.flow(instance, *args, **kwargs)), self)


def _named(method: Any, described: Any) -> Any:
    method.__name__, method.__doc__ = described.__name__, described.__doc__
    method.__wrapped__ = described.flow
    return method
