"""Output as a text to keep: the bytes that the ranks printed, line after line. Pure.

A line that an engine has cut into pieces is one line again, with no newline but its own. Of several ranks that
print at the same time, the pieces of a line may come with lines of others between them: those wait until the line
has ended. They do not wait for ever, because memory is bounded and a rank may die in the midst of a line.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Final

from core.log_filter import Effort, LogFilter
from core.log_records import PLATFORM, LogRecord
from core.logs import LogEntry

#: Of what waits for the end of a line; where it comes to more, the line is broken.
MAX_WAITING_BYTES: Final = 1 << 20
_RECORD_BYTES = 64

#: (rank, stream): where the pieces of a line come one after the other.
_Source = tuple[int, int]


class LogText:
    """The text of entries that are taken in reading order.

    `with_ranks`: each line begins with its rank, as `[3] `. Without, and without a filter by content, the text is
    byte for byte what was printed, on whichever stream.
    """

    def __init__(self, wanted: LogFilter, *, with_ranks: bool) -> None:
        self._wanted, self._with_ranks = wanted, with_ranks
        self._keeps_lines = with_ranks or wanted.is_by_content
        self._written: list[bytes] = []
        #: whose line has begun and not ended
        self._open: _Source | None = None
        self._waiting: deque[tuple[LogEntry, bool]] = deque()
        self._waiting_of: Counter[_Source] = Counter()
        self._waiting_bytes = 0

    def take(self, entries: Sequence[LogEntry]) -> tuple[bytes, int]:
        """The text that is known after some of these entries, and how many: as one reading may examine."""
        effort, count = Effort(), 0
        for entry in entries:
            if count and effort.is_spent:
                break
            self._take(entry, self._wanted.matches(entry.record))
            effort.spend(len(entry.record.data) + _RECORD_BYTES)
            count += 1
        return self._text(), count

    def rest(self) -> bytes:
        """The text after which nothing comes."""
        while self._waiting:
            self._break_line()
        return self._text()

    def _text(self) -> bytes:
        text = b"".join(self._written)
        self._written.clear()
        return text

    def _take(self, entry: LogEntry, is_wanted: bool) -> None:
        source, record = _source(entry), entry.record
        if not record.data or self._wanted.stream not in (None, record.stream):
            return
        if self._open is not None and record.stream == PLATFORM and self._open[0] == entry.rank:
            self._break_line()  # what the platform says of a rank is said when nothing more comes of it
        if not self._keeps_lines or self._open in (None, source):
            self._write(entry, is_wanted)
            self._let_in()
            return
        self._wait(entry, is_wanted)
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self._break_line()

    def _write(self, entry: LogEntry, is_wanted: bool) -> None:
        source = _source(entry)
        if not is_wanted:
            # The rest of a line whose beginning was wanted, or a line that was not.
            if self._open == source:
                self._end_line()
            return
        if self._open is None and self._with_ranks:
            self._written.append(b"[%d] " % entry.rank)
        self._written.append(entry.record.data)
        self._open = source if _goes_on(entry.record) else None

    def _end_line(self) -> None:
        self._written.append(b"\n")
        self._open = None

    def _break_line(self) -> None:
        if self._open is not None:
            self._end_line()
        self._let_in()

    def _wait(self, entry: LogEntry, is_wanted: bool) -> None:
        self._waiting.append((entry, is_wanted))
        self._waiting_of[_source(entry)] += 1
        self._waiting_bytes += len(entry.record.data) + _RECORD_BYTES

    def _let_in(self) -> None:
        """Write what has waited, until a line of that has begun and not ended."""
        while self._open is None and self._waiting:
            self._write_waiting(0)
            if self._open is not None and self._waiting_of[self._open]:
                self._go_on_with_line(self._open)

    def _go_on_with_line(self, source: _Source) -> None:
        index = 0
        while self._open == source and index < len(self._waiting):
            if _source(self._waiting[index][0]) == source:
                self._write_waiting(index)
            else:
                index += 1

    def _write_waiting(self, index: int) -> None:
        entry, is_wanted = self._waiting[index]
        del self._waiting[index]
        self._waiting_of[_source(entry)] -= 1
        self._waiting_bytes -= len(entry.record.data) + _RECORD_BYTES
        self._write(entry, is_wanted)


def _source(entry: LogEntry) -> _Source:
    return entry.rank, entry.record.stream


def _goes_on(record: LogRecord) -> bool:
    """Whether the line has further pieces, or had no end."""
    return not record.data.endswith(b"\n")
