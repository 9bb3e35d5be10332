"""The list of jobs among thousands: read from its index, counted without counting, by each of its fields."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import (
    insert,
    select,
    text,
)

from core.database import Database
from core.jobs.listing import JOB_LISTING
from core.jobs.reading import list_jobs
from core.listing.conditions import (
    EVERYTHING,
    Field,
    IsSet,
    Not,
    Or,
)
from core.listing.fields import FieldType, OrderTerm
from core.listing.paging import ListQuery, page_statement
from core.models import Account, Job, NodePool


@pytest.fixture(scope="module")
def many_jobs(database: Database) -> str:
    """An account with some thousands of jobs beside another one with as many."""
    for account in ("many", "more"):
        with database.transaction() as connection:
            connection.execute(insert(Account).values(id=account))
            connection.execute(insert(NodePool).values(account_id=account, pool_id="default"))
            connection.execute(
                text(
                    "INSERT INTO jobs (id, account_id, batch_job_id, pool_id, created_by, display_name, shared,"
                    " num_ranks, image_ref, spec, state, created_at) SELECT :account || n, :account, 'j' || n,"
                    " (SELECT id FROM node_pools WHERE account_id = :account), 'a@b.c', 'd' || n % 7, false, 1,"
                    " 'i', '{\"image_ref\": \"i\"}', 'COMPLETED',"
                    " timestamptz '2026-01-01Z' + n / 3 * interval '1 second' FROM generate_series(1, 5000) AS n"
                ),
                {"account": account},
            )
    with database.transaction() as connection:
        connection.execute(text("ANALYZE"))
    return "many"


@pytest.mark.parametrize("is_first", [True, False])
def test_jobs_in_default_order_are_read_from_their_index(
    database: Database, many_jobs: str, is_first: bool
) -> None:
    base = select(Job.spec).join(NodePool, NodePool.id == Job.pool_id).where(Job.account_id == many_jobs)
    after = None if is_first else (datetime(2026, 1, 1, 0, 10, tzinfo=UTC), "many900")
    statement = page_statement(base, JOB_LISTING, ListQuery(50, after=after))
    with database.transaction() as connection:
        compiled = statement.compile(dialect=connection.dialect)
        plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {compiled}", compiled.params).scalars())
    assert "Index Scan using ix_jobs_account_id_created_at" in plan and "Sort" not in plan, plan
    index_condition = next(line for line in plan.splitlines() if "Index Cond" in line)
    assert is_first or "ROW(created_at, id) < ROW(" in index_condition, plan


def test_jobs_total_without_a_filter_is_the_kept_count(database: Database, many_jobs: str) -> None:
    seen: list[str] = []
    query = ListQuery(200)
    while True:
        page = list_jobs(database, many_jobs, query)
        assert page.total == 5000
        seen += [job.batch_job_id for job in page.items]
        if page.next_key is None:
            break
        query = ListQuery(200, after=page.next_key)
    assert len(seen) == len(set(seen)) == 5000


@pytest.mark.parametrize("name", sorted(JOB_LISTING.fields))
def test_jobs_field_can_be_filtered_and_ordered_by(database: Database, many_jobs: str, name: str) -> None:
    field = JOB_LISTING.fields[name]
    whole = list_jobs(database, many_jobs, ListQuery(1, Or((IsSet(Field(name)), Not(IsSet(Field(name)))))))
    assert whole.total == 5000
    if field.type not in (FieldType.MAP, FieldType.LIST, FieldType.MESSAGE):
        query = ListQuery(3, EVERYTHING, (OrderTerm(name),))
        first = list_jobs(database, many_jobs, query)
        second = list_jobs(database, many_jobs, ListQuery(3, EVERYTHING, query.order, first.next_key))
        ids = [job.id for job in (*first.items, *second.items)]
        assert len(set(ids)) == 6
