"""The address ranges of jobs: whether they collide with a network of this host, and have a block left."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

from client.findings import Finding, fault, ok, warning, worst
from core.diagnosis import blocks_held
from core.errors import ResourceExhausted
from core.subnets import FreeBlocks
from deploy.diagnosis.site import Site
from worker.engine import LABEL_INSTALLATION

_ROUTES = Path("/proc/net/route")
_RANGE, _SOLO = "LONGSHORE_NETWORK_RANGE", "LONGSHORE_SOLO_NETWORK"


def networks_of_engine(site: Site) -> Finding:
    """Whether other networks of the engine, or routes of this host, lie in our ranges."""
    chosen = {_RANGE: site.settings.network_range, _SOLO: site.settings.solo_network}
    if chosen[_RANGE].overlaps(chosen[_SOLO]):
        return fault(
            f"{_RANGE} {chosen[_RANGE]} and {_SOLO} {chosen[_SOLO]} overlap",
            f"give one of them another range and restart the processes: {_SOLO}=10.202.0.0/20 deploy/up",
        )
    ours, others = _engine_networks(site)
    found = [
        fault(
            f"{variable} {within} collides with {block}, the network {name} of the engine",
            f"remove it (`docker network rm {name}`), or set {variable} to a range that is free and restart the"
            " processes",
        )
        for variable, within in chosen.items()
        for name, block in others
        if block.overlaps(within)
    ]
    known = {*ours, *(block for _, block in others)}
    for variable, within in chosen.items():
        found += [_of_route(variable, within, *route) for route in _routes() if _collides(route[0], within, known)]
    return worst(found) if found else ok(f"{chosen[_RANGE]} and {chosen[_SOLO]} are nobody else's here")


def blocks(site: Site) -> Finding:
    """Whether the next gang gets a network."""
    within = site.settings.network_range
    held = blocks_held(site.database)
    cure = f"set {_RANGE} to a larger range and restart the processes; blocks come back as gangs end"
    try:
        FreeBlocks(within, held).take(1)
    except ResourceExhausted:
        return fault(f"every block of {_RANGE} {within} is in use, by {len(held)} networks", cure)
    used = sum(block.num_addresses for block in held if block.overlaps(within))
    said = f"{used} of {within.num_addresses} addresses of {within} are in use"
    return warning(said, cure) if used > 0.9 * within.num_addresses else ok(said)


def _engine_networks(site: Site) -> tuple[list[IPv4Network], list[tuple[str, IPv4Network]]]:
    """The subnets that are this installation's, and those that are not, by name."""
    ours: list[IPv4Network] = []
    others: list[tuple[str, IPv4Network]] = []
    for network in site.engine.networks:
        is_ours = (network.get("Labels") or {}).get(LABEL_INSTALLATION) == site.settings.installation
        for entry in (network.get("IPAM") or {}).get("Config") or ():
            subnet = str(entry.get("Subnet") or "")
            if subnet and ":" not in subnet:
                block = IPv4Network(subnet, strict=False)
                if is_ours:
                    ours.append(block)
                else:
                    others.append((str(network.get("Name")), block))
    return ours, others


def _routes() -> Iterator[tuple[IPv4Network, str]]:
    """Every route of this host but the default one, with its interface (proc(5): hexadecimal, little-endian)."""
    lines = _ROUTES.read_text().splitlines()[1:] if _ROUTES.exists() else []
    for line in lines:
        fields = line.split()
        interface, destination, mask = fields[0], fields[1], fields[7]
        address = int.from_bytes(bytes.fromhex(destination), "little")
        bits = int(mask, 16).bit_count()
        if bits:
            yield IPv4Network((address, bits), strict=False), interface


def _collides(block: IPv4Network, within: IPv4Network, known: set[IPv4Network]) -> bool:
    return block.overlaps(within) and block not in known


def _of_route(variable: str, within: IPv4Network, block: IPv4Network, interface: str) -> Finding:
    said = f"{variable} {within} collides with {block}, a route of this host by {interface}"
    cure = f"set {variable} to a range that is free (`ip route` lists what is not) and restart the processes"
    # Ours is the narrower one then: it works, and hides some of what is behind that route.
    return warning(said, cure) if block.prefixlen < within.prefixlen else fault(said, cure)
