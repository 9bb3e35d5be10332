"""The bytes of a logs call, cut anywhere, and the frames in them."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from core.log_records import LogRecord
from worker.docker_engine.log_frames import FrameReader

NS = 10**9


def stamp(time_ns: int, digits: int = 9, zone: str = "Z") -> bytes:
    """As engines write it: Go's RFC 3339, by some of them without the zeros at the end."""
    seconds, nanos = divmod(time_ns, NS)
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{nanos:09d}"[: digits + 1] if digits else ""
    return f"{whole}{fraction}{zone}".encode()


def sent(frame: LogRecord, written: bytes) -> bytes:
    """As the engine multiplexes the streams."""
    body = written + b" " + frame.data
    return bytes([frame.stream, 0, 0, 0]) + len(body).to_bytes(4, "big") + body


def read(raw: bytes, cuts: list[int]) -> tuple[list[LogRecord], bool]:
    """What comes of it, and whether the end is within a frame."""
    reader = FrameReader()
    places = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    frames = [frame for begin, end in pairwise(places) for frame in reader.feed(raw[begin:end])]
    return frames, reader.is_within_a_frame


frames = st.lists(
    st.builds(
        LogRecord,
        # seconds that are the same, that follow each other, and that lie apart
        st.builds(lambda second, nanos: second * NS + nanos, st.integers(0, 3), st.integers(0, NS - 1))
        | st.integers(0, 4 * 10**18),
        st.sampled_from([1, 2]),
        st.binary(max_size=60) | st.just(b"line\n"),
    ),
    max_size=12,
)


@given(frames=frames, cuts=st.lists(st.integers(0, 1200), max_size=6))
def test_frames_are_the_same_wherever_their_bytes_are_cut(frames: list[LogRecord], cuts: list[int]) -> None:
    raw = b"".join(sent(frame, stamp(frame.time_ns)) for frame in frames)
    assert read(raw, cuts) == (frames, False)


@given(frames=frames, digits=st.integers(0, 9), zone=st.sampled_from(["Z", "+00:00"]), cut=st.integers(0, 300))
def test_frames_with_time_stamps_of_other_forms_have_the_same_times(
    frames: list[LogRecord], digits: int, zone: str, cut: int
) -> None:
    unit = 10 ** (9 - digits)
    known = [LogRecord(frame.time_ns // unit * unit, frame.stream, frame.data) for frame in frames]
    raw = b"".join(sent(frame, stamp(frame.time_ns, digits, zone)) for frame in known)
    assert read(raw, [cut]) == (known, False)


@given(frames=frames.filter(bool), less=st.integers(1, 40))
def test_frames_whose_end_does_not_come_are_known_not_to_be_whole(frames: list[LogRecord], less: int) -> None:
    raw = b"".join(sent(frame, stamp(frame.time_ns)) for frame in frames)
    last = len(sent(frames[-1], stamp(frames[-1].time_ns)))
    assert read(raw[: -min(less, last - 1)], []) == (frames[:-1], True)
