"""Whether a failed attempt is followed by another, and when. Pure.

An attempt that the platform failed before it ran is not charged to the job: it is made up for, elsewhere
where there is an elsewhere, a bounded number of times. Any other is charged, and the job's policy decides.
The rules are those of AWS Batch's `evaluateOnExit` in spirit: the first that matches decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.jobs.verdict import ENGINE_RESTARTED, RankOutcome, Verdict, signal_of
from core.policies import Backoff, RankFailurePolicy, RetryAction, RetryPolicy, RetryRule, most_attempts
from core.states import JobState, RankState

QUEUE_TIMEOUT, PULL_TIMEOUT, RUN_TIMEOUT = "QUEUE_TIMEOUT", "PULL_TIMEOUT", "RUN_TIMEOUT"
#: A rank has filled its node's disk.
DISK_EXCEEDED = "DISK_EXCEEDED"
#: The rows are of a backup, and what became of the job since is not known (`core.jobs.restoring`).
RESTORED = "RESTORED"
OVERRUN_REASONS = frozenset({QUEUE_TIMEOUT, PULL_TIMEOUT, RUN_TIMEOUT, DISK_EXCEEDED, RESTORED})
NODE_LOST = "NODE_LOST"
#: Reasons of a rank which did not run that are the platform's to mend. What the user can mend (no such image,
#: no such file, access refused) is not among them, nor is a registry that has been waited for in vain.
PLATFORM_REASONS = frozenset(
    {
        "ENGINE_ERROR",
        "DISK_FULL",
        "GPU_UNAVAILABLE",
        "CONTAINER_GONE",
        "CONTAINER_VANISHED",
        "NODE_UNREACHABLE",
        NODE_LOST,
        # Of a rank: the engine's pull made no progress. The job's own clock is an overrun, and no rank's.
        PULL_TIMEOUT,
    }
)
#: Attempts that the platform may fail before it is the job that fails, with the platform's reason.
MOST_UNCHARGED = 5
_NOBODY = RankOutcome(-1, RankState.STOPPED)
_UNCHARGED_BACKOFF = Backoff(initial_seconds=1.0, multiplier=2.0, maximum_seconds=30.0)


@dataclass(frozen=True)
class AttemptCount:
    """The attempt that has failed, and how many before it were not charged."""

    attempt: int
    uncharged: int = 0

    @property
    def charged(self) -> int:
        """This one included."""
        return self.attempt - self.uncharged


@dataclass(frozen=True)
class NextAttempt:
    """Another attempt is to be made. `avoid_node` is the row id of the node that failed this one, if one did."""

    delay_seconds: float
    is_charged: bool
    status: str
    avoid_node: int | None = None


def next_attempt(
    verdict: Verdict,
    state: JobState,
    count: AttemptCount,
    policy: RetryPolicy | None,
    on_failure: RankFailurePolicy,
) -> NextAttempt | None:
    """What follows a verdict that ends the attempt of a job in `state`; None where nothing does."""
    if verdict.end is not JobState.FAILED or verdict.reason in (QUEUE_TIMEOUT, RESTORED):
        return None
    culprit = verdict.culprit
    if state is JobState.PENDING and is_platforms(culprit):
        return _uncharged(verdict, count)
    most = most_attempts(policy, on_failure)
    if count.charged >= most or not _is_retried(verdict, policy):
        return None
    backoff = policy.backoff if policy is not None else None
    delay = backoff.seconds_before(count.charged) if backoff is not None else 0.0
    lost = culprit is not None and culprit.reason == NODE_LOST
    return NextAttempt(
        delay,
        True,
        f"attempt {count.charged} of {most} failed: {verdict.status}; {_when(delay)}",
        culprit.node_id if culprit is not None and lost else None,
    )


def final_status(verdict: Verdict, count: AttemptCount) -> str:
    """The status of a job that has failed for good."""
    if verdict.end is not JobState.FAILED or count.attempt == 1:
        return verdict.status
    return f"{verdict.status}; after {count.attempt} attempts"


def is_platforms(culprit: RankOutcome | None) -> bool:
    """Whether the platform, not the job, failed this rank before it ran."""
    return culprit is not None and culprit.started_at is None and culprit.reason in PLATFORM_REASONS


def matches(rule: RetryRule, verdict: Verdict) -> bool:
    """Whether all that a rule names holds. A condition on a rank holds for no attempt that no rank failed."""
    culprit = verdict.culprit or _NOBODY
    code = culprit.exit_code
    checks = (
        (rule.exit_codes, code is not None and any(first <= code <= last for first, last in rule.exit_codes)),
        # By the exit code, which a signal that is known gives too: a shell passes on so what ended its program.
        (rule.signals, signal_of(code) in rule.signals),
        (rule.out_of_memory, culprit.oom_killed),
        (rule.node_lost, culprit.reason in (NODE_LOST, ENGINE_RESTARTED)),
        (rule.reasons, bool({verdict.reason, culprit.reason} & set(rule.reasons))),
        (rule.log_text, rule.log_text in (culprit.last_lines or culprit.message)),
    )
    return all(holds for asked, holds in checks if asked)


def _is_retried(verdict: Verdict, policy: RetryPolicy | None) -> bool:
    for rule in policy.rules if policy is not None else ():
        if matches(rule, verdict):
            return rule.action is RetryAction.RETRY
    return verdict.reason not in OVERRUN_REASONS


def _uncharged(verdict: Verdict, count: AttemptCount) -> NextAttempt | None:
    if count.uncharged >= MOST_UNCHARGED:
        return None
    # At once the first time: elsewhere it may well do.
    delay = _UNCHARGED_BACKOFF.seconds_before(count.uncharged) if count.uncharged else 0.0
    node = verdict.culprit.node_id if verdict.culprit is not None else None
    status = f"not started, for no fault of its own: {verdict.status}; {_when(delay)}"
    return NextAttempt(delay, False, status, node)


def _when(delay_seconds: float) -> str:
    return f"starting again in {delay_seconds:g} s" if delay_seconds else "starting again"
