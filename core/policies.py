"""What is to become of a job when ranks fail: the values that a client chooses from. Pure.

What they mean for an attempt is decided in `core.jobs.verdict` and `core.jobs.retrying`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

#: Attempts of a job that names no number.
DEFAULT_MAX_ATTEMPTS = 1
#: Those of one that asks to be restarted and names no number either: a restart that never comes helps nobody.
DEFAULT_MAX_RESTARTS = 3


class RankFailurePolicy(StrEnum):
    """What the failure of one rank does to the others.

    A rank that could not be started at all ends the attempt under each of them: a gang runs whole or not.
    """

    #: it stops them, and the attempt has failed
    FAIL_ALL = "FAIL_ALL"
    #: likewise, and the whole gang starts again while `retryPolicy` allows
    RESTART_ALL = "RESTART_ALL"
    #: they go on; the attempt has failed only if not one of them exits 0
    IGNORE = "IGNORE"
    #: they go on, unless it was rank 0: its end is the attempt's, and stops the others
    MAIN_RANK_DECIDES = "MAIN_RANK_DECIDES"


class RetryAction(StrEnum):
    """What a rule does with a failed attempt that it matches."""

    RETRY = "RETRY"
    FAIL = "FAIL"


@dataclass(frozen=True)
class RetryRule:
    """Matches where each condition that is set holds for the rank that failed first; with none, always.

    `exit_codes` are ranges, both ends included; `log_text` is looked for in its last lines as it stands.
    """

    action: RetryAction
    exit_codes: tuple[tuple[int, int], ...] = ()
    signals: tuple[int, ...] = ()
    out_of_memory: bool = False
    node_lost: bool = False
    #: machine's codes, of the rank or of the job: `RUN_TIMEOUT`, `IMAGE_NOT_FOUND`
    reasons: tuple[str, ...] = ()
    log_text: str = ""


@dataclass(frozen=True)
class Backoff:
    """How long the next attempt waits: `initial`, then `multiplier` times as long each time, up to `maximum`."""

    initial_seconds: float = 10.0
    multiplier: float = 2.0
    maximum_seconds: float = 600.0

    def seconds_before(self, retry: int) -> float:
        """The wait before the retry of that number, from 1."""
        if self.initial_seconds == 0:
            return 0.0
        try:
            grown = self.initial_seconds * self.multiplier ** (retry - 1)
        except OverflowError:
            return self.maximum_seconds
        return min(grown, self.maximum_seconds)


@dataclass(frozen=True)
class RetryPolicy:
    """`max_attempts` None = not named. Without a `backoff` the next attempt is queued at once.

    The first rule that matches decides. Where none does, a failure is retried and an overrun clock is not.
    """

    max_attempts: int | None = None
    backoff: Backoff | None = None
    rules: tuple[RetryRule, ...] = ()


def most_attempts(policy: RetryPolicy | None, on_failure: RankFailurePolicy) -> int:
    """How many attempts a job may be charged with."""
    if policy is not None and policy.max_attempts is not None:
        return policy.max_attempts
    return DEFAULT_MAX_RESTARTS if on_failure is RankFailurePolicy.RESTART_ALL else DEFAULT_MAX_ATTEMPTS


def retry_policy_from_json(stored: Mapping[str, Any] | None) -> RetryPolicy | None:
    """The inverse of `dataclasses.asdict`, after a way through JSON."""
    if stored is None:
        return None
    backoff = stored.get("backoff")
    return RetryPolicy(
        max_attempts=stored.get("max_attempts"),
        backoff=None if backoff is None else Backoff(**backoff),
        rules=tuple(_rule(rule) for rule in stored.get("rules", ())),
    )


_RULE_FIELDS = frozenset(field.name for field in fields(RetryRule))


def _rule(stored: Mapping[str, Any]) -> RetryRule:
    known = {name: value for name, value in stored.items() if name in _RULE_FIELDS}
    known["action"] = RetryAction(known["action"])
    known["exit_codes"] = tuple((first, last) for first, last in known.get("exit_codes", ()))
    for name in ("signals", "reasons"):
        known[name] = tuple(known.get(name, ()))
    return RetryRule(**known)
