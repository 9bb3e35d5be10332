"""What an attempt's ranks make of their job. Pure: rows in, a decision out."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.states import RANK_ENDED, JobState, RankState

STATUS_LINE_LIMIT = 400


@dataclass(frozen=True)
class RankOutcome:
    """What is known of one rank; `message` is the last line it printed, or the fault that ended it."""

    rank: int
    state: RankState
    node: str = ""
    exit_code: int | None = None
    oom_killed: bool = False
    reason: str = ""
    message: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True)
class Verdict:
    """`end` is set when every rank has ended; `stop` when ranks still live must be stopped for a failure."""

    end: JobState | None
    stop: bool
    reason: str
    status: str


def judge(outcomes: Sequence[RankOutcome]) -> Verdict:
    """The policy FAIL_ALL: completed only if every rank exits 0; one failure stops the others.

    The first to fail is the one with the earliest end by the engine's clock, the lowest rank among equals.
    """
    live = [o for o in outcomes if o.state not in RANK_ENDED]
    failed = [o for o in outcomes if o.state in (RankState.FAILED, RankState.LOST)]
    if failed:
        first = min(failed, key=lambda o: (o.ended_at is None, o.ended_at, o.rank))
        status = describe_failure(first, of=len(outcomes))
        if live:
            return Verdict(None, True, _reason(first), f"{status}; stopping {_ranks(len(live))}")
        return Verdict(JobState.FAILED, False, _reason(first), status)
    if live:
        return Verdict(None, False, "", "")
    if any(o.state is RankState.STOPPED for o in outcomes):
        return Verdict(JobState.CANCELLED, False, "CANCELLED", "cancelled")
    warned = [o.rank for o in outcomes if o.oom_killed]
    status = "every rank exited 0" if len(outcomes) > 1 else "exited 0"
    if warned:
        status += f"; a process of rank {warned[0]} was killed for running out of memory"
    return Verdict(JobState.COMPLETED, False, "", status)


def describe_failure(outcome: RankOutcome, *, of: int) -> str:
    """One sentence: who, where, how, and the last line it printed."""
    who = f"rank {outcome.rank}" if of > 1 else "the job"
    first = " first" if of > 1 else ""
    where = f" on node {outcome.node}" if outcome.node else ""
    line = _clip(outcome.message)
    if outcome.state is RankState.LOST:
        how = "was lost"
    elif outcome.exit_code is None:
        how = f"could not be started{where}"
        return f"{who} {how}: {line}" if line else f"{who} {how}"
    else:
        how = "failed"
    cause = _cause(outcome)
    return f"{who} {how}{first}{where}" + (f": {cause}" if cause else "") + (f": {line}" if line else "")


def _cause(outcome: RankOutcome) -> str:
    code = outcome.exit_code
    if outcome.oom_killed:
        return "out of memory" + (f" (exit code {code})" if code is not None else "")
    if code is None:
        return ""
    if 128 < code < 128 + signal.NSIG:
        try:
            name = signal.Signals(code - 128).name
        except ValueError:
            return f"exit code {code}"
        return f"exit code {code} (signal {code - 128}, {name})"
    return f"exit code {code}"


def _reason(outcome: RankOutcome) -> str:
    return outcome.reason or "RANK_FAILED"


def _ranks(count: int) -> str:
    return "1 other rank" if count == 1 else f"{count} other ranks"


def _clip(line: str) -> str:
    line = " ".join(line.split())
    return line if len(line) <= STATUS_LINE_LIMIT else line[: STATUS_LINE_LIMIT - 1] + "…"
