"""The form of captured output inside a chunk. Pure; bytes in, bytes out, nothing decoded as text.

A record is one frame of the engine's log: a time stamp, the stream, and the bytes up to and including a
newline, or without one where the engine split a line of over 16 KiB. Layout, little-endian: u64 time in
ns, u8 stream (1 stdout, 2 stderr, 3 the platform's own word), u32 length, then the bytes; a chunk is records
in order, zlib-compressed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_HEADER = struct.Struct("<QBI")
STDOUT, STDERR = 1, 2
#: The stream of what the platform says in a rank's log, and the rank did not print.
PLATFORM = 3
_LEVEL = 1  # logs compress well at any level; the fastest costs the platform least


@dataclass(frozen=True, slots=True)
class LogRecord:
    """`time_ns` never goes back within a rank, which makes it a sort key."""

    time_ns: int
    stream: int
    data: bytes


def encode_records(records: Iterable[LogRecord]) -> bytes:
    """A chunk's payload."""
    parts: list[bytes] = []
    for record in records:
        parts.append(_HEADER.pack(record.time_ns, record.stream, len(record.data)))
        parts.append(record.data)
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
