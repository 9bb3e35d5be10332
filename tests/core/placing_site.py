"""A pool, its nodes and jobs, as placement on a real Postgres is tried with."""

from __future__ import annotations

import itertools
from ipaddress import IPv4Network
from typing import Any

from core.accounts import Caller
from core.database import Database
from core.enrolment import ensure_first_account
from core.jobs.placing import Placement, place
from core.jobs.quotas import Limits
from core.jobs.submitting import Submission, submit
from core.nodes import EngineFacts, ensure_pool, record_facts
from core.pools import nodes
from core.pools.changing import change_pool
from core.pools.reading import get_pool
from core.spec import JobSpec, ShellExecutor
from worker.scheduler import run_pass

RANGE = IPv4Network("10.202.0.0/16")
GIB = 1 << 30
FACTS = EngineFacts("e", "29.0", cpu_count=8, gpu_count=0, memory_bytes=10 * GIB, free_disk_bytes=1 << 40)
_numbers = itertools.count()


class Site:
    """A pool of two nodes with eight slots, eight CPUs and nine GiB each, in an account of its own."""

    def __init__(self, database: Database, facts: EngineFacts = FACTS, *, node_count: int = 2) -> None:
        self.database = database
        self.account = f"site-{next(_numbers)}"
        ensure_first_account(database, account=self.account, user_email="a@b.c", key_file_has_key=False)
        ensure_pool(database, account=self.account)
        self.nodes = [self.add_node(number, facts) for number in range(node_count)]
        self.pool_row = get_pool(database, self.account, "default").row

    def add_node(self, number: int, facts: EngineFacts, slots: int = 8) -> int:
        name = f"n{number}"
        made = nodes.create_node(
            self.database,
            self.account,
            "default",
            name,
            endpoint=f"unix:///{name}",
            worker_group=self.account,
            slots=slots,
        )
        record_facts(self.database, made.row, facts)
        return made.row

    def caller(self, account: str) -> Caller:
        return Caller(account, 1, "a", "a@b.c", is_admin=True, is_operator=False, may_own_nodes=True, key_id="k")

    def submit(self, ranks: int = 1, *, account: str = "", **asked: Any) -> str:
        spec = JobSpec("image:1", num_ranks=ranks, executor=ShellExecutor("true"), **asked)
        submission = Submission(pool="default", display_name="", shared=False, spec=spec)
        caller = self.caller(account or self.account)
        return submit(self.database, caller, submission, Limits(100_000, 1_000_000)).job.id

    def share_with(self) -> str:
        """Another account, to which the pool is offered."""
        change_pool(self.database, self.account, "default", {"offered_to_all": True})
        other = f"other-{next(_numbers)}"
        ensure_first_account(self.database, account=other, user_email="a@b.c", key_file_has_key=False)
        self.query("UPDATE node_pools SET pool_id = %s WHERE id = %s", self.account, self.pool_row)
        return other

    def place(self, job: str, *on: int) -> bool:
        return bool(place(self.database, self.pool_row, [Placement(job, 1, on)], RANGE))

    def query(self, statement: str, *values: Any) -> list[Any]:
        with self.database.transaction() as connection:
            found = connection.exec_driver_sql(statement, values)
            return list(found) if found.returns_rows else []

    def run(self) -> list[str]:
        return [order.job_id for order in run_pass(self.database, self.pool_row, RANGE)]

    def written(self, job: str) -> Any:
        return self.query(
            "SELECT reason, status, queue_position, estimated_start_at, updated_at FROM jobs WHERE id = %s", job
        )[0]
