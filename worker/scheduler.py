"""One scheduling pass: rows → snapshot → plan → reservation. The decision is `core.placement`'s."""

from __future__ import annotations

from ipaddress import IPv4Network

from core.database import Database
from core.failpoints import Point, failpoint
from core.jobs.placing import LaunchOrder, place, take_snapshot, write_waiting
from core.placement.planning import plan_pass
from core.placement.sentences import NEVER_FITS_POOL

#: A pass that placed something and did not see the whole queue goes on, so many times; then the launches that
#: it has ordered come first.
MAX_ROUNDS = 4
#: Likewise one whose view was taken up by jobs that cannot start in the pool as it is: past so many views of
#: them it looks no further.
MAX_BLIND_ROUNDS = 20


def run_pass(database: Database, pool_row: int, network_range: IPv4Network) -> list[LaunchOrder]:
    """Place what can be placed now, and write down why the others wait; the launches that are due."""
    orders: list[LaunchOrder] = []
    rounds, blind_rounds, hopeless = 0, 0, list[str]()
    while rounds < MAX_ROUNDS and blind_rounds < MAX_BLIND_ROUNDS:
        snapshot = take_snapshot(database, pool_row, skipped=hopeless)
        if not snapshot.waiting:
            break
        plan = plan_pass(snapshot)
        placed = place(database, pool_row, plan.placements, network_range)
        failpoint(Point.PLACED, *(order.job_id for order in placed))
        write_waiting(database, [plan.waiting[job] for job in sorted(plan.changed)])
        orders += placed
        found = [job for job, said in plan.waiting.items() if said.reason == NEVER_FITS_POOL]
        hopeless += found
        rounds, blind_rounds = (rounds + 1, blind_rounds) if placed else (rounds, blind_rounds + 1)
        if not snapshot.is_cut or not (placed or found):
            break
    return orders
