"""A step that was stopped past its lease does nothing more, whoever has taken over meanwhile."""

from __future__ import annotations

import pytest

from core.errors import Superseded
from worker.step_lease import StepLease


def test_step_lease_that_is_over_lets_nothing_more_be_done() -> None:
    held = StepLease(0)
    assert held.is_over
    with pytest.raises(Superseded, match="others may hold them"):
        held.require()


def test_step_lease_that_holds_or_is_renewed_lets_the_step_go_on() -> None:
    held = StepLease(600)
    held.require()
    held.renew()
    held.require()
    assert not held.is_over
