"""A run in which all went well, as its four records tell it; the judge's tests doctor it."""

from __future__ import annotations

import copy
from typing import Any

from tests.faults.harness.checker import check
from tests.faults.harness.evidence import Evidence

Entry = dict[str, Any]
SECOND = 1_000_000_000
JOB_PATH = ("QUEUED", "PENDING", "RUNNING", "COMPLETED")
RANK_PATH = ("PLACED", "CREATING", "CREATED", "STARTING", "RUNNING", "SUCCEEDED")


class Run:
    """Two jobs on one node, a single one and a gang of two, in the four records of a good run."""

    def __init__(self) -> None:
        self.ledger: list[Entry] = []
        self.witness: list[Entry] = []
        self.samples: list[Entry] = []
        self.rows: list[Entry] = []
        self._events = 0
        for call, (job, ranks) in enumerate({"one": 1, "two": 2}.items()):
            self._add_job(call, job, ranks)
        for at in range(4):
            containers = [["one", 1, 0, "running"], ["two", 1, 0, "running"], ["two", 1, 1, "running"]]
            state = "COMPLETED" if at == 3 else "RUNNING"
            self.samples.append(
                {
                    "at": 100.0 + at,
                    "engines": {"local": [] if at == 3 else containers},
                    "slots": {"local": [0 if at == 3 else 3, 3]},
                    "states": {"one": [state, 1], "two": [state, 1]},
                }
            )
        self.mark("limits", 98.0, gang_end_seconds=6.0, start_seconds=60.0)
        self.witness.append({"engine": "local", "final": True, "containers": [], "networks": [], "volumes": []})
        self.mark("onlooker", 104.0, answers={"404": 12})
        self.mark("fault", 101.0)
        self.mark("healed", 102.0)
        self.mark("recovered", 103.0, seconds=1.0, allowed_seconds=30)

    def _add_job(self, call: int, job: str, ranks: int) -> None:
        expect = {"states": ["COMPLETED"], "output": {str(rank): {"1": f"sha {rank}"} for rank in range(ranks)}}
        asked = {"what": "call", "call": call, "method": "POST", "path": "/batchJobs", "key": f"key {job}"}
        self.ledger.append({**asked, "at": 99.0, "ranks": ranks, "expect": expect, "id": ""})
        self.ledger.append({"what": "answer", "call": call, "at": 99.1, "status": 200, "id": job})
        self.rows.append(
            {"table": "job", "id": job, "batch_job_id": job, "state": "COMPLETED", "status": "", "attempt": 1,
             "num_ranks": ranks, "max_attempts": "1", "waited_seconds": 1.0}
        )  # fmt: skip
        self.rows.append({"table": "key", "key": f"key {job}", "job_id": job})
        for state in JOB_PATH:
            self.event(job, None, state)
        for rank in range(ranks):
            self._add_rank(job, rank)

    def _add_rank(self, job: str, rank: int) -> None:
        for step, action in enumerate(("create", "start", "die", "destroy")):
            self.seen(job, rank, action, 100 + step)
        for state in RANK_PATH:
            self.event(job, rank, state)
        self.rows.append(
            {"table": "rank", "job_id": job, "attempt": 1, "rank": rank, "state": "SUCCEEDED", "node": "local",
             "container_id": f"{job}-{rank}", "exit_code": 0, "released": True, "ended_ns": 102 * SECOND}
        )  # fmt: skip
        self.rows.append(
            {"table": "output", "job_id": job, "attempt": 1, "rank": rank, "stream": 1, "sha256": f"sha {rank}",
             "bytes": 5}
        )  # fmt: skip

    def event(self, job: str, rank: int | None, state: str, attempt: int = 1) -> None:
        self._events += 1
        self.rows.append(
            {"table": "event", "id": self._events, "job_id": job, "attempt": attempt, "rank": rank, "state": state}
        )

    def seen(
        self, job: str, rank: int, action: str, at: int, container: str = "", code: int = 0, attempt: int = 1
    ) -> None:
        self.witness.append(
            {"engine": "local", "action": action, "at_ns": at * SECOND, "container": container or f"{job}-{rank}",
             "job": job, "attempt": attempt, "rank": rank, "exit": code if action == "die" else None}
        )  # fmt: skip

    def mark(self, mark: str, at: float, **facts: Any) -> None:
        self.ledger.append({"what": "mark", "mark": mark, "at": at, **facts})

    def row(self, table: str, job: str, rank: int | None = None) -> Entry:
        """The job's row, or one of a rank's."""
        name = "id" if table == "job" else "job_id"
        return next(
            row for row in self.rows if row["table"] == table and row[name] == job and row.get("rank") == rank
        )

    def drop(self, table: str, job: str, rank: int | None = None) -> None:
        self.rows.remove(self.row(table, job, rank))

    def unsee(self, job: str, action: str) -> None:
        self.witness = [each for each in self.witness if (each.get("job"), each.get("action")) != (job, action)]

    def evidence(self) -> Evidence:
        return Evidence.from_entries(*map(copy.deepcopy, (self.ledger, self.witness, self.samples, self.rows)))

    def verdict(self) -> set[tuple[str, str]]:
        return {(finding.kind, finding.invariant) for finding in check(self.evidence())}
