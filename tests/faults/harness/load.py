"""Jobs whose end and whose every byte of output are known before they run. All choices come from a seed."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults.harness.ledger import LedgerClient, NotAccepted
from tests.lab.images import BUSYBOX

Json = dict[str, Any]
#: An attempt that its node ended is no word on the job.
_AFTER_A_LOSS = {"maxAttempts": 10, "rules": [{"action": "RETRY", "nodeLost": True}, {"action": "FAIL"}]}


@dataclass(frozen=True)
class KnownJob:
    """A job as it is asked for, and what must come of it."""

    body: Json
    expect: Json


def known_job(
    *, ranks: int = 1, seconds: float = 0.3, lines: int = 20, code: int = 0, image: str = BUSYBOX, **more: Any
) -> KnownJob:
    """Each rank prints `lines` lines in two halves, `seconds` apart; with a code, rank 0 exits with it."""
    half = lines // 2
    command = (
        f'say() {{ i=$1; while [ $i -lt $2 ]; do echo "rank $RANK line $i"; i=$((i+1)); done; }}\n'
        f"say 0 {half}; sleep {seconds}; say {half} {lines}; echo oops >&2; printf end\n"
        f"[ $RANK = 0 ] && exit {code}; exit 0"
    )
    body = {
        "nodePoolId": "default", "imageRef": image, "numRanks": ranks, "shellExecutor": {"command": command},
        "stopGracePeriod": "1s", **more,
    }  # fmt: skip
    out = {
        str(rank): {
            "1": _sha("".join(f"rank {rank} line {i}\n" for i in range(lines)) + "end"),
            "2": _sha("oops\n"),
        }
        for rank in range(ranks)
    }
    return KnownJob(body, {"states": ["FAILED"] if code else ["COMPLETED"], "output": out})


def broken_gang(*, ranks: int, seconds: float) -> KnownJob:
    """Rank 0 fails after a while; the others would never end."""
    command = f"echo up; [ $RANK = 0 ] || exec sleep 3600; sleep {seconds}; exit 3"
    body = {
        "nodePoolId": "default", "imageRef": BUSYBOX, "numRanks": ranks, "shellExecutor": {"command": command},
        "stopGracePeriod": "1s",
    }  # fmt: skip
    return KnownJob(body, {"states": ["FAILED"], "output": {"0": {"1": _sha("up\n")}}})


def ticking_job(*, ranks: int = 1, ticks: int = 20, code: int = 0) -> KnownJob:
    """Each rank prints a line every fifth of a second; with a code, rank 0 exits with it."""
    command = (
        f'i=0; while [ $i -lt {ticks} ]; do echo "rank $RANK tick $i"; i=$((i+1)); sleep 0.2; done\n'
        f"[ $RANK = 0 ] && exit {code}; exit 0"
    )
    body = {
        "nodePoolId": "default", "imageRef": BUSYBOX, "numRanks": ranks, "shellExecutor": {"command": command},
        "stopGracePeriod": "1s",
    }  # fmt: skip
    out = {
        str(rank): {"1": _sha("".join(f"rank {rank} tick {i}\n" for i in range(ticks)))} for rank in range(ranks)
    }
    return KnownJob(body, {"states": ["FAILED"] if code else ["COMPLETED"], "output": out})


def sleeping_job(*, ranks: int = 1, seconds: float = 600.0) -> KnownJob:
    """One that is going to be cancelled: it ends within a moment of SIGTERM."""
    # The shell itself ends at once on a signal that it catches; its child would outlast it in the container.
    command = f"trap 'exit 143' TERM; echo up; sleep {seconds} & wait $!"
    body = {
        "nodePoolId": "default", "imageRef": BUSYBOX, "numRanks": ranks, "shellExecutor": {"command": command},
        "stopGracePeriod": "1s",
    }  # fmt: skip
    return KnownJob(body, {"states": ["CANCELLED"]})


def patient_job(*, ranks: int = 1, code: int = 0, states: Sequence[str] = ("CANCELLED",)) -> KnownJob:
    """One that is never done by itself, and exits with that code when it is told to end."""
    command = f"trap 'exit {code}' TERM; echo up; while :; do sleep 0.2; done"
    body = {
        "nodePoolId": "default", "imageRef": BUSYBOX, "numRanks": ranks, "shellExecutor": {"command": command},
        "stopGracePeriod": "1s",
    }  # fmt: skip
    return KnownJob(body, {"states": list(states)})


def mixed_job(chance: random.Random, *, longest_seconds: float) -> KnownJob:
    """One of the background: 1 to 4 ranks, mostly short; one in eight fails, one in sixteen by one rank of its."""
    seconds = round(min(longest_seconds, 0.1 + chance.expovariate(4 / longest_seconds)), 2)
    if chance.random() < 1 / 16:
        return broken_gang(ranks=chance.randint(2, 4), seconds=seconds)
    return known_job(
        ranks=chance.choice([1, 1, 1, 2, 2, 3, 4]),
        seconds=seconds,
        lines=2 * chance.randint(1, 40),
        code=chance.choice([0, 0, 0, 0, 0, 0, 0, 3]),
    )


class Background:
    """Mixed jobs, submitted one after the other by a thread, until `stop` or until there were `most`.

    `may_fail`: the fault ends what runs, and which jobs that will be nobody knows. `tries_again`: it ends some,
    and each of them is to be tried again until it comes to its own end.
    """

    def __init__(
        self,
        client: LedgerClient,
        seed: int,
        *,
        most: int,
        per_second: float,
        longest_seconds: float,
        may_fail: bool = False,
        tries_again: bool = False,
    ) -> None:
        self._client = client
        self._chance = random.Random(f"background {seed}")
        self._most, self._per_second, self._longest_seconds = most, per_second, longest_seconds
        self._over = threading.Event()
        self._may_fail = may_fail
        self._more = {"retryPolicy": _AFTER_A_LOSS} if tries_again else {}
        self.refusals: list[str] = []
        self._thread = threading.Thread(target=self._run, name="background", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more jobs; returns when the last has been taken. Raises NotAccepted where one was not."""
        self._over.set()
        self._thread.join(180)
        if self.refusals:
            raise NotAccepted(self.refusals[0])

    def _run(self) -> None:
        for _ in range(self._most):
            job = mixed_job(self._chance, longest_seconds=self._longest_seconds)
            expect = {**job.expect, "states": ["COMPLETED", "FAILED"]} if self._may_fail else job.expect
            try:
                self._client.submit({**job.body, **self._more}, expect=expect, seconds=150)
            except NotAccepted as error:
                self.refusals.append(str(error))
            if self._over.wait(self._chance.expovariate(self._per_second)):
                return


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
