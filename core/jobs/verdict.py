"""What an attempt's ranks make of their job. Pure: rows in, a decision out."""

from __future__ import annotations

import signal
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from core.policies import RankFailurePolicy
from core.states import RANK_ENDED, JobState, RankState

STATUS_LINE_LIMIT = 400
#: Clocks of hosts may differ by this without anybody noticing (NTP keeps them within milliseconds, a host
#: without it drifts about a second a day). Ends on different nodes that are nearer to each other than this are
#: put in the order in which they were written down.
CLOCK_TOLERANCE = timedelta(seconds=1)
#: Ranks that a status names one by one; of more it says how many.
_NAMED_RANKS = 8

#: A rank's reason: its engine was restarted and ended it.
ENGINE_RESTARTED = "ENGINE_RESTARTED"

_FAILED = frozenset({RankState.FAILED, RankState.LOST})
_UNDER_WAY = RANK_ENDED | {RankState.RUNNING}


@dataclass(frozen=True)
class RankOutcome:
    """What is known of one rank; `message` is the last line it printed, or the fault that ended it.

    `started_at` and `ended_at` are by the clock of its engine, `recorded_at` by the database's.
    """

    rank: int
    state: RankState
    node: str = ""
    exit_code: int | None = None
    #: that ended it; 0 = none did; None = nobody said
    signal: int | None = None
    oom_killed: bool = False
    reason: str = ""
    message: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    node_id: int | None = None
    recorded_at: datetime | None = None
    last_lines: str = ""


@dataclass(frozen=True)
class Overrun:
    """The job has had all that it may have, of time or of a disk, and its ranks are being stopped for it."""

    reason: str
    status: str


@dataclass(frozen=True)
class Verdict:
    """`end` is set when every rank has ended; `stop` when ranks still live must be stopped.

    `culprit` is the rank that failed the attempt, where one did.
    """

    end: Literal[JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED] | None
    stop: bool
    reason: str
    status: str
    culprit: RankOutcome | None = None


_NOTHING = Verdict(None, False, "", "")


def judge(
    outcomes: Sequence[RankOutcome],
    policy: RankFailurePolicy = RankFailurePolicy.FAIL_ALL,
    overrun: Overrun | None = None,
) -> Verdict:
    """What follows from the ranks as they are, by the job's policy. The order of `outcomes` does not matter.

    An overrun fails the attempt whatever its ranks then do; `core.policies` says what the policies are.
    """
    live = [o for o in outcomes if o.state not in RANK_ENDED]
    if overrun is not None:
        return Verdict(None if live else JobState.FAILED, bool(live), overrun.reason, overrun.status)
    fatal = [o for o in outcomes if _is_fatal(o, policy)]
    if fatal:
        first = first_to_fail(fatal)
        status = describe_failure(first, of=len(outcomes))
        if live:
            return Verdict(None, True, _reason(first), f"{status}; stopping {_others(len(live))}", first)
        return Verdict(JobState.FAILED, False, _reason(first), status, first)
    if policy is RankFailurePolicy.MAIN_RANK_DECIDES:
        return _by_main_rank(outcomes, live)
    if live:
        return _NOTHING
    if any(o.state is RankState.STOPPED for o in outcomes):
        return _CANCELLED
    if policy is RankFailurePolicy.IGNORE and not any(o.state is RankState.SUCCEEDED for o in outcomes):
        first = first_to_fail(outcomes)
        return Verdict(JobState.FAILED, False, _reason(first), describe_failure(first, of=len(outcomes)), first)
    return _completed(outcomes)


_CANCELLED = Verdict(JobState.CANCELLED, False, "CANCELLED", "cancelled")


def first_to_fail(failed: Collection[RankOutcome]) -> RankOutcome:
    """Of these, the one to name. Among ranks of one node its engine's clock decides, to the nanosecond.

    Among nodes, whose clocks may differ, the earliest end decides unless others are within `CLOCK_TOLERANCE` of
    it: of those the one whose end was written down first. Lower ranks before higher ones where all is equal.
    """
    by_node: dict[str, RankOutcome] = {}
    for each in sorted(failed, key=_by_engine_clock):
        by_node.setdefault(each.node, each)
    firsts = list(by_node.values())
    ends = [each.ended_at for each in firsts if each.ended_at is not None]
    if not ends:
        return min(firsts, key=lambda o: o.rank)
    limit = min(ends) + CLOCK_TOLERANCE
    near = [each for each in firsts if each.ended_at is not None and each.ended_at < limit]
    return min(near, key=lambda o: (o.recorded_at is None, o.recorded_at or limit, *_by_engine_clock(o)))


