"""What a rank has used, as points in time: merged, thinned out, packed into bytes. Pure.

Counters are cumulative since the container's start, so that merging neighbours loses nothing but resolution: the
later point's counters stand for both. Memory is no counter; of that the larger value is kept.

Two forms of a run of points. Plain: records of fixed size, little-endian, seven u64 each, so that a further point
is appended, and the last one replaced, without reading the others. Sealed: u32 count, then the first value and the
differences of each column, a column after the other, zlib-compressed: some ten bytes for each point.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_RECORD = struct.Struct("<7Q")
_COUNT = struct.Struct("<I")
_COLUMNS = 7
_MASK = (1 << 64) - 1
#: The first resolution that points are merged to; from there on it is doubled.
_FIRST_STEP_MS = 1000


class UsagePoint(NamedTuple):
    """`time_ms` since the epoch, by the engine's clock. All but `memory_bytes` count up from the rank's start."""

    time_ms: int
    cpu_us: int
    memory_bytes: int
    rx_bytes: int
    tx_bytes: int
    read_bytes: int
    written_bytes: int


def merged(points: Iterable[UsagePoint], step_ms: int) -> list[UsagePoint]:
    """At most one point in each interval of that length, counted from the epoch; 0 leaves all as they are.

    Merging to a step and then to twice that step is the same as merging to the latter at once.
    """
    if step_ms == 0:
        return list(points)
    found: list[UsagePoint] = []
    for point in points:
        if found and found[-1].time_ms // step_ms == point.time_ms // step_ms:
            found[-1] = point._replace(memory_bytes=max(found[-1].memory_bytes, point.memory_bytes))
        else:
            found.append(point)
    return found


def thinned(points: Sequence[UsagePoint], most: int, step_ms: int = 0) -> tuple[list[UsagePoint], int]:
    """No more than `most` points, at least 1, and the step that they were merged to: `step_ms`, or as often
    doubled as it takes."""
    found = merged(points, step_ms)
    while len(found) > most:
        step_ms = step_ms * 2 or _FIRST_STEP_MS
        found = merged(found, step_ms)
    return found, step_ms


def plain(points: Iterable[UsagePoint]) -> bytes:
    """Points as records of fixed size."""
    return b"".join(_RECORD.pack(*point) for point in points)


def read_plain(records: bytes) -> list[UsagePoint]:
    """The inverse of `plain`."""
    return [UsagePoint(*record) for record in _RECORD.iter_unpack(records)]


def plain_count(records: bytes) -> int:
    """How many points plain records hold."""
    return len(records) // _RECORD.size


def appended(records: bytes, points: Iterable[UsagePoint], step_ms: int) -> bytes:
    """Plain records with further points, in order. Those that are not later than the last one are passed over; one
    of the same interval is merged with it."""
    pieces = [records[: -_RECORD.size]] if records else []
    last = UsagePoint(*_RECORD.unpack(records[-_RECORD.size :])) if records else None
    for point in points:
        if last is None:
            last = point
            continue
        if point.time_ms <= last.time_ms:
            continue
        *before, last = merged((last, point), step_ms)
        pieces += [_RECORD.pack(*each) for each in before]
    if last is not None:
        pieces.append(_RECORD.pack(*last))
    return b"".join(pieces)


def sealed(points: Sequence[UsagePoint]) -> bytes:
    """A run of points that is not added to any more."""
    columns: list[int] = []
    for column in zip(*points, strict=True):
        before = 0
        for value in column:
            columns.append((value - before) & _MASK)
            before = value
    return zlib.compress(_COUNT.pack(len(points)) + struct.pack(f"<{len(columns)}Q", *columns), 6)


def read_sealed(payload: bytes) -> list[UsagePoint]:
    """The inverse of `sealed`."""
    raw = zlib.decompress(payload)
    (count,) = _COUNT.unpack_from(raw)
    differences = struct.unpack_from(f"<{count * _COLUMNS}Q", raw, _COUNT.size)
    columns: list[list[int]] = []
    for begin in range(0, len(differences), count or 1):
        value, column = 0, []
        for difference in differences[begin : begin + count]:
            value = (value + difference) & _MASK
            column.append(value)
        columns.append(column)
    return [UsagePoint(*values) for values in zip(*columns, strict=True)]
