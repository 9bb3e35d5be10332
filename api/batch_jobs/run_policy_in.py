"""How a job is to run: where, what each rank may use, clocks, what is tried again. Fields, kinds, rules; pure."""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from api.wire.annotations import label_violations
from api.wire.proto_json import (
    BOOL,
    DURATION,
    INT32,
    STRING,
    UNREADABLE,
    Faults,
    Kind,
    enum,
    map_of,
    message,
    repeated,
)
from api.wire.quantities import bytes_kind, cpu_kind
from core.errors import FieldViolation
from core.policies import Backoff, RankFailurePolicy, RetryAction, RetryPolicy, RetryRule

MAX_ATTEMPTS = 10
MAX_RULES = 20
MAX_IN_RULE = 50
MAX_LOG_TEXT = 256
MAX_BACKOFF_SECONDS = 86_400
MAX_MULTIPLIER = 10
#: Ten years: past it, a time is more likely a mistake of units than meant.
MAX_CLOCK_SECONDS = 315_360_000
MAX_PRIORITY = 100
#: Linux' PATH_MAX, its NUL counted.
MAX_PATH_BYTES = 4095

POLICIES = {
    "RANK_FAILURE_POLICY_UNSPECIFIED": 0,
    **{str(policy.value): number for number, policy in enumerate(RankFailurePolicy, 1)},
}
ACTIONS = {"ACTION_UNSPECIFIED": 0, "RETRY": 1, "FAIL": 2}
_EXIT_CODES = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?", re.ASCII)
_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,62}", re.ASCII)


def _read_exit_codes(value: object, path: str, faults: Faults) -> object:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    match = _EXIT_CODES.fullmatch(text)
    codes = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= codes[0] <= codes[1] <= 255:
        faults.append(FieldViolation(path, 'must be an exit code from 1 to 255, or a range of them, as "3-7"'))
        return UNREADABLE
    return codes


def _read_signal(value: object, path: str, faults: Faults) -> object:
    """A name with or without SIG, or a number."""
    if isinstance(value, str):
        name = value if value.startswith("SIG") else f"SIG{value}"
        if name in signal.Signals.__members__:
            return int(signal.Signals[name])
        value = int(value) if value.isascii() and value.isdecimal() and len(value) < 3 else 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < signal.NSIG:
        faults.append(
            FieldViolation(path, f'must be a signal, as "SIGKILL" or 9, of number 1 to {signal.NSIG - 1}')
        )
        return UNREADABLE
    return value


def _read_number(value: object, path: str, faults: Faults) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        faults.append(FieldViolation(path, "must be a number"))
        return UNREADABLE
    return float(value) if abs(value) < 1e15 else math.copysign(1e15, value)


_INTEGER_OR_STRING: Mapping[str, Any] = {"type": ["string", "integer"]}
_RULE = message(
    {
        "action": enum(ACTIONS),
        "exitCodes": repeated(Kind(_read_exit_codes, {**_INTEGER_OR_STRING, "examples": ["3-7"]})),
        "signals": repeated(Kind(_read_signal, {**_INTEGER_OR_STRING, "examples": ["SIGKILL"]})),
        "outOfMemory": BOOL,
        "nodeLost": BOOL,
        "reasons": repeated(STRING),
        "logText": STRING,
    }
)
_BACKOFF = message(
    {"initial": DURATION, "multiplier": Kind(_read_number, {"type": "number"}), "maximum": DURATION}
)
FIELDS: Mapping[str, Kind] = {
    "resources": message(
        {"cpu": cpu_kind(), "memory": bytes_kind(6 << 20, 1 << 50), "shmSize": bytes_kind(1 << 12, 1 << 50)}
    ),
    "timeouts": message({"queue": DURATION, "pull": DURATION, "run": DURATION}),
    "retryPolicy": message({"maxAttempts": INT32, "backoff": _BACKOFF, "rules": repeated(_RULE)}),
    "rankFailurePolicy": enum(POLICIES),
    "priority": INT32,
    "workingDirectory": STRING,
    "ttlAfterFinished": DURATION,
    "nodeLabels": map_of(STRING),
}


