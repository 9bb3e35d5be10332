"""Another account, which looks for the load's jobs all the while: it must never see any of them (I9)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import httpx

from tests.faults.harness.ledger import LedgerClient
from tests.lab.platform import Platform

_PAUSE_SECONDS = 0.5
_TIMEOUT_SECONDS = 5.0


class Onlooker:
    """Asks for a list of jobs, and for one of the load's (`some_job`) by its id, from construction on.

    `statuses` counts what it was answered; a 2xx with anything of another account's in it is marked.
    """

    def __init__(
        self, platform: Platform, owner: str, client: LedgerClient, some_job: Callable[[], str | None]
    ) -> None:
        self._client, self._some_job = client, some_job
        other = platform.new_account("onlooker", "eve@onlooker.test")
        key = other.http.headers["Authorization"]
        other.close()
        self._http = httpx.Client(
            base_url=f"{platform.url}/v1/accounts", headers={"Authorization": key}, timeout=_TIMEOUT_SECONDS
        )
        self._owner = owner
        self.statuses: Counter[int] = Counter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="onlooker", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look away, and say how much was seen."""
        self._over.set()
        self._thread.join(30)
        self._http.close()
        self._client.mark("onlooker", answers={str(status): count for status, count in self.statuses.items()})

    def _run(self) -> None:
        while not self._over.wait(_PAUSE_SECONDS):
            job = self._some_job()
            paths = [f"/onlooker/batchJobs/{job}", f"/{self._owner}/batchJobs/{job}"]
            paths += [f"{path}:getLogs" for path in paths] if job is not None else []
            for path in paths if job is not None else ():
                if self._ask(path) is not None:
                    self._client.mark("seen_by_another", path=path)
            listed = self._ask("/onlooker/batchJobs")
            if listed is not None and listed.json()["batchJobs"]:
                self._client.mark("seen_by_another", path="/onlooker/batchJobs")

    def _ask(self, path: str) -> httpx.Response | None:
        """The answer where it is a success."""
        try:
            answer = self._http.get(path)
        except httpx.HTTPError:
            return None
        self.statuses[answer.status_code] += 1
        return answer if answer.is_success else None
