"""The load's client: what it is about to ask is written down before it asks, and what it was answered after.

A call that is not answered, or with 5xx, is made again with the same Idempotency-Key, as a real client would.
"""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx

from tests.faults.harness.chaos import let_pass
from tests.faults.harness.journal import Journal

Json = dict[str, Any]
_AGAIN_SECONDS = 0.25


class NotAccepted(AssertionError):
    """The platform did not take a call in time, or refused it."""


class LedgerClient:
    """One account's key. Safe to share between threads."""

    def __init__(self, url: str, account: str, key: str, journal: Journal) -> None:
        self._journal = journal
        self._calls = itertools.count(1)
        self._http = httpx.Client(
            base_url=f"{url}/v1/accounts/{account}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(20, connect=5),
            limits=httpx.Limits(max_connections=600, max_keepalive_connections=64),
        )

    def submit(
        self, body: Json, *, expect: Json | None = None, job_id: str = "", seconds: float = 90, key: str = ""
    ) -> str:
        """Have a job taken, however often it must be asked for; its id. `expect` is for the checker alone."""
        key = key or uuid.uuid4().hex
        known = {"key": key, "ranks": body.get("numRanks", 1), "expect": expect or {}, "id": job_id}
        query = {"batchJobId": job_id} if job_id else {}
        answer = self._until_taken("POST", "/batchJobs", known, seconds, params=query, json=body, key=key)
        return str(answer["name"].rpartition("/")[2])

    def submit_once(self, body: Json, *, expect: Json | None = None, key: str = "") -> int:
        """Ask for a job once; the status, 0 where there was no answer."""
        key = key or uuid.uuid4().hex
        known = {"key": key, "ranks": body.get("numRanks", 1), "expect": expect or {}, "id": ""}
        return self._call("POST", "/batchJobs", known, params={}, json=body, key=key)[0]

    def cancel(self, job_id: str, seconds: float = 90) -> None:
        """Have a job cancelled; one that has ended by then is no fault."""
        path = f"/batchJobs/{job_id}:cancel"
        self._until_taken("POST", path, {"id": job_id}, seconds, json={}, accept=(409, 400, 412))

    def act(self, method: str, path: str, seconds: float = 90, **options: Any) -> Json:
        """Any other call, until it is taken."""
        return self._until_taken(method, path, {}, seconds, **options)

    def events(self, path: str, last_id: str = "") -> Iterator[tuple[str, str, Json]]:
        """(id, event, data) of each server-sent event after `last_id`, where there is one, to the stream's end.

        Raises httpx.HTTPError.
        """
        headers = {"Last-Event-ID": last_id} if last_id else {}
        with self._http.stream("GET", path, headers=headers, timeout=httpx.Timeout(40, connect=5)) as response:
            response.raise_for_status()
            number, event, data = "", "", {}
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    number = value
                elif name == "event":
                    event = value
                elif name == "data":
                    data = json.loads(value)
                elif not line and event:
                    yield number, event, data
                    number, event, data = "", "", {}

    def mark(self, mark: str, **facts: Any) -> None:
        """Note what was done to the platform, and when."""
        self._journal.write(what="mark", mark=mark, **facts)

    def close(self) -> None:
        self._http.close()

    def _until_taken(
        self, method: str, path: str, known: Json, seconds: float, *, accept: tuple[int, ...] = (), **options: Any
    ) -> Json:
        deadline = time.monotonic() + seconds
        while True:
            status, answer = self._call(method, path, known, **options)
            if 200 <= status < 300 or status in accept:
                return answer
            if 400 <= status < 500 and status != 429:
                raise NotAccepted(f"{method} {path}: {status} {answer}")
            if time.monotonic() > deadline:
                raise NotAccepted(f"{method} {path}: not taken within {seconds} s; the last answer was {status}")
            let_pass(_AGAIN_SECONDS)

    def _call(self, method: str, path: str, known: Json, *, key: str = "", **options: Any) -> tuple[int, Json]:
        call = next(self._calls)
        self._journal.write(what="call", call=call, method=method, path=path, **known)
        headers = {"Idempotency-Key": key} if key else {}
        begun = time.monotonic()
        answer: Json = {}
        status, retry_after, fault = 0, "", ""
        try:
            response = self._http.request(method, path, headers=headers, **options)
            status, retry_after = response.status_code, response.headers.get("Retry-After", "")
            answer = response.json()
        except httpx.HTTPError as error:
            fault = repr(error)
        except ValueError as error:
            fault = f"not JSON: {error}"
        self._journal.write(
            what="answer",
            call=call,
            status=status,
            id=str(answer.get("name", "")).rpartition("/")[2] if 200 <= status < 300 else "",
            seconds=round(time.monotonic() - begun, 4),
            retry_after=retry_after,
            fault=fault,
        )
        return status, answer
