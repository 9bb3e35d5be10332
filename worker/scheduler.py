"""One scheduling pass: rows → snapshot → plan → reservation → rings. The decision is `placement`'s."""

from __future__ import annotations

from ipaddress import IPv4Network

from core.database import Database
from core.jobs.placing import place, take_snapshot, write_waiting
from core.queue import Bell
from worker.placement import plan_pass


def run_pass(database: Database, bell: Bell, pool_row: int, network_range: IPv4Network) -> int:
    """Place what can be placed now; the number of launches rung for."""
    snapshot = take_snapshot(database, pool_row)
    if not snapshot.waiting:
        return 0
    plan = plan_pass(snapshot)
    orders = place(database, pool_row, plan.placements, network_range)
    for order in orders:
        bell.launch(order.worker_group, order.job_id, order.attempt, order.node_id)
    write_waiting(database, plan.waiting)
    return len(orders)
