"""How a job is to run, as it is answered: what was not set is null, "" or 0."""

from __future__ import annotations

import signal
from typing import Annotated

from typing_extensions import TypedDict

from api.openapi.values import Duration, names_of
from api.wire.quantities import format_bytes, format_cpu
from api.wire.times import format_duration
from core.policies import Backoff, RetryAction, RetryPolicy, RetryRule
from core.spec import JobSpec


class ResourcesRead(TypedDict):
    cpu: str
    memory: str
    shmSize: str


class TimeoutsRead(TypedDict):
    queue: Duration | None
    pull: Duration | None
    run: Duration | None


class BackoffRead(TypedDict):
    initial: Duration
    multiplier: float
    maximum: Duration


class RetryRuleRead(TypedDict):
    action: Annotated[str, names_of(*RetryAction)]
    exitCodes: list[str]
    signals: list[str]
    outOfMemory: bool
    nodeLost: bool
    reasons: list[str]
    logText: str


class RetryPolicyRead(TypedDict):
    maxAttempts: int
    backoff: BackoffRead | None
    rules: list[RetryRuleRead]


def resources(spec: JobSpec) -> ResourcesRead | None:
    """What each rank has to itself; "" where one slot's share is meant."""
    if spec.cpu_milli is None and spec.memory_bytes is None and spec.shm_bytes is None:
        return None
    return {
        "cpu": "" if spec.cpu_milli is None else format_cpu(spec.cpu_milli / 1000),
        "memory": format_bytes(spec.memory_bytes),
        "shmSize": format_bytes(spec.shm_bytes),
    }


def timeouts(spec: JobSpec) -> TimeoutsRead | None:
    """The clocks that were set."""
    clocks: TimeoutsRead = {
        "queue": duration_or_null(spec.queue_timeout_seconds),
        "pull": duration_or_null(spec.pull_timeout_seconds),
        "run": duration_or_null(spec.run_timeout_seconds),
    }
    return clocks if any(clocks.values()) else None


def retry_policy(policy: RetryPolicy | None) -> RetryPolicyRead | None:
    """As it was asked for; `maxAttempts` 0 where no number was."""
    if policy is None:
        return None
    return {
        "maxAttempts": policy.max_attempts or 0,
        "backoff": None if policy.backoff is None else _backoff(policy.backoff),
        "rules": [_rule(rule) for rule in policy.rules],
    }


def _backoff(backoff: Backoff) -> BackoffRead:
    return {
        "initial": format_duration(backoff.initial_seconds),
        "multiplier": backoff.multiplier,
        "maximum": format_duration(backoff.maximum_seconds),
    }


def _rule(rule: RetryRule) -> RetryRuleRead:
    return {
        "action": rule.action.value,
        "exitCodes": [str(first) if first == last else f"{first}-{last}" for first, last in rule.exit_codes],
        "signals": [_signal(number) for number in rule.signals],
        "outOfMemory": rule.out_of_memory,
        "nodeLost": rule.node_lost,
        "reasons": list(rule.reasons),
        "logText": rule.log_text,
    }


def _signal(number: int) -> str:
    """Real-time signals have no names of their own but the first and the last."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def duration_or_null(seconds: float | None) -> str | None:
    """A duration that may be unset."""
    return None if seconds is None else format_duration(seconds)
