"""Files that others must not read: written, or put in place of what was there, without a moment in between."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

OWNER_ONLY = 0o600


def write_private(path: Path, content: str | bytes, mode: int = OWNER_ONLY) -> None:
    """Write a file that nobody else could have opened in between; one that is there keeps its mode."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


def replace_private(path: Path, content: str | bytes, mode: int | None = OWNER_ONLY) -> None:
    """Likewise, in one step: who reads meanwhile has the old one or the new one. An old one may be read-only.

    `mode` None: it stays what it was, and so does the owner, where there was one.
    """
    draft = draft_of(path)
    try:
        write_private(draft, content, OWNER_ONLY if mode is None else mode)
        if mode is None and path.exists():
            # The processes that read it may run as another user than whoever replaces it.
            found = path.stat()
            if os.geteuid() == 0:
                os.chown(draft, found.st_uid, found.st_gid)
            draft.chmod(stat.S_IMODE(found.st_mode))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def draft_of(path: Path) -> Path:
    """A name beside it that nobody else uses."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")
