"""Which records of a log are wanted, and how much of a log one reading may examine. Values; nothing is read here.

A regular expression comes from a caller, so it runs on RE2, whose time is linear in the line: an engine that
backtracks could be kept busy for ever by thirty bytes of expression and fifty of output. Linear has a factor all
the same, which is the size of the compiled expression: that is bounded, and so is the time of a reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import thread_time
from typing import Any, Final

import re2

from core.log_records import LogRecord

MAX_REGEX_CHARACTERS: Final = 1000
#: Of RE2's program. At the limit, lines that are made for it take it some 10 ms a KiB; ordinary ones microseconds.
_MAX_INSTRUCTIONS = 2500
#: What RE2 may keep of one expression, its states included. Where it needs more it goes on without, and slower.
_MAX_MEMORY_BYTES = 256 << 10

#: One reading examines no more than about so much output, wanted or not.
EXAMINED_BYTES: Final = 8 << 20
#: Nor, of its thread's processor time, for longer than this and one record.
EXAMINED_SECONDS: Final = 1.0


@dataclass(frozen=True)
class LineRegex:
    """An expression of RE2's syntax (https://github.com/google/re2/wiki/Syntax), searched for anywhere in a line.

    Raises ValueError, saying what is wrong, where it does not compile or is too large. Bytes are searched, and no
    line is refused: `.` and classes match a character of UTF-8, `\\C` any byte.
    """

    text: str
    _compiled: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.text) > MAX_REGEX_CHARACTERS:
            raise ValueError(f"has {len(self.text)} characters; at most {MAX_REGEX_CHARACTERS} are taken")
        options = re2.Options()
        options.max_mem, options.never_capture, options.log_errors = _MAX_MEMORY_BYTES, True, False
        try:
            compiled = re2.compile(self.text, options)
        except re2.error as error:
            (fault,) = error.args
            said = fault.decode("utf-8", "replace") if isinstance(fault, bytes) else str(fault)
            raise ValueError(f"is not a regular expression of RE2's syntax: {said}") from None
        if compiled.programsize > _MAX_INSTRUCTIONS:
            raise ValueError(f"is too large: {compiled.programsize} instructions, at most {_MAX_INSTRUCTIONS}")
        object.__setattr__(self, "_compiled", compiled)

    def is_in(self, line: bytes) -> bool:
        """Whether it matches anywhere. Other threads run meanwhile."""
        return self._compiled.search(line) is not None


@dataclass(frozen=True)
class LogFilter:
    """What of the output is wanted; all that is set must be met. A record of the platform is of no stream."""

    stream: int | None = None
    contains: bytes = b""
    regex: LineRegex | None = None

    @property
    def is_by_content(self) -> bool:
        """Whether some lines of a stream may be wanted and others not."""
        return bool(self.contains) or self.regex is not None

    def matches(self, record: LogRecord) -> bool:
        """Whether this one is wanted. The newline that ends a line is no part of what an expression sees."""
        if self.stream is not None and record.stream != self.stream:
            return False
        if self.contains not in record.data:
            return False
        return self.regex is None or self.regex.is_in(record.data.removesuffix(b"\n"))


EVERYTHING: Final = LogFilter()


class Effort:
    """What one reading may still spend; made by the thread that reads.

    Processor time, not the clock's: a reading that waits for its turn or for the database does not end for that.
    """

    def __init__(self, max_bytes: int = EXAMINED_BYTES, max_seconds: float = EXAMINED_SECONDS) -> None:
        self._bytes_left = max_bytes
        self._until = thread_time() + max_seconds

    @property
    def is_spent(self) -> bool:
        """Whether the reading is to end here, and be gone on with by another."""
        return self._bytes_left <= 0 or thread_time() > self._until

    def spend(self, byte_count: int) -> None:
        """Note that so much more was examined."""
        self._bytes_left -= byte_count


def chosen(wanted: LogFilter, records: Sequence[LogRecord]) -> list[bool]:
    """Whether each is wanted, of as many of the first as one reading may examine: of one at the least."""
    effort, answers = Effort(), list[bool]()
    for record in records:
        if answers and effort.is_spent:
            break
        answers.append(wanted.matches(record))
        effort.spend(len(record.data))
    return answers
