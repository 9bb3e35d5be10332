"""An engine's log, frame by frame, and what the program of the container printed of it. Pure.

An engine keeps a line of over 16 KiB in pieces: of one time stamp, each of them full but the last, and the last
without the newline that ended the line (moby's `logger/local`, where `PLogMetaData` is kept and not told). What
is cut short by the end of the output looks the same. On standard output the words of the container's init tell
the two apart, for they stand in one line with output that had no end; on standard error a newline is taken for
granted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace

from core.log_records import LogRecord, RecordColumns
from worker.docker_engine.facts import split_time
from worker.docker_engine.init_words import MARK, beginning_of_words, without_words

#: Stream, three zero bytes, length as u32 big-endian (Engine API, "Attach to a container").
_HEADER = struct.Struct(">B3xI")
#: The same and the time stamp that is before the data, as engines write it: the second in UTC with a point behind
#: it, nanoseconds of nine digits, Z and a space.
_STAMPED = struct.Struct(">B3xI20s9s2s")
_POINT, _STAMP_END = b".", b"Z "
#: moby's `logger.defaultBufSize`: the longest piece.
PIECE_BYTES = 16_384
_STDOUT = 1
NANOSECONDS = 1_000_000_000


class FrameReader:
    """From the bytes of a logs call with `timestamps`, wherever they are cut, to the frames in them.

    The time of a frame is that of the second, which thousands of them have in common, and nanoseconds.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._second = b""
        self._second_ns = 0

    @property
    def is_within_a_frame(self) -> bool:
        """Whether the end now would be one too early."""
        return bool(self._rest)

    def feed(self, piece: bytes) -> RecordColumns:
        """The frames that are whole now that these bytes have come."""
        buffer = self._rest + piece
        frames = RecordColumns()
        add_time, add_stream, add_data = frames.times_ns.append, frames.streams.append, frames.data.append
        unpack, shortest = _STAMPED.unpack_from, _STAMPED.size
        at, last = 0, len(buffer) - shortest
        while at <= last:
            stream, length, second, nanos, end_of_stamp = unpack(buffer, at)
            end = at + _HEADER.size + length
            if end > len(buffer):
                break
            if second != self._second and second.endswith(_POINT):
                self._second = second
                self._second_ns = split_time(second[:-1].decode("ascii") + "Z")[0] * NANOSECONDS
            is_usual = second == self._second and end_of_stamp == _STAMP_END and nanos.isdigit()
            if is_usual and end >= at + shortest:
                add_time(self._second_ns + int(nanos))
                add_stream(stream)
                add_data(buffer[at + shortest : end])
            else:
                frames.append(*_frame_of(stream, buffer[at + _HEADER.size : end]))
            at = end
        at = self._short_frames(buffer, at, frames)
        self._rest = buffer[at:]
        return frames

    @staticmethod
    def _short_frames(buffer: bytes, at: int, frames: RecordColumns) -> int:
        """Those at the end that are shorter than a time stamp of nine digits makes them; where they end."""
        while at + _HEADER.size <= len(buffer):
            stream, length = _HEADER.unpack_from(buffer, at)
            end = at + _HEADER.size + length
            if end > len(buffer):
                break
            frames.append(*_frame_of(stream, buffer[at + _HEADER.size : end]))
            at = end
        return at


def _frame_of(stream: int, body: bytes) -> tuple[int, int, bytes]:
    """With a time stamp of any form."""
    stamp, _, data = body.partition(b" ")
    seconds, nanos = split_time(stamp.decode("ascii"))
    return seconds * NANOSECONDS + nanos, stream, data


class ProgramOutput:
    """One reading of a log, from a time stamp on, so that every line's pieces are all in it.

    The same frames give the same pieces in the same order whenever they are read, which is what capture counts on.
    `on_end` is told whether a signal ended the program, where the container's init has said so.
    """

    def __init__(self, on_end: Callable[[bool], None] | None) -> None:
        self._on_end = on_end
        #: by stream, the stamp of a line that goes on
        self._open: dict[int, int] = {}
        #: a piece of standard output within which the init's words may begin: the next one tells
        self._held: LogRecord | None = None

    def take_all(self, frames: RecordColumns) -> RecordColumns:
        """As `take`, of many frames. The most of them are short lines with no words of an init, and stay as they
        are."""
        is_plain = (
            not self._open
            and self._held is None
            and max(frames.sizes(), default=0) < PIECE_BYTES
            and MARK not in b"".join(frames.data)
        )
        return frames if is_plain else RecordColumns.of(piece for frame in frames for piece in self.take(frame))

    def take(self, frame: LogRecord) -> Iterator[LogRecord]:
        """What is known to have been printed now that this frame has come."""
        if frame.stream != _STDOUT:
            yield self._piece(frame, frame.data)
            return
        held, self._held = self._held, None
        if held is not None:
            begin = beginning_of_words(held.data)
            left, by_signal = without_words(held.data[begin:] + frame.data)
            if begin + len(left) < len(held.data):
                self._tell(by_signal)
                yield self._piece(held, held.data[:begin] + left, has_no_end=True)
                return
            yield self._piece(held, held.data)
        if _goes_on(frame) and beginning_of_words(frame.data) < PIECE_BYTES:
            self._held = frame
            return
        data, by_signal = without_words(frame.data)
        self._tell(by_signal)
        if data or not frame.data:
            yield self._piece(frame, data, has_no_end=data != frame.data)

    def rest(self) -> Iterator[LogRecord]:
        """What was held back, where nothing comes after it."""
        held, self._held = self._held, None
        if held is not None:
            yield self._piece(held, held.data)

    def _tell(self, by_signal: bool | None) -> None:
        if by_signal is not None and self._on_end is not None:
            self._on_end(by_signal)

    def _piece(self, frame: LogRecord, data: bytes, *, has_no_end: bool = False) -> LogRecord:
        """With the newline that the last piece of a long line has lost."""
        is_last = self._open.pop(frame.stream, None) == frame.time_ns and not _goes_on(frame)
        if _goes_on(frame):
            self._open[frame.stream] = frame.time_ns
        if is_last and not has_no_end and not data.endswith(b"\n"):
            data += b"\n"
        return replace(frame, data=data)


def _goes_on(frame: LogRecord) -> bool:
    """Whether the line has a further piece."""
    return len(frame.data) == PIECE_BYTES and not frame.data.endswith(b"\n")
