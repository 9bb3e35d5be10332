"""Capture that is cut short and taken up again, by the same process or by another: every frame once."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from core.log_records import PLATFORM, LogRecord, RecordColumns
from core.logs import ResumePoint
from worker.docker_engine.log_frames import PIECE_BYTES
from worker.engine import RankKey
from worker.supervisor.log_writer import TRUNCATION, RankBuffer, in_file_bytes

KEY = RankKey("job", 1, 0)
MS = 1_000_000
NO_LIMIT = 1 << 40


def read(log: list[LogRecord], buffer: RankBuffer, count: int, at_once: int = 1) -> list[LogRecord]:
    """What one reading takes that sees the first `count` frames of the log, so many of them at a time; the engine
    leaves out earlier ones."""
    reading = buffer.new_reading()
    given = [frame for frame in log[:count] if frame.time_ns >= buffer.resume_ns]
    fresh: list[LogRecord] = []
    for begin in range(0, len(given), at_once):
        frames = reading.fresh(RecordColumns.of(given[begin : begin + at_once]))
        if buffer.is_cut:
            break
        buffer.add(frames)
        fresh += frames
    return fresh


def another(buffer: RankBuffer) -> RankBuffer:
    """What another process makes of what this one has stored."""
    chunks = buffer.take()
    if not chunks:
        return RankBuffer.at(KEY, ResumePoint(0, 0, 0, 0, 0), NO_LIMIT)
    end = chunks[-1]
    return RankBuffer.at(
        KEY,
        ResumePoint(
            end.seq + 1,
            end.records[-1].time_ns,
            end.resume_ns,
            end.resume_skip,
            buffer.byte_count,
            buffer.record_count,
        ),
        buffer.limit_bytes,
        buffer.file_limit_bytes,
    )


def test_capture_of_a_frame_that_was_stamped_before_those_written_before_it_takes_each_once() -> None:
    """As seen: stderr was read while stdout's lines were, and written after them."""
    out = [LogRecord(10_000 * MS + line, 1, b"%d" % line) for line in range(40)]
    late = LogRecord(10_000 * MS + 1, 2, b"oops")
    log = [*out, late, LogRecord(10_001 * MS, 1, b"end")]
    for cut in range(len(log) + 1):
        buffer = RankBuffer.at(KEY, ResumePoint(0, 0, 0, 0, 0), NO_LIMIT)
        assert read(log, buffer, cut) + read(log, buffer, len(log)) == log


def printed(gaps_ms: list[int], lates_ms: list[int]) -> list[LogRecord]:
    """Lines so long after each other, some of them written later than they are stamped."""
    log, now = [], 10_000 * MS
    for number, (gap, late) in enumerate(zip(gaps_ms, lates_ms, strict=False)):
        now += gap * MS
        log.append(LogRecord(now - late * MS, 1 + number % 2, b"%d" % number))
    return log


@given(
    gaps_ms=st.lists(st.sampled_from([0, 0, 1, 300, 900, 2500]), max_size=30),
    lates_ms=st.one_of(
        st.just([0] * 30), st.lists(st.sampled_from([0, 0, 0, 1, 400, 999]), min_size=30, max_size=30)
    ),
    from_cut=st.integers(0, 30),
    limit=st.one_of(st.just(NO_LIMIT), st.integers(0, 60)),
    at_once=st.integers(2, 31),
)
def test_capture_comes_to_the_same_however_many_frames_come_at_once(
    gaps_ms: list[int], lates_ms: list[int], from_cut: int, limit: int, at_once: int
) -> None:
    """Also where it goes on from what another process has stored."""
    log = printed(gaps_ms, lates_ms)
    buffers = []
    for size in (1, at_once):
        buffer = RankBuffer.at(KEY, ResumePoint(0, 0, 0, 0, 0), limit)
        read(log, buffer, from_cut)
        if buffer.pending and not buffer.is_cut:
            buffer = another(buffer)
        if not buffer.is_cut:
            read(log, buffer, len(log), size)
        buffers.append(buffer)
    assert buffers[0] == buffers[1]


