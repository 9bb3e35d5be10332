"""The API as a test speaks it: one account's key, waits with deadlines, pages read to the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
Json = dict[str, Any]


class ApiClient:
    """Calls under `/v1/accounts/{account}`; every answer that is not 2xx raises with its body."""

    def __init__(self, url: str, account: str, key: str) -> None:
        self.account = account
        self.http = httpx.Client(
            base_url=f"{url}/v1/accounts/{account}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
            limits=httpx.Limits(max_connections=32, max_keepalive_connections=32),
        )

    def create(self, **body: Any) -> Json:
        """A new job in the default pool; the BatchJob with `id` beside its name."""
        return self._made("/batchJobs", {"nodePoolId": "default", **body})

    def clone(self, job_id: str, **body: Any) -> Json:
        """A new job with the fields of another; likewise."""
        return self._made(f"/batchJobs/{job_id}:clone", body)

    def shell(self, command: str, *, image: str, ranks: int = 1, **body: Any) -> Json:
        """A new job that runs a shell command."""
        return self.create(imageRef=image, numRanks=ranks, shellExecutor={"command": command}, **body)

    def get(self, job_id: str) -> Json:
        return self._call("GET", f"/batchJobs/{job_id}")

    def list_all(self, page_size: int = 200) -> list[Json]:
        """Every job of the account."""
        return list(self._pages("/batchJobs", "batchJobs", {"pageSize": page_size}))

    def cancel(self, job_id: str) -> Json:
        return self._call("POST", f"/batchJobs/{job_id}:cancel", json={})

    def delete(self, job_id: str) -> Json:
        return self._call("DELETE", f"/batchJobs/{job_id}")

    def logs(self, job_id: str, **params: Any) -> list[Json]:
        """Every entry, oldest first."""
        return list(self.each_entry(job_id, **params))

    def each_entry(self, job_id: str, **params: Any) -> Iterator[Json]:
        """The same, a page at a time in memory."""
        query = {"startFromHead": "true", "pageSize": 10_000, **params}
        yield from self._pages(f"/batchJobs/{job_id}:getLogs", "entries", query)

    def newest(self, job_id: str, count: int) -> list[Json]:
        """The last entries, newest first."""
        entries: list[Json] = self._call("GET", f"/batchJobs/{job_id}:getLogs", params={"pageSize": count})[
            "entries"
        ]
        return entries

    def ranks(self, job_id: str) -> list[Json]:
        """Every rank of the latest attempt."""
        return list(self._pages(f"/batchJobs/{job_id}/ranks", "ranks", {"pageSize": 200}))

    def lines(self, job_id: str, rank: int | None = None) -> list[str]:
        """Every line, of one rank or of all."""
        params = {} if rank is None else {"ranks": rank}
        return [entry["message"] for entry in self.logs(job_id, **params)]

    def notebook(self, job_id: str, rank: int = 0) -> Json:
        return self._call("GET", f"/batchJobs/{job_id}/ranks/{rank}/notebook")

    def page(self, job_id: str, rank: int = 0) -> str:
        """The executed notebook as HTML."""
        return self._answer("GET", f"/batchJobs/{job_id}/ranks/{rank}/notebook", params={"format": "html"}).text

    def wait_for(
        self, job_id: str, condition: Callable[[Json], bool], seconds: float = 60, *, every: float = 0.05
    ) -> Json:
        """The job as soon as `condition` holds, asked for again `every` so many seconds.

        Fails with the job as it is when the time is up.
        """
        deadline = time.monotonic() + seconds
        while True:
            job = self.get(job_id)
            if condition(job):
                return job
            if time.monotonic() > deadline:
                raise AssertionError(f"after {seconds} s still {job['state']}: {job['status']}")
            # Nothing tells a client that asks; those that watch are tested elsewhere.
            time.sleep(every)

    def wait_end(self, job_id: str, seconds: float = 60) -> Json:
        """The job once it has ended."""
        return self.wait_for(job_id, lambda job: job["state"] in ENDED, seconds)

    def close(self) -> None:
        self.http.close()

    def _made(self, path: str, body: Json) -> Json:
        job = self._call("POST", path, json=body)
        return {**job, "id": job["name"].rpartition("/")[2]}

    def _call(self, method: str, path: str, **options: Any) -> Json:
        answer: Json = self._answer(method, path, **options).json()
        return answer

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        response = self.http.request(method, path, **options)
        if response.status_code >= 300:
            raise AssertionError(f"{method} {path}: {response.status_code} {response.text}")
        return response

    def _pages(self, path: str, field: str, params: Json) -> Iterator[Json]:
        token = ""
        while True:
            page = self._call("GET", path, params={**params, "pageToken": token} if token else params)
            yield from page[field]
            token = page["nextPageToken"]
            if not token:
                return
