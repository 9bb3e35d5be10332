"""Which failures are tried again, and after how long; for every call, once.

Delays double and are jittered, so that many clients that were refused together do not come back together; a
Retry-After is never undercut. All of it is bounded by one budget of seconds.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from client.errors import OF_STATUS, FieldFault, NoConnection, Refused
from client.exchange.effects import Ask, Broken, Flow, Pause, Reply, Request
from client.reads.wire import read_json

_FIRST_SECONDS = 0.25
_MOST_SECONDS = 10.0
#: Answers that say "later". A gateway's are not the platform's: whether it did anything is not known.
_LATER = frozenset({429, 503})
_GATEWAY = frozenset({502, 504})


@dataclass
class Patience:
    """How long a call may go on failing: `seconds` from its first failure, or from the first after `renew`."""

    seconds: float
    _tries: int = 0
    _ends_at: float | None = None

    def renew(self) -> None:
        """It went well for a while: what fails now is another failure."""
        self._tries, self._ends_at = 0, None

    def next_delay(self, at_least: float = 0) -> float | None:
        """How long to wait before the next try; None = no more tries."""
        most = min(_FIRST_SECONDS * 2**self._tries, _MOST_SECONDS)
        if self._ends_at is None:
            self._ends_at = time.monotonic() + self.seconds
        self._tries += 1
        delay = at_least + random.uniform(most / 2, most)  # noqa: S311  # no secret
        return delay if time.monotonic() + delay <= self._ends_at else None


def answered(request: Request, patience: Patience) -> Flow[Reply]:
    """The 2xx reply to a request. Raises Refused, NoConnection."""
    lost = False
    while True:
        try:
            reply: Reply = yield Ask(request)
        except Broken as broken:
            lost = lost or broken.sent
            yield from wait_or_raise(broken, patience, again=request.repeatable or not broken.sent)
            continue
        if reply.status < 300 or (reply.status == 404 and lost and request.gone_is_done):
            return reply
        yield from wait_or_refuse(reply, patience, repeatable=request.repeatable)


def wait_or_raise(broken: Broken, patience: Patience, *, again: bool) -> Flow[None]:
    """A pause before the next try, where there is one. Raises NoConnection."""
    delay = patience.next_delay() if again else None
    if delay is None:
        unknown = "" if again or not broken.sent else "; whether it was done is not known"
        raise NoConnection(f"{broken}{unknown}") from broken
    yield Pause(delay, f"{broken}; trying again")


def wait_or_refuse(reply: Reply, patience: Patience, *, repeatable: bool = True) -> Flow[None]:
    """A pause before the next try, where the answer says "later". Raises Refused."""
    refused = refusal(reply)
    # A 503 may come after a commit whose outcome nobody knew.
    again = reply.status == 429 or (repeatable and reply.status in _LATER | _GATEWAY)
    delay = patience.next_delay(_retry_after_seconds(reply)) if again else None
    if delay is None:
        raise refused
    yield Pause(delay, f"{refused.sentence}; trying again")


def refusal(reply: Reply) -> Refused:
    """The error that an answer is. One that is not the platform's is told by its status."""
    cls = OF_STATUS.get(reply.status, Refused)
    body = read_json(reply.content)
    try:
        message, code = body["message"], body.get("code") or 0
        faults = tuple(
            FieldFault(str(each.get("field", "")), str(each.get("description", "")))
            for detail in body.get("details") or ()
            for each in detail.get("fieldViolations") or ()
        )
    except (AttributeError, KeyError, TypeError):
        message = ""
    if not message or not isinstance(code, int):
        return cls(f"what answers there is not Longshore: it answered HTTP {reply.status}", status=reply.status)
    return cls(str(message), status=reply.status, code=code, faults=faults)


def _retry_after_seconds(reply: Reply) -> float:
    """Seconds or a date (RFC 9110, 10.2.3); 0 where neither."""
    given = reply.headers.get("retry-after", "").strip()
    if given.isascii() and given.isdigit():
        return float(given)
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except ValueError:
        return 0.0
