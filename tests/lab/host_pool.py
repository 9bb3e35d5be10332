"""A pool of several hosts as tests use it: set up over the API, asked about, and looked at past the platform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.lab.api_client import ApiClient, Json
from tests.lab.hosts import Hosts
from tests.lab.images import BUSYBOX
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers

POOL = "swarm"
#: Of each host.
SLOTS = 4
#: Every rank asks every other by name, and says whom it reached and which host it is on.
ALL_TO_ALL = (
    "echo $RANK > /tmp/rank; httpd -p 8080 -h /tmp; "
    "for peer in $(echo $LONGSHORE_RANKS | tr , ' '); do "
    "n=0; until got=$(timeout 2 wget -qO- http://$peer:8080/rank 2>/dev/null); do n=$((n+1)); "
    '[ $n -gt 100 ] && exit 3; sleep 0.1; done; reached="$reached $got"; done; echo reached$reached; '
    # Nobody leaves before everybody has asked.
    "touch /tmp/done; for peer in $(echo $LONGSHORE_RANKS | tr , ' '); do "
    "n=0; until timeout 2 wget -qO- http://$peer:8080/done >/dev/null 2>&1; do n=$((n+1)); "
    "[ $n -gt 100 ] && break; sleep 0.1; done; done; sleep 0.5"
)


def start_platform(servers: Servers, folder: Path, hosts: Hosts, **settings: Any) -> Platform:
    """A platform with all hosts in the pool `POOL`, whose gangs meet on overlays."""
    started = Platform(
        servers,
        folder,
        **{
            "docker_certs": hosts.client_certificates,
            "listing_seconds": 1,
            "facts_seconds": 2,
            "orphan_grace_seconds": 2,
            "min_free_disk_bytes": 1 << 20,
            "min_free_inodes": 100,
            "disk_probe_image": BUSYBOX,
            "engine_timeout_seconds": 20,
            **settings,
        },
    )
    try:
        add_pool(started.client, POOL, "overlay", hosts)
    except BaseException:
        started.stop()
        raise
    return started


def add_pool(client: ApiClient, pool: str, network: str, hosts: Hosts) -> None:
    """A pool of all hosts, with its nodes READY."""
    body = {"nodePoolId": pool, "nodePool": {"dockerNodePool": {"network": network, "ranksPerNode": SLOTS}}}
    assert client.http.post("/nodePools", json=body).status_code == 200
    for host in hosts.hosts:
        made = client.http.post(
            f"/nodePools/{pool}/nodes", json={"nodeId": host.name, "node": {"endpoint": host.endpoint}}
        )
        assert made.status_code == 200, made.text
    wait_until(lambda: all(each["accepting"] for each in nodes_of(client, pool)), 60, f"nodes of {pool} are READY")


def nodes_of(client: ApiClient, pool: str = POOL) -> list[Json]:
    """The pool's nodes as the API shows them."""
    nodes: list[Json] = client.http.get(f"/nodePools/{pool}/nodes").json()["nodes"]
    return nodes


def gang(client: ApiClient, command: str, ranks: int, **body: Any) -> Json:
    """A new job of the pool that runs a shell command."""
    return client.shell(command, **{"image": BUSYBOX, "ranks": ranks, "nodePoolId": POOL, **body})


def ranks_of(client: ApiClient, job_id: str, attempt: int = 0) -> list[Json]:
    """Every rank of an attempt, by default of the latest."""
    answer = client.http.get(f"/batchJobs/{job_id}/ranks", params={"attempt": attempt})
    assert answer.status_code == 200, answer.text
    found: list[Json] = answer.json()["ranks"]
    return found


def used_hosts(client: ApiClient, job_id: str) -> int:
    """On how many hosts the job's ranks were placed."""
    return len({rank["nodeId"] for rank in ranks_of(client, job_id)})


def reports(client: ApiClient, job: Json) -> list[str]:
    """What the ranks of `ALL_TO_ALL` said; a shell says a word of its own when `timeout` ends a program."""
    return [line for line in client.lines(job["id"]) if line.startswith("reached")]


def remains(engine: Any) -> list[str]:
    """Containers and gang networks of ours on an engine."""
    label = {"label": "longshore.installation"}
    containers = [found.name for found in engine.containers.list(all=True, sparse=True, filters=label)]
    networks = [found["Name"] for found in engine.api.networks(filters={"label": "longshore.network=gang"})]
    return [*containers, *networks]
