"""One Postgres and one Valkey for a test session, and as many fresh databases in it as are asked for.

Fault tests have servers of their own, which they kill and start again: same data, same URLs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import redis
from psycopg import sql

from deploy.embedded import EmbeddedPostgres, EmbeddedValkey
from deploy.processes import SetupError, identity_of, is_running
from migrations.__main__ import upgrade

ROOT = Path(__file__).resolve().parents[2]


def migrate_with(code: Path, url: str) -> None:
    """Run the migrations of another folder's code."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(code),
        "LONGSHORE_DATABASE_URL": url,
        "LONGSHORE_BROKER_URL": "redis://nowhere",
    }
    subprocess.run([sys.executable, "-m", "migrations"], cwd=code, env=environment, check=True, timeout=120)


class Servers:
    """Started on construction, ended by `stop`. Data lives in a temporary folder."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="longshore-test-")
        self.folder = root = Path(self._folder.name)
        self.postgres = EmbeddedPostgres(root / "postgres", root / "run")
        self.valkey = EmbeddedValkey(root / "valkey", root / "run")
        self._url = self.postgres.start()
        self._broker = self.valkey.start()
        self._count = 0
        #: One server has sixteen numbered databases.
        self._brokers = list(range(16))

    def new_database(self, code: Path = ROOT) -> str:
        """The URL of an empty database of its own, migrated by this code or by that of another folder."""
        self._count += 1
        name = f"test_{self._count}"
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        url = self._url.rpartition("/")[0] + "/" + name
        if code == ROOT:
            upgrade(url)
        else:
            migrate_with(code, url)
        return url

    def new_broker(self) -> str:
        """The URL of an empty broker."""
        if not self._brokers:
            raise RuntimeError("all sixteen databases of the test broker are in use")
        head, _, _ = self._broker.rpartition("=")
        return f"{head}={self._brokers.pop(0)}"

    def take_back_broker(self, url: str) -> None:
        """Nobody uses this broker any more: it is emptied, and may be given out again."""
        path, _, number = url.removeprefix("redis+socket://").partition("?virtual_host=")
        with redis.Redis(unix_socket_path=path, db=int(number)) as broker:
            broker.flushdb()
        self._brokers.append(int(number))

    def empty_brokers(self) -> None:
        """As an operator who types FLUSHALL."""
        path = self._broker.removeprefix("redis+socket://").partition("?")[0]
        with redis.Redis(unix_socket_path=path) as broker:
            broker.flushall()

    def forget_brokers(self) -> None:
        """All sixteen are free again; nobody may use one of them any more."""
        self.empty_brokers()
        self._brokers = list(range(16))

    def start_all(self) -> None:
        """Start what a test has left dead."""
        for server in (self.postgres, self.valkey):
            self.start(server)

    def kill(self, server: EmbeddedPostgres | EmbeddedValkey) -> None:
        """SIGKILL one of the two, and see it gone."""
        running = identity_of(server.pid) if server.pid else None
        assert running is not None, "the server does not run"
        os.kill(running.pid, signal.SIGKILL)
        while is_running(running):
            time.sleep(0.01)

    def start(self, server: EmbeddedPostgres | EmbeddedValkey) -> None:
        """Start one of the two again; returns when it answers."""
        deadline = time.monotonic() + 30
        while True:
            try:
                server.start()
                return
            except SetupError:
                # Postgres does not start while children of the one that was killed still hold its memory.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def stop(self) -> None:
        """End both servers and remove their data."""
        self.valkey.remove()
        self.postgres.remove()
        self._folder.cleanup()
