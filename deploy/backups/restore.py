"""`deploy/restore FILE`: put a backup in place of what is there, and start the platform.

The database is restored beside the one that there is, migrated, and brought to what may be true now
(`core.jobs.restoring`); only then does it take the other's name, in one step. Until then the platform runs on, and
whatever fails leaves it as it was. The database that is replaced is kept under another name.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from core.database import Database
from core.errors import CallerError, Unavailable
from core.jobs.restoring import count_jobs
from core.sealing import parse_keys
from deploy.backups.archive import (
    DUMP,
    OBJECTS,
    SECRET,
    Content,
    Manifest,
    check,
    members,
    opened,
    pieces_of,
    read_manifest,
)
from deploy.backups.backup import describe, store_folder
from deploy.backups.bring_to_now import add_objects_are_gone, bring_to_now
from deploy.backups.postgres_programs import restore
from deploy.engine import Engine
from deploy.home import Home
from deploy.private_files import replace_private
from deploy.processes import SetupError
from deploy.secret_keys import ensure_keys
from deploy.services import COMMANDS, choose_port, public_url, service_environment, stop_service
from deploy.steps import say, step
from deploy.up import ensured_engine, ensured_servers, start_platform
from migrations.__main__ import upgrade
from migrations.databases import Beside, Refused, is_there, server_major
from migrations.head import head


@dataclass(frozen=True)
class Wishes:
    """What whoever restores has decided."""

    replace: bool = False
    rerun_queued: bool = False
    take_over: bool = False
    no_start: bool = False
    objects_are_gone: bool = False


def main() -> int:
    """Restore; 1 with a sentence on stderr where it cannot be done."""
    parser = argparse.ArgumentParser(
        prog="deploy/restore", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--replace", action="store_true", help="although the database that there is has jobs")
    parser.add_argument(
        "--rerun-queued",
        action="store_true",
        help="jobs may run again: those that waited run, those that are gone are tried again as they ask for",
    )
    parser.add_argument(
        "--take-over",
        action="store_true",
        help="be the installation of the backup, which is gone: its containers become this one's",
    )
    parser.add_argument("--no-start", action="store_true", help="put everything in place and start nothing")
    add_objects_are_gone(parser)
    arguments = vars(parser.parse_args())
    path = arguments.pop("file").absolute()
    wishes = Wishes(**arguments)
    home = Home.from_environment()
    try:
        with home.locked():
            put_back(home, path, wishes)
    except (SetupError, Refused, Unavailable, CallerError, OSError) as error:
        print(f"\ndeploy/restore: {error}", file=sys.stderr)
        return 1
    return 0


def put_back(home: Home, path: Path, wishes: Wishes) -> None:
    """Put a backup in place of what the home, or LONGSHORE_DATABASE_URL, has. Raises SetupError."""
    manifest = read_manifest(path)
    _refuse_unfit(manifest, os.environ.get("LONGSHORE_OBJECT_STORE_URL", home.objects.as_uri()))
    with step("file") as line:
        check(path)
        line.result = f"{describe(manifest)}; made {manifest.made_at}"
    _tell_of_installation(home, manifest, wishes)
    database_url, broker_url = ensured_servers(home)
    environment = service_environment(
        home, database_url=database_url, broker_url=broker_url, port=choose_port(home)
    )
    _refuse_replacing(database_url, manifest, wishes)
    with Beside(database_url).made() as beside:
        with step("database") as line:
            with opened(path, DUMP) as content:
                restore(beside.url, content, manifest.postgres_major)
            upgrade(beside.url)
            beside.analyse()
            line.result = f"restored beside {beside.name}, at revision {head()}"
        _put_objects(path, environment, manifest)
        with step("processes") as line:
            stopped = [name for name in reversed(COMMANDS) if stop_service(home, name)]
            line.result = f"stopped {', '.join(stopped)}" if stopped else "none ran here"
        try:
            # While nobody removes objects any more.
            bring_to_now(
                beside.url,
                datetime.fromisoformat(manifest.made_at),
                store_url=environment["LONGSHORE_OBJECT_STORE_URL"],
                rerun_queued=wishes.rerun_queued,
                objects_are_gone=wishes.objects_are_gone,
            )
            with step("name") as line:
                kept = beside.take_the_name()
                old = f"; {kept} is the old one" if kept else ""
                line.result = f"{beside.name} is the restored database{old}"
        except BaseException:
            if stopped:
                say("The platform is started as it was.")
                _start(home, database_url, broker_url)
            raise
    _put_secrets(path, home, environment)
    if wishes.take_over:
        home.take_over(manifest.installation)
    if wishes.no_start:
        say("Nothing was started.")
        return
    _start(home, database_url, broker_url)


def _refuse_unfit(manifest: Manifest, store_url: str) -> None:
    if manifest.revision > head():
        raise SetupError(
            f"the backup is of revision {manifest.revision} and this code knows {head()}; restore it with the code"
            f" that made it, {manifest.version}, or a newer one"
        )
    here = "file" if store_folder(store_url) is not None else store_url
    if manifest.object_store != here:
        raise SetupError(
            f"the objects of the backup are in {manifest.object_store!r} and LONGSHORE_OBJECT_STORE_URL says"
            f" {store_url!r}; name the same kind of store"
        )


def _tell_of_installation(home: Home, manifest: Manifest, wishes: Wishes) -> None:
    """Another mark means that the containers of the backup's installation are none of ours."""
    theirs, ours = manifest.installation, home.installation
    if theirs == ours:
        return
    if not wishes.take_over:
        say(
            f"The backup is of the installation {theirs}, and this one is {ours}: containers of that one are left"
            " alone, and its running jobs end here as lost (--take-over makes them this one's)."
        )
    elif os.environ.get("LONGSHORE_INSTALLATION"):
        raise SetupError(f"LONGSHORE_INSTALLATION says {ours}; have it say {theirs} instead of --take-over")


