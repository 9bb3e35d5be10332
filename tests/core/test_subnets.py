"""Address blocks for gangs: aligned, disjoint, large enough, and reused."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ResourceExhausted
from core.subnets import FreeBlocks, rank_address

RANGE = IPv4Network("10.201.0.0/20")


BLOCKS = [list(RANGE.subnets(new_prefix=length)) for length in (24, 26, 28, 29)]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([block for blocks in BLOCKS for block in blocks]), max_size=8),
    st.lists(st.integers(min_value=2, max_value=200), max_size=30),
)
def test_take_any_sequence_gives_disjoint_blocks_that_fit(before: list[IPv4Network], sizes: list[int]) -> None:
    taken: list[IPv4Network] = []
    for block in before:
        if not any(block.overlaps(other) for other in taken):
            taken.append(block)
    free = FreeBlocks(RANGE, taken)
    for hosts in sizes:
        size = next(length for length in (8, 16, 32, 64, 128, 256) if length >= hosts + 3)
        aligned = [
            block
            for block in RANGE.subnets(new_prefix=33 - size.bit_length())
            if not any(block.overlaps(other) for other in taken)
        ]
        if not aligned:
            with pytest.raises(ResourceExhausted):
                free.take(hosts)
            continue
        block = free.take(hosts)
        assert block == aligned[0]
        assert rank_address(block, hosts - 1) < block.broadcast_address
        taken.append(block)


def test_take_after_a_release_uses_the_hole() -> None:
    blocks = FreeBlocks(RANGE, [])
    first, second = blocks.take(4), blocks.take(4)
    assert FreeBlocks(RANGE, [second]).take(4) == first


def test_take_when_full_says_so() -> None:
    with pytest.raises(ResourceExhausted, match=r"10\.201\.0\.0/20"):
        FreeBlocks(RANGE, [RANGE]).take(2)
