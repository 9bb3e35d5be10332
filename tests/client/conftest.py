"""A served API, as the tests of the API have it, and clients of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client import Job, Longshore
from core.database import Database
from core.jobs import job_moves
from core.log_records import STDOUT, LogRecord
from core.logs import ChunkToStore, append_chunks
from core.states import JobState
from tests.api.conftest import ACCOUNT, IMAGE, Served, may_own_nodes, object_store_url, served, settings
from tests.lab.platform import ROOT
from tests.lab.proxy import ReplyProxy

__all__ = ["may_own_nodes", "object_store_url", "served", "settings"]

Say = Callable[..., None]
Run = Callable[..., subprocess.CompletedProcess[str]]
START_NS = 1_767_225_600 * 10**9


@pytest.fixture
def longshore(served: Served) -> Iterator[Longshore]:
    """The admin's."""
    with Longshore(served.url, served.admin_key, ACCOUNT, retry_seconds=20) as client:
        yield client


@pytest.fixture
def proxy(served: Served) -> Iterator[ReplyProxy]:
    """A way to the API that can be cut."""
    made = ReplyProxy(int(served.url.rpartition(":")[2]))
    yield made
    made.close()


@pytest.fixture
def by_proxy(served: Served, proxy: ReplyProxy) -> Iterator[Longshore]:
    with Longshore(f"http://127.0.0.1:{proxy.port}", served.admin_key, ACCOUNT, retry_seconds=20) as client:
        yield client


@pytest.fixture
def running(longshore: Longshore, database: Database) -> Job:
    """A job of two ranks, that runs as far as the rows say."""
    job = longshore.submit(image=IMAGE, pool="default", ranks=2)
    with database.transaction() as connection:
        assert job_moves.move_job(connection, job.id, 1, JobState.PENDING, status="")
        assert job_moves.move_job(connection, job.id, 1, JobState.RUNNING, status="")
    return job


@pytest.fixture
def say(database: Database, running: Job) -> Say:
    """Store lines of one of its ranks."""
    stored: dict[int, int] = {}

    def store(rank: int, *lines: str, at: int = 0) -> None:
        records = [
            LogRecord(START_NS + (at + index) * 10**6, STDOUT, f"{line}\n".encode())
            for index, line in enumerate(lines)
        ]
        seq = stored[rank] = stored.get(rank, -1) + 1
        append_chunks(database, [ChunkToStore(running.id, 1, rank, seq, records, 0, 0)])

    return store


@pytest.fixture
def end(database: Database, running: Job) -> Callable[[], None]:
    def complete() -> None:
        with database.transaction() as connection:
            assert job_moves.move_job(connection, running.id, 1, JobState.COMPLETED, status="every rank exited 0")

    return complete


def run_longshore(
    *words: str, environment: dict[str, str], folder: Path, stdin: str = "", stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """The command line, as a process without a terminal. It has the given variables and no others of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGSHORE_")}
    return subprocess.run(
        [sys.executable, "-m", "client.command_line", *words],
        env={**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **environment},
        cwd=folder,
        input=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def run(served: Served, tmp_path: Path) -> Run:
    """`longshore …`, as the admin, in a folder of its own."""

    def call(
        *words: str, stdin: str = "", stdout: int = subprocess.PIPE, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            "LONGSHORE_URL": served.url,
            "LONGSHORE_ACCOUNT": ACCOUNT,
            "LONGSHORE_API_KEY": served.admin_key,
            "XDG_CONFIG_HOME": str(tmp_path / "config"),
            **variables,
        }
        return run_longshore(*words, environment=environment, folder=tmp_path, stdin=stdin, stdout=stdout)

    return call