@dataclass(frozen=True)
class RunPolicyIn:
    """What was given; every value is as `core.spec.JobSpec` keeps it, and not judged yet."""

    cpu_milli: int | None = None
    memory_bytes: int | None = None
    shm_bytes: int | None = None
    queue_timeout_seconds: float | None = None
    pull_timeout_seconds: float | None = None
    run_timeout_seconds: float | None = None
    retry_policy: RetryPolicy | None = None
    #: places of the rules whose action was not given
    rules_without_action: tuple[int, ...] = ()
    rank_failure_policy: RankFailurePolicy = RankFailurePolicy.FAIL_ALL
    priority: int = 0
    working_directory: str = ""
    ttl_seconds: float | None = None
    node_labels: Mapping[str, str] = field(default_factory=dict)


def read_run_policy(given: Mapping[str, Any]) -> RunPolicyIn:
    """The fields of `FIELDS` among those of a request."""
    resources, timeouts = given.get("resources", {}), given.get("timeouts", {})
    retry = given.get("retryPolicy")
    rules = retry.get("rules", ()) if retry is not None else ()
    on_failure = str(given.get("rankFailurePolicy", ""))
    return RunPolicyIn(
        cpu_milli=round(resources.get("cpu", 0) * 1000) or None,
        memory_bytes=resources.get("memory") or None,
        shm_bytes=resources.get("shmSize") or None,
        queue_timeout_seconds=timeouts.get("queue"),
        pull_timeout_seconds=timeouts.get("pull"),
        run_timeout_seconds=timeouts.get("run"),
        retry_policy=None if retry is None else _retry_policy(retry),
        rules_without_action=tuple(
            i for i, rule in enumerate(rules) if rule.get("action") not in RetryAction.__members__
        ),
        rank_failure_policy=RankFailurePolicy.__members__.get(on_failure, RankFailurePolicy.FAIL_ALL),
        priority=given.get("priority", 0),
        working_directory=given.get("workingDirectory", ""),
        ttl_seconds=given.get("ttlAfterFinished"),
        node_labels=given.get("nodeLabels", {}),
    )


def run_policy_violations(policy: RunPolicyIn) -> Iterator[FieldViolation]:
    """Every rule that these fields break."""
    yield from _clock_violations(policy)
    if policy.retry_policy is not None:
        yield from _retry_violations(policy, policy.retry_policy)
    if abs(policy.priority) > MAX_PRIORITY:
        yield FieldViolation("priority", f"must be between -{MAX_PRIORITY} and {MAX_PRIORITY}")
    directory = policy.working_directory
    if directory and not directory.startswith("/"):
        yield FieldViolation("workingDirectory", "must be an absolute path")
    elif len(directory.encode()) > MAX_PATH_BYTES:
        yield FieldViolation("workingDirectory", f"must be of at most {MAX_PATH_BYTES:,} bytes")
    yield from label_violations("nodeLabels", policy.node_labels)


def _clock_violations(policy: RunPolicyIn) -> Iterator[FieldViolation]:
    clocks = {
        "timeouts.queue": policy.queue_timeout_seconds,
        "timeouts.pull": policy.pull_timeout_seconds,
        "timeouts.run": policy.run_timeout_seconds,
    }
    for clock, seconds in clocks.items():
        if seconds is not None and not 0 < seconds <= MAX_CLOCK_SECONDS:
            yield FieldViolation(clock, f"must be more than 0s and at most {MAX_CLOCK_SECONDS}s")
    if policy.ttl_seconds is not None and policy.ttl_seconds > MAX_CLOCK_SECONDS:
        yield FieldViolation("ttlAfterFinished", f"must be at most {MAX_CLOCK_SECONDS}s")


