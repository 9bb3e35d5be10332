"""The addresses by which the ranks of a gang reach each other on the hosts' own networks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.errors import EngineError, HostAddressUnknown
from core.jobs.retrying import PLATFORM_REASONS
from core.spec import ShellExecutor
from tests.worker.test_containers import work
from worker.host_addresses import with_numeric_addresses

GANG = work(3, executor=ShellExecutor("true"))


def test_addresses_of_hosts_become_numbers() -> None:
    found = with_numeric_addresses(replace(GANG, address_of_rank=("localhost", "10.1.2.3", "localhost")))
    assert found.address_of_rank == ("127.0.0.1", "10.1.2.3", "127.0.0.1")


def test_host_without_an_address_is_named_by_a_rank_and_is_no_fault_that_passes() -> None:
    with pytest.raises(HostAddressUnknown, match="the node of rank 1 has no address"):
        with_numeric_addresses(replace(GANG, address_of_rank=("10.1.2.3", "", "10.1.2.4")))
    assert HostAddressUnknown.reason not in PLATFORM_REASONS


def test_host_whose_name_is_not_known_is_named() -> None:
    with pytest.raises(EngineError, match=r"the host of rank 2, nowhere\.invalid, cannot be resolved"):
        with_numeric_addresses(replace(GANG, address_of_rank=("10.1.2.3", "10.1.2.4", "nowhere.invalid")))
