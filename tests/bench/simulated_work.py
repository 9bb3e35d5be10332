"""What the simulation asks of the platform: mixed gangs of several accounts, each with the end it must come to."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.lab.api_client import Json

IMAGE = "busybox:1"
#: Sizes of gangs and how often each is asked for; the mean is 6.
SIZES = {1: 48, 2: 16, 4: 14, 8: 12, 16: 7, 64: 3}
#: The first account asks for as much as four others: the others must not wait for it.
SHARES = (4, 1, 1, 1)
SHORTEST_SECONDS, LONGEST_SECONDS = 0.2, 20.0
_CANCELLED_SHARE, _FAILING_SHARE = 0.05, 0.1


@dataclass(frozen=True)
class SimulatedJob:
    """`end` is the state that it must end in; `cancel_after` is in seconds from its creation."""

    account: int
    ranks: int
    command: str
    end: str
    cancel_after: float | None = None

    @property
    def body(self) -> Json:
        """As `ApiClient.create` takes it."""
        return {
            "imageRef": IMAGE,
            "numRanks": self.ranks,
            "shellExecutor": {"command": self.command},
            "stopGracePeriod": "2s",
        }


def make_jobs(ranks: int, *, seed: int, biggest: int, longest_seconds: float) -> list[SimulatedJob]:
    """Jobs of so many ranks together (or some more), none of more than `biggest`; the same for the same seed."""
    draw = random.Random(seed)
    sizes = [size for size in SIZES if size <= biggest]
    weights = [SIZES[size] for size in sizes]
    jobs: list[SimulatedJob] = []
    asked = 0
    while asked < ranks:
        size = min(draw.choices(sizes, weights)[0], ranks - asked)
        jobs.append(_job(draw, size, longest_seconds))
        asked += size
    return jobs


def _job(draw: random.Random, ranks: int, longest_seconds: float) -> SimulatedJob:
    account = draw.choices(range(len(SHARES)), SHARES)[0]
    # Short runs are commoner than long ones.
    seconds = SHORTEST_SECONDS * (longest_seconds / SHORTEST_SECONDS) ** draw.random()
    kind = draw.random()
    if kind < _CANCELLED_SHARE:
        return SimulatedJob(account, ranks, "echo began; sleep 100000", "CANCELLED", draw.uniform(0, 10))
    if kind < _CANCELLED_SHARE + _FAILING_SHARE:
        # In a gang rank 0 ends well, and rank 1 is the first of the others to fail.
        failing = f"sleep {int(seconds)}.1$RANK; exit $RANK" if ranks > 1 else f"sleep {seconds:.2f}; exit 3"
        return SimulatedJob(account, ranks, f"echo began; {failing}", "FAILED")
    return SimulatedJob(account, ranks, f"echo began; sleep {seconds:.2f}; echo done", "COMPLETED")


def of_account(jobs: Sequence[SimulatedJob], account: int) -> list[SimulatedJob]:
    """One account's jobs, in their order."""
    return [job for job in jobs if job.account == account]
