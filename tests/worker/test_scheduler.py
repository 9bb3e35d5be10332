"""Passes of one pool: one at a time in a process, and none that was asked for is left out."""

from __future__ import annotations

import threading

import pytest

from worker.scheduler import Passes


def test_run_while_a_pass_is_under_way_is_one_more_pass_of_that_thread() -> None:
    passes, made = Passes(), []
    inside, may_go_on = threading.Event(), threading.Event()

    def first() -> None:
        made.append(threading.current_thread())
        inside.set()
        assert may_go_on.wait(10)

    going = threading.Thread(target=passes.run, args=(1, first))
    going.start()
    assert inside.wait(10)
    for _ in range(5):
        passes.run(1, _never)
    may_go_on.set()
    going.join(10)
    assert made == [going, going]


def test_run_of_another_pool_does_not_wait() -> None:
    passes, made = Passes(), []
    passes.run(1, lambda: passes.run(2, lambda: made.append(2)))
    assert made == [2]


def test_run_that_fails_leaves_the_pool_free() -> None:
    passes, made = Passes(), []

    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        passes.run(1, fails)
    passes.run(1, lambda: made.append(1))
    assert made == [1]


def _never() -> None:
    raise AssertionError("the pass under way is to be made again, by who makes it")
