"""Who the servers run as and where their files may be. Starts nothing.

Postgres refuses to run as root, so a server that root starts drops to an account that exists already. That
account must reach data, sockets and programs. We never open a directory that is not ours: what it cannot
reach is put where it can, and a symbolic link at the wanted path records where that is.
"""

from __future__ import annotations

import errno
import os
import pwd
import secrets
import shutil
import socket
from pathlib import Path

from deploy.processes import Account, SetupError, run

#: Below those that the kernel gives to connections: one of theirs may be taken before whoever asked listens on it.
_PORTS = range(20_000, 32_000)

#: Where root keeps data whose wanted place is closed to the server's account.
OPEN_STATE = Path("/var/lib/longshore")

#: sockaddr_un.sun_path holds 108 bytes with its NUL on Linux.
_SOCKET_PATH_BYTES = 107


def server_account() -> Account | None:
    """The account to drop to: None when we are not root. Raises SetupError where there is none."""
    if os.geteuid() != 0:
        try:
            pwd.getpwuid(os.geteuid())
        except KeyError as error:
            raise SetupError(
                f"user {os.geteuid()} has no entry in /etc/passwd, which Postgres needs; add one, or name "
                "servers of your own in LONGSHORE_DATABASE_URL and LONGSHORE_BROKER_URL"
            ) from error
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise SetupError("no account `postgres` or `nobody` to run Postgres as; add one with `useradd postgres`")


def own_directory(path: Path, account: Account | None) -> Path:
    """Make `path` a private directory of the account's; its real place, which the account can reach."""
    if path.is_symlink():
        real = path.resolve()
    else:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        real = path.resolve()
        if account is not None and not _reaches(account, real.parent):
            real = _relocate(path, real)
    real.mkdir(mode=0o700, parents=True, exist_ok=True)
    give(real, account)
    if account is not None and not _reaches(account, real):
        raise SetupError(f"account {account.name} cannot reach {real}; move LONGSHORE_HOME elsewhere")
    return real


def give(path: Path, account: Account | None) -> None:
    """Hand one file or directory of ours to the account."""
    if account is not None:
        os.chown(path, account.uid, account.gid)


def remove_directory(path: Path) -> None:
    """Remove a directory of `own_directory`, wherever it really is."""
    real = path.resolve()
    shutil.rmtree(real, ignore_errors=True)
    _forget_link(path)


def remove_empty_directory(path: Path) -> None:
    """Remove a directory of `own_directory` unless something is still in it."""
    try:
        path.resolve().rmdir()
    except OSError:
        return
    _forget_link(path)


def reachable_tree(source: Path, copy: Path, account: Account | None, *, parts: tuple[str, ...]) -> Path:
    """`source` if the account can run what is in it, else a copy of its `parts` at `copy`."""
    if account is None or _reaches(account, source / parts[0]):
        return source
    if not (copy / "complete").exists():
        shutil.rmtree(copy, ignore_errors=True)
        for part in parts:
            shutil.copytree(source / part, copy / part, symlinks=True)
        (copy / "complete").touch()
    return copy


def socket_path(runtime: Path, name: str) -> Path:
    """A socket's path, refused where the kernel would cut it."""
    path = runtime / name
    if len(os.fsencode(path)) >= _SOCKET_PATH_BYTES:
        raise SetupError(f"the socket path {path} is too long; choose a shorter runtime directory")
    return path


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port of an address of this machine that nobody uses now, and no connection will be given."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            # As servers do: what is left of a connection that has ended is in nobody's way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
        return port


def is_free(port: int) -> bool:
    """Whether a port of 127.0.0.1 can be listened on now."""
    with socket.socket() as probe:
        # Without this a port whose connections have just closed looks taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _relocate(path: Path, real: Path) -> Path:
    """Move our (new or own) directory below OPEN_STATE and leave a link where it was."""
    OPEN_STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
    # A name that never was before: data of a checkout that was deleted must not rise again in a new one.
    target = OPEN_STATE / f"{real.name}-{secrets.token_hex(6)}"
    shutil.move(real, target)
    path.symlink_to(target)
    return target


def _forget_link(path: Path) -> None:
    if path.is_symlink():
        path.unlink()


def _reaches(account: Account, directory: Path) -> bool:
    return run(["/bin/sh", "-c", 'cd "$1"', "sh", str(directory)], account=account).returncode == 0
