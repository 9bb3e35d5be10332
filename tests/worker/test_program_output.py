"""Lines that an engine has cut, put together again, with an init's words among them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from core.log_records import LogRecord, RecordColumns
from worker.docker_engine.log_frames import PIECE_BYTES, ProgramOutput

SPAWNED = b"[INFO  tini (1)] Spawned child process 'sh' with pid '7'\n"
ENDS = {
    False: b"[INFO  tini (1)] Main child exited normally (with status '0')\n",
    True: b"[INFO  tini (1)] Main child exited with signal (with signal 'Killed')\n",
}


def kept(stream: int, printed: bytes, since_ns: int) -> list[LogRecord]:
    """As the engine's `local` driver keeps what comes on one stream."""
    frames = []
    for number, line in enumerate(printed.splitlines(keepends=True)):
        time_ns = since_ns + 2 * number
        if len(line) < PIECE_BYTES or (len(line) == PIECE_BYTES and line.endswith(b"\n")):
            frames.append(LogRecord(time_ns, stream, line))
            continue
        whole = line.removesuffix(b"\n")
        pieces = [whole[at : at + PIECE_BYTES] for at in range(0, len(whole), PIECE_BYTES)]
        if len(pieces[-1]) == PIECE_BYTES and line.endswith(b"\n"):
            pieces.append(b"")
        frames += [LogRecord(time_ns, stream, piece) for piece in pieces]
    return frames


def read(frames: list[LogRecord]) -> tuple[dict[int, bytes], list[bool]]:
    """What was printed on each stream, and what the init said."""
    said: list[bool] = []
    output = ProgramOutput(said.append)
    pieces = [piece for frame in frames for piece in output.take(frame)] + list(output.rest())
    return {stream: b"".join(each.data for each in pieces if each.stream == stream) for stream in (1, 2)}, said


near_a_piece = st.builds(
    lambda pieces, more: b"x" * max(0, pieces * PIECE_BYTES + more), st.integers(0, 2), st.integers(-90, 20)
)
lines = st.one_of(near_a_piece, st.sampled_from([b"", b"short", b"[INFO  tini (", b"ends in ["]))


@given(out=st.lists(lines, max_size=4), has_end=st.booleans(), by_signal=st.booleans())
def test_output_is_what_was_printed_wherever_it_was_cut(out: list[bytes], has_end: bool, by_signal: bool) -> None:
    printed = b"\n".join(out) + (b"\n" if has_end and out else b"")
    pieces, said = read(kept(1, printed + SPAWNED + ENDS[by_signal], 1000))
    assert pieces[1] == printed
    assert said == [by_signal]


@given(err=st.lists(lines, max_size=4), out=lines)
def test_output_of_one_stream_is_not_touched_by_the_others(err: list[bytes], out: bytes) -> None:
    printed = b"".join(line + b"\n" for line in err)
    ends = kept(1, out + SPAWNED + ENDS[False], 1001)
    mixed = sorted(kept(2, printed, 1000) + ends, key=lambda frame: frame.time_ns)
    pieces, said = read(mixed)
    assert pieces == {1: out, 2: printed}
    assert said == [False]


@given(out=st.lists(lines, max_size=4), cut=st.integers(0, 12))
def test_output_that_is_read_in_part_is_the_first_part_of_all(out: list[bytes], cut: int) -> None:
    frames = kept(1, b"\n".join(out) + SPAWNED + ENDS[False], 1000)
    part, whole = ProgramOutput(None), ProgramOutput(None)
    first = [piece for frame in frames[:cut] for piece in part.take(frame)]
    assert [piece for frame in frames for piece in whole.take(frame)][: len(first)] == first


@given(
    out=st.lists(lines, max_size=4),
    err=st.lists(lines, max_size=4),
    cuts=st.lists(st.integers(0, 40), max_size=4),
)
def test_output_is_the_same_however_many_frames_come_at_once(
    out: list[bytes], err: list[bytes], cuts: list[int]
) -> None:
    ends = kept(1, b"\n".join(out) + SPAWNED + ENDS[True], 1000)
    mixed = sorted(ends + kept(2, b"\n".join(err), 1001), key=lambda frame: frame.time_ns)
    one, many = ProgramOutput(None), ProgramOutput(None)
    places = [0, *sorted(cuts), len(mixed)]
    at_once = [RecordColumns.of(mixed[begin:end]) for begin, end in pairwise(places)]
    pieces = [piece for frames in at_once for piece in many.take_all(frames)]
    assert pieces == [piece for frame in mixed for piece in one.take(frame)]
    assert list(many.rest()) == list(one.rest())