def describe_failure(outcome: RankOutcome, *, of: int) -> str:
    """One sentence: who, where, how, and the last line it printed."""
    who = f"rank {outcome.rank}" if of > 1 else "the job"
    first = " first" if of > 1 else ""
    where = f" on node {outcome.node}" if outcome.node else ""
    line = _clip(outcome.message)
    if outcome.state is RankState.LOST:
        how = "was lost"
    elif outcome.exit_code is None and outcome.started_at is None:
        how = f"could not be started{where}"
        return f"{who} {how}: {line}" if line else f"{who} {how}"
    else:
        how = "failed"
    cause = _cause(outcome)
    return f"{who} {how}{first}{where}" + (f": {cause}" if cause else "") + (f": {line}" if line else "")


def signal_of(exit_code: int | None) -> int:
    """The signal that an exit code stands for by every shell's custom; 0 where it stands for none.

    A process that was killed, and one that exits with 137, leave the same code: see `RankOutcome.signal`.
    """
    return exit_code - 128 if exit_code is not None and 128 < exit_code < 128 + signal.NSIG else 0


def _is_fatal(outcome: RankOutcome, policy: RankFailurePolicy) -> bool:
    """Whether this rank alone ends the attempt. One that never ran does, always: a gang runs whole or not."""
    if outcome.state not in _FAILED:
        return False
    if outcome.started_at is None:
        return True
    match policy:
        case RankFailurePolicy.IGNORE:
            return False
        case RankFailurePolicy.MAIN_RANK_DECIDES:
            return outcome.rank == 0
        case _:
            return True


def _by_main_rank(outcomes: Sequence[RankOutcome], live: Sequence[RankOutcome]) -> Verdict:
    """Rank 0 has not failed."""
    main = next(o for o in outcomes if o.rank == 0)
    if main.state not in RANK_ENDED:
        return _NOTHING
    if main.state is RankState.STOPPED:
        return _NOTHING if live else _CANCELLED
    # Its success ends nothing before the whole gang has run: what is still to be started may yet fail to be.
    if any(o.state not in _UNDER_WAY for o in live):
        return _NOTHING
    if live:
        return Verdict(None, True, "MAIN_RANK_ENDED", f"rank 0 exited 0; stopping {_others(len(live))}")
    return _completed(outcomes, main=True)


def _completed(outcomes: Sequence[RankOutcome], *, main: bool = False) -> Verdict:
    """With a warning, and a reason for machines, where something went wrong that the policy ignores."""
    failed = [o for o in outcomes if o.state in _FAILED]
    if main and len(outcomes) > 1:
        status = "rank 0 exited 0"
    elif failed:
        status = f"{sum(o.state is RankState.SUCCEEDED for o in outcomes)} of {len(outcomes)} ranks exited 0"
    else:
        status = "every rank exited 0" if len(outcomes) > 1 else "exited 0"
    reason = ""
    if failed:
        reason = "RANKS_FAILED"
        status += f"; {_names(failed)} failed and {'was' if len(failed) == 1 else 'were'} ignored: "
        status += describe_failure(first_to_fail(failed), of=len(outcomes))
    warned = [o.rank for o in outcomes if o.oom_killed and o.state is RankState.SUCCEEDED]
    if warned:
        reason = reason or "CHILD_OUT_OF_MEMORY"
        status += f"; a process of rank {min(warned)} was killed for running out of memory"
    return Verdict(JobState.COMPLETED, False, reason, status)


def _by_engine_clock(outcome: RankOutcome) -> tuple[bool, float, int]:
    ended_at = outcome.ended_at
    return (ended_at is None, 0.0 if ended_at is None else ended_at.timestamp(), outcome.rank)


def _cause(outcome: RankOutcome) -> str:
    code = outcome.exit_code
    if outcome.reason == ENGINE_RESTARTED:
        if code is None:
            return "its engine was restarted, and how it ended is not known"
        return f"its engine was restarted and ended it (exit code {code})"
    if outcome.oom_killed:
        return "out of memory" + (f" (exit code {code})" if code is not None else "")
    if code is None:
        return ""
    number = outcome.signal or signal_of(code)
    if outcome.signal == 0 or number == 0:
        return f"exit code {code}"
    try:
        name = f"signal {number}, {signal.Signals(number).name}"
    except ValueError:
        name = f"signal {number}"
    return f"killed by {name}" if outcome.signal else f"exit code {code}, its own or that of {name}"


def _reason(outcome: RankOutcome) -> str:
    return outcome.reason or "RANK_FAILED"


def _names(failed: Sequence[RankOutcome]) -> str:
    ranks = sorted(o.rank for o in failed)
    if len(ranks) > _NAMED_RANKS:
        return f"{len(ranks)} ranks"
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"


def _others(count: int) -> str:
    return "1 other rank" if count == 1 else f"{count} other ranks"


def _clip(line: str) -> str:
    line = " ".join(line.split())
    return line if len(line) <= STATUS_LINE_LIMIT else line[: STATUS_LINE_LIMIT - 1] + "…"
