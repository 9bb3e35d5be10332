"""One api process over a fresh database, without limits of rate: what the benchmarks of the API ask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import httpx

from core.database import Database
from core.enrolment import ensure_first_account
from core.nodes import ensure_pool
from deploy.embedded.places import free_port
from tests.lab.platform import wait_until
from tests.lab.servers import Servers


class ApiProcess:
    """Runs while the block is entered. `account` has a pool `default` and no node."""

    account = "bench"

    def __init__(self, servers: Servers, folder: Path, *, processes: int = 1) -> None:
        self.database_url = servers.new_database()
        self.port = free_port()
        self._broker_url = servers.new_broker()
        self._log = folder / "api.log"
        self._processes = processes
        database = Database(self.database_url)
        key = ensure_first_account(
            database, account=self.account, user_email="bench@bench.test", key_file_has_key=False
        )
        assert key is not None
        self.key = key
        ensure_pool(database, account=self.account)
        database.close()

    def __enter__(self) -> ApiProcess:
        environment = {
            **os.environ,
            "LONGSHORE_DATABASE_URL": self.database_url,
            "LONGSHORE_BROKER_URL": self._broker_url,
            "LONGSHORE_API_PORT": str(self.port),
            "LONGSHORE_API_PROCESSES": str(self._processes),
            "LONGSHORE_RATE_LIMIT_PER_SECOND": "0",
            "LONGSHORE_MAX_LIVE_JOBS": "100000000",
            "LONGSHORE_MAX_LIVE_RANKS": "100000000",
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "api"], env=environment, stdout=log, stderr=log
            )
        wait_until(self._ready, 30, "the API answers")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(20)

    def _ready(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False
