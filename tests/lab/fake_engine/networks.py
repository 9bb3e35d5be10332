"""Networks of a fake engine: names, address ranges, and who holds which address. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import Any

from tests.lab.fake_engine.behaviour import Refusal
from tests.lab.fake_engine.stamps import short_stamp

#: Where an engine takes ranges from that the caller does not name (moby, default local pools): thirty, then none.
_POOLS = (
    *(IPv4Network(f"172.{octet}.0.0/16") for octet in range(17, 32)),
    *IPv4Network("192.168.0.0/16").subnets(new_prefix=20),
)
BUILT_IN = frozenset({"bridge", "host", "none"})


class Refused(Exception):
    """The engine says no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(status, message)


@dataclass
class FakeNetwork:
    """`payload` is the create call's body, as it came. `holders` are containers by the address that each has."""

    name: str
    id: str
    subnet: IPv4Network | None
    created_ns: int
    payload: Mapping[str, Any]
    holders: dict[IPv4Address, str] = field(default_factory=dict)

    @property
    def labels(self) -> Mapping[str, str]:
        return self.payload.get("Labels") or {}

    def attach(self, container: str, wanted: str) -> str:
        """Give a container an address, the one wanted or the first that is free. Raises Refused."""
        if self.subnet is None:
            return ""
        if wanted:
            address = IPv4Address(wanted)
            if address not in self.subnet:
                raise Refused(
                    500, f"Invalid address {wanted}: It does not belong to any of this network's subnets"
                )
            if address in self.holders or address == self.gateway:
                raise Refused(403, "Address already in use")
        else:
            address = self._free()
        self.holders[address] = container
        return str(address)

    @property
    def gateway(self) -> IPv4Address | None:
        return None if self.subnet is None else self.subnet[1]

    def _gateway_asked_for(self) -> Mapping[str, str]:
        config = (self.payload.get("IPAM") or {}).get("Config") or [{}]
        return {name: value for name, value in config[0].items() if name == "Gateway"}

    def _free(self) -> IPv4Address:
        assert self.subnet is not None
        for number in range(2, self.subnet.num_addresses - 1):
            if self.subnet[number] not in self.holders:
                return self.subnet[number]
        raise Refused(403, "no available IPv4 addresses on this network's address pools: " + self.name)

    def detach(self, container: str) -> None:
        """Free whatever address a container has."""
        for address in [each for each, holder in self.holders.items() if holder == container]:
            del self.holders[address]

    def inspected(self, names: Mapping[str, str] | None = None) -> dict[str, Any]:
        """As GET /networks answers; with the holders' names where `names` are given, as GET /networks/{id}."""
        prefix = self.subnet.prefixlen if self.subnet else 0
        containers = {
            holder: {"Name": names.get(holder, ""), "IPv4Address": f"{address}/{prefix}", "IPv6Address": ""}
            for address, holder in (self.holders.items() if names is not None else ())
            if names is not None
        }
        return {
            "Name": self.name,
            "Id": self.id,
            "Created": short_stamp(self.created_ns),
            "Scope": "local",
            "Driver": self.payload.get("Driver") or "bridge",
            "EnableIPv6": False,
            "IPAM": {
                "Driver": "default",
                "Options": None,
                # As it was asked for: an engine names no gateway that it took by itself.
                "Config": [{"Subnet": str(self.subnet), **self._gateway_asked_for()}] if self.subnet else [],
            },
            "Internal": bool(self.payload.get("Internal")),
            "Attachable": bool(self.payload.get("Attachable")),
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Containers": containers,
            "Options": self.payload.get("Options") or {},
            "Labels": self.labels,
        }


class NetworkStore:
    """The networks of one engine."""

    def __init__(self) -> None:
        self._by_name: dict[str, FakeNetwork] = {}
        for name in BUILT_IN:
            subnet = IPv4Network("172.17.0.0/16") if name == "bridge" else None
            self._by_name[name] = FakeNetwork(name, secrets.token_hex(32), subnet, 1, {"Driver": name})

    def create(self, payload: Mapping[str, Any], now_ns: int) -> FakeNetwork:
        """A new network from a create call's body. Raises Refused."""
        name = str(payload.get("Name") or "")
        if name in self._by_name:
            raise Refused(409, f"network with name {name} already exists")
        if payload.get("Driver") == "overlay":
            raise Refused(
                503,
                'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this'
                " node to swarm and try again.",
            )
        subnet = self._subnet(payload)
        network = FakeNetwork(name, secrets.token_hex(32), subnet, now_ns, payload)
        self._by_name[name] = network
        return network

    def _subnet(self, payload: Mapping[str, Any]) -> IPv4Network:
        taken = [each.subnet for each in self._by_name.values() if each.subnet is not None]
        configured = (payload.get("IPAM") or {}).get("Config") or ()
        for entry in configured:
            text = str(entry.get("Subnet"))
            try:
                subnet = ip_network(text, strict=False)
            except ValueError:
                raise Refused(500, f"Invalid subnet {text} : invalid CIDR address: {text}") from None
            if not isinstance(subnet, IPv4Network) or _overlaps(subnet, taken):
                raise Refused(403, "Pool overlaps with other one on this address space")
            return subnet
        for subnet in _POOLS:
            if not _overlaps(subnet, taken):
                return subnet
        raise Refused(
            500,
            "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to"
            " the network",
        )

    def find(self, reference: str) -> FakeNetwork | None:
        """By name, by id, or by the beginning of an id."""
        found = self._by_name.get(reference)
        if found is None and reference:
            found = next((each for each in self._by_name.values() if each.id.startswith(reference)), None)
        return found

    def remove(self, reference: str) -> FakeNetwork:
        """Take a network away. Raises Refused."""
        network = self.find(reference)
        if network is None:
            raise Refused(404, f"network {reference} not found")
        if network.name in BUILT_IN:
            raise Refused(403, f"{network.name} is a pre-defined network and cannot be removed")
        if network.holders:
            raise Refused(
                403,
                f"error while removing network: network {network.name} id {network.id} has active endpoints",
            )
        return self._by_name.pop(network.name)

    def all(self) -> list[FakeNetwork]:
        """Every network."""
        return list(self._by_name.values())


def _overlaps(subnet: IPv4Network, taken: Iterable[IPv4Network]) -> bool:
    return any(subnet.overlaps(other) for other in taken)
