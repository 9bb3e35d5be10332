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


def first_free_block(within: IPv4Network, *, hosts: int, taken: Iterable[IPv4Network]) -> IPv4Network:
    """The first aligned block of `within` that holds `hosts` and overlaps none of `taken`.

    Raises ResourceExhausted where there is none.
    """
    size = _SMALLEST
    while size < hosts + _RESERVED:
        size *= 2
    start, end = int(within.network_address), int(within.broadcast_address) + 1
    candidate = -(-start // size) * size
    for block in sorted(taken, key=lambda network: int(network.network_address)):
        if candidate + size <= int(block.network_address):
            break
        after = int(block.broadcast_address) + 1
        if after > candidate:
            candidate = -(-after // size) * size
    if candidate + size > end:
        raise ResourceExhausted(f"no free block of {size} addresses is left in {within}")
    return IPv4Network((candidate, 33 - size.bit_length()))


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
