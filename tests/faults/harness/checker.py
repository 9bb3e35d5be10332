"""The only judge: what the four records of a run say about the invariants. Runs offline, knows no platform."""

from __future__ import annotations

from pathlib import Path

from tests.faults.harness.evidence import Evidence
from tests.faults.harness.finding import Finding
from tests.faults.harness.invariants.in_time_and_bounds import (
    answered,
    isolated,
    recovered,
    started_in_time,
    within_slots,
)
from tests.faults.harness.invariants.lost_twice_leaked import (
    let_go,
    memory_flat,
    none_leaked,
    none_lost,
    none_twice,
)
from tests.faults.harness.invariants.true_and_whole import (
    gangs_end_together,
    gangs_whole,
    output_whole,
    states_true,
)


def check(evidence: Evidence) -> list[Finding]:
    """Everything that is wrong, all invariants together."""
    rules = (
        none_lost,
        none_twice,
        none_leaked,
        gangs_whole,
        gangs_end_together,
        started_in_time,
        states_true,
        output_whole,
        recovered,
        within_slots,
        answered,
        isolated,
        let_go,
        memory_flat,
    )
    return [finding for rule in rules for finding in rule(evidence)]


def check_folder(folder: Path) -> list[Finding]:
    """`check` of a run's folder."""
    return check(Evidence.of(folder))
