"""The laws of the verdict over every mix of ends, policies and clocks; and gangs driven to their end by chance."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from core.jobs.retrying import MOST_UNCHARGED, AttemptCount, matches, next_attempt
from core.jobs.verdict import Overrun, RankOutcome, Verdict, judge
from core.policies import Backoff, RankFailurePolicy, RetryAction, RetryPolicy, RetryRule, most_attempts
from core.states import JOB_MOVES, RANK_ENDED, RANK_MOVES, JobState, RankState

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
_MOMENTS = st.integers(-5_000, 5_000).map(lambda ms: NOON + timedelta(milliseconds=ms))
_REASONS = st.sampled_from(["", "EXIT_CODE", "OUT_OF_MEMORY", "ENGINE_ERROR", "NODE_LOST", "IMAGE_NOT_FOUND"])


@st.composite
def outcomes_of_a_gang(draw: st.DrawFn, *, all_ended: bool = False) -> list[RankOutcome]:
    states = sorted(RANK_ENDED) if all_ended else list(RankState)
    gang = []
    for rank in range(draw(st.integers(1, 6))):
        state = draw(st.sampled_from(states))
        has_ended = state in RANK_ENDED
        never_ran = state not in (RankState.RUNNING, RankState.SUCCEEDED) and draw(st.booleans())
        code = {RankState.SUCCEEDED: 0}.get(state, draw(st.integers(1, 255)))
        gang.append(
            RankOutcome(
                rank,
                state,
                node=draw(st.sampled_from(["n1", "n2"])),
                exit_code=code if has_ended and not never_ran and state is not RankState.LOST else None,
                oom_killed=draw(st.booleans()) and has_ended,
                reason=draw(_REASONS) if has_ended else "",
                message=draw(st.sampled_from(["", "boom"])),
                started_at=None if never_ran or state not in RANK_ENDED | {RankState.RUNNING} else NOON,
                ended_at=draw(st.none() | _MOMENTS) if has_ended else None,
                recorded_at=draw(st.none() | _MOMENTS) if has_ended else None,
            )
        )
    return gang


policies = st.sampled_from(RankFailurePolicy)
overruns = st.none() | st.sampled_from(["QUEUE_TIMEOUT", "PULL_TIMEOUT", "RUN_TIMEOUT"]).map(
    lambda reason: Overrun(reason, "too long")
)
_RULES = st.builds(
    RetryRule,
    action=st.sampled_from(RetryAction),
    exit_codes=st.lists(st.just((1, 100)), max_size=1).map(tuple),
    signals=st.lists(st.sampled_from([9, 15]), max_size=1).map(tuple),
    out_of_memory=st.booleans(),
    node_lost=st.booleans(),
    reasons=st.lists(st.sampled_from(["RUN_TIMEOUT", "EXIT_CODE"]), max_size=1).map(tuple),
    log_text=st.sampled_from(["", "boom"]),
)
retry_policies = st.none() | st.builds(
    RetryPolicy,
    max_attempts=st.none() | st.integers(1, 10),
    backoff=st.none()
    | st.builds(
        Backoff,
        initial_seconds=st.floats(0, 86_400),
        multiplier=st.floats(1, 10),
        maximum_seconds=st.just(86_400.0),
    ),
    rules=st.lists(_RULES, max_size=4).map(tuple),
)


@settings(max_examples=500)
@given(outcomes_of_a_gang(), policies, overruns, st.randoms(use_true_random=False))
def test_verdict_does_not_depend_on_the_order_of_ranks(
    gang: list[RankOutcome], policy: RankFailurePolicy, overrun: Overrun | None, order: random.Random
) -> None:
    shuffled = order.sample(gang, len(gang))
    assert judge(gang, policy, overrun) == judge(shuffled, policy, overrun)


@settings(max_examples=500)
@given(outcomes_of_a_gang(), policies, overruns)
def test_verdict_ends_an_attempt_only_when_every_rank_has_ended_and_stops_only_what_lives(
    gang: list[RankOutcome], policy: RankFailurePolicy, overrun: Overrun | None
) -> None:
    verdict = judge(gang, policy, overrun)
    live = any(outcome.state not in RANK_ENDED for outcome in gang)
    assert (verdict.end is not None) == (not live)
    assert not verdict.stop or live
    assert not (verdict.stop or verdict.end) or (verdict.status and (verdict.reason or verdict.end))
    if verdict.culprit is not None:
        assert verdict.culprit in gang and verdict.culprit.state in (RankState.FAILED, RankState.LOST)
        assert verdict.end in (None, JobState.FAILED)


def completes(gang: list[RankOutcome], policy: RankFailurePolicy) -> bool:
    """What the contract says COMPLETED means, said another way."""
    if any(o.state in (RankState.FAILED, RankState.LOST) and o.started_at is None for o in gang):
        return False
    exited_0 = [o.state is RankState.SUCCEEDED for o in gang]
    match policy:
        case RankFailurePolicy.IGNORE:
            return any(exited_0) and not any(o.state is RankState.STOPPED for o in gang)
        case RankFailurePolicy.MAIN_RANK_DECIDES:
            return exited_0[0]
        case _:
            return all(exited_0)


@settings(max_examples=500)
@given(outcomes_of_a_gang(all_ended=True), policies, overruns)
def test_verdict_is_completed_exactly_where_the_policys_condition_holds(
    gang: list[RankOutcome], policy: RankFailurePolicy, overrun: Overrun | None
) -> None:
    verdict = judge(gang, policy, overrun)
    assert (verdict.end is JobState.COMPLETED) == (overrun is None and completes(gang, policy))
    assert overrun is None or (verdict.end, verdict.reason) == (JobState.FAILED, overrun.reason)
    failed = any(o.state in (RankState.FAILED, RankState.LOST) for o in gang)
    assert overrun is not None or verdict.end is not JobState.FAILED or failed
    if verdict.end is JobState.COMPLETED and failed:
        assert verdict.reason == "RANKS_FAILED" and "ignored" in verdict.status


@settings(max_examples=500)
@given(
    outcomes_of_a_gang(all_ended=True),
    policies,
    overruns,
    retry_policies,
    st.sampled_from([JobState.QUEUED, JobState.PENDING, JobState.RUNNING]),
    st.integers(1, 20),
    st.integers(0, 6),
)
def test_next_attempt_follows_only_failures_within_bounds_and_by_the_first_rule_that_matches(
    gang: list[RankOutcome],
    on_failure: RankFailurePolicy,
    overrun: Overrun | None,
    retry: RetryPolicy | None,
    state: JobState,
    attempt: int,
    uncharged: int,
) -> None:
    verdict = judge(gang, on_failure, overrun)
    count = AttemptCount(attempt, min(uncharged, attempt - 1))
    following = next_attempt(verdict, state, count, retry, on_failure)
    if following is None:
        return
    assert verdict.end is JobState.FAILED and verdict.reason != "QUEUE_TIMEOUT"
    assert 0 <= following.delay_seconds <= 86_400
    if not following.is_charged:
        assert state is JobState.PENDING and count.uncharged < MOST_UNCHARGED
        assert verdict.culprit is not None and verdict.culprit.started_at is None
        return
    assert count.charged < most_attempts(retry, on_failure)
    rules = [] if retry is None else [rule for rule in retry.rules if matches(rule, verdict)]
    assert rules[0].action is RetryAction.RETRY if rules else overrun is None


class Gang(RuleBasedStateMachine):
    """A gang whose ranks move as they may, by chance; the job follows the verdict as `stopping.settle` does."""

    job = JobState.PENDING
    ranks: list[RankOutcome]
    policy: RankFailurePolicy
    stopping = False
    overrun: Overrun | None = None
    now = NOON

    @initialize(size=st.integers(1, 5), policy=policies)
    def begin(self, size: int, policy: RankFailurePolicy) -> None:
        self.policy = policy
        self.ranks = [RankOutcome(rank, RankState.CREATED, node=f"n{rank % 2}") for rank in range(size)]

    def _live(self) -> list[RankOutcome]:
        return [o for o in self.ranks if o.state not in RANK_ENDED]

    @precondition(lambda self: self.job in (JobState.PENDING, JobState.RUNNING))
    @rule(which=st.integers(0, 4), to=st.sampled_from(RankState), code=st.integers(1, 255))
    def move(self, which: int, to: RankState, code: int) -> None:
        old = self.ranks[which % len(self.ranks)]
        if to not in RANK_MOVES[old.state] or (to is RankState.STOPPED and not self.stopping):
            return
        self.now += timedelta(milliseconds=100)
        started = old.started_at or (self.now if to in (RankState.RUNNING, RankState.SUCCEEDED) else None)
        has_ended = to in RANK_ENDED
        self.ranks[old.rank] = replace(
            old,
            state=to,
            started_at=started,
            exit_code={RankState.SUCCEEDED: 0, RankState.FAILED: code}.get(to) if started else None,
            ended_at=self.now if has_ended else None,
            recorded_at=self.now if has_ended else None,
        )
        self._settle()

    @precondition(lambda self: self.job is JobState.RUNNING and not self.stopping)
    @rule()
    def overrun_clock(self) -> None:
        self.overrun = Overrun("RUN_TIMEOUT", "too long")
        self._stop()

    @precondition(lambda self: not self._live())
    @rule()
    def stay_ended(self) -> None:
        ended_as = self.job
        self._settle()
        assert self.job is ended_as

    def _stop(self) -> None:
        self.stopping = True
        for outcome in self._live():
            if outcome.state in (RankState.CREATED, RankState.PLACED):
                self.ranks[outcome.rank] = replace(outcome, state=RankState.STOPPED, ended_at=self.now)
        self._settle()

    def _settle(self) -> None:
        started = all(o.started_at is not None for o in self.ranks)
        if self.job is JobState.PENDING and started and not self.stopping:
            self._to(JobState.RUNNING)
        verdict: Verdict = judge(self.ranks, self.policy, self.overrun)
        if verdict.stop and not self.stopping:
            self._stop()
        elif verdict.end is not None and self.job in (JobState.PENDING, JobState.RUNNING):
            self._to(verdict.end)

    def _to(self, state: JobState) -> None:
        # A cancellation passes through CANCELLING; nobody cancels here, so nothing may end so.
        assert state in JOB_MOVES[self.job], (self.job, state)
        self.job = state

    @invariant()
    def an_ended_gang_has_ended_its_job_and_no_other(self) -> None:
        if hasattr(self, "ranks"):
            assert (not self._live()) == (self.job in (JobState.COMPLETED, JobState.FAILED))

    @invariant()
    def completed_is_what_the_contract_says(self) -> None:
        if self.job is JobState.COMPLETED:
            assert self.overrun is None and completes(self.ranks, self.policy)


TestGang = Gang.TestCase
TestGang.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
