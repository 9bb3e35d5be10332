"""L-1: creations as fast as they are taken: each that was answered is a row, and no other is."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from tests.bench.api_process import ApiProcess
from tests.bench.raw_http import Call, Connection
from tests.lab.servers import Servers

_BODY = {"nodePoolId": "default", "imageRef": "longshore/python:3", "shellExecutor": {"command": "true"}}
_CONNECTIONS = 16
#: What a long run must come to (PROOFS): creations a second, and seconds that all but 1 % of them take at most.
_LEAST_PER_SECOND, _MOST_SECONDS = 500.0, 0.1


def create(port: int, call: Call, count: int) -> tuple[list[str], list[float], float]:
    """Ids, seconds of each call, and of all; a reply that is not 200 fails."""
    request = call.encoded()

    def run(share: int) -> list[tuple[str, float]]:
        connection, found = Connection(port), []
        for _ in range(share):
            begun = time.perf_counter()
            answer = json.loads(connection.ask(request))
            found.append((answer["name"].rpartition("/")[2], time.perf_counter() - begun))
        connection.close()
        return found

    begun = time.perf_counter()
    with ThreadPoolExecutor(_CONNECTIONS) as threads:
        made = [each for part in threads.map(run, [count // _CONNECTIONS] * _CONNECTIONS) for each in part]
    return [job for job, _ in made], [seconds for _, seconds in made], time.perf_counter() - begun


@pytest.mark.parametrize("count", [1600, pytest.param(100_000, marks=pytest.mark.slow)])
@pytest.mark.timeout(1200)
def test_every_creation_that_was_answered_is_a_row_and_no_other_is(
    servers: Servers, tmp_path: Path, count: int
) -> None:
    with ApiProcess(servers, tmp_path, processes=os.cpu_count() or 1) as api:
        call = Call("POST", f"/v1/accounts/{api.account}/batchJobs", api.key, json.dumps(_BODY).encode())
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            ids, times, seconds = pool.apply(create, (api.port, call, count))
        with psycopg.connect(api.database_url) as connection:
            rows = connection.execute(
                "SELECT j.batch_job_id, j.state, count(r.*), count(e.*) FROM jobs j"
                " JOIN ranks r ON r.job_id = j.id JOIN job_events e ON e.job_id = j.id GROUP BY j.id"
            ).fetchall()
    slowest = sorted(times)[int(len(times) * 0.99)]
    print(f"{count / seconds:.0f} creations a second, 99 % of them within {slowest * 1000:.0f} ms")
    assert len(ids) == len(set(ids)) == count
    assert {job for job, *_ in rows} == set(ids)
    assert {tuple(rest) for _, *rest in rows} == {("QUEUED", 1, 1)}
    if count >= 100_000:
        assert count / seconds >= _LEAST_PER_SECOND
        assert slowest <= _MOST_SECONDS
