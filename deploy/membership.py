"""How a machine becomes a node of a pool: by the API with an admin's key, or straight in the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from core.database import Database
from core.errors import CallerError, NotFound, Unavailable
from core.nodes import ensure_node
from core.pools.nodes import change_node, get_node_details
from core.pools.reading import get_pool
from deploy.processes import SetupError


@dataclass(frozen=True)
class Machine:
    """What is to be a node: its engine, who serves it, and what it has."""

    endpoint: str
    worker_group: str
    #: how its host is reached from the others; "" = as the endpoint says
    address: str
    labels: Mapping[str, str]
    cpu_count: int
    memory_bytes: int


class Membership(Protocol):
    """One node of one pool, there or to be made. All raise SetupError."""

    def network(self) -> str:
        """The pool's network."""

    def join(self, machine: Machine) -> str:
        """Make the node, or find it as it is to be; which of the two. Without labels they stay as they are."""

    def look(self) -> tuple[bool, str]:
        """Whether the node takes ranks, and its status."""

    def close(self) -> None:
        """Let go of connections."""


class ApiMembership:
    """By HTTP. `worker_group` empty is the API's own; capacity is what the engine will say."""

    def __init__(self, url: str, account: str, key: str, pool: str, node: str) -> None:
        self._pool, self._node = pool, node
        self._path = f"/{pool}/nodes/{node}"
        self._http = httpx.Client(
            base_url=f"{url}/v1/accounts/{account}/nodePools",
            headers={"Authorization": f"Bearer {key}"},
            timeout=15,
            trust_env=False,
        )

    def network(self) -> str:
        return str(self._call("GET", f"/{self._pool}")["dockerNodePool"]["network"])

    def join(self, machine: Machine) -> str:
        found = self._send("GET", self._path)
        if found.status_code == httpx.codes.OK:
            there = found.json()
            if there["endpoint"] != machine.endpoint:
                raise SetupError(f"node {self._node} is there, with the engine {there['endpoint']}: give --node")
            wanted = {"address": machine.address, "labels": dict(machine.labels)}
            changes = {field: value for field, value in wanted.items() if value and there[field] != value}
            if changes:
                self._call("PATCH", self._path, json=changes)
            return f"{self._node} is there"
        node = {
            "endpoint": machine.endpoint,
            "address": machine.address,
            "workerGroup": machine.worker_group,
            "labels": dict(machine.labels),
        }
        self._call("POST", f"/{self._pool}/nodes", json={"nodeId": self._node, "node": node})
        return f"{self._node} was made"

    def look(self) -> tuple[bool, str]:
        node = self._call("GET", self._path)
        return bool(node["accepting"]), str(node["status"])

    def close(self) -> None:
        self._http.close()

    def _call(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        answer = self._send(method, path, **more)
        if answer.status_code == httpx.codes.OK:
            found: dict[str, Any] = answer.json()
            return found
        try:
            said = answer.json()["message"]
        except (ValueError, KeyError):
            said = answer.text[:200]
        raise SetupError(f"the API refuses to {method} {path}: {said}")

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **more)
        except httpx.HTTPError as error:
            raise SetupError(f"the API at {self._http.base_url} does not answer: {error}") from error


class DatabaseMembership:
    """By the database that the worker beside the engine uses."""

    def __init__(self, url: str, account: str, pool: str, node: str) -> None:
        self._account, self._pool, self._node = account, pool, node
        self._database = Database(url, pool_size=1)

    def network(self) -> str:
        try:
            return get_pool(self._database, self._account, self._pool).network
        except CallerError as error:
            raise SetupError(str(error)) from error
        except Unavailable as error:
            raise SetupError(f"the database does not answer: {error}") from error

    def join(self, machine: Machine) -> str:
        try:
            there = get_node_details(self._database, self._account, self._pool, self._node)
        except NotFound:
            there = None
        if there is not None and there.worker_group != machine.worker_group:
            raise SetupError(f"node {self._node} is there, of worker group {there.worker_group}: give --node")
        ensure_node(
            self._database,
            account=self._account,
            pool=self._pool,
            name=self._node,
            endpoint=machine.endpoint,
            worker_group=machine.worker_group,
            cpu_count=machine.cpu_count,
            memory_bytes=machine.memory_bytes,
        )
        change_node(
            self._database,
            self._account,
            self._pool,
            self._node,
            address=machine.address or None,
            labels=machine.labels or None,
        )
        return (
            f"{self._node} {'was made' if there is None else 'is there'}, of worker group {machine.worker_group}"
        )

    def look(self) -> tuple[bool, str]:
        node = get_node_details(self._database, self._account, self._pool, self._node)
        seen = bool(node.engine_version)
        said = node.withheld or node.state_detail or ("seen" if seen else "no supervisor has seen its engine yet")
        return seen and node.state == "READY" and not node.withheld, f"{node.state}: {said}"

    def close(self) -> None:
        self._database.close()