def _retry_violations(policy: RunPolicyIn, retry: RetryPolicy) -> Iterator[FieldViolation]:
    field = "retryPolicy.maxAttempts"
    if retry.max_attempts is not None and not 1 <= retry.max_attempts <= MAX_ATTEMPTS:
        yield FieldViolation(field, f"must be between 1 and {MAX_ATTEMPTS}")
    elif retry.max_attempts == 1 and policy.rank_failure_policy is RankFailurePolicy.RESTART_ALL:
        yield FieldViolation(field, "must be 2 or more where rankFailurePolicy is RESTART_ALL")
    if retry.backoff is not None:
        yield from _backoff_violations(retry.backoff)
    if len(retry.rules) > MAX_RULES:
        yield FieldViolation("retryPolicy.rules", f"must be at most {MAX_RULES}")
    for place in policy.rules_without_action:
        yield FieldViolation(f"retryPolicy.rules[{place}].action", "must be RETRY or FAIL")
    for place, rule in enumerate(retry.rules):
        yield from _rule_violations(rule, f"retryPolicy.rules[{place}]")


def _backoff_violations(backoff: Backoff) -> Iterator[FieldViolation]:
    if backoff.initial_seconds > MAX_BACKOFF_SECONDS:
        yield FieldViolation("retryPolicy.backoff.initial", f"must be at most {MAX_BACKOFF_SECONDS}s")
    elif backoff.maximum_seconds > MAX_BACKOFF_SECONDS:
        yield FieldViolation("retryPolicy.backoff.maximum", f"must be at most {MAX_BACKOFF_SECONDS}s")
    elif backoff.maximum_seconds < backoff.initial_seconds:
        yield FieldViolation("retryPolicy.backoff.maximum", "must not be less than initial, by default 10s")
    if not 1 <= backoff.multiplier <= MAX_MULTIPLIER:
        yield FieldViolation("retryPolicy.backoff.multiplier", f"must be between 1 and {MAX_MULTIPLIER}")


def _rule_violations(rule: RetryRule, path: str) -> Iterator[FieldViolation]:
    lists = {"exitCodes": rule.exit_codes, "signals": rule.signals, "reasons": rule.reasons}
    for name, values in lists.items():
        if len(values) > MAX_IN_RULE:
            yield FieldViolation(f"{path}.{name}", f"must be at most {MAX_IN_RULE}")
    for place, reason in enumerate(rule.reasons[:MAX_IN_RULE]):
        if _REASON.fullmatch(reason) is None:
            yield FieldViolation(
                f"{path}.reasons[{place}]", "must be a reason as jobs and ranks have it, as RUN_TIMEOUT"
            )
    if len(rule.log_text) > MAX_LOG_TEXT:
        yield FieldViolation(f"{path}.logText", f"must be of at most {MAX_LOG_TEXT} characters")


def _retry_policy(given: Mapping[str, Any]) -> RetryPolicy:
    backoff = given.get("backoff")
    plain = Backoff()
    return RetryPolicy(
        # Zero is what a client with a generated class sends for what nobody set.
        max_attempts=given.get("maxAttempts") or None,
        backoff=None
        if backoff is None
        else Backoff(
            backoff.get("initial", plain.initial_seconds),
            backoff.get("multiplier", 0) or plain.multiplier,
            backoff.get("maximum", max(plain.maximum_seconds, backoff.get("initial", 0))),
        ),
        rules=tuple(_rule(rule) for rule in given.get("rules", ())),
    )


def _rule(given: Mapping[str, Any]) -> RetryRule:
    return RetryRule(
        action=RetryAction.__members__.get(str(given.get("action")), RetryAction.FAIL),
        exit_codes=given.get("exitCodes", ()),
        signals=given.get("signals", ()),
        out_of_memory=given.get("outOfMemory", False),
        node_lost=given.get("nodeLost", False),
        reasons=given.get("reasons", ()),
        log_text=given.get("logText", ""),
    )
