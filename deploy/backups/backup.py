"""`deploy/backup FILE`: write a backup while the platform runs, or `--verify` one that is there.

What is written is under another name until it is whole and on the disk itself: what has the name is a backup.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from core.database import Database
from core.errors import Unavailable
from core.jobs.object_paths import KINDS
from core.schema_revision import schema_revision
from core.settings import with_password
from deploy.backups.archive import DUMP, OBJECTS, SECRET, BackupWriter, Manifest, check, opened, pieces_of
from deploy.backups.postgres_programs import dump, list_dump
from deploy.diagnosis.site import Site
from deploy.embedded import EmbeddedPostgres
from deploy.home import Home
from deploy.processes import SetupError
from deploy.services import service_environment
from deploy.steps import say, step
from deploy.version import VERSION
from migrations.databases import Refused, server_major

_PROGRESS_SECONDS = 5.0
#: Names of objects that are being written have it (object_store, LocalStore); others never do.
_UNFINISHED = "#"


def main() -> int:
    """Do what is asked; 1 with a sentence on stderr where it cannot be done."""
    parser = argparse.ArgumentParser(
        prog="deploy/backup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--verify", action="store_true", help="read the file, and compare every sum in it")
    parser.add_argument(
        "--with-secret-keys",
        action="store_true",
        help="put in the keys that seal secrets and the API keys of the set-up: who has the file has them all",
    )
    arguments = parser.parse_args()
    try:
        if arguments.verify:
            verify(arguments.file)
        else:
            make(Home.from_environment(), arguments.file.absolute(), with_secret_keys=arguments.with_secret_keys)
    except (SetupError, Refused, Unavailable, OSError) as error:
        print(f"\ndeploy/backup: {error}", file=sys.stderr)
        return 1
    return 0


def verify(path: Path) -> Manifest:
    """Compare every sum, and have the dump's table of contents read. Raises SetupError."""
    with step("sums") as line:
        manifest = check(path)
        line.result = f"are those of {manifest.made_at}: {describe(manifest)}"
    with step("dump") as line, opened(path, DUMP) as content:
        line.result = f"has {list_dump(content, manifest.postgres_major)} entries"
    return manifest


def describe(manifest: Manifest) -> str:
    """What is in a backup, for a person."""
    keys = "with secret keys" if manifest.has_secret_keys else "without secret keys"
    objects = f"{manifest.object_count} objects of {_size(manifest.object_bytes)}"
    if manifest.object_store != "file":
        objects = f"no objects (they are in {manifest.object_store or 'no store'})"
    return f"revision {manifest.revision}, a dump of {_size(manifest.dump_bytes)}, {objects}, {keys}"


def make(home: Home, path: Path, *, with_secret_keys: bool = False) -> Manifest:
    """Write a backup of the platform of this home, or of the servers that LONGSHORE_* name. Raises SetupError."""
    if path.exists():
        raise SetupError(f"{path} is there already; name another file, or remove it")
    # As the processes have it where they run, whatever this shell knows of it.
    given = {**Site(os.environ).of_processes, **os.environ}
    url = database_url_of(home, given)
    environment = service_environment(home, database_url=url, broker_url="", port=0, given=given)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.unfinished")
    try:
        with os.fdopen(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as file:
            manifest = _write(file, home, environment, with_secret_keys=with_secret_keys)
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)
    say(f"{path}: {_size(path.stat().st_size)}, {describe(manifest)}.")
    if not with_secret_keys:
        say(f"Not in it: {environment['LONGSHORE_SECRET_KEYS_FILE']}; without a copy of it no secret can be read.")
    if manifest.object_store not in ("file", ""):
        say(f"Not in it: {manifest.object_store}; back that up by its own means.")
    return manifest


def database_url_of(home: Home, given: Mapping[str, str]) -> str:
    """The database that is named, or the running one of the home. Raises SetupError where neither is there."""
    if named := given.get("LONGSHORE_DATABASE_URL"):
        file = given.get("LONGSHORE_DATABASE_PASSWORD_FILE")
        try:
            return with_password(named, Path(file)) if file else named
        except ValueError as error:
            raise SetupError(f"LONGSHORE_DATABASE_PASSWORD_FILE: {error}") from None
    if (home.path / "postgres").exists():
        postgres = EmbeddedPostgres(home.path / "postgres", home.runtime)
        if postgres.pid is not None:
            return postgres.url
    raise SetupError(
        f"no database runs in {home.path}: start it with deploy/up, or name it in LONGSHORE_DATABASE_URL"
    )


def store_folder(store_url: str) -> Path | None:
    """The folder of a `file://` store; None of any other."""
    parts = urlsplit(store_url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


@dataclass
class _Copied:
    count: int = 0
    bytes: int = 0


def _write(file: IO[bytes], home: Home, environment: Mapping[str, str], *, with_secret_keys: bool) -> Manifest:
    url, store_url = environment["LONGSHORE_DATABASE_URL"], environment["LONGSHORE_OBJECT_STORE_URL"]
    writer, made_at = BackupWriter(file), datetime.now(UTC)
    database = Database(url, pool_size=1)
    try:
        with step("database") as line:
            revision, major = schema_revision(database), server_major(url)
            dump_bytes = writer.add(DUMP, dump(url, major))
            line.result = f"{_size(dump_bytes)} of revision {revision}"
            if not revision or revision != schema_revision(database):
                raise SetupError("the database is being migrated, or never was; make the backup after that")
    finally:
        database.close()
    copied, folder = _Copied(), store_folder(store_url)
    with step("objects") as line:
        if folder is not None:
            if not folder.is_dir():
                raise SetupError(
                    f"there is no folder {folder}, in which LONGSHORE_OBJECT_STORE_URL has the objects"
                )
            _copy_objects(writer, folder, copied)
        line.result = f"{copied.count} of {_size(copied.bytes)}" if folder else f"are in {store_url or 'no store'}"
    if with_secret_keys:
        keys = Path(environment["LONGSHORE_SECRET_KEYS_FILE"])
        if not keys.exists():
            raise SetupError(f"there is no {keys}: --with-secret-keys needs the file that the platform has")
        for found in (keys, home.env_file, home.operator_env_file):
            if found.exists():
                writer.add(SECRET + ("secret-keys" if found == keys else found.name), [found.read_bytes()])
    return writer.finish(
        version=VERSION,
        revision=revision,
        installation=environment["LONGSHORE_INSTALLATION"],
        made_at=made_at.isoformat(timespec="seconds"),
        postgres_major=major,
        object_store="file" if folder is not None else store_url,
        object_count=copied.count,
        object_bytes=copied.bytes,
        dump_bytes=dump_bytes,
        has_secret_keys=with_secret_keys,
    )


def _copy_objects(writer: BackupWriter, folder: Path, copied: _Copied) -> None:
    """Every object that there is; one that is removed meanwhile is left out."""
    told = time.monotonic()
    for path in _objects_in(folder):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as content:
            copied.bytes += writer.add(OBJECTS + path.relative_to(folder).as_posix(), pieces_of(content))
            copied.count += 1
        if time.monotonic() - told >= _PROGRESS_SECONDS:
            told = time.monotonic()
            say(f"         objects     {copied.count} of {_size(copied.bytes)} so far")


def _objects_in(folder: Path) -> Iterator[Path]:
    for kind in KINDS:
        # What is removed while it is walked is passed over.
        for here, folders, names in os.walk(folder / kind, onerror=_refuse_unreadable):
            folders.sort()
            yield from (Path(here, name) for name in sorted(names) if _UNFINISHED not in name)


def _refuse_unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


if __name__ == "__main__":
    raise SystemExit(main())
