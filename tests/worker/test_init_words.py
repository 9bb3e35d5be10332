"""What a container's init says, taken out of its output."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.docker_engine.init_words import asking, without_words

SPAWNED = b"[INFO  tini (1)] Spawned child process 'sh' with pid '7'\n"
NORMALLY = b"[INFO  tini (1)] Main child exited normally (with status '137')\n"
KILLED = b"[INFO  tini (1)] Main child exited with signal (with signal 'Killed')\n"


@pytest.mark.parametrize(
    ("data", "left", "by_signal"),
    [
        (SPAWNED, b"", None),
        (NORMALLY, b"", False),
        (KILLED, b"", True),
        (b"no end" + SPAWNED, b"no end", None),
        (b"no end" + KILLED, b"no end", True),
        # Of a tini in the image, which is not what the platform runs.
        (KILLED.replace(b"(1)", b"(12)"), b"", None),
        (b"[INFO  tini (1)] something else\n", b"[INFO  tini (1)] something else\n", None),
        (KILLED + b"more\n", KILLED + b"more\n", None),
        (b"", b"", None),
    ],
)
def test_words_of_an_init_are_taken_out_and_understood(data: bytes, left: bytes, by_signal: bool | None) -> None:
    assert without_words(data) == (left, by_signal)


@given(st.binary())
def test_words_whatever_stands_before_them_is_left_as_it_is(before: bytes) -> None:
    assert without_words(before + KILLED) == (before, True)
    assert without_words(before) == (before, None)


def test_asking_leaves_a_level_of_the_jobs_own_alone() -> None:
    assert asking({"A": "b"}) == {"TINI_VERBOSITY": "2"}
    assert asking({"TINI_VERBOSITY": "0"}) == {}
