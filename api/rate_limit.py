"""Rate limits: a token bucket for each key, and one for the failures of each client's address.

In the process on purpose: a broker in the way of every request would be one more thing that every request
waits for and dies with. With several api processes a key has the limit in each. Nothing here asks the database:
what is over the limit is refused before anything is looked up.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

#: Buckets of one limiter; past it the one that was not used for longest is forgotten, which is as if it were full.
MAX_BUCKETS = 20_000


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class RateLimiter:
    """Buckets of `burst` tokens that fill at `per_second`; 0 per second is no limit at all.

    Safe to share between threads. `clock` is in seconds and never goes back.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst, self._clock = per_second, float(max(burst, 1)), clock
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, of: Hashable) -> float:
        """Take a token; 0 where there was one, else the seconds until there is one. An empty bucket stays so."""
        if self._per_second <= 0:
            return 0.0
        with self._lock:
            bucket = self._filled(of)
            if bucket.tokens >= 1:
                bucket.tokens -= 1
                return 0.0
            return self._wait(bucket)

    def wait(self, of: Hashable) -> float:
        """What `take` would answer, without taking."""
        if self._per_second <= 0:
            return 0.0
        with self._lock:
            bucket = self._buckets.get(of)
            return 0.0 if bucket is None else self._wait(self._filled(of))

    def _wait(self, bucket: _Bucket) -> float:
        return max(0.0, 1 - bucket.tokens) / self._per_second

    def _filled(self, of: Hashable) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.get(of)
        if bucket is None:
            bucket = self._buckets[of] = _Bucket(self._burst, now)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
            return bucket
        self._buckets.move_to_end(of)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled_at) * self._per_second)
        bucket.filled_at = now
        return bucket


def whole_seconds(wait: float) -> int:
    """A wait as `Retry-After` says it: whole seconds, rounded up, at least one."""
    return max(1, math.ceil(wait))
