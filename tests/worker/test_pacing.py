"""Regular work that takes its share of the time and no more."""

from __future__ import annotations

import threading
import time

import pytest

from worker.pacing import Paced


def test_work_that_took_long_is_left_out_until_its_share_is_kept() -> None:
    paced, runs = Paced(0.5), list[int]()

    def take_long() -> None:
        time.sleep(0.2)
        runs.append(1)

    assert paced.run(take_long)
    assert not paced.run(take_long)
    deadline = time.monotonic() + 5
    while not paced.run(take_long):
        assert time.monotonic() < deadline
    assert runs == [1, 1]


def test_work_under_way_is_not_begun_again() -> None:
    paced, begun, over = Paced(0.5), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        over.wait(10)

    running = threading.Thread(target=paced.run, args=(work,))
    running.start()
    assert begun.wait(10)
    assert not paced.run(lambda: None)
    over.set()
    running.join(10)


def test_work_that_fails_is_asked_for_again() -> None:
    paced = Paced(1.0)

    def fail() -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        paced.run(fail)
    assert paced.run(lambda: None)


def test_work_that_is_asked_for_many_times_at_once_is_done_once() -> None:
    paced, runs = Paced(1.0, least_seconds=30), list[int]()
    for _ in range(100):
        paced.run(lambda: runs.append(1))
    assert runs == [1]
