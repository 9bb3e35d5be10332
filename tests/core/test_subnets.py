"""Address blocks for gangs: aligned, disjoint, large enough, and reused."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ResourceExhausted
from core.subnets import first_free_block, rank_address

RANGE = IPv4Network("10.201.0.0/20")


@given(st.lists(st.integers(min_value=2, max_value=200), max_size=30))
def test_first_free_block_any_sequence_gives_disjoint_blocks_that_fit(sizes: list[int]) -> None:
    taken: list[IPv4Network] = []
    for hosts in sizes:
        try:
            block = first_free_block(RANGE, hosts=hosts, taken=taken)
        except ResourceExhausted:
            free = RANGE.num_addresses - sum(network.num_addresses for network in taken)
            assert free < 3 * 256 + sum(network.num_addresses for network in taken)
            return
        assert block.subnet_of(RANGE)
        assert not any(block.overlaps(other) for other in taken)
        assert rank_address(block, hosts - 1) < block.broadcast_address
        taken.append(block)


def test_first_free_block_after_a_release_uses_the_hole() -> None:
    first = first_free_block(RANGE, hosts=4, taken=[])
    second = first_free_block(RANGE, hosts=4, taken=[first])
    assert first_free_block(RANGE, hosts=4, taken=[second]) == first


def test_first_free_block_when_full_says_so() -> None:
    with pytest.raises(ResourceExhausted, match=r"10\.201\.0\.0/20"):
        first_free_block(RANGE, hosts=2, taken=[RANGE])
