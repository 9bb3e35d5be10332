"""Leases of many nodes renewed by one statement: what is another's or locked keeps nobody from the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select, text

from core.database import Database
from core.enrolment import ensure_first_account
from core.models import Node
from core.nodes import drop_lease, ensure_node, ensure_pool, nodes_of_group, renew_leases, take_lease

GROUP = "renewed"


@pytest.fixture
def nodes(database: Database) -> Iterator[list[int]]:
    ensure_first_account(database, account="holder", user_email="h@holder.test", key_file_has_key=True)
    ensure_pool(database, account="holder")
    for name in ("a", "b", "c"):
        ensure_node(
            database,
            account="holder",
            name=name,
            endpoint=f"unix:///tmp/{name}.sock",
            worker_group=GROUP,
            cpu_count=1,
            memory_bytes=1 << 30,
        )
    rows = [node.id for node in nodes_of_group(database, GROUP)]
    for row in rows:
        assert take_lease(database, row, "one", 10)
    yield rows
    for row in rows:
        drop_lease(database, row, "one")
        drop_lease(database, row, "two")


def test_leases_held_are_renewed_together(database: Database, nodes: list[int]) -> None:
    before = ends(database, nodes)
    assert renew_leases(database, nodes, "one", 100) == (set(nodes), set())
    assert all((ends(database, nodes)[row] - before[row]).total_seconds() > 80 for row in nodes)


def test_leases_of_another_or_of_nobody_are_lost(database: Database, nodes: list[int]) -> None:
    first, second, third = nodes
    drop_lease(database, first, "one")
    drop_lease(database, second, "one")
    assert take_lease(database, second, "two", 10)
    assert renew_leases(database, [*nodes, 10**9], "one", 10) == ({third}, {first, second, 10**9})


def test_a_node_that_is_locked_is_neither_renewed_nor_lost(database: Database, nodes: list[int]) -> None:
    first, *others = nodes
    with database.transaction() as connection:
        connection.execute(text("SELECT 1 FROM nodes WHERE id = :node FOR UPDATE"), {"node": first})
        assert renew_leases(database, nodes, "one", 10) == (set(others), set())


def ends(database: Database, nodes: list[int]) -> dict[int, Any]:
    with database.transaction() as connection:
        rows = connection.execute(select(Node.id, Node.lease_until).where(Node.id.in_(nodes)))
        return {row.id: row.lease_until for row in rows}
