"""Answers of calls that may hang: each call is made by one thread at a time, for all who ask meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What was answered, and when (monotonic clock, in seconds)."""

    value: T
    at: float


class Kept(Generic[T]):
    """One call, its answer kept for so long. Safe to ask from many threads."""

    def __init__(self, threads: ThreadPoolExecutor, call: Callable[[], T], *, kept_seconds: float = 0.0) -> None:
        self._threads, self._call, self._kept_seconds = threads, call, kept_seconds
        self._lock = threading.Lock()
        self._asked: Future[Answer[T]] | None = None

    def ask(self) -> Future[Answer[T]]:
        """The answer that is kept, or that is on its way; else the call is made. What it raises the future has."""
        with self._lock:
            if self._asked is None or (self._asked.done() and self._is_old(self._asked)):
                self._asked = self._threads.submit(self._made)
            return self._asked

    def _made(self) -> Answer[T]:
        return Answer(self._call(), time.monotonic())

    def _is_old(self, asked: Future[Answer[T]]) -> bool:
        return asked.exception() is not None or time.monotonic() - asked.result().at >= self._kept_seconds
