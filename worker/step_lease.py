"""How long a step may act, by its own process's clock: an engine cannot tell a step that holds its ranks from one
that was stopped for a while and whose ranks another has taken over."""

from __future__ import annotations

import time

from core.errors import Superseded


class StepLease:
    """Made before ranks are claimed for `seconds` in the database, so that it ends before the claim does.

    The clock is monotonic: it goes on while a process is stopped, and nobody can set it.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds

    def renew(self) -> None:
        """Before they are claimed once more."""
        self._until = time.monotonic() + self._seconds

    @property
    def is_over(self) -> bool:
        """Whether others may have taken over."""
        return time.monotonic() >= self._until

    def require(self) -> None:
        """To be asked right before an engine is told to do something. Raises Superseded."""
        if self.is_over:
            raise Superseded(
                f"the step has held its ranks for more than {self._seconds:.0f} s; others may hold them"
            )
