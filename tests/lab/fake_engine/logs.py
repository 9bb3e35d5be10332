"""A container's output as the `local` log driver keeps it: lines, split at 16 KiB, each with a time stamp. Pure.

What engines 20.10 do, and the contract suite pins down: a line is kept when it is complete; one longer than 16 KiB
in pieces of one time stamp, the last of them without its newline (and empty where the line was just full);
what is left without a newline is kept when the container ends.
"""

from __future__ import annotations

import signal
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.lab.fake_engine.stamps import fixed_stamp

_PIECE = 16_384
_HEADER = struct.Struct(">BxxxI")


@dataclass(slots=True)
class _Pending:
    """Output of one stream that is no whole line yet. `split_ns` is the stamp of the line's first piece."""

    data: bytearray = field(default_factory=bytearray)
    split_ns: int = 0


class OutputLog:
    """Records in the order they were kept. Followers are called with each new record's frame, then with None."""

    __slots__ = ("_last_ns", "_pending", "_records", "followers")

    def __init__(self) -> None:
        self._records: list[tuple[int, int, bytes]] = []
        self._pending: dict[int, _Pending] = {}
        self._last_ns = 0
        self.followers: list[Callable[[tuple[int, int, bytes] | None], None]] = []

    def write(self, stream: int, data: bytes, ns: int) -> None:
        """Take what a container printed."""
        pending = self._pending.setdefault(stream, _Pending())
        pending.data += data
        while True:
            end = pending.data.find(b"\n", 0, _PIECE)
            if end >= 0:
                self._keep_line(stream, pending, end, ns)
            elif len(pending.data) >= _PIECE:
                pending.split_ns = pending.split_ns or self._next(ns)
                self._keep(pending.split_ns, stream, bytes(pending.data[:_PIECE]))
                del pending.data[:_PIECE]
            else:
                return

    def _keep_line(self, stream: int, pending: _Pending, end: int, ns: int) -> None:
        if pending.split_ns:
            self._keep(pending.split_ns, stream, bytes(pending.data[:end]))
            pending.split_ns = 0
        else:
            self._keep(self._next(ns), stream, bytes(pending.data[: end + 1]))
        del pending.data[: end + 1]

    def end(self, ns: int) -> None:
        """The container has ended: what is pending is kept, and followers are let go."""
        for stream, pending in self._pending.items():
            if pending.data or pending.split_ns:
                self._keep(pending.split_ns or self._next(ns), stream, bytes(pending.data))
        self._pending.clear()
        followers, self.followers = self.followers, []
        for follower in followers:
            follower(None)

    def records(self, streams: frozenset[int], since_ns: int) -> list[tuple[int, int, bytes]]:
        """Records of some streams, from a time stamp on (inclusive)."""
        return [each for each in self._records if each[1] in streams and each[0] >= since_ns]

    def __iter__(self) -> Iterator[tuple[int, int, bytes]]:
        return iter(self._records)

    def _next(self, ns: int) -> int:
        """Two reads of one pipe never have one stamp."""
        return max(ns, self._last_ns + 1)

    def _keep(self, ns: int, stream: int, data: bytes) -> None:
        record = (ns, stream, data)
        self._last_ns = max(self._last_ns, ns)
        self._records.append(record)
        for follower in tuple(self.followers):
            follower(record)


def init_words(exit_code: int, by_signal: bool) -> bytes:
    """What tini prints, all at once at the end, where it is to talk."""
    name = signal.strsignal(exit_code - 128) if by_signal else None
    end = f"with signal (with signal '{name}')" if by_signal else f"normally (with status '{exit_code}')"
    said = ("Spawned child process 'sh' with pid '7'", f"Main child exited {end}")
    return "".join(f"[INFO  tini (1)] {each}\n" for each in said).encode()


def frame(record: tuple[int, int, bytes], *, stamped: bool) -> bytes:
    """A record as the logs call sends it (Engine API, "Attach to a container": stream, zeros, length)."""
    ns, stream, data = record
    if stamped:
        data = fixed_stamp(ns).encode() + b" " + data
    return _HEADER.pack(stream, len(data)) + data
