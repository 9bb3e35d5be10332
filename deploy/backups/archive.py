"""The file of a backup: a plain tar whose first member is the manifest and whose last is a list of sums.

    manifest.json      what it is of; blank until everything else is written
    database.dump      pg_dump's custom format
    objects/…          the object store's, by their paths there
    secret/…           keys, if they were asked for
    SHA256SUMS         of each of the above but the manifest, as sha256sum writes them

Everything can be had with `tar` and checked with `sha256sum -c`. Members are written and read here and not by
`tarfile`, which keeps every header in memory and wants to know a size before the first byte.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

from deploy.processes import SetupError

MANIFEST, DUMP, SUMS = "manifest.json", "database.dump", "SHA256SUMS"
OBJECTS, SECRET = "objects/", "secret/"
FORMAT = 1
_BLOCK, _MANIFEST_BYTES, _PIECE = 512, 8192, 1 << 20


@dataclass(frozen=True)
class Manifest:
    """What a backup is of. Times are ISO 8601."""

    format: int
    version: str
    revision: str
    installation: str
    made_at: str
    postgres_major: int
    #: the scheme of the object store, and for others than `file` all of its URL
    object_store: str
    object_count: int
    object_bytes: int
    dump_bytes: int
    has_secret_keys: bool
    sums_sha256: str


class BackupWriter:
    """Writes the members of a backup, in order, to a file that can be sought."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sums = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._write_header(MANIFEST, _MANIFEST_BYTES)
        self._manifest_at = file.tell()
        file.write(b" " * _MANIFEST_BYTES)

    def add(self, name: str, pieces: Iterable[bytes]) -> int:
        """Add a member of whatever size; its size."""
        header_at = self._file.tell()
        self._file.write(bytes(_BLOCK))
        digest, size = hashlib.sha256(), 0
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            self._file.write(piece)
        self._pad(size)
        end = self._file.tell()
        self._file.seek(header_at)
        self._write_header(name, size)
        self._file.seek(end)
        self._sums.write(f"{digest.hexdigest()}  {name}\n")
        return size

    def finish(self, **facts: Any) -> Manifest:
        """Write the sums, and then the manifest, by which the backup is one."""
        self._sums.seek(0)
        text = self._sums.read().encode()
        self._sums.close()
        self._write_header(SUMS, len(text))
        self._file.write(text)
        self._pad(len(text))
        self._file.write(bytes(2 * _BLOCK))
        manifest = Manifest(format=FORMAT, sums_sha256=hashlib.sha256(text).hexdigest(), **facts)
        self._file.flush()
        self._file.seek(self._manifest_at)
        self._file.write(_encoded(manifest))
        self._file.flush()
        return manifest

    def _write_header(self, name: str, size: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = size, 0o600
        header = entry.tobuf(tarfile.GNU_FORMAT)
        if len(header) != _BLOCK:
            raise SetupError(f"the name {name} is too long for a backup")
        self._file.write(header)

    def _pad(self, size: int) -> None:
        self._file.write(bytes(-size % _BLOCK))


class Content:
    """The bytes of one member; to be read before the next one is asked for."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def read(self, most: int = -1) -> bytes:
        """So many bytes, or all that are left."""
        piece = self._file.read(self._left if most < 0 else min(most, self._left))
        self._left -= len(piece)
        return piece


@dataclass(frozen=True)
class Member:
    """One file of a backup."""

    name: str
    size: int
    content: Content


def read_manifest(path: Path) -> Manifest:
    """What a backup is of. Raises SetupError where the file is none, or not a whole one."""
    for member in members(path):
        if member.name != MANIFEST:
            break
        return _decoded(path, member.content.read())
    raise SetupError(f"{path} is not a backup of Longshore")


def members(path: Path) -> Generator[Member, None, None]:
    """The files of a backup in their order. Raises SetupError where the file cannot be read to its end."""
    try:
        with path.open("rb") as file:
            while (block := file.read(_BLOCK)) != bytes(_BLOCK):
                entry = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
                next_at = file.tell() + entry.size + -entry.size % _BLOCK
                yield Member(entry.name, entry.size, Content(file, entry.size))
                file.seek(next_at)
    except (OSError, tarfile.TarError) as error:
        raise SetupError(f"{path} is no whole backup: {error}") from error


@contextmanager
def opened(path: Path, name: str) -> Iterator[Content]:
    """One file of a backup. Raises SetupError where it is not in it."""
    with closing(members(path)) as found:
        for member in found:
            if member.name == name:
                yield member.content
                return
    raise SetupError(f"{path} is no whole backup: it has no {name}")


def pieces_of(content: Content | IO[bytes]) -> Iterator[bytes]:
    """A file in pieces of a bounded size."""
    while piece := content.read(_PIECE):
        yield piece


def check(path: Path) -> Manifest:
    """Read all of a backup and compare every sum; its manifest. Raises SetupError naming what differs."""
    manifest, sums, found = read_manifest(path), b"", hashlib.sha256()
    for member in members(path):
        if member.name == SUMS:
            sums = member.content.read()
        elif member.name != MANIFEST:
            digest = hashlib.sha256()
            for piece in pieces_of(member.content):
                digest.update(piece)
            line = f"{digest.hexdigest()}  {member.name}\n".encode()
            found.update(line)
    if hashlib.sha256(sums).hexdigest() != manifest.sums_sha256:
        raise SetupError(f"{path} is damaged: its list of sums is not the one that was written")
    if found.hexdigest() != manifest.sums_sha256:
        raise SetupError(f"{path} is damaged: {_first_that_differs(path, sums)}")
    return manifest


def _first_that_differs(path: Path, sums: bytes) -> str:
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in sums.decode().splitlines())}
    for member in members(path):
        if member.name in (MANIFEST, SUMS):
            continue
        digest = hashlib.sha256()
        for piece in pieces_of(member.content):
            digest.update(piece)
        if expected.pop(member.name, "") != digest.hexdigest():
            return f"{member.name} is not what was written"
    return f"{next(iter(expected), 'a file')} is not in it"


def _encoded(manifest: Manifest) -> bytes:
    facts = asdict(manifest)
    text = json.dumps({**facts, "sha256": _digest(facts)}, indent=1).encode()
    if len(text) > _MANIFEST_BYTES:
        raise SetupError("the manifest of the backup is too long; name the object store by a shorter URL")
    return text.ljust(_MANIFEST_BYTES)


def _decoded(path: Path, text: bytes) -> Manifest:
    if not text.strip():
        raise SetupError(f"{path} is a backup that was broken off")
    try:
        facts = json.loads(text)
        digest = facts.pop("sha256")
        if facts["format"] > FORMAT:
            raise SetupError(f"{path} was made by a newer version, {facts['version']}; restore it with that one")
        manifest = Manifest(**{field.name: facts[field.name] for field in fields(Manifest)})
    except (ValueError, KeyError, TypeError) as error:
        raise SetupError(f"{path} is not a backup of Longshore: its manifest cannot be read") from error
    if digest != _digest(facts):
        raise SetupError(f"{path} is damaged: its manifest is not the one that was written")
    return manifest


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
