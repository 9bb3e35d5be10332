"""Accounts that have all the jobs that they may have, and ask for more again and again.

Most of such requests are refused as the last one was, without asking the database: it and the engines beside it
are to get on with the jobs that there are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from api.rate_limit import RateLimiter
from core.errors import ResourceExhausted

#: Refusals of one kind for which the database is asked, and how many may come at a time: whoever asks less often
#: is never told what was, and in a flood what was is a tenth of a second old at the most.
_ASKED_PER_SECOND, _ASKED_AT_ONCE = 10.0, 50
#: Refusals that are remembered; of what is forgotten the database is asked.
_MOST = 1000


class SpentQuotas:
    """What was refused last, of this process."""

    def __init__(self) -> None:
        self._asking = RateLimiter(_ASKED_PER_SECOND, _ASKED_AT_ONCE)
        self._refusals: OrderedDict[Hashable, str] = OrderedDict()

    @contextmanager
    def heeded(self, account: str, num_ranks: int) -> Iterator[None]:
        """Around the storing of a job of so many ranks. Raises ResourceExhausted as that does, or in its place."""
        of = (account, num_ranks)
        refusal = self._refusals.get(of)
        if refusal is not None and self._asking.wait(of):
            raise ResourceExhausted(refusal)
        try:
            yield
        except ResourceExhausted as error:
            self._asking.take(of)
            self._refusals[of] = str(error)
            if len(self._refusals) > _MOST:
                self._refusals.popitem(last=False)
            raise
        self._refusals.pop(of, None)
