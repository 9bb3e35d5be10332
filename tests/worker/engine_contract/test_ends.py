"""How containers end: exit codes, signals, and memory."""

from __future__ import annotations

import time
from typing import Any

import pytest

from core.errors import EngineError
from tests.worker.engine_contract.subject import Subject

_MEMORY_BYTES = 16 << 20
_WAITS_FOR_TERM = 'trap "exit 7" TERM; echo ready; sleep 60 & wait'
_IGNORES_TERM = 'trap "" TERM; echo ready; sleep 60'


@pytest.mark.parametrize("code", [0, 1, 3, 126, 127, 137, 143, 255])
def test_exit_code_is_the_programs_own(subject: Subject, code: int) -> None:
    container = subject.ended(f"exit {code}")
    seen = subject.seen(container)
    assert (seen.exit_code, seen.oom_killed, seen.error) == (code, False, "")
    subject.steps.remove(container)


@pytest.mark.parametrize(("signal", "code"), [("SIGTERM", 143), ("SIGKILL", 137), ("SIGUSR1", 138)])
def test_signal_ends_a_program_that_does_not_mind_it(subject: Subject, signal: str, code: int) -> None:
    container = subject.started("sleep", "60")
    assert subject.steps.signal(container, signal)
    seen = subject.wait_end(container)
    assert (seen.exit_code, seen.oom_killed) == (code, False)
    subject.steps.remove(container)


@pytest.mark.parametrize(
    ("script", "fake", "code", "by_signal"),
    [
        ("exit 137", {"exitCode": 137}, 137, False),
        ("kill -9 $$", {"exitCode": 137, "bySignal": True}, 137, True),
        ("kill -SEGV $$", {"exitCode": 139, "bySignal": True}, 139, True),
        ("sh -c 'kill -9 $$'; exit $?", {"exitCode": 137}, 137, False),
        ("exit 0", {}, 0, False),
    ],
)
def test_init_says_whether_a_signal_ended_the_program_and_nothing_of_it_is_output(
    subject: Subject, script: str, fake: dict[str, Any], code: int, by_signal: bool
) -> None:
    container = subject.ended(script, fake=fake)
    assert subject.seen(container).exit_code == code
    assert subject.init_said(container) == [by_signal]
    assert b"".join(frame.data for frame in subject.frames(container) if frame.stream == 1) == b""
    subject.steps.remove(container)


def test_init_that_ends_its_program_by_the_signal_it_is_sent_says_so_and_says_nothing_of_its_own_kill(
    subject: Subject,
) -> None:
    for signal, said in (("SIGTERM", [True]), ("SIGUSR1", [True]), ("SIGKILL", [])):
        container = subject.started("sleep", "60")
        assert subject.steps.signal(container, signal)
        subject.wait_end(container)
        assert subject.init_said(container) == said, signal
        subject.steps.remove(container)


def test_init_leaves_the_last_line_as_it_was_where_that_has_no_end(subject: Subject) -> None:
    container = subject.ended("printf 'a\\nno end'; exit 3", fake={"output": ["a\nno end"], "exitCode": 3})
    assert [frame.data for frame in subject.frames(container)] == [b"a\n", b"no end"]
    assert subject.init_said(container) == [False]
    subject.steps.remove(container)


def test_init_is_let_be_where_the_job_has_a_level_of_its_own(subject: Subject) -> None:
    container = subject.ended("exit 137", environment={"TINI_VERBOSITY": "0"}, fake={"exitCode": 137})
    assert subject.init_said(container) == []
    subject.steps.remove(container)


def test_signal_sigterm_that_is_caught_ends_as_the_program_says(subject: Subject) -> None:
    container = _ready(subject, _WAITS_FOR_TERM)
    assert subject.steps.signal(container, "SIGTERM")
    assert subject.wait_end(container).exit_code == 7
    subject.steps.remove(container)


def test_signal_sigterm_that_is_ignored_ends_nothing_and_sigkill_does(subject: Subject) -> None:
    container = _ready(subject, _IGNORES_TERM)
    assert subject.steps.signal(container, "SIGTERM")
    time.sleep(0.5)
    assert subject.seen(container).status == "running"
    assert subject.steps.signal(container, "SIGKILL")
    assert subject.wait_end(container).exit_code == 137
    subject.steps.remove(container)


def test_signal_by_name_of_the_container_does_the_same(subject: Subject) -> None:
    spec = subject.spec("sleep", "60")
    subject.steps.start(subject.steps.create(spec))
    assert subject.steps.signal(spec.key.container_name, "SIGKILL")
    assert subject.wait_end(spec.key.container_name).exit_code == 137
    subject.steps.remove(spec.key.container_name)


def test_signal_to_what_does_not_run_is_told_so(subject: Subject) -> None:
    created, ended = subject.steps.create(subject.spec("true")), subject.ended("true")
    for container in (created, ended, "ls-nothing-1-0"):
        assert subject.steps.signal(container, "SIGTERM") is False
        assert subject.steps.signal(container, "SIGKILL") is False
    assert subject.seen(created).status == "created"
    subject.steps.remove(created)
    subject.steps.remove(ended)


def test_signal_that_is_none_is_refused(subject: Subject) -> None:
    container = subject.started("sleep", "60")
    with pytest.raises(EngineError, match="Invalid signal: SIGBOGUS"):
        subject.steps.signal(container, "SIGBOGUS")
    subject.steps.remove(container)


def test_stop_kills_what_does_not_end_in_time(subject: Subject) -> None:
    container = _ready(subject, _IGNORES_TERM)
    subject.api.stop(container, timeout=1)
    seen = subject.seen(container)
    assert (seen.status, seen.exit_code) == ("exited", 137)
    subject.api.stop(container, timeout=1)
    subject.steps.remove(container)


@pytest.mark.parametrize("before", [True, False])
def test_wait_answers_with_the_exit_code(subject: Subject, before: bool) -> None:
    container = subject.started("sleep 0.4; exit 5") if before else subject.ended("exit 5")
    assert subject.api.wait(container)["StatusCode"] == 5
    subject.steps.remove(container)


@pytest.mark.parametrize(
    ("script", "fake", "code"),
    [
        (
            'x=$(head -c 60000000 /dev/zero | tr "\\0" x); echo survived',
            {"seconds": 0.1, "exitCode": 137, "oomKilled": True},
            137,
        ),
        ("(tail /dev/zero); exit 0", {"seconds": 0.1, "exitCode": 0, "oomKilled": True}, 0),
    ],
    ids=["the program itself", "a child, and the program goes on"],
)
def test_out_of_memory_is_what_the_engine_says_whatever_the_code(
    subject: Subject, script: str, fake: dict[str, Any], code: int
) -> None:
    container = subject.ended(script, fake=fake, memory_bytes=_MEMORY_BYTES)
    seen = subject.seen(container)
    assert (seen.exit_code, seen.oom_killed) == (code, True)
    subject.steps.remove(container)


def test_out_of_memory_of_an_earlier_run_is_forgotten_at_the_next_start(subject: Subject) -> None:
    """The flag is of the newest run: read it before a container is started again."""
    container = subject.ended("sleep 0.2")
    subject.steps.start(container)
    assert subject.wait_end(container).oom_killed is False
    subject.steps.remove(container)


def _ready(subject: Subject, script: str) -> str:
    """A container whose program has got as far as to say that it is ready."""
    container = subject.started(script)
    deadline = time.monotonic() + 20
    while not subject.frames(container):
        assert time.monotonic() < deadline, "the program has not said that it is ready"
        time.sleep(0.05)
    return container
