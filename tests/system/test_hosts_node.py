"""`deploy/node` on machines of their own network: an engine, a port or a worker, a swarm, and a READY node."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from deploy.down import remove_ours
from deploy.home import Home, Roster
from deploy.processes import stop, tail
from tests.lab.host_pool import ALL_TO_ALL, nodes_of
from tests.lab.hosts import Host, Hosts, can_make_hosts
from tests.lab.images import BUSYBOX, import_busybox
from tests.lab.platform import ROOT, Platform
from tests.lab.proxy import ReplyProxy
from tests.lab.servers import Servers

pytestmark = pytest.mark.skipif(bool(can_make_hosts()), reason=can_make_hosts())
Done = subprocess.CompletedProcess[str]


class Machine:
    """A host without an engine, and `deploy/node` on it."""

    def __init__(self, hosts: Hosts, platform: Platform) -> None:
        self.host: Host = hosts.add_bare()
        self.home = Home(self.host.folder / "home")
        self.platform = platform
        self.gateway = hosts.gateway
        hosts.authority.issue_server(self.host.certificates, [self.host.address])
        self.home.path.mkdir()

    @property
    def socket(self) -> str:
        return f"unix://{self.host.folder}/engine/docker.sock"

    def node(self, *words: str, **more: str) -> Done:
        """Run the command; what it said and how it ended."""
        return self.host.run(
            sys.executable, "-m", "deploy.node", *words, **{
                "LONGSHORE_HOME": str(self.home.path),
                "LONGSHORE_URL": f"http://{self.gateway}:{self.platform.port}",
                "LONGSHORE_ACCOUNT": "acme",
                "LONGSHORE_API_KEY": self.platform.client.http.headers["Authorization"].removeprefix("Bearer "),
                "LONGSHORE_LISTING_SECONDS": "1",
                "LONGSHORE_FACTS_SECONDS": "1",
                "LONGSHORE_MIN_FREE_INODES": "100",
                "PYTHONPATH": str(ROOT),
                **more,
            }
        )  # fmt: skip

    def options(self, *more: str) -> tuple[str, ...]:
        folder = str(self.host.folder / "engine")
        return ("--engine-folder", folder, "--no-image", "--pool", "swarm", "--node", self.host.name, *more)

    def by_tls(self, *more: str, certificates: Path | None = None) -> Done:
        folder = str(certificates or self.host.certificates)
        return self.node("tls", self.host.address, "--certificates", folder, *self.options(*more))

    def logs(self) -> str:
        """The ends of what the processes printed."""
        return "\n".join(f"--- {name}\n{tail(self.home.log(name))}" for name in ("supervisor", "worker"))

    def end(self) -> None:
        """Stop what the command started, by its own list."""
        roster = Roster(self.home)
        for name in ("worker", "supervisor", "dockerd"):
            process = roster.running(name)
            if name == "dockerd" and process is not None:
                engine = docker.DockerClient(base_url=self.socket)
                remove_ours(engine, self.platform.installation)
                engine.close()
            if process is not None:
                stop(process, grace_seconds=30)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    lab = Hosts(0)
    try:
        yield lab
    finally:
        lab.end()


@pytest.fixture(scope="module")
def platform(servers: Servers, hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    started = Platform(
        servers,
        tmp_path_factory.mktemp("node"),
        docker_certs=hosts.client_certificates,
        api_host="0.0.0.0",
        listing_seconds=1,
        facts_seconds=1,
        min_free_inodes=100,
        min_free_disk_bytes=1 << 20,
    )
    try:
        pool = {"dockerNodePool": {"network": "overlay", "ranksPerNode": 2}}
        made = started.client.http.post("/nodePools", json={"nodePoolId": "swarm", "nodePool": pool})
        assert made.status_code == 200
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def machines(hosts: Hosts, platform: Platform, database_for_hosts: str) -> Iterator[list[Machine]]:
    made: list[Machine] = []
    try:
        made += [Machine(hosts, platform), Machine(hosts, platform)]
        yield made
    finally:
        for machine in made:
            machine.end()


def test_command_without_what_it_needs_says_so(machines: list[Machine], hosts: Hosts, tmp_path: Path) -> None:
    first = machines[0]
    for done, said in (
        (first.by_tls(), "so its engines are in one swarm: give --swarm-init"),
        (first.by_tls("--swarm-init", certificates=tmp_path), "has no ca.pem, cert.pem, key.pem"),
        (
            first.by_tls("--swarm-init", "--pool", "nowhere"),
            "there is no node pool accounts/acme/nodePools/nowhere",
        ),
        (first.by_tls("--swarm", "10.0.0.1:2377"), "--swarm needs --swarm-token-file"),
    ):
        assert done.returncode != 0 and said in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
    assert Roster(first.home).running("dockerd") is None
    assert nodes_of(first.platform.client) == []


@pytest.fixture(scope="module")
def database_for_hosts(platform: Platform, hosts: Hosts) -> Iterator[str]:
    """The database's URL from the hosts: it listens on this machine's own loopback only."""
    url = platform.database_url
    port = url.rpartition("@")[2].partition("/")[0].rpartition(":")[2]
    proxy = ReplyProxy(int(port), address=hosts.gateway)
    yield url.replace(f"127.0.0.1:{port}", f"{hosts.gateway}:{proxy.port}")
    proxy.close()


def test_two_machines_join_and_run_a_gang(
    machines: list[Machine], platform: Platform, database_for_hosts: str, tmp_path: Path
) -> None:
    first, second = machines
    done = first.by_tls("--swarm-init", "--label", "disk=ssd", "--label", "site=a")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{first.host.name} is a node of pool swarm." in done.stdout
    manager = docker.DockerClient(base_url=first.socket)
    token = tmp_path / "token"
    token.write_text(manager.swarm.attrs["JoinTokens"]["Worker"] + "\n")
    import_busybox(manager)
    manager.close()
    joined = ("--swarm", f"{first.host.address}:2377", "--swarm-token-file", str(token))
    beside = second.node(
        "beside",
        *second.options(*joined, "--swarm-address", second.host.address),
        LONGSHORE_DATABASE_URL=database_for_hosts,
        LONGSHORE_BROKER_URL=platform.broker_url,
        LONGSHORE_INSTALLATION=platform.installation,
    )
    assert beside.returncode == 0, beside.stdout + beside.stderr + second.logs()
    worker = docker.DockerClient(base_url=second.socket)
    import_busybox(worker)
    worker.close()
    nodes = nodes_of(platform.client)
    assert [(node["endpoint"], node["swarmRole"], node["accepting"]) for node in nodes] == [
        (f"tcp://{first.host.address}:2376", "manager", True),
        (second.socket, "worker", True),
    ]
    assert [node["labels"] for node in nodes] == [{"disk": "ssd", "site": "a"}, {}]
    job = platform.client.shell(ALL_TO_ALL, image=BUSYBOX, ranks=4, nodePoolId="swarm")
    ended = platform.client.wait_end(job["id"])
    lines = platform.client.lines(job["id"])
    assert ended["state"] == "COMPLETED", (ended["status"], lines)
    assert [line for line in lines if line.startswith("reached")] == ["reached 0 1 2 3"] * 4
    # Once more: everything is there, nothing is made or started.
    pids = [Roster(machine.home).running("dockerd") for machine in machines]
    again = first.by_tls("--swarm-init")
    assert again.returncode == 0 and "was running" in again.stdout and "is there" in again.stdout, again.stderr
    assert "is a manager of a swarm already" in again.stdout
    assert [Roster(machine.home).running("dockerd") for machine in machines] == pids
    assert len(nodes_of(platform.client)) == 2


def test_node_of_that_name_with_another_engine_is_refused(machines: list[Machine], platform: Platform) -> None:
    first, second = machines
    done = second.node(
        "tls", second.host.address, "--certificates", str(second.host.certificates),
        *second.options("--swarm-init", "--node", first.host.name),
    )  # fmt: skip
    assert done.returncode == 1
    # Its engine was started without a port; it is not this command's to restart.
    assert "has no port 2376" in done.stderr and "--tlsverify" in done.stderr


def test_certificates_from_the_command_line_are_what_the_command_wants(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    for words in (("authority",), ("client",), ("server", "10.1.2.3", "build-1.example")):
        done = subprocess.run(
            [sys.executable, "-m", "deploy.certificates", str(folder), *words],
            capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    server = folder / "server" / "10.1.2.3"
    assert {file.name for file in server.iterdir()} == {"ca.pem", "cert.pem", "key.pem"}
    for key in (folder / "ca-key.pem", folder / "key.pem", server / "key.pem"):
        assert key.stat().st_mode & 0o777 == 0o400
    openssl = shutil.which("openssl")
    if openssl:
        told = ["verify", "-CAfile", str(folder / "ca.pem"), "-purpose", "sslserver", "-verify_ip", "10.1.2.3"]
        said = subprocess.run([openssl, *told, str(server / "cert.pem")], capture_output=True, text=True)
        assert said.returncode == 0, said.stdout + said.stderr
