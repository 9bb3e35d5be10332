"""Files that a platform names, written below a folder and nowhere else.

Neither the platform nor the program whose file it was is trusted with a path of this machine: every folder on the
way is opened by itself, from the one above it, and a symbolic link is not followed. A file is written under a name
of its own and renamed, so that what has its name is whole.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from client.errors import LongshoreError, NoConnection

# Not on every system: where there are none, nothing but `cp` is to fail.
_NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)
_FOLDER: int = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK


def save(below: Path, path: str, pieces: Iterable[bytes], *, size: int, is_program: bool = False) -> Path:
    """Write a file at `path` below the folder, which is made where it is missing; where it is now.

    Raises LongshoreError for a path that leads elsewhere, NoConnection where there are not `size` bytes, OSError.
    """
    *folders, name = parts_of(path)
    below.mkdir(parents=True, exist_ok=True)
    draft = f".longshore-{secrets.token_hex(8)}"
    with _folder(below, folders) as folder:
        # The umask takes from it what the user lets nobody do.
        descriptor = os.open(draft, _NEW, 0o777 if is_program else 0o666, dir_fd=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for piece in pieces:
                    file.write(piece)
                came = file.tell()
            if came != size:
                raise NoConnection(f"{path} is {size} bytes, and {came} came; it is not written")
            os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft, dir_fd=folder)
            raise
    return below.joinpath(*folders, name)


def parts_of(path: str) -> list[str]:
    """The names in a path that leads down. Raises LongshoreError for any other."""
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise LongshoreError(f"{path!r} is no path below a folder; it is not written")
    return parts


@contextmanager
def _folder(below: Path, folders: Iterable[str]) -> Iterator[int]:
    """A descriptor of the folder of these names. The first one, which the user named, may be a link."""
    at = os.open(below, _FOLDER)
    try:
        here = below
        for name in folders:
            here = here / name
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=at)
            try:
                inner = os.open(name, _FOLDER | _NO_LINK, dir_fd=at)
            except NotADirectoryError:
                raise LongshoreError(
                    f"{here} is a link or a file, and no folder; nothing is written to it"
                ) from None
            os.close(at)
            at = inner
        yield at
    finally:
        os.close(at)
