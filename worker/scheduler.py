"""One scheduling pass: rows → snapshot → plan → reservation. The decision is `core.placement`'s."""

from __future__ import annotations

import threading
from collections.abc import Callable
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


class Passes:
    """At most one pass of a pool at a time in this process: the pool's row lets no second one on anyway.

    What is asked for while one is under way becomes one more pass after it, however often it was asked for.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: pools with a pass under way, and whether another was asked for since it began
        self._asked_again: dict[int, bool] = {}

    def run(self, pool_row: int, one_pass: Callable[[], None]) -> None:
        """Make a pass, and those that are asked for meanwhile; or leave it to who makes one now."""
        with self._lock:
            if pool_row in self._asked_again:
                self._asked_again[pool_row] = True
                return
            self._asked_again[pool_row] = False
        try:
            while True:
                one_pass()
                with self._lock:
                    if not self._asked_again[pool_row]:
                        del self._asked_again[pool_row]
                        return
                    self._asked_again[pool_row] = False
        except BaseException:
            with self._lock:
                self._asked_again.pop(pool_row, None)
            raise


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