@example(gaps_ms=[0, 0, 0, 2500], lates_ms=[0] * 30, cuts=[(2, True), (4, False)], at_once=1)
@given(
    gaps_ms=st.lists(st.sampled_from([0, 0, 1, 300, 900, 2500]), max_size=30),
    lates_ms=st.lists(st.sampled_from([0, 0, 0, 1, 400, 999]), min_size=30, max_size=30),
    cuts=st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=5),
    at_once=st.integers(1, 30),
)
def test_capture_cut_short_anywhere_takes_each_frame_once_and_in_order(
    gaps_ms: list[int], lates_ms: list[int], cuts: list[tuple[int, bool]], at_once: int
) -> None:
    log = printed(gaps_ms, lates_ms)
    buffer = RankBuffer.at(KEY, ResumePoint(0, 0, 0, 0, 0), NO_LIMIT)
    taken: list[LogRecord] = []
    for cut, by_another in sorted(cuts):
        taken += read(log, buffer, cut, at_once)
        if by_another and taken:
            if not buffer.pending:
                continue
            buffer = another(buffer)
    taken += read(log, buffer, len(log), at_once)
    assert taken == log


@given(
    sizes=st.lists(st.integers(0, 40), max_size=12),
    limit=st.integers(0, 200),
    cuts=st.lists(st.integers(0, 12), max_size=3),
    at_once=st.integers(1, 12),
)
def test_what_is_beyond_the_limit_is_left_out_and_said_once(
    sizes: list[int], limit: int, cuts: list[int], at_once: int
) -> None:
    log = [LogRecord((10_000 + number) * MS, 1, b"x" * size) for number, size in enumerate(sizes)]
    buffer = RankBuffer.at(KEY, ResumePoint(0, 0, 0, 0, 0), limit)
    stored: list[LogRecord] = []
    for cut in [*sorted(cuts), len(log)]:
        if not buffer.is_cut:
            read(log, buffer, cut, at_once)
        stored += [record for chunk in buffer.take() for record in chunk.records]
    kept = b"".join(record.data for record in stored if record.stream != PLATFORM)
    said = [record.data.decode() for record in stored if record.stream == PLATFORM]
    assert len(kept) == min(limit, sum(sizes)) == buffer.byte_count
    assert said == ([TRUNCATION.format(limit)] if sum(sizes) > limit else [])


@given(
    sizes=st.lists(st.sampled_from([0, 1, 40, PIECE_BYTES]), max_size=12),
    file_limit=st.integers(0, 4 * PIECE_BYTES),
    cut=st.integers(0, 12),
    at_once=st.integers(1, 12),
)
def test_what_may_be_beyond_the_first_file_of_an_engine_is_left_out_and_said_once(
    sizes: list[int], file_limit: int, cut: int, at_once: int
) -> None:
    """Also where the file is reached by another process than began to read it."""
    log = [LogRecord((10_000 + number) * MS, 1, b"x" * size) for number, size in enumerate(sizes)]
    ends = [in_file_bytes(sum(sizes[: count + 1]), count + 1) for count in range(len(sizes))]
    within = sum(end <= file_limit for end in ends)
    buffer = RankBuffer.at(KEY, ResumePoint(0, 0, 0, 0, 0), NO_LIMIT, file_limit)
    read(log, buffer, cut, at_once)
    if buffer.pending and not buffer.is_cut:
        buffer = another(buffer)
    if not buffer.is_cut:
        read(log, buffer, len(log), at_once)
    # The one that goes beyond is kept too: an engine begins another file behind what has filled the one before.
    kept = sum(sizes[: within + 1])
    said = [record.data.decode() for record in buffer.pending if record.stream == PLATFORM]
    assert buffer.byte_count == kept
    assert buffer.is_cut == (within < len(sizes))
    assert said == ([TRUNCATION.format(kept)] if buffer.is_cut else [])
    assert buffer.is_full or not buffer.is_cut


@given(sizes=st.lists(st.sampled_from([0, 1, 100, 1000, 70_000, 300_000]), max_size=30))
def test_chunks_are_of_bounded_size_and_no_smaller_than_need_be(sizes: list[int]) -> None:
    log = [LogRecord((10_000 + number) * MS, 1, bytes(size)) for number, size in enumerate(sizes)]
    buffer = RankBuffer.at(KEY, ResumePoint(0, 0, 0, 0, 0), NO_LIMIT)
    buffer.add(RecordColumns.of(log))
    chunks = buffer.take()
    assert [record for chunk in chunks for record in chunk.records] == log
    assert [chunk.seq for chunk in chunks] == list(range(len(chunks)))
    for chunk in chunks[:-1]:
        chunk_sizes = [len(record.data) for record in chunk.records]
        assert sum(chunk_sizes[:-1]) < 256 << 10 <= sum(chunk_sizes)
    assert not buffer.take()
