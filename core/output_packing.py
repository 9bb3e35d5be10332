"""A folder as an engine gives it, a tar, into one of what is kept of it, and where in that each file is. Pure.

Only plain files are kept, by names that lead nowhere but down: a link, a device or a name with `..` in it is not
followed, but counted. The same folder under the same limits gives the same bytes, whoever packs it.
"""

from __future__ import annotations

import io
import re
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from core.errors import EngineError

_PIECE_BYTES = 1 << 20
#: A tar ends with two blocks of nothing.
_END = bytes(2 * tarfile.BLOCKSIZE)
#: What a path may be long; an index of Postgres takes no longer text.
_PATH_BYTES = 1024
#: Nor may it hold: neither a path of a URL nor a line of a list has these.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: So many times what is allowed is read, and counted, of a folder that holds more.
_READ_ON = 8
#: 9999-12-31: the last day that a time on the wire can be of.
_LAST_SECOND = 253_402_214_400


@dataclass(frozen=True)
class Limits:
    """What is kept of one folder at the most."""

    byte_count: int
    file_count: int


@dataclass(frozen=True)
class PackedFile:
    """A file of the tar: `size` bytes from `offset` on. `mode` has the nine bits of permission."""

    path: str
    size: int
    mode: int
    modified_at: int
    offset: int


@dataclass
class OutputPacking:
    """One folder on its way. What it has come to is known once `parts` is at its end."""

    limits: Limits
    files: list[PackedFile] = field(default_factory=list)
    #: of what is kept
    byte_count: int = 0
    #: of plain files, kept or not
    found_count: int = 0
    found_bytes: int = 0
    #: links, devices, sockets, and files whose names cannot be kept
    other_count: int = 0
    #: there may be more than was counted
    is_cut: bool = False
    _offset: int = 0

    @property
    def is_whole(self) -> bool:
        """All plain files are kept."""
        return not self.is_cut and self.found_count == len(self.files)

    def parts(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The tar of what is kept, in pieces of a bounded size; nothing at all where nothing is kept, or came.

        Raises EngineError where the folder's tar is broken off or is none.
        """
        first = next(pieces, b"")
        if not first:
            return
        reader = _Reader(chain([first], pieces))
        try:
            with tarfile.open(fileobj=reader, mode="r|", bufsize=_PIECE_BYTES) as tar:
                yield from self._files(tar)
        except (tarfile.TarError, OverflowError, ValueError) as error:
            raise EngineError(f"the engine's archive of the outputs is not whole: {error}") from error
        if not self.is_cut and not reader.has_end():
            raise EngineError("the engine's archive of the outputs is not whole: it is broken off")
        if self.files:
            yield _END

    def _files(self, tar: tarfile.TarFile) -> Iterator[bytes]:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # or each of a million files would be remembered
            if member.isdir():
                continue
            path = _kept_path(member)
            if path is None:
                self.other_count += 1
            else:
                self.found_count += 1
                self.found_bytes += member.size
                if self._has_room(member.size):
                    yield from self._file(tar, member, path)
            if self._is_enough():
                self.is_cut = True
                return

    def _has_room(self, size: int) -> bool:
        within = self.byte_count + size <= self.limits.byte_count
        return within and len(self.files) < self.limits.file_count

    def _is_enough(self) -> bool:
        """By counts alone, not by the time it took: the same is kept whoever packs."""
        too_many = self.found_count + self.other_count > _READ_ON * self.limits.file_count
        return too_many or self.found_bytes > _READ_ON * self.limits.byte_count

    def _file(self, tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> Iterator[bytes]:
        kept = tarfile.TarInfo(path)
        kept.size, kept.mode = member.size, stat.S_IMODE(member.mode) & 0o777
        kept.mtime = min(max(int(member.mtime), 0), _LAST_SECOND)
        header = kept.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")
        offset = self._offset + len(header)
        yield header
        content = tar.extractfile(member)
        left = member.size
        while left and content is not None:
            piece = content.read(min(left, _PIECE_BYTES))
            if not piece:
                raise tarfile.ReadError("unexpected end of data")
            left -= len(piece)
            yield piece
        padding = -member.size % tarfile.BLOCKSIZE
        if padding:
            yield bytes(padding)
        self._offset = offset + member.size + padding
        self.byte_count += member.size
        self.files.append(PackedFile(path, member.size, kept.mode, int(kept.mtime), offset))


def _kept_path(member: tarfile.TarInfo) -> str | None:
    """A plain file's path in the folder; None for anything else."""
    folder, _, path = member.name.partition("/")
    # Links to a file that is in the archive already have no content of their own there.
    if not member.isreg() or member.issparse() or not folder:
        return None
    if any(step in ("", ".", "..") for step in path.split("/")) or _CONTROL.search(path):
        return None
    try:
        return path if len(path.encode()) <= _PATH_BYTES else None
    except UnicodeEncodeError:
        return None


class _Reader(io.RawIOBase):
    """Pieces as the file that tarfile reads from, and what the last of them ended with."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")
        self._tail = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """No more than `size`, and less only at the end."""
        found = bytearray()
        while len(found) < size:
            if not self._left and not self._next():
                break
            taken = self._left[: size - len(found)]
            found += taken
            self._left = self._left[len(taken) :]
        return bytes(found)

    def has_end(self) -> bool:
        """Whether all of it ended as a tar does; reads to there."""
        while self._next():
            pass
        return self._tail == _END

    def _next(self) -> bool:
        piece = next(self._pieces, b"")
        self._left = memoryview(piece)
        self._tail = (self._tail + piece[-len(_END) :])[-len(_END) :]
        return bool(piece)
