"""A whole platform over twenty engines that are not there: the short form of `tests.bench.simulation`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.simulation import simulate
from tests.lab.servers import Servers

NODES, SLOTS, RANKS = 20, 10, 300


@pytest.mark.timeout(120)
def test_mixed_gangs_over_many_engines_all_end_right_and_leave_nothing(servers: Servers, tmp_path: Path) -> None:
    outcome = simulate(
        servers,
        tmp_path,
        nodes=NODES,
        slots=SLOTS,
        ranks=RANKS,
        longest_seconds=4,
        deadline_seconds=60,
        # What the machine's other work takes from it is no fault of ours.
        bound_seconds=20,
    )
    assert outcome.faults == []
    figures = outcome.figures
    assert figures["ranks"] == RANKS
    assert figures["samples"] > 10
    assert figures["most_on_one"] <= SLOTS
    # Gangs of more ranks than a node has slots ran, so the pool's nodes were used together.
    assert figures["most_running"] > SLOTS
    assert outcome.passes
