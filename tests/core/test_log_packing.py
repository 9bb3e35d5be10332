"""Output is read from objects as it was from rows: any chunks, from any place, in both directions."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import log_packing
from core.log_blocks import KeptObject, ObjectOutput, StoredChunk, StoredOutput
from core.log_packing import PackedChunk, Packing, decode_index, encode_index
from core.log_records import LogRecord, encode_records
from core.logs import LogEntry, Position, _rank_entries

Chunks = dict[int, list[LogRecord]]
Place = tuple[LogEntry, Position]


class Folder:
    """The one object that there is, in memory; which of its bytes were asked for."""

    def __init__(self, content: bytes) -> None:
        self.content, self.read_bytes = content, 0

    def __call__(self, path: str, *, start: int, length: int) -> bytes:
        self.read_bytes += length
        return self.content[start : start + length]


class InRows:
    """Chunks as rows are read."""

    def __init__(self, chunks: Chunks) -> None:
        self.chunks = chunks

    def ranks(self) -> list[int]:
        return [0] if self.chunks else []

    def next_chunk(self, rank: int, seq: int | None, *, from_head: bool, since_ns: int) -> StoredChunk | None:
        for number in sorted(self.chunks, reverse=not from_head):
            if seq is not None and (number < seq if from_head else number > seq):
                continue
            if self.chunks[number][-1].time_ns >= since_ns:
                return StoredChunk(number, self.chunks[number])
        return None


def packed(chunks: Chunks) -> tuple[bytes, bytes]:
    """The object, and its index as it is kept."""
    packing = Packing()
    rows = [
        PackedChunk(seq, records[0].time_ns, records[-1].time_ns, encode_records(records))
        for seq, records in sorted(chunks.items())
    ]
    content = b"".join(packing.parts(rows))
    assert decode_index(encode_index(packing.blocks)) == packing.blocks
    return content, encode_index(packing.blocks)


def in_objects(chunks: Chunks) -> ObjectOutput:
    content, index = packed(chunks)
    return ObjectOutput(Folder(content), {0: KeptObject("logs/j/1/0-1", index)})


def entries(output: StoredOutput, place: Position | None, from_head: bool, since_ns: int = 0) -> list[Place]:
    return list(_rank_entries(output, 0, place, from_head, since_ns))


@st.composite
def some_chunks(draw: st.DrawFn) -> Chunks:
    """Of one rank, with or without gaps between them; times that never go back."""
    now, chunks, seq = 0, Chunks(), -1
    for sizes in draw(st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=4), max_size=12)):
        seq += draw(st.sampled_from([1, 1, 1, 2, 5]))
        chunks[seq] = []
        for size in sizes:
            now += draw(st.integers(0, 3))
            chunks[seq].append(LogRecord(now, draw(st.sampled_from([1, 2, 3])), bytes([seq % 251]) * size))
    return chunks


@settings(deadline=None, max_examples=150)
@given(some_chunks(), st.sampled_from([1, 60, 300, 1 << 18]), st.booleans(), st.integers(0, 40))
def test_objects_give_what_rows_gave_from_every_place_in_both_directions(
    chunks: Chunks, block_bytes: int, from_head: bool, since_ns: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_packing, "BLOCK_BYTES", block_bytes)
        objects = in_objects(chunks)
    rows = InRows(chunks)
    whole = entries(rows, None, from_head, since_ns)
    assert entries(objects, None, from_head, since_ns) == whole
    # Where a page may have ended, and where nothing may.
    places = [place for _, place in whole] + [(seq, index) for seq in range(0, 30, 3) for index in (0, 1, 9)]
    for place in places:
        assert entries(objects, place, from_head, since_ns) == entries(rows, place, from_head, since_ns)


@given(some_chunks())
def test_same_chunks_packed_again_are_the_same_bytes(chunks: Chunks) -> None:
    assert packed(chunks) == packed(chunks)


def test_page_at_the_end_of_a_large_object_reads_its_last_block_alone() -> None:
    chunks = {
        seq: [LogRecord(seq * 100 + i, 1, b"%08x" % (seq * i * 2654435761 % 2**32) * 16) for i in range(100)]
        for seq in range(800)
    }
    content, index = packed(chunks)
    folder = Folder(content)
    objects = ObjectOutput(folder, {0: KeptObject("p", index)})
    at_the_end = _rank_entries(objects, 0, None, False, 0)
    assert [next(at_the_end)[1] for _ in range(150)] == [*((799, i) for i in range(99, -1, -1)),
                                                         *((798, i) for i in range(99, 49, -1))]  # fmt: skip
    assert len(content) > 20 * folder.read_bytes > 0
    assert len(index) < 4096


def test_bytes_that_are_no_block_are_an_error_and_no_log() -> None:
    content, index = packed({0: [LogRecord(1, 1, b"a\n")]})
    with pytest.raises(zlib.error):
        log_packing.open_block(decode_index(index)[0], content[1:] + b"\0")
