"""Capture that is cut short and taken up again, by the same process or by another: every frame once."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from core.log_records import PLATFORM, LogRecord
from core.logs import ResumePoint
from worker.docker_engine.log_frames import LogFrame
from worker.engine import RankKey
from worker.supervisor.log_writer import TRUNCATION, RankBuffer

KEY = RankKey("job", 1, 0)
MS = 1_000_000
NO_LIMIT = 1 << 40


def read(log: list[LogFrame], buffer: RankBuffer, count: int) -> list[LogFrame]:
    """What one reading takes that sees the first `count` frames of the log; the engine leaves out earlier ones."""
    taken_before = buffer.taken_before()
    given = [frame for frame in log[:count] if frame.time_ns >= buffer.resume_ns]
    fresh = [frame for frame in given if not taken_before(frame)]
    for frame in fresh:
        buffer.add(frame)
    return fresh


def another(buffer: RankBuffer) -> RankBuffer:
    """What another process makes of what this one has stored."""
    chunks = buffer.take()
    if not chunks:
        return RankBuffer.at(KEY, ResumePoint(0, 0, 0, 0, 0), NO_LIMIT)
    end = chunks[-1]
    return RankBuffer.at(
        KEY,
        ResumePoint(end.seq + 1, end.records[-1].time_ns, end.resume_ns, end.resume_skip, buffer.byte_count),
        buffer.limit_bytes,
    )


def test_capture_of_a_frame_that_was_stamped_before_those_written_before_it_takes_each_once() -> None:
    """As seen: stderr was read while stdout's lines were, and written after them."""
    out = [LogFrame(10_000 * MS + line, 1, b"%d" % line) for line in range(40)]
    late = LogFrame(10_000 * MS + 1, 2, b"oops")
    log = [*out, late, LogFrame(10_001 * MS, 1, b"end")]
    for cut in range(len(log) + 1):
        buffer = RankBuffer.at(KEY, ResumePoint(0, 0, 0, 0, 0), NO_LIMIT)
        assert read(log, buffer, cut) + read(log, buffer, len(log)) == log


@example(gaps_ms=[0, 0, 0, 2500], lates_ms=[0] * 30, cuts=[(2, True), (4, False)])
@given(
    gaps_ms=st.lists(st.sampled_from([0, 0, 1, 300, 900, 2500]), max_size=30),
    lates_ms=st.lists(st.sampled_from([0, 0, 0, 1, 400, 999]), min_size=30, max_size=30),
    cuts=st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=5),
)
def test_capture_cut_short_anywhere_takes_each_frame_once_and_in_order(
    gaps_ms: list[int], lates_ms: list[int], cuts: list[tuple[int, bool]]
) -> None:
    log, now = [], 10_000 * MS
    for number, gap in enumerate(gaps_ms):
        now += gap * MS
        log.append(LogFrame(now - lates_ms[number] * MS, 1 + number % 2, b"%d" % number))
    buffer = RankBuffer.at(KEY, ResumePoint(0, 0, 0, 0, 0), NO_LIMIT)
    taken: list[LogFrame] = []
    for cut, by_another in sorted(cuts):
        taken += read(log, buffer, cut)
        if by_another and taken:
            if not buffer.pending:
                continue
            buffer = another(buffer)
    taken += read(log, buffer, len(log))
    assert taken == log


@given(
    sizes=st.lists(st.integers(0, 40), max_size=12),
    limit=st.integers(0, 200),
    cuts=st.lists(st.integers(0, 12), max_size=3),
)
def test_what_is_beyond_the_limit_is_left_out_and_said_once(sizes: list[int], limit: int, cuts: list[int]) -> None:
    log = [LogFrame((10_000 + number) * MS, 1, b"x" * size) for number, size in enumerate(sizes)]
    buffer = RankBuffer.at(KEY, ResumePoint(0, 0, 0, 0, 0), limit)
    stored: list[LogRecord] = []
    for cut in [*sorted(cuts), len(log)]:
        taken_before = buffer.taken_before()
        for frame in log[:cut]:
            if not buffer.is_cut and not taken_before(frame):
                buffer.add(frame)
        stored += [record for chunk in buffer.take() for record in chunk.records]
    kept = b"".join(record.data for record in stored if record.stream != PLATFORM)
    said = [record.data.decode() for record in stored if record.stream == PLATFORM]
    assert len(kept) == min(limit, sum(sizes)) == buffer.byte_count
    assert said == ([TRUNCATION.format(limit)] if sum(sizes) > limit else [])
