"""An engine's log, frame by frame, and what the program of the container printed of it. Pure.

An engine keeps a line of over 16 KiB in pieces: of one time stamp, each of them full but the last, and the last
without the newline that ended the line (moby's `logger/local`, where `PLogMetaData` is kept and not told). What
is cut short by the end of the output looks the same. On standard output the words of the container's init tell
the two apart, for they stand in one line with output that had no end; on standard error a newline is taken for
granted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from worker.docker_engine.facts import split_time
from worker.docker_engine.init_words import beginning_of_words, without_words

#: Stream, three zero bytes, length as u32 big-endian (Engine API, "Attach to a container").
HEADER_BYTES = 8
#: moby's `logger.defaultBufSize`: the longest piece.
PIECE_BYTES = 16_384
_STDOUT = 1
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LogFrame:
    """One piece of output as the engine kept it, with its own time stamp."""

    time_ns: int
    stream: int
    data: bytes

    @classmethod
    def of(cls, header: bytes, body: bytes) -> LogFrame:
        """As the logs call sends it with `timestamps`."""
        stamp, _, data = body.partition(b" ")
        seconds, nanos = split_time(stamp.decode("ascii"))
        return cls(seconds * NANOSECONDS + nanos, header[0], data)

    @property
    def goes_on(self) -> bool:
        """Whether the line has a further piece."""
        return len(self.data) == PIECE_BYTES and not self.data.endswith(b"\n")


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
        self._held: LogFrame | None = None

    def take(self, frame: LogFrame) -> Iterator[LogFrame]:
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
        if frame.goes_on and beginning_of_words(frame.data) < PIECE_BYTES:
            self._held = frame
            return
        data, by_signal = without_words(frame.data)
        self._tell(by_signal)
        if data or not frame.data:
            yield self._piece(frame, data, has_no_end=data != frame.data)

    def rest(self) -> Iterator[LogFrame]:
        """What was held back, where nothing comes after it."""
        held, self._held = self._held, None
        if held is not None:
            yield self._piece(held, held.data)

    def _tell(self, by_signal: bool | None) -> None:
        if by_signal is not None and self._on_end is not None:
            self._on_end(by_signal)

    def _piece(self, frame: LogFrame, data: bytes, *, has_no_end: bool = False) -> LogFrame:
        """With the newline that the last piece of a long line has lost."""
        is_last = self._open.pop(frame.stream, None) == frame.time_ns and not frame.goes_on
        if frame.goes_on:
            self._open[frame.stream] = frame.time_ns
        if is_last and not has_no_end and not data.endswith(b"\n"):
            data += b"\n"
        return replace(frame, data=data)
