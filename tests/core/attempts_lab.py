"""Jobs brought along the road in rows alone, attempt by attempt, on two nodes, without an engine."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from typing import Any

from sqlalchemy import text

from core.api_keys import authenticate
from core.database import Database
from core.enrolment import ensure_first_account
from core.jobs import ending, launching, starting, stopping
from core.jobs.ending import RankExit
from core.jobs.placing import Placement, place
from core.jobs.quotas import Limits
from core.jobs.reading import JobRecord, get_job
from core.jobs.stop_plan import intend_signals
from core.jobs.stopping import Settled
from core.jobs.submitting import Submission, submit
from core.nodes import ensure_node, ensure_pool, nodes_of_group
from core.spec import JobSpec, ShellExecutor

RANGE = IPv4Network("10.201.0.0/16")
_numbers = itertools.count()


class RowsOnly:
    """A pool of two nodes with eight slots each, in an account of its own; rank i of a job is on node i mod 2."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.account = f"rows-{next(_numbers)}"
        key = ensure_first_account(database, account=self.account, user_email="a@b.c", key_file_has_key=False)
        assert key is not None
        self.caller = authenticate(database, key)
        ensure_pool(database, account=self.account)
        for name in ("one", "two"):
            ensure_node(
                database,
                account=self.account,
                name=name,
                endpoint=f"unix:///{self.account}/{name}",
                worker_group=self.account,
                cpu_count=4,
                memory_bytes=8 << 30,
            )
        self.nodes = sorted(nodes_of_group(database, self.account), key=lambda node: node.name)
        with database.transaction() as connection:
            # Ranks of one job on both nodes, without asking what such a pool needs.
            connection.execute(text("UPDATE node_pools SET network = 'overlay' WHERE account_id = :a"), self._me)

    @property
    def _me(self) -> dict[str, str]:
        return {"a": self.account}

    def submit(self, ranks: int = 2, **spec: Any) -> str:
        wanted = JobSpec("image:1", num_ranks=ranks, executor=ShellExecutor("true"), **spec)
        submission = Submission(pool="default", display_name="", shared=False, spec=wanted)
        return submit(self.database, self.caller, submission, Limits(1000, 10_000)).job.id

    def job(self, job_id: str) -> JobRecord:
        return get_job(self.database, self.account, job_id)

    def place(self, job_id: str) -> list[int]:
        """PENDING; the nodes of its ranks. Those that it avoids are left out while there are others."""
        job = self.job(job_id)
        ((avoided,),) = self.execute("SELECT avoided_nodes FROM jobs WHERE id = :j", job_id)
        usable = [node.id for node in self.nodes if node.id not in avoided] or [node.id for node in self.nodes]
        nodes = tuple(usable[rank % len(usable)] for rank in range(job.spec.num_ranks))
        placement = Placement(job_id, job.attempt, nodes)
        assert place(self.database, self.nodes[0].pool_row, [placement], RANGE)
        return list(nodes)

    def create(self, job_id: str) -> list[int]:
        """PENDING, with every container created; the nodes of its ranks."""
        nodes, attempt = self.place(job_id), self.job(job_id).attempt
        for node in sorted(set(nodes)):
            work = launching.claim_launch(self.database, job_id, attempt, node, 60)
            assert work is not None
            containers = {rank: f"c{attempt}-{rank}" for rank in work.ranks}
            launching.record_created(self.database, job_id, attempt, node, containers, "sha256:1", 60)
        return nodes

    def start(self, job_id: str, *ranks: int) -> None:
        """These ranks have been started, or all of them."""
        job = self.job(job_id)
        for node in self.nodes:
            starting.claim_start(self.database, job_id, job.attempt, node.id, 60)
        started = dict.fromkeys(ranks or range(job.spec.num_ranks), datetime.now(UTC))
        starting.record_started(self.database, job_id, job.attempt, started)

    def run(self, ranks: int = 2, **spec: Any) -> str:
        """A job that is RUNNING."""
        job_id = self.submit(ranks, **spec)
        self.rerun(job_id)
        return job_id

    def rerun(self, job_id: str) -> None:
        """QUEUED → RUNNING."""
        self.create(job_id)
        self.start(job_id)
        assert self.job(job_id).state == "RUNNING"

    def exit(
        self, job_id: str, rank: int, code: int, *, after: float = 0.0, said: str = "", **more: Any
    ) -> Settled:
        """The rank's container has ended, `after` seconds from now by its engine's clock."""
        now = datetime.now(UTC)
        end = RankExit(
            exit_code=code,
            oom_killed=more.pop("oom_killed", False),
            started_at=now,
            ended_at=now + timedelta(seconds=after),
            last_line=said,
            log_bytes=0,
            **more,
        )
        return ending.record_exits(self.database, job_id, self.job(job_id).attempt, {rank: end})

    def stopped(self, job_id: str, *ranks: int) -> None:
        """The stop step told these ranks, and they have ended for it."""
        attempt = self.job(job_id).attempt
        intend_signals(self.database, job_id, attempt, terminate=ranks, kill=())
        for rank in ranks:
            self.exit(job_id, rank, 143)

    def release(self, job_id: str, *ranks: int, attempt: int | None = None) -> Settled | None:
        """Their containers are gone."""
        return stopping.release(self.database, job_id, attempt or self.job(job_id).attempt, list(ranks))

    def ranks(self, job_id: str) -> list[tuple[int, int, str, str]]:
        """(attempt, rank, state, reason) of every rank of every attempt."""
        with self.database.transaction() as connection:
            rows = connection.execute(
                text("SELECT attempt, rank, state, reason FROM ranks WHERE job_id = :j ORDER BY 1, 2"),
                {"j": job_id},
            )
            return [(row[0], row[1], row[2], row[3]) for row in rows]

    def execute(self, statement: str, job_id: str) -> list[Any]:
        """Rows of a statement about `:j`."""
        with self.database.transaction() as connection:
            found = connection.execute(text(statement), {"j": job_id})
            return list(found.all()) if found.returns_rows else []
