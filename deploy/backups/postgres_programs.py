"""pg_dump and pg_restore: those of the wheel, or the system's where a server is newer than the wheel.

A dump is read by programs of its own major version or a later one, and goes into a server that is not older than
the one that it is of. Passwords are handed over in the environment, never on a command line.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit, urlunsplit

from deploy.backups.archive import Content, pieces_of
from deploy.embedded.postgres import find_programs
from deploy.processes import SetupError, run

_DEBIANS = Path("/usr/lib/postgresql")


def dump(url: str, server_major: int) -> Iterator[bytes]:
    """A dump of the database in one snapshot. Raises SetupError where it cannot be had whole."""
    # Most of it is output that is compressed already.
    words = [_program("pg_dump", server_major), "--format=custom", "--compress=1", "--lock-wait-timeout=60000"]
    with _started(words, url, stdin=subprocess.DEVNULL) as process:
        yield from pieces_of(_pipe(process.stdout))


def restore(url: str, content: Content, major: int) -> None:
    """Put a dump that a program of this major version made into an empty database. Raises SetupError."""
    words = [_program("pg_restore", major), "--exit-on-error", "--no-owner", "--no-privileges"]
    with _started(words, url, stdin=subprocess.PIPE) as process:
        _give(process, pieces_of(content))


def list_dump(content: Content, major: int) -> int:
    """How many entries the table of contents of a dump has. Raises SetupError where there is none."""
    words = [_program("pg_restore", major), "--list"]
    with _started(words, None, stdin=subprocess.PIPE) as process:
        # It reads no further than the table.
        _give(process, pieces_of(content))
        lines = _pipe(process.stdout).read().decode("utf-8", "replace").splitlines()
    return sum(not line.startswith(";") for line in lines)


@contextlib.contextmanager
def _started(words: list[str], url: str | None, *, stdin: int) -> Iterator[subprocess.Popen[bytes]]:
    """A program at work; when the block is over it must have ended well."""
    environment = dict(os.environ)
    if url is not None:
        named, password = without_password(url)
        words = [*words, f"--dbname={named}"]
        environment |= {"PGPASSWORD": password} if password else {}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(words, stdin=stdin, stdout=subprocess.PIPE, stderr=said, env=environment)
        try:
            yield process
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            _pipe(process.stdout).close()
        if code != 0:
            said.seek(0)
            lines = said.read().decode("utf-8", "replace").strip().splitlines()
            raise SetupError(f"{Path(words[0]).name} failed: {' | '.join(lines[-3:]) or f'exit code {code}'}")


def _give(process: subprocess.Popen[bytes], pieces: Iterable[bytes]) -> None:
    """What ends before it has read everything says so by its exit code."""
    pipe = _pipe(process.stdin)
    with contextlib.suppress(BrokenPipeError):
        for piece in pieces:
            pipe.write(piece)
    with contextlib.suppress(BrokenPipeError):
        pipe.close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("a process was started without a pipe")
    return pipe


def without_password(url: str) -> tuple[str, str]:
    """The URL as it may be seen by everybody, and the password."""
    parts = urlsplit(url.replace("postgresql+psycopg://", "postgresql://", 1))
    names, at, place = parts.netloc.rpartition("@")
    user, _, password = names.partition(":")
    return urlunsplit(parts._replace(netloc=f"{user}{at}{place}")), unquote(password)


def _program(name: str, major: int) -> str:
    """The oldest that will do: one that is newer than the server may say what the server does not know."""
    fit = {version: path for version, path in _programs(name).items() if version >= major}
    if not fit:
        raise SetupError(f"no {name} of Postgres {major} or later was found; install postgresql-client-{major}")
    return fit[min(fit)]


@lru_cache(maxsize=2)
def _programs(name: str) -> dict[int, str]:
    """By major version; the wheel's own come before the system's."""
    found: dict[int, str] = {}
    for path in _candidates(name):
        said = re.search(r"(\d+)", run([path, "--version"]).stdout.decode("utf-8", "replace"))
        if said is not None:
            found.setdefault(int(said.group(1)), path)
    return found


def _candidates(name: str) -> Iterator[str]:
    with contextlib.suppress(SetupError):
        site, parts = find_programs()
        wheel = (site / parts[0]).parent
        yield from (str(path) for path in sorted(wheel.glob(f"pginstall*/bin/{name}")))
    yield from (str(path) for path in sorted(_DEBIANS.glob(f"*/bin/{name}")))
    if (path := shutil.which(name)) is not None:
        yield path
