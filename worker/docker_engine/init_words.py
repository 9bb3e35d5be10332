"""What a container's init says of the end of its program: by a signal, or by itself. Pure.

Engines give exit code 137 both for a program that signal 9 has ended and for one that exits with 137. The init
that runs as PID 1 (tini, which is every engine's `docker-init`) knows which it was, and says so when it is asked
to talk. Its words are two lines on standard output, printed when all is over; they are taken out of it again.

An init that is another program, or that was itself killed (by the engine's kill call), says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

#: tini's level at which it says how its program ended (`PRINT_INFO`).
_VARIABLE, _LEVEL = "TINI_VERBOSITY", "2"
#: A tini of the image's own, which has inherited the variable, says the same with another process id.
_WORDS = re.compile(
    rb"\[INFO  tini \((?P<pid>\d+)\)\] (?:Spawned child process '.*' with pid '\d+'"
    rb"|Main child exited (?:(?P<itself>normally) \(with status '\d+'\)|with signal \(with signal '[^'\n]*'\)))"
    rb"\n?\Z",
    re.DOTALL,
)
#: Where an init's words begin.
MARK = b"[INFO  tini ("
_INIT_PID = b"1"


def asking(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that make the init talk; none where the job has its own of that name."""
    return {} if _VARIABLE in environment else {_VARIABLE: _LEVEL}


def without_words(data: bytes) -> tuple[bytes, bool | None]:
    """A piece of standard output without an init's words, and whether they say that a signal ended the program.

    None: they do not say how it ended. What the program printed last may stand in one line with them.
    """
    if MARK not in data:
        return data, None
    match = _WORDS.search(data)
    if match is None:
        return data, None
    said = None
    if match["pid"] == _INIT_PID and b"] Main child" in match[0]:
        said = match["itself"] is None
    return data[: match.start()], said


def beginning_of_words(piece: bytes) -> int:
    """Where the words may begin that the next piece of the same line goes on with; the length where nowhere."""
    begin = piece.rfind(MARK)
    if begin >= 0 and b"\n" not in piece[begin:]:
        return begin
    cut = next((size for size in range(len(MARK) - 1, 0, -1) if piece.endswith(MARK[:size])), 0)
    return len(piece) - cut
