"""The faults, by their ids: one table for pytest's short form, for the command's long form and for the docs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import crash_points
from tests.faults.harness.trial import Lab, Outcome, Scale, Trial, run_trial


@dataclass(frozen=True)
class Fault:
    """`allowed_seconds` is how soon a new job must have run once the fault is over."""

    id: str
    what: str
    run: Callable[[Trial], None]
    lab: Lab = field(default_factory=Lab)
    allowed_seconds: float = 30.0
    #: rounds of a long run, unless the command says otherwise; a short one has one
    rounds: int = 1

    def play(self, *, seed: int, short: bool, rounds: int = 0, folder: Path | None = None) -> Outcome:
        """Run it once, and have it judged."""
        scale = Scale(short, rounds or (1 if short else self.rounds))
        return run_trial(
            self.run, lab=self.lab, scale=scale, seed=seed, allowed_seconds=self.allowed_seconds, folder=folder
        )


_ALL = (
    Fault(
        "F-1",
        "SIGKILL at every point between two steps, for 1, 2 and 4 ranks",
        crash_points.run,
        crash_points.LAB,
        allowed_seconds=30,
    ),
)

FAULTS = {fault.id: fault for fault in _ALL}
