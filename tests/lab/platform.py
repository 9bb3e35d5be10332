"""A whole Longshore for tests: its own database, installation mark, address range and four processes."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import docker
import httpx
import psycopg

from core.database import Database
from core.enrolment import ensure_first_account
from core.nodes import ensure_node, ensure_pool
from deploy import processes
from deploy.down import remove_ours
from deploy.embedded.places import free_port
from tests.lab.api_client import ApiClient
from tests.lab.servers import Servers

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "api": ("-m", "api"),
    "worker": ("-m", "worker", "run"),
    "supervisor": ("-m", "worker", "supervise"),
    "beat": ("-m", "worker", "beat"),
}
ENGINE = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")


#: Those that run now, so that a failing test can show what their processes said.
RUNNING: list[Platform] = []


class Platform:
    """Four real processes on one engine, or on all of `endpoints`. `kill` and `start` are for fault tests.

    `sockets`, where given, are how tests reach the same engines past whatever is done to the platform's way.
    `network` is the pool's; nodes of an engine that is reached by a socket have this machine's address then.
    `commands` replace what some of the processes are. `variables` gives more of a process's environment, by
    its name and what it would have. `code` is the folder whose processes are run, on a database that its
    migrations made; it may be changed between a process's end and its next start.
    """

    def __init__(
        self,
        servers: Servers,
        folder: Path,
        *,
        slots: int = 8,
        endpoints: Sequence[str] = (ENGINE,),
        sockets: Sequence[str] = (),
        network: str = "",
        commands: Mapping[str, Sequence[str]] | None = None,
        variables: Callable[[str, Mapping[str, str]], Mapping[str, str]] | None = None,
        code: Path = ROOT,
        **settings: Any,
    ) -> None:
        self.servers = servers
        self.folder = folder
        self.installation = f"test-{secrets.token_hex(4)}"
        self.code = code
        self.database_url = servers.new_database(code)
        self.broker_url = servers.new_broker()
        self.object_store_url = (folder.absolute() / "objects").as_uri()
        self.database = Database(self.database_url)
        self._connection = psycopg.connect(self.database_url, autocommit=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.endpoints = tuple(endpoints)
        self._sockets = tuple(sockets or endpoints)
        self._commands = {**COMMANDS, **(commands or {})}
        self._variables = variables or (lambda name, environment: {})
        # docker-py's own client: tests look at the engine past the platform. With several it is the first's.
        self.engine: Any = docker.DockerClient(base_url=self._sockets[0])
        #: 10.x is this platform's address range
        self.octet: int = free_octet(self.engine, {each.octet for each in RUNNING})
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = {
            **os.environ,
            "LONGSHORE_DATABASE_URL": self.database_url,
            "LONGSHORE_BROKER_URL": self.broker_url,
            "LONGSHORE_OBJECT_STORE_URL": self.object_store_url,
            "LONGSHORE_API_PORT": str(self.port),
            "LONGSHORE_INSTALLATION": self.installation,
            "LONGSHORE_WORKER_GROUP": self.installation,
            "LONGSHORE_NETWORK_RANGE": f"10.{self.octet}.0.0/17",
            "LONGSHORE_SOLO_NETWORK": f"10.{self.octet}.128.0/20",
            **{f"LONGSHORE_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.client = self.new_account("acme", "ann@acme.test", may_own_nodes=True)
        self._add_nodes(slots, network)
        RUNNING.append(self)
        try:
            for name in COMMANDS:
                self.start(name)
            # Four interpreters start at once, on a machine that may have other work.
            self.wait_ready()
        except BaseException as error:
            error.add_note(self.story())
            self.stop()
            raise

    def _add_nodes(self, slots: int, network: str) -> None:
        ensure_pool(self.database, account="acme")
        for number, endpoint in enumerate(self.endpoints):
            ensure_node(
                self.database,
                account="acme",
                name=f"node-{number}" if number else "local",
                endpoint=endpoint,
                worker_group=self.installation,
                cpu_count=slots // 2,
                memory_bytes=8 << 30,
                slots=slots,
            )
        if network:
            self._connection.execute("UPDATE node_pools SET network = %s", (network,))
            self._connection.execute("UPDATE nodes SET address = '127.0.0.1' WHERE endpoint LIKE 'unix:%%'")

    @property
    def environment(self) -> Mapping[str, str]:
        """What every process is started with."""
        return self._environment

    @cached_property
    def engines(self) -> tuple[Any, ...]:
        """A client of each engine."""
        return (self.engine, *(docker.DockerClient(base_url=each) for each in self._sockets[1:]))

    def new_account(
        self, account: str, email: str, *, is_operator: bool = False, may_own_nodes: bool = False
    ) -> ApiClient:
        """A client with a fresh key of the account's admin; the account is made where it is missing."""
        key = ensure_first_account(
            self.database,
            account=account,
            user_email=email,
            key_file_has_key=False,
            is_operator=is_operator,
            may_own_nodes=may_own_nodes,
        )
        assert key is not None
        return ApiClient(self.url, account, key)

    def start(self, name: str, *, group: str = "", number: int = 1) -> None:
        """Start one of the processes; its output goes to a file of the folder.

        With a worker group of its own it is a further process, known as `name@group`; a second of the same kind is
        known as `name#2`.
        """
        known = f"{name}@{group}" if group else name
        known += f"#{number}" if number > 1 else ""
        own = {"LONGSHORE_WORKER_GROUP": group} if group else {}
        with (self.folder / f"{known}.log").open("ab") as log:
            self._processes[known] = subprocess.Popen(
                [sys.executable, *self._commands[name]],
                cwd=self.code,
                env={
                    **self._environment,
                    "PYTHONPATH": str(self.code),
                    **self._variables(name, self._environment),
                    **own,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`python -m` something to its end, in the processes' environment; both outputs in `stdout`."""
        return subprocess.run(
            [sys.executable, "-m", *words],
            cwd=self.code,
            env={**self._environment, "PYTHONPATH": str(self.code)},
            stdin=subprocess.DEVNULL,
            timeout=150,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def connect_again(self) -> None:
        """Once there is another database by the name of the one before."""
        self._connection.close()
        self._connection = psycopg.connect(self.database_url, autocommit=True)

    @property
    def pids(self) -> dict[str, int]:
        """Of the processes that were started and not killed by us, whether they live or not, by their names."""
        return {name: process.pid for name, process in list(self._processes.items())}

    def has_died(self, name: str) -> bool:
        """Whether it ended although nobody told it to."""
        process = self._processes.get(name)
        return process is not None and process.poll() is not None

    def start_again(self, name: str) -> None:
        """Start a process by the name by which it is known."""
        known, _, number = name.partition("#")
        process, _, group = known.partition("@")
        self.start(process, group=group, number=int(number or 1))

    def pid(self, name: str) -> int:
        """Of one of the processes."""
        return self._processes[name].pid

    def kill(self, name: str) -> None:
        """SIGKILL one of the processes, and see it gone."""
        process = self._processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    def terminate(self, name: str, seconds: float = 60) -> float:
        """SIGTERM one of the processes; how many seconds it took to end. Fails where that is too many."""
        process = self._processes.pop(name)
        begun = time.monotonic()
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            raise AssertionError(f"{name} did not end within {seconds} s of SIGTERM") from None
        return time.monotonic() - begun

    def containers(self) -> list[Any]:
        """Every container of this platform, running, ended, or being removed."""
        label = f"longshore.installation={self.installation}"
        return [
            found
            for engine in self.engines
            for found in engine.containers.list(all=True, sparse=True, filters={"label": label})
        ]

    def containers_of(self, job_id: str) -> list[Any]:
        """Those of one job."""
        return [found for found in self.containers() if found.attrs["Labels"]["longshore.job"] == job_id]

    def gang_networks(self) -> list[Any]:
        """Every gang network of this platform."""
        labels = [f"longshore.installation={self.installation}", "longshore.network=gang"]
        return [found for engine in self.engines for found in engine.networks.list(filters={"label": labels})]

    def slots_in_use(self) -> int:
        """Ranks that hold a slot."""
        return int(
            self.query("SELECT count(*) FROM ranks WHERE node_id IS NOT NULL AND released_at IS NULL")[0][0]
        )

    def query(self, statement: Any) -> list[Any]:
        """Rows of a statement, straight from the database."""
        return self._connection.execute(statement).fetchall()

    def wait_at_rest(self, seconds: float = 30) -> None:
        """Return when no container, gang network or slot is in use."""
        wait_until(
            lambda: not self.containers() and not self.gang_networks() and self.slots_in_use() == 0,
            seconds,
            "no container, network or slot is in use",
        )

    def log(self, name: str) -> str:
        """What a process has printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def story(self, lines: int = 40) -> str:
        """The ends of all logs, and every job that has not ended with its ranks."""
        tails = [f"--- {name}\n" + "\n".join(self.log(name).splitlines()[-lines:]) for name in self._processes]
        statement = (
            "SELECT j.id, j.state, j.status, r.rank, r.state, r.lease_until FROM jobs j"
            " JOIN ranks r ON r.job_id = j.id WHERE r.released_at IS NULL"
        )
        try:
            ranks = self.query(statement)
        except psycopg.Error as error:
            ranks = [f"none to be had: {error}"]
        found = [f"{container.name} {container.status}" for container in self.containers()]
        return "\n".join([*tails, "--- rows", *map(str, ranks), "--- containers", *found])

    def stop(self) -> None:
        """End what this platform started: processes, containers, networks, connections."""
        RUNNING.remove(self)
        self._end_processes()
        for engine in self.engines:
            remove_ours(engine, self.installation)
            engine.close()
        self.client.close()
        self._connection.close()
        self.database.close()
        self.servers.take_back_broker(self.broker_url)

    def _end_processes(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)

    def wait_ready(self, seconds: float = 120) -> None:
        """Return when the API answers."""
        wait_until(self._ready, seconds, "the API answers")

    def _ready(self) -> bool:
        try:
            # Tests start an API while its broker is away.
            return httpx.get(f"{self.url}/readyz?exclude=broker", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


def wait_until(condition: Callable[[], bool], seconds: float, what: str, *, every: float = 0.05) -> None:
    """Ask again and again until `condition` holds; fails, saying `what` was waited for."""
    if not processes.wait_until(condition, seconds, every):
        raise AssertionError(f"not within {seconds} s: {what}")


def free_octet(engine: Any, taken: Collection[int] = ()) -> int:
    """The second octet of a 10.x.0.0/16 in which the engine has no network, and which is not `taken`."""
    subnets = [
        str(entry.get("Subnet"))
        for network in engine.networks.list()
        for entry in network.attrs["IPAM"]["Config"] or ()
    ]
    free = [
        octet
        for octet in range(203, 250)
        if octet not in taken and not any(s.startswith(f"10.{octet}.") for s in subnets)
    ]
    return secrets.choice(free)
