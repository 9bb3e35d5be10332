"""Files of this machine as the `files` of a job: which they are, what each is called there, and whether they fit.

They are text (the wire is JSON). A file is called by its path from the current folder, where it is below it, so
that what works here works there; else by its own name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from client.errors import NotSendable

#: The platform's own default (`LONGSHORE_MAX_UPLOAD_BYTES`); it may be set to less or more there.
MAX_BYTES = 5 << 20
MAX_FILES = 100
#: Never meant when a folder is sent.
_LEFT_OUT = frozenset({"__pycache__", "node_modules", "venv"})
_NAMED = 3


def files_of(paths: Iterable[Path]) -> dict[str, str]:
    """The text of each file, and of all files of each folder, by the name that it has there.

    Of a folder, what is hidden (`.git`, `.venv`) and what Python makes is left out. Raises NotSendable.
    """
    found = dict(_named(paths))
    if len(found) > MAX_FILES:
        raise NotSendable(
            f"{len(found)} files are too many to send, the most is {MAX_FILES}; send fewer, or build an image"
        )
    return texts(found)


def texts(files: Mapping[str, Path]) -> dict[str, str]:
    """The text of each file. Raises NotSendable where one is none, or all together are too large."""
    sizes = {name: _size(path) for name, path in files.items()}
    total = sum(sizes.values())
    if total > MAX_BYTES:
        largest = sorted(sizes.items(), key=lambda named: -named[1])[:_NAMED]
        shown = ", ".join(f"{name} ({mebibytes(size)})" for name, size in largest)
        raise NotSendable(
            f"the files are {total:,} bytes together, the most is {MAX_BYTES:,} ({mebibytes(MAX_BYTES)});"
            f" the largest: {shown}"
        )
    return {name: _text(path) for name, path in files.items()}


def name_there(path: Path) -> str:
    """What a file is called in the job's working directory."""
    whole, here = Path(os.path.abspath(path)), Path.cwd()  # noqa: PTH100  # links are not followed
    return whole.relative_to(here).as_posix() if whole.is_relative_to(here) else whole.name


def mebibytes(size: int) -> str:
    """`5.0 MiB`, `12 KiB`: for people."""
    if size < 1 << 20:
        return f"{-(-size // 1024)} KiB"
    return f"{size / (1 << 20):.1f} MiB"


def _named(paths: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    for path in paths:
        if path.is_dir():
            below = "" if path.resolve() == Path.cwd() else f"{name_there(path)}/"
            yield from ((f"{below}{each.relative_to(path).as_posix()}", each) for each in _in_folder(path))
        elif path.exists():
            yield name_there(path), path
        else:
            raise NotSendable(f"there is no file {path}")


def _in_folder(folder: Path) -> Iterator[Path]:
    """The files below it, in one order everywhere. Links to folders are not gone into: they may go round."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _LEFT_OUT)
        for name in sorted(names):
            path = Path(parent, name)
            if not name.startswith(".") and not name.endswith(".pyc") and path.is_file():
                yield path


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise NotSendable(f"{path} cannot be read: {error.strerror}") from None


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise NotSendable(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise NotSendable(f"{path} is not text in UTF-8, and only text can be sent with a job") from None
