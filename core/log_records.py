"""The form of captured output inside a chunk. Pure; bytes in, bytes out, nothing decoded as text.

A record is one frame of the engine's log: a time stamp, the stream, and the bytes up to and including a
newline, or without one where the engine split a line of over 16 KiB. Layout, little-endian: u64 time in
ns, u8 stream (1 stdout, 2 stderr, 3 the platform's own word), u32 length, then the bytes; a chunk is records
in order, zlib-compressed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

_HEADER = struct.Struct("<QBI")
STDOUT, STDERR = 1, 2
#: The stream of what the platform says in a rank's log, and the rank did not print.
PLATFORM = 3
_LEVEL = 1  # logs compress well at any level; the fastest costs the platform least


@dataclass(frozen=True, slots=True)
class LogRecord:
    """`time_ns` of what is stored never goes back within a rank, which makes it a sort key."""

    time_ns: int
    stream: int
    data: bytes


@dataclass(slots=True)
class RecordColumns(Sequence[LogRecord]):
    """Records by the thousand, a column for each field: with an object for each, capture was several times slower.

    Whoever has few may take it for a sequence of records.
    """

    times_ns: list[int] = field(default_factory=list)
    streams: bytearray = field(default_factory=bytearray)
    data: list[bytes] = field(default_factory=list)

    @classmethod
    def of(cls, records: Iterable[LogRecord]) -> RecordColumns:
        """The same, if they are columns already."""
        if isinstance(records, RecordColumns):
            return records
        columns = cls()
        for record in records:
            columns.append(record.time_ns, record.stream, record.data)
        return columns

    def append(self, time_ns: int, stream: int, data: bytes) -> None:
        """One more."""
        self.times_ns.append(time_ns)
        self.streams.append(stream)
        self.data.append(data)

    def extend(self, more: RecordColumns) -> None:
        """Those behind these."""
        self.times_ns += more.times_ns
        self.streams += more.streams
        self.data += more.data

    def sizes(self) -> Iterator[int]:
        """The bytes of each."""
        return map(len, self.data)

    def __len__(self) -> int:
        return len(self.data)

    @overload
    def __getitem__(self, at: int) -> LogRecord: ...
    @overload
    def __getitem__(self, at: slice) -> RecordColumns: ...
    def __getitem__(self, at: int | slice) -> LogRecord | RecordColumns:
        if isinstance(at, slice):
            return RecordColumns(self.times_ns[at], self.streams[at], self.data[at])
        return LogRecord(self.times_ns[at], self.streams[at], self.data[at])

    def __iter__(self) -> Iterator[LogRecord]:
        return map(LogRecord, self.times_ns, self.streams, self.data)


def encode_records(records: Iterable[LogRecord]) -> bytes:
    """A chunk's payload."""
    columns = RecordColumns.of(records)
    parts = [b""] * (2 * len(columns))
    parts[::2] = map(_HEADER.pack, columns.times_ns, columns.streams, columns.sizes())
    parts[1::2] = columns.data
    return zlib.compress(b"".join(parts), _LEVEL)


def decode_records(payload: bytes) -> Iterator[LogRecord]:
    """The records of a payload, in order."""
    return records_in(zlib.decompress(payload))


def records_in(raw: bytes) -> Iterator[LogRecord]:
    """The records of a payload that is not compressed any more."""
    offset = 0
    while offset < len(raw):
        time_ns, stream, length = _HEADER.unpack_from(raw, offset)
        offset += _HEADER.size
        yield LogRecord(time_ns, stream, raw[offset : offset + length])
        offset += length
