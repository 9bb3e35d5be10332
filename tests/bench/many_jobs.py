"""Latency of get, list and create with a million finished jobs against the same with a thousand, in one run.

    python -m tests.bench.many_jobs [--few 1000] [--many 1000000] [--requests 2000] [--rounds 3]

Two databases of one Postgres and an api process over each; rounds of the two take turns, one request at a
time. Finished jobs have their rank and the five events that a job of one rank leaves behind.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import psycopg

from tests.bench.api_process import ApiProcess
from tests.bench.creates import BODY
from tests.bench.raw_http import Call, Connection, latencies
from tests.lab.servers import Servers

_JOBS = """
INSERT INTO jobs (id, account_id, batch_job_id, pool_id, created_by, display_name, shared, num_ranks, image_ref,
                  spec, state, status, created_at, updated_at, started_at, ended_at)
SELECT 'x' || n, 'bench', 'x' || n, p.id, 'bench@bench.test', 'bench', false, 1, 'longshore/python:3',
       '{"image_ref": "longshore/python:3", "num_ranks": 1, "env_vars": {"A": "1"}, "annotations": {},
         "executor": {"kind": "shell", "command": "true"}, "stop_grace_seconds": null}', 'COMPLETED', 'exited 0',
       t, t, t, t
FROM node_pools p, generate_series(1, %(count)s) AS n,
     LATERAL (SELECT now() - n * interval '1 second' AS t) AS times
"""
_RANKS = """
INSERT INTO ranks (job_id, attempt, rank, state, released_at, exit_code)
SELECT id, 1, 0, 'SUCCEEDED', now(), 0 FROM jobs
"""
_EVENTS = """
INSERT INTO job_events (job_id, attempt, rank, state)
SELECT id, 1, e.rank, e.state FROM jobs, (VALUES (NULL, 'QUEUED'), (NULL, 'PENDING'), (0, 'RUNNING'),
    (0, 'SUCCEEDED'), (NULL, 'COMPLETED')) AS e (rank, state)
"""


def fill(database_url: str, count: int) -> None:
    """Finished jobs, a second apart, and what belongs to them."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        # One row that a trigger changes a million times in one transaction would take for ever.
        connection.execute("ALTER TABLE jobs DISABLE TRIGGER USER")
        for statement in (_JOBS, _RANKS, _EVENTS):
            connection.execute(statement, {"count": count} if statement is _JOBS else None)
        connection.execute("INSERT INTO job_counts VALUES ('bench', 0, %s, 0, 0)", (count,))
        connection.execute("ALTER TABLE jobs ENABLE TRIGGER USER")
        connection.execute("VACUUM (FREEZE, ANALYZE)")
        connection.execute("CHECKPOINT")


def calls(api: ApiProcess, count: int, requests: int, seed: int) -> dict[str, list[bytes]]:
    """The requests of one round: jobs at random, the first page and pages of it, creations."""
    chance, path = random.Random(seed), f"/v1/accounts/{api.account}/batchJobs"
    gets = [Call("GET", f"{path}/x{chance.randint(1, count)}", api.key) for _ in range(requests)]
    lists = [Call("GET", f"{path}?pageSize=50", api.key)] * (requests // 4)
    create = [Call("POST", path, api.key, json.dumps(BODY).encode())] * (requests // 2)
    found = {"get": gets, "list": lists, "create": create}
    return {name: [call.encoded() for call in each] for name, each in found.items()}


def p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--few", type=int, default=1000)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    servers = Servers()
    with ExitStack() as stack:
        stack.callback(servers.stop)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        apis: dict[int, ApiProcess] = {}
        for count in (options.few, options.many):
            (folder / str(count)).mkdir()
            apis[count] = stack.enter_context(ApiProcess(servers, folder / str(count)))
            fill(apis[count].database_url, count)
            print(f"{count:,} finished jobs are there", flush=True)
        seconds: dict[tuple[str, int], list[float]] = defaultdict(list)
        for number in range(options.rounds + 1):
            for count, api in apis.items():
                connection = Connection(api.port)
                for name, requests in calls(api, count, options.requests, number).items():
                    found = latencies(connection, requests)
                    if number:  # the first round only warms up
                        seconds[name, count] += found
                connection.close()
        for name in ("get", "list", "create"):
            few, many = (sorted(seconds[name, count]) for count in (options.few, options.many))
            print(
                f"{name:<7} p50 {statistics.median(few) * 1e3:6.2f} -> {statistics.median(many) * 1e3:6.2f} ms,"
                f" p99 {p99(few) * 1e3:6.2f} -> {p99(many) * 1e3:6.2f} ms, ratio of p99 {p99(many) / p99(few):.2f}"
            )


if __name__ == "__main__":
    main()
