"""One Postgres, one driver, short transactions. No queries here."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from core.errors import Superseded, Unavailable

_FOREIGN_KEY_VIOLATION = "23503"


class Database:
    """A pool of connections and the one way to open a transaction.

    `url` is `postgresql://…`; psycopg is the driver. Safe to share between threads.
    """

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        plain = url.replace("postgresql+psycopg://", "postgresql://", 1)
        self.url = plain
        self._engine = create_engine(
            plain.replace("postgresql://", "postgresql+psycopg://", 1),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=10,
            pool_recycle=1800,
            json_serializer=lambda value: orjson.dumps(value).decode(),
            json_deserializer=orjson.loads,
            connect_args={
                "connect_timeout": 5,
                # A transaction that is left open pins dead rows for everyone; a lock that is not had soon
                # means a holder in trouble, and our steps are all safe to repeat.
                "options": "-c idle_in_transaction_session_timeout=60000 -c lock_timeout=15000",
            },
        )
        # Rows that are inserted together are one statement. As many, psycopg would send them as a pipeline, and
        # within one a server waits for the next without any time limit of ours, whatever is locked.
        self._engine.dialect.use_insertmanyvalues_wo_returning = True

        event.listen(self._engine, "checkout", _refuse_dead)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: committed on leaving, rolled back on an exception.

        Raises Superseded where the row that a new one is to belong to has gone. Raises Unavailable where the
        server is away or a connection was lost; whether a commit that was under way took effect is then
        unknown, which is why every verb is guarded and may be repeated.
        """
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A transaction that only reads, and whose every statement sees the database as its first one did.

        Raises as `transaction`.
        """
        with self._translated(), self._engine.connect() as connection:
            fixed = connection.execution_options(isolation_level="REPEATABLE READ")
            with fixed.begin():
                yield fixed

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError, PoolTimeout) as error:
            raise Unavailable(f"the database does not answer: {_first_line(error)}") from error
        except IntegrityError as error:
            if getattr(error.orig, "sqlstate", None) == _FOREIGN_KEY_VIOLATION:
                raise Superseded("what the row was to belong to is gone") from error
            raise
        except DBAPIError as error:
            if error.connection_invalidated:
                raise Unavailable(f"the database connection was lost: {_first_line(error)}") from error
            raise

    @contextmanager
    def statement(self) -> Iterator[Connection]:
        """A connection whose every statement is a transaction of its own, committed when it returns.

        For what one statement does: it saves the round trips of a BEGIN and a COMMIT. Raises as `transaction`.
        """
        with self._translated(), self._engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def check(self) -> None:
        """Raise Unavailable unless the server answers."""
        with self.transaction() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()


def _refuse_dead(connection: psycopg.Connection[Any], _record: object, _proxy: object) -> None:
    """Have the pool made anew where the server has hung up since.

    Nothing is sent on an idle connection but its end, and that can be seen without asking: a question for
    each checkout would cost as much as many a transaction.
    """
    idle = select.poll()
    idle.register(connection.fileno(), select.POLLIN)
    if idle.poll(0):
        raise InvalidatePoolError


def _first_line(error: BaseException) -> str:
    return (str(getattr(error, "orig", None) or error).strip() or type(error).__name__).splitlines()[0]
