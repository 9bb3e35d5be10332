"""What a container uses, as an engine says while it runs, and that nothing is said of one that does not."""

from __future__ import annotations

import time

import pytest

from tests.worker.engine_contract.subject import LIMITS, Subject
from worker.engine import Usage

pytestmark = pytest.mark.usefixtures("nothing_left")


def _usage(subject: Subject, container: str) -> Usage | None:
    return subject.run(lambda streams: streams.usage(container))


def test_usage_grows_while_the_container_runs(subject: Subject) -> None:
    container = subject.started("i=0; while true; do i=$((i+1)); done", fake={"seconds": None})
    subject.wait_running(container)
    asked_ms = time.time() * 1000
    first = _usage(subject, container)
    assert first is not None
    assert abs(first.point.time_ms - asked_ms) < 10_000
    assert (first.memory_limit_bytes, first.has_network) == (LIMITS.memory_bytes, True)
    assert 0 < first.point.memory_bytes <= LIMITS.memory_bytes
    deadline = time.monotonic() + 20
    while True:
        later = _usage(subject, container)
        assert later is not None and later.point.cpu_us >= first.point.cpu_us
        if later.point.cpu_us > first.point.cpu_us and later.point.time_ms > first.point.time_ms:
            break
        assert time.monotonic() < deadline
    # Half a core is what it may have.
    passed_us = (later.point.time_ms - first.point.time_ms) * 1000
    assert later.point.cpu_us - first.point.cpu_us < passed_us + 300_000
    subject.steps.remove(container)


def test_usage_of_a_container_that_does_not_run_or_is_gone_is_none(subject: Subject) -> None:
    created, ended = subject.steps.create(subject.spec("true")), subject.ended("true")
    assert _usage(subject, created) is None
    assert _usage(subject, ended) is None
    assert _usage(subject, "ls-nothing-1-0") is None


def test_usage_without_a_network_of_its_own_counts_no_bytes_of_one(subject: Subject) -> None:
    container = subject.started("sleep 60", network="host")
    found = _usage(subject, container)
    assert found is not None
    assert (found.has_network, found.point.rx_bytes, found.point.tx_bytes) == (False, 0, 0)
    subject.steps.remove(container)
