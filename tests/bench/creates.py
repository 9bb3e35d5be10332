"""Creations per second, each on disk before it is answered, against bare inserts of the same rows, in one run.

    python -m tests.bench.creates [--count 4000] [--connections 16] [--rounds 3] [--processes N]

Its own Postgres (as `deploy/up` starts it: every commit reaches the disk), an api process for each core unless
it is said otherwise, and clients in a process of their own. The bare inserts are psycopg's, prepared, over as
many connections, in the same tables of the same database. Rounds take turns; the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from core.jobs.submitting import new_job_id
from tests.bench.api_process import ApiProcess
from tests.bench.raw_http import Call, rate
from tests.lab.servers import Servers

BODY = {
    "nodePoolId": "default",
    "displayName": "bench",
    "imageRef": "longshore/python:3",
    "envVars": {"A": "1"},
    "shellExecutor": {"command": "true"},
}


def bare_rate(database_url: str, *, count: int, connections: int) -> float:
    """Transactions per second: a job, its rank and its event, copied from one that the API made."""

    def run(share: int) -> None:
        with psycopg.connect(database_url, autocommit=False, prepare_threshold=1) as connection:
            for _ in range(share):
                job = new_job_id()
                connection.execute(
                    "INSERT INTO jobs (id, account_id, batch_job_id, pool_id, created_by, display_name, shared,"
                    " num_ranks, image_ref, spec, state, status) SELECT %s, account_id, %s, pool_id, created_by,"
                    " display_name, shared, num_ranks, image_ref, spec, state, status FROM jobs LIMIT 1",
                    (job, job),
                )
                connection.execute(
                    "INSERT INTO job_events (job_id, attempt, rank, state, message)"
                    " VALUES (%s, 1, NULL, 'QUEUED', '')",
                    (job,),
                )
                connection.execute(
                    "INSERT INTO ranks (job_id, attempt, rank, state) VALUES (%s, 1, 0, 'WAITING')", (job,)
                )
                connection.commit()

    begun = time.perf_counter()
    with ThreadPoolExecutor(connections) as threads:
        list(threads.map(run, [count // connections] * connections))
    return count // connections * connections / (time.perf_counter() - begun)


def in_process(function: object, arguments: dict[str, object]) -> float:
    """Run a measurement in a process of its own, so that its interpreter is not the bench's."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result: float = pool.apply(function, kwds=arguments)  # type: ignore[arg-type]
        return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    servers = Servers()
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            ApiProcess(servers, Path(folder), processes=options.processes) as api,
        ):
            call = Call("POST", f"/v1/accounts/{api.account}/batchJobs", api.key, json.dumps(BODY).encode())
            rate(api.port, call, count=options.connections * 4, connections=options.connections)
            ours, bare = [], []
            for number in range(options.rounds):
                sizes = {"count": options.count, "connections": options.connections}
                ours.append(in_process(rate, {"port": api.port, "call": call, **sizes}))
                bare.append(in_process(bare_rate, {"database_url": api.database_url, **sizes}))
                print(f"round {number}: api {ours[-1]:.0f}/s, bare inserts {bare[-1]:.0f}/s", flush=True)
            print(f"ratio of the medians: {statistics.median(ours) / statistics.median(bare):.3f}")
    finally:
        servers.stop()


if __name__ == "__main__":
    main()
