"""Blocks of our own address range for gang networks. Pure.

The engine's default pools hold 30 networks and then every create fails, so each network gets an explicit
block: the smallest power of two that holds the ranks, the gateway, and the network's two reserved addresses.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from core.errors import ResourceExhausted

_RESERVED = 3  # network address, gateway, broadcast
_SMALLEST = 8  # a /29; engines refuse nothing down to it


class FreeBlocks:
    """What of a range is not taken. Blocks are only ever taken from it: what becomes free is another's to see."""

    def __init__(self, within: IPv4Network, taken: Iterable[IPv4Network]) -> None:
        self._within = within
        self._taken = sorted(
            (int(block.network_address), int(block.broadcast_address) + 1)
            for block in taken
            if block.overlaps(within)
        )
        #: by size of a block, where the search for the next one begins: everything before is taken
        self._from: dict[int, tuple[int, int]] = {}

    def take(self, hosts: int) -> IPv4Network:
        """The first aligned block that holds so many hosts. Raises ResourceExhausted where there is none."""
        size = _SMALLEST
        while size < hosts + _RESERVED:
            size *= 2
        start, end = int(self._within.network_address), int(self._within.broadcast_address) + 1
        candidate, index = self._from.get(size, (-(-start // size) * size, 0))
        while index < len(self._taken) and candidate + size > self._taken[index][0]:
            candidate = max(candidate, -(-self._taken[index][1] // size) * size)
            index += 1
        if candidate + size > end:
            raise ResourceExhausted(f"no free block of {size} addresses is left in {self._within}")
        # All that ends before the candidate stays before it; what other sizes take meanwhile is looked at then.
        self._taken.insert(index, (candidate, candidate + size))
        self._from = {
            other: (at, place) if place <= index else (at, place + 1) for other, (at, place) in self._from.items()
        }
        self._from[size] = (candidate + size, index + 1)
        return IPv4Network((candidate, 33 - size.bit_length()))


def gateway_address(block: IPv4Network) -> IPv4Address:
    """The address of the host in a block."""
    return block.network_address + 1


def rank_address(block: IPv4Network, rank: int) -> IPv4Address:
    """The address of a rank in its gang's block; the first usable one is the gateway's."""
    return block.network_address + 2 + rank


def addresses_wanted(ranks: int, *, shared: bool) -> int:
    """How many addresses a gang's block is to have room for.

    A network over hosts takes addresses for itself, one on each: the upper half of its block is theirs.
    """
    return 2 * (ranks + _RESERVED) if shared else ranks


def engines_half(block: IPv4Network) -> IPv4Network:
    """The half of a block over hosts from which engines take addresses of their own; no rank's is in it."""
    return list(block.subnets(prefixlen_diff=1))[1]
