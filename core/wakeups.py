"""Postgres NOTIFY as an asynchronous stream. A wake-up only shortens a wait: every listener polls as well."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
from psycopg import sql

from core.errors import Unavailable


async def listen(database_url: str, channel: str) -> AsyncIterator[str]:
    """The payloads sent to `channel` from now on. Raises Unavailable when the connection is lost."""
    try:
        connection = await psycopg.AsyncConnection.connect(database_url, autocommit=True, connect_timeout=5)
        async with connection:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            async for notice in connection.notifies():
                yield notice.payload
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database does not answer: {error}") from error
