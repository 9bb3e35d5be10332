"""Floods past a quota are refused from memory, for a tenth of a second at the most; nobody else is."""

from __future__ import annotations

import pytest

from api.spent_quotas import SpentQuotas
from core.errors import ResourceExhausted
from tests.lab.platform import wait_until


class Store:
    """Takes jobs while there is room; counts how often it is asked."""

    def __init__(self) -> None:
        self.quotas, self.has_room, self.asked = SpentQuotas(), False, 0

    def takes(self, account: str = "a", num_ranks: int = 1) -> bool:
        try:
            with self.quotas.heeded(account, num_ranks):
                self.asked += 1
                if not self.has_room:
                    raise ResourceExhausted(f"{account} is full")
        except ResourceExhausted as error:
            assert str(error) == f"{account} is full"
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


def test_flood_of_one_kind_keeps_no_other_from_being_asked_for() -> None:
    store = Store()
    assert not any(store.takes() for _ in range(200))
    store.has_room = True
    assert store.takes("b") and store.takes(num_ranks=2)


def test_refusals_that_are_few_are_always_the_databases_own() -> None:
    store = Store()
    assert not any(store.takes() for _ in range(40))
    assert store.asked == 40
    store.has_room = True
    assert store.takes()


@pytest.mark.parametrize("error", [KeyError, ValueError])
def test_what_is_refused_for_another_reason_is_not_remembered(error: type[Exception]) -> None:
    quotas = SpentQuotas()
    for _ in range(100):
        with pytest.raises(error), quotas.heeded("a", 1):
            raise error
    with quotas.heeded("a", 1):
        pass
