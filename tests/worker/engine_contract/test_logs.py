"""Output: every byte, with the stream and the time it came from, whenever it is read."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import pytest
from docker.errors import APIError

from core.errors import ContainerGone
from core.log_records import LogRecord
from tests.worker.engine_contract.subject import Subject
from worker.docker_engine.streams import DockerStreams

_PIECE = 16_384
#: For what is read past our adapter, which takes the words of a container's init out of the output.
_SILENT_INIT = {"TINI_VERBOSITY": "0"}


def test_logs_tell_streams_apart_in_order_with_the_time_of_each(subject: Subject) -> None:
    began = time.time_ns()
    container = subject.ended("echo one; sleep 0.2; echo two >&2; sleep 0.2; echo three")
    frames = subject.frames(container)
    assert [(frame.stream, frame.data) for frame in frames] == [(1, b"one\n"), (2, b"two\n"), (1, b"three\n")]
    times = [frame.time_ns for frame in frames]
    assert all(earlier < later for earlier, later in pairwise(times))
    assert began < times[0] < times[-1] < time.time_ns()
    assert 0.1e9 < times[1] - times[0] < 2e9
    subject.steps.remove(container)


def test_logs_of_many_lines_at_once_have_a_time_of_its_own_for_each(subject: Subject) -> None:
    container = subject.ended("; ".join(f"echo {number}" for number in range(300)))
    frames = subject.frames(container)
    assert [frame.data for frame in frames] == [f"{number}\n".encode() for number in range(300)]
    assert all(earlier.time_ns < later.time_ns for earlier, later in pairwise(frames))
    subject.steps.remove(container)


def test_logs_keep_every_byte(subject: Subject) -> None:
    container = subject.ended(r'printf "a\000b\377\n\n\rc"; printf "d\n"')
    assert [frame.data for frame in subject.frames(container)] == [b"a\0b\xff\n", b"\n", b"\rcd\n"]
    subject.steps.remove(container)


def test_logs_keep_the_last_line_without_a_newline(subject: Subject) -> None:
    container = subject.ended('printf "whole\\nhalf"; printf "other" >&2')
    frames = sorted((frame.stream, frame.data) for frame in subject.frames(container))
    assert frames == [(1, b"half"), (1, b"whole\n"), (2, b"other")]
    subject.steps.remove(container)


def test_logs_hold_an_unfinished_line_back_until_it_is_whole(subject: Subject) -> None:
    container = subject.ended("printf x; sleep 0.3; echo y")
    assert [frame.data for frame in subject.frames(container)] == [b"xy\n"]
    subject.steps.remove(container)


@pytest.mark.parametrize(
    ("length", "pieces"),
    [
        (_PIECE - 1, [_PIECE]),
        (_PIECE, [_PIECE, 1]),
        (_PIECE + 1, [_PIECE, 2]),
        (2 * _PIECE + 100, [_PIECE, _PIECE, 101]),
    ],
)
def test_logs_cut_long_lines_in_pieces_of_one_time(subject: Subject, length: int, pieces: list[int]) -> None:
    """The last piece comes without its newline, which is given back; of a line that just fills one it is all."""
    script = f'head -c {length} /dev/zero | tr "\\0" x; echo; echo after'
    fake = {"output": ["x" * length + "\n", "after\n"]}
    container = subject.ended(script, fake=fake)
    *long, after = subject.frames(container)
    assert [len(frame.data) for frame in long] == pieces
    assert len({frame.time_ns for frame in long}) == 1
    assert b"".join(frame.data for frame in long) == b"x" * length + b"\n"
    assert after.data == b"after\n"
    assert after.time_ns > long[0].time_ns
    subject.steps.remove(container)


def test_logs_of_a_long_last_line_without_a_newline_have_none(subject: Subject) -> None:
    container = subject.ended(
        f'head -c {_PIECE + 9} /dev/zero | tr "\\0" x', fake={"output": ["x" * (_PIECE + 9)]}
    )
    assert b"".join(frame.data for frame in subject.frames(container)) == b"x" * (_PIECE + 9)
    subject.steps.remove(container)


def test_logs_since_a_time_begin_with_the_frame_of_that_time(subject: Subject) -> None:
    container = subject.ended("echo one; sleep 0.05; echo two; sleep 0.05; echo three")
    whole = subject.frames(container)
    assert subject.frames(container, since_ns=whole[1].time_ns) == whole[1:]
    assert subject.frames(container, since_ns=whole[1].time_ns + 1) == whole[2:]
    assert subject.frames(container, since_ns=whole[0].time_ns, follow=True) == whole
    assert subject.frames(container, since_ns=time.time_ns() + 10**12) == []
    subject.steps.remove(container)


def test_logs_followed_have_what_came_before_and_end_with_the_container(subject: Subject) -> None:
    container = subject.started("echo early; sleep 0.6; echo late; exit 4")
    time.sleep(0.3)
    began = time.monotonic()
    frames = subject.frames(container, follow=True)
    assert [frame.data for frame in frames] == [b"early\n", b"late\n"]
    assert time.monotonic() - began < 5
    assert subject.wait_end(container, 2).exit_code == 4
    subject.steps.remove(container)


def test_logs_followed_come_as_they_are_printed(subject: Subject) -> None:
    container = subject.started("echo first; sleep 20")

    async def first(streams: DockerStreams) -> LogRecord:
        async with asyncio.timeout(10):
            async for frames in streams.log_pieces(container, since_ns=0, follow=True):
                return frames[0]
        raise AssertionError("the stream ended")

    assert subject.run(first).data == b"first\n"
    assert subject.seen(container).status == "running"
    subject.steps.remove(container)


def test_logs_followed_by_many_are_the_same_for_all(subject: Subject) -> None:
    container = subject.started("echo one; sleep 0.5; echo two")

    async def all_of(streams: DockerStreams) -> list[list[LogRecord]]:
        async def read() -> list[LogRecord]:
            pieces = streams.log_pieces(container, since_ns=0, follow=True)
            return [frame async for frames in pieces for frame in frames]

        async with asyncio.timeout(20):
            return await asyncio.gather(*(read() for _ in range(5)))

    first, *others = subject.run(all_of)
    assert [frame.data for frame in first] == [b"one\n", b"two\n"]
    assert all(other == first for other in others)
    subject.steps.remove(container)


def test_logs_followed_of_an_ended_container_end_at_once(subject: Subject) -> None:
    container = subject.ended("echo one")
    began = time.monotonic()
    assert [frame.data for frame in subject.frames(container, follow=True)] == [b"one\n"]
    assert time.monotonic() - began < 2
    subject.steps.remove(container)


@pytest.mark.parametrize("follow", [True, False])
def test_logs_of_a_container_that_has_not_been_started_are_empty(subject: Subject, follow: bool) -> None:
    container = subject.steps.create(subject.spec("echo one"))
    assert subject.frames(container, follow=follow) == []
    subject.steps.remove(container)


def test_logs_of_what_is_not_there_say_so(subject: Subject) -> None:
    with pytest.raises(ContainerGone):
        subject.frames("ls-nothing-1-0")


def test_logs_followed_end_when_the_container_is_removed(subject: Subject) -> None:
    container = subject.started("echo one; sleep 60")

    async def follow(streams: DockerStreams) -> list[bytes]:
        data: list[bytes] = []
        async with asyncio.timeout(20):
            async for frames in streams.log_pieces(container, since_ns=0, follow=True):
                data += frames.data
                await asyncio.to_thread(subject.steps.remove, container)
        return data

    assert subject.run(follow) == [b"one\n"]


def test_logs_of_very_many_lines_are_the_same_followed_and_read(subject: Subject) -> None:
    """More than comes at once, by either way."""
    lines = [f"line {number} of many\n" for number in range(1, 20_001)]
    script = "seq 20000 | sed 's/.*/line & of many/'"
    container = subject.started(script, fake={"output": lines})
    followed = subject.frames(container, follow=True)
    subject.wait_end(container)
    whole = subject.frames(container)
    assert [frame.data.decode() for frame in whole] == lines
    # A follower of 20.10 may be told of the end before it has been given all.
    assert followed == whole[: len(followed)]
    assert followed
    subject.steps.remove(container)


def test_logs_of_the_last_lines_are_those(subject: Subject) -> None:
    container = subject.ended("echo one; echo two; echo three", environment=_SILENT_INIT)
    assert subject.api.logs(container, tail=2) == b"two\nthree\n"
    assert subject.api.logs(container, tail=0) == b""
    subject.steps.remove(container)


def test_logs_of_one_stream_have_no_other(subject: Subject) -> None:
    container = subject.ended("echo out; echo err >&2", environment=_SILENT_INIT)
    assert subject.api.logs(container, stdout=True, stderr=False) == b"out\n"
    assert subject.api.logs(container, stdout=False, stderr=True) == b"err\n"
    with pytest.raises(APIError, match="you must choose at least one stream"):
        subject.api.logs(container, stdout=False, stderr=False)
    subject.steps.remove(container)
