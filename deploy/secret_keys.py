"""The file of keys that seal secrets: made, given a new key, and every secret sealed anew with it.

`python -m deploy.secret_keys ensure | new | rotate`, with the file named in LONGSHORE_SECRET_KEYS_FILE. What
the file holds is printed nowhere. docs/secrets.md says when to do what.
"""

from __future__ import annotations

import argparse
import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from core.database import Database
from core.sealing import KeysUnusable, SealingKeys, new_key_line, parse_keys
from core.secret_use import Resealed, reseal_some
from core.settings import load_settings
from deploy.private_files import draft_of, replace_private, write_private
from deploy.processes import SetupError


def ensure_keys(path: Path) -> bool:
    """Make the file with one key unless it is there; whether it was made. Raises SetupError."""
    if path.exists():
        _parsed(path)
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(path)
    try:
        write_private(draft, new_key_line(_new_id()))
        # A second one at the same time must not replace the keys of the first.
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def add_key(path: Path, *, last: bool = False) -> str:
    """A new key in front, which seals from now on, or at the end, which only opens; its id. Raises SetupError."""
    text = path.read_text("ascii") if path.exists() else ""
    if text:
        _parsed(path)
    if text and not text.endswith("\n"):
        text += "\n"
    key_id = _new_id()
    line = new_key_line(key_id)
    replace_private(path, text + line if last else line + text, mode=None)
    return key_id


def rotate(database: Database, keys: SealingKeys, said: Callable[[Resealed], None] = lambda _: None) -> Resealed:
    """Seal every secret with the first key; all steps together. Raises KeysUnusable.

    May be broken off and begun again, and run while the platform does.
    """
    count, unreadable, after = 0, list[str](), 0
    while True:
        step = reseal_some(database, keys, after)
        count += step.count
        unreadable += step.unreadable
        if step.last_row is None:
            return Resealed(count, tuple(unreadable), None)
        after = step.last_row
        said(step)


def _new_id() -> str:
    return f"{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(4)}"


def _parsed(path: Path) -> None:
    try:
        parse_keys(path.read_text("ascii"))
    except (KeysUnusable, OSError, UnicodeDecodeError) as error:
        why = str(error) if isinstance(error, KeysUnusable) else type(error).__name__
        raise SetupError(f"{path} cannot be used: {why}") from None


def main() -> None:
    """Do what is asked; exit 1 where secrets stayed closed."""
    parser = argparse.ArgumentParser(prog="python -m deploy.secret_keys", description=__doc__)
    parser.add_argument("what", choices=["ensure", "new", "rotate"])
    parser.add_argument("--last", action="store_true", help="new: at the end, for hosts to learn before it seals")
    arguments = parser.parse_args()
    named = os.environ.get("LONGSHORE_SECRET_KEYS_FILE")
    if not named:
        raise SystemExit("LONGSHORE_SECRET_KEYS_FILE names no file")
    path = Path(named)
    try:
        match arguments.what:
            case "ensure":
                print(f"{path} {'made' if ensure_keys(path) else 'is there'}")
            case "new":
                print(f"{path} has the new key {add_key(path, last=arguments.last)}")
            case _:
                _rotate_all(path)
    except (SetupError, KeysUnusable) as error:
        raise SystemExit(str(error)) from None


def _rotate_all(path: Path) -> None:
    database = Database(load_settings().database_url, pool_size=1)
    try:
        done = rotate(database, SealingKeys(path))
    finally:
        database.close()
    print(f"{done.count} secrets sealed anew")
    if done.unreadable:
        raise SystemExit("not opened, so left as they are:\n" + "\n".join(done.unreadable))


if __name__ == "__main__":
    main()
