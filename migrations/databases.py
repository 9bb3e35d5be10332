"""Whole databases of a server: one is made beside that of the platform, and takes its name when it is complete.

For restoring. The database that had the name before is kept as `<name>_replaced`, until the next one is.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

#: Sessions that are told to end take a moment, and others may come until then.
_SECONDS = 30.0
#: A name that is longer is cut by the server (PostgreSQL, "Identifiers and Key Words").
_NAME_BYTES = 63


class Refused(Exception):
    """The server did not do what it was asked for; the message says what it said."""


class Beside:
    """A new database on the server of `url`. Unless it took the name of that one it is gone after the block."""

    def __init__(self, url: str) -> None:
        self._url = _plain(url)
        self.name = _name_of(self._url)
        self._own = f"{self.name[: _NAME_BYTES - 20]}_restored_{secrets.token_hex(4)}"
        self.url = _with_name(self._url, self._own)
        self._has_name = False

    @contextmanager
    def made(self) -> Iterator[Beside]:
        """Make it. Raises Refused where the role may not, as every call here where the server does not answer."""
        with _maintaining(self._url) as connection:
            connection.execute(_statement("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'", self._own))
        try:
            yield self
        finally:
            if not self._has_name:
                with _maintaining(self._url) as connection:
                    connection.execute(_statement("DROP DATABASE IF EXISTS {} WITH (FORCE)", self._own))

    def analyse(self) -> None:
        """Have the server look at what was put in: a dump brings no statistics."""
        with _connected(self.url) as connection:
            connection.execute("ANALYZE")

    def take_the_name(self) -> str:
        """Become the platform's database, in one step; what the one before is called now, empty where none was."""
        kept = f"{self.name[: _NAME_BYTES - 9]}_replaced"
        with _maintaining(self._url) as connection:
            was_there = _exists(connection, self.name)
            if was_there:
                self._rename_both(connection, kept)
            else:
                connection.execute(_statement("ALTER DATABASE {} RENAME TO {}", self._own, self.name))
        self._has_name = True
        return kept if was_there else ""

    def _rename_both(self, connection: psycopg.Connection[Any], kept: str) -> None:
        """No session may be in a database that gets another name: nobody is let in, and who is there is ended."""
        # The one that was kept before is the last to go: until then nothing has been lost.
        aside = (
            f"{self.name[: _NAME_BYTES - 20]}_aside_{secrets.token_hex(4)}" if _exists(connection, kept) else ""
        )
        connection.execute(_statement("ALTER DATABASE {} ALLOW_CONNECTIONS false", self.name))
        holds = self.name
        try:
            deadline = time.monotonic() + _SECONDS
            while True:
                connection.execute(_END_SESSIONS, ([self.name, self._own, kept],))
                try:
                    with connection.transaction():
                        if aside:
                            connection.execute(_statement("ALTER DATABASE {} RENAME TO {}", kept, aside))
                        connection.execute(_statement("ALTER DATABASE {} RENAME TO {}", self.name, kept))
                        connection.execute(_statement("ALTER DATABASE {} RENAME TO {}", self._own, self.name))
                    holds = kept
                    break
                except psycopg.errors.ObjectInUse:
                    if time.monotonic() > deadline:
                        raise
                    # What is in the way may be no session that was ended: a prepared transaction, or a new one.
                    time.sleep(0.1)
        finally:
            # By a connection of its own: this one may be what failed.
            with _maintaining(self._url) as another:
                another.execute(_statement("ALTER DATABASE {} ALLOW_CONNECTIONS true", holds))
        if aside:
            connection.execute(_statement("DROP DATABASE IF EXISTS {} WITH (FORCE)", aside))


def is_there(url: str) -> bool:
    """Whether the server has the database of the URL."""
    with _maintaining(_plain(url)) as connection:
        return _exists(connection, _name_of(url))


def server_major(url: str) -> int:
    """The major version of the server."""
    with _maintaining(_plain(url)) as connection:
        return connection.info.server_version // 10_000


_END_SESSIONS = "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE datname = ANY(%s)"


@contextmanager
def _maintaining(url: str) -> Iterator[psycopg.Connection[Any]]:
    """In the database that every server has for the purpose."""
    with _connected(_with_name(url, "postgres")) as connection:
        yield connection


@contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            yield connection
    except psycopg.Error as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise Refused(f"the database server did not do it: {said}") from error


def _exists(connection: psycopg.Connection[Any], name: str) -> bool:
    return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is not None


def _statement(text: str, *names: str) -> sql.Composed:
    return sql.SQL(text).format(*map(sql.Identifier, names))


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def _name_of(url: str) -> str:
    return unquote(urlsplit(url).path.removeprefix("/"))


def _with_name(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{quote(name, safe='')}"))


def opens(url: str) -> bool:
    """Whether the server takes the name and the password of the URL. Raises Refused where it does not answer."""
    try:
        with psycopg.connect(_plain(url), connect_timeout=5):
            return True
    except psycopg.OperationalError as error:
        # What is refused at the door has no code of its own in libpq (PostgreSQL, "Connection Status Functions").
        if "password authentication failed" in str(error):
            return False
        raise Refused(f"the database server does not answer: {str(error).strip().splitlines()[0]}") from error


def change_password(url: str, password: str) -> None:
    """Give the role of the URL another password; sessions that are open stay. The server's log does not see it."""
    role = unquote(urlsplit(url).username or "")
    with _maintaining(_plain(url)) as connection:
        sealed = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(sealed)))
