"""The addresses of a gang's hosts where its ranks use them: names become numbers, as hosts files need them."""

from __future__ import annotations

import socket
from dataclasses import replace

from core.errors import EngineError, HostAddressUnknown
from core.jobs.launching import LaunchWork


def with_numeric_addresses(work: LaunchWork) -> LaunchWork:
    """The work with every rank's host by its IPv4 address, as this worker resolves it.

    Raises HostAddressUnknown or EngineError, which say which rank's host it is.
    """
    if not work.address_of_rank:
        return work
    known = {host: _resolved(host, work) for host in set(work.address_of_rank)}
    return replace(work, address_of_rank=tuple(known[host] for host in work.address_of_rank))


def _resolved(host: str, work: LaunchWork) -> str:
    rank = work.address_of_rank.index(host)
    if not host:
        raise HostAddressUnknown(
            f"the pool's network is host, and the node of rank {rank} has no address by which others reach it:"
            " give the node one (its `address`)"
        )
    try:
        found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise EngineError(f"the host of rank {rank}, {host}, cannot be resolved: {error}") from None
    return str(found[0][4][0])
