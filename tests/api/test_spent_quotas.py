"""Floods past a quota are refused from memory, for a quarter of a second at the most; nobody else is."""

from __future__ import annotations

import pytest

from api.spent_quotas import SpentQuotas
from core.errors import LiveJobsSpent, ResourceExhausted
from tests.lab.platform import wait_until


class Store:
    """Takes jobs while there is room; counts how often it is asked."""

    def __init__(self) -> None:
        self.quotas, self.has_room, self.asked = SpentQuotas(), False, 0

    def takes(self, asker: bytes = b"a") -> bool:
        try:
            self.quotas.refuse_flood(asker)
            with self.quotas.noted(asker):
                self.asked += 1
                if not self.has_room:
                    raise LiveJobsSpent(f"{asker!r} is full")
        except LiveJobsSpent as error:
            assert str(error) == f"{asker!r} is full"
            return False
        return True


def test_flood_is_refused_without_asking_and_room_is_found_soon() -> None:
    store = Store()
    assert not any(store.takes() for _ in range(2000))
    assert 50 <= store.asked < 200
    store.has_room = True
    wait_until(store.takes, 1, "the database is asked again", every=0.001)
    before = store.asked
    assert all(store.takes() for _ in range(100)) and store.asked == before + 100


def test_flood_of_one_asker_keeps_no_other_from_being_asked_for() -> None:
    store = Store()
    assert not any(store.takes() for _ in range(200))
    store.has_room = True
    assert store.takes(b"b")


def test_refusals_that_are_few_are_always_the_databases_own() -> None:
    store = Store()
    assert not any(store.takes() for _ in range(40))
    assert store.asked == 40
    store.has_room = True
    assert store.takes()


@pytest.mark.parametrize("error", [ResourceExhausted, KeyError])
def test_what_is_refused_for_another_reason_is_not_remembered(error: type[Exception]) -> None:
    quotas = SpentQuotas()
    for _ in range(100):
        with pytest.raises(error), quotas.noted(b"a"):
            raise error("no")
    quotas.refuse_flood(b"a")
