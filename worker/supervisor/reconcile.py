"""Rows against a listing: what each container and each row is missing. Pure.

A listing is the truth about a node at one moment; events only bring its news earlier.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.jobs.ending import WatchedRank
from core.states import RANK_ENDED, RankState
from worker.docker_engine.streams import ListedContainer
from worker.engine import RankKey

_RAN = frozenset({RankState.STARTING, RankState.RUNNING})


@dataclass(frozen=True)
class Findings:
    """`watch`: of ranks, running or ended, and nobody watches. `finish`: the row is done, what is left is removal
    and the slot. `vanished`: the row says running, the engine has nothing. `unexplained`: no row holds a slot for
    it and it is older than the grace period, so it is looked up once more and then removed."""

    watch: tuple[tuple[RankKey, ListedContainer], ...]
    finish: tuple[RankKey, ...]
    vanished: tuple[RankKey, ...]
    unexplained: tuple[ListedContainer, ...]


def compare(
    rows: Sequence[WatchedRank],
    listing: Sequence[ListedContainer],
    watching: Collection[RankKey],
    *,
    now: datetime,
    orphan_grace: timedelta,
) -> Findings:
    """What to do about one node. `rows` must have been read before the listing was made."""
    by_key: Mapping[RankKey, WatchedRank] = {RankKey(row.job_id, row.attempt, row.rank): row for row in rows}
    found = {container.key for container in listing}
    watch: list[tuple[RankKey, ListedContainer]] = []
    unexplained: list[ListedContainer] = []
    for container in listing:
        row = by_key.get(container.key) if container.key is not None else None
        if container.key in watching:
            continue
        if row is None:
            if now - container.created_at >= orphan_grace:
                unexplained.append(container)
        elif container.key is not None and row.state in _RAN and container.status != "created":
            watch.append((container.key, container))
    idle = [(key, row) for key, row in by_key.items() if key not in watching]
    finish = tuple(key for key, row in idle if row.state in RANK_ENDED)
    vanished = tuple(key for key, row in idle if row.state is RankState.RUNNING and key not in found)
    return Findings(tuple(watch), finish, vanished, tuple(unexplained))
