"""One scheduling pass: rows → snapshot → plan → reservation. The decision is `placement`'s."""

from __future__ import annotations

from ipaddress import IPv4Network

from core.database import Database
from core.jobs.placing import LaunchOrder, place, take_snapshot, write_waiting
from worker.placement import plan_pass


def run_pass(database: Database, pool_row: int, network_range: IPv4Network) -> list[LaunchOrder]:
    """Place what can be placed now, and write down why the others wait; the launches that are due."""
    snapshot = take_snapshot(database, pool_row)
    if not snapshot.waiting:
        return []
    plan = plan_pass(snapshot)
    orders = place(database, pool_row, plan.placements, network_range)
    write_waiting(database, plan.waiting)
    return orders