def _refuse_replacing(database_url: str, manifest: Manifest, wishes: Wishes) -> None:
    found = server_major(database_url)
    if found < manifest.postgres_major:
        raise SetupError(
            f"the backup is of Postgres {manifest.postgres_major} and the server here is {found}; name a newer one"
        )
    if wishes.replace or not is_there(database_url):
        return
    database = Database(database_url, pool_size=1)
    try:
        count = count_jobs(database)
    finally:
        database.close()
    if count:
        raise SetupError(f"the database here has {count} jobs; --replace puts the backup in their place")


def _put_secrets(path: Path, home: Home, environment: Mapping[str, str]) -> None:
    for member in members(path):
        if member.name.startswith(SECRET):
            put_secret(home, environment, member.name.removeprefix(SECRET), member.content.read().decode())


def _put_objects(path: Path, environment: Mapping[str, str], manifest: Manifest) -> None:
    folder = store_folder(environment["LONGSHORE_OBJECT_STORE_URL"])
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with step("objects") as line:
        count = 0
        for member in members(path):
            if member.name.startswith(OBJECTS) and folder is not None:
                count += _put_object(folder, member.name.removeprefix(OBJECTS), member.size, member.content)
        line.result = f"{count} put back, {manifest.object_count - count} were there"


def _put_object(folder: Path, name: str, size: int, content: Content) -> bool:
    """Whether it was put there. A path says what is in it, so that one of the same size is the same."""
    wanted = folder / name
    if not wanted.resolve().is_relative_to(folder.resolve()):
        raise SetupError(f"the backup has an object outside of the store: {name}")
    if wanted.exists() and wanted.stat().st_size == size:
        return False
    wanted.parent.mkdir(parents=True, exist_ok=True)
    draft = wanted.with_name(f"{wanted.name}#{secrets.token_hex(4)}")
    try:
        with draft.open("wb") as file:
            for piece in pieces_of(content):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(wanted)
    finally:
        draft.unlink(missing_ok=True)
    return True


def put_secret(home: Home, environment: Mapping[str, str], name: str, text: str) -> None:
    """Keys that are here stay, and seal; those of the backup are added behind them, and open."""
    if name != "secret-keys":
        replace_private(home.path / Path(name).name, text)
        return
    path = Path(environment["LONGSHORE_SECRET_KEYS_FILE"])
    here = path.read_text("ascii") if path.exists() else ""
    known = parse_keys(here) if here else {}
    missing = [line for line in text.splitlines() if line.partition(":")[0] not in known]
    if missing:
        replace_private(path, "\n".join([*here.splitlines(), *missing]) + "\n", mode=None)


def _start(home: Home, database_url: str, broker_url: str) -> None:
    environment = service_environment(
        home, database_url=database_url, broker_url=broker_url, port=choose_port(home)
    )
    ensure_keys(Path(environment["LONGSHORE_SECRET_KEYS_FILE"]))
    with ThreadPoolExecutor(max_workers=1) as pool:
        found: Future[Engine] = pool.submit(ensured_engine, home)
        url = public_url(environment["LONGSHORE_API_HOST"], int(environment["LONGSHORE_API_PORT"]))
        start_platform(home, environment, url, found.result())
    say(f"Restored; the API is at {url}, its key in {home.env_file}. deploy/up makes images that are missing.")


if __name__ == "__main__":
    raise SystemExit(main())
