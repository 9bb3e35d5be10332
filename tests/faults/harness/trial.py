"""One run of one fault: a platform of its own, load on it, four records of it, and the judgement at the end."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.faults.harness.checker import check_folder
from tests.faults.harness.engines import Engines, EnginesWanted
from tests.faults.harness.evidence import LEDGER, ROWS, SAMPLES, WITNESS
from tests.faults.harness.finding import Finding
from tests.faults.harness.journal import Journal
from tests.faults.harness.keeper import Keeper
from tests.faults.harness.ledger import LedgerClient
from tests.faults.harness.load import Background, KnownJob, known_job
from tests.faults.harness.onlooker import Onlooker
from tests.faults.harness.orders import Orders
from tests.faults.harness.proxies import proxy_to, through
from tests.faults.harness.rows import write_rows
from tests.faults.harness.sampler import Sampler
from tests.faults.harness.witness import Witness
from tests.lab.images import ensure_busybox
from tests.lab.platform import Platform, wait_until
from tests.lab.proxy import ReplyProxy
from tests.lab.registry import Registry
from tests.lab.servers import Servers

#: Everything that waits in the platform waits briefly, so that a recovery is seen in seconds.
SETTINGS: Mapping[str, Any] = {
    "lease_seconds": 2,
    "step_lease_seconds": 6,
    "sweep_seconds": 1,
    "listing_seconds": 1,
    "orphan_grace_seconds": 3,
    "compact_after_seconds": 2,
}
#: Until all ranks of a gang have ended of which one has failed: a second of grace, and five.
_GANG_END_SECONDS = 6.0
_ACCOUNT, _EMAIL = "acme", "ann@acme.test"


@dataclass(frozen=True)
class Lab:
    """What a fault needs: slots of each node, more settings, engines, proxies, a registry."""

    slots: int = 16
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: (server, process): the one reaches the other through a proxy of its own
    proxied: tuple[tuple[str, str], ...] = ()
    registry: bool = False
    engines: EnginesWanted = field(default_factory=EnginesWanted)

    def beside(self, other: Lab) -> Lab:
        """One that serves both. Raises ValueError where they contradict each other."""
        both = self.settings.keys() & other.settings.keys()
        if self.engines != other.engines or any(self.settings[name] != other.settings[name] for name in both):
            raise ValueError(f"no lab is both {self} and {other}")
        return Lab(
            max(self.slots, other.slots),
            {**self.settings, **other.settings},
            tuple(dict.fromkeys((*self.proxied, *other.proxied))),
            self.registry or other.registry,
            self.engines,
        )


@dataclass(frozen=True)
class Scale:
    """How much of it: a short run belongs in the suite, a long one is what gets published."""

    short: bool
    rounds: int

    def pick(self, short: float, long: float) -> float:
        """One of two numbers."""
        return short if self.short else long

    def count(self, short: int, long: int) -> int:
        """One of two counts."""
        return short if self.short else long

    def allowed(self, seconds: float) -> float:
        """A time that is allowed. A short run may have to share its machine with others."""
        return seconds * (4 if self.short else 1)


@dataclass(frozen=True)
class Play:
    """A fault's function, and after how long at the most a new job must have run."""

    name: str
    work: Callable[[Trial], None]
    allowed_seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    findings: list[Finding]
    rounds: int
    jobs: int
    #: the longest time from a healing until a new job had run; None where nothing was timed
    recovery_seconds: float | None
    seconds: float
    folder: Path

    def count(self, kind: str) -> int:
        """How many findings of a kind."""
        return sum(finding.kind == kind for finding in self.findings)


class Trial:
    """What a fault's function works with. `chance` is all its randomness."""

    def __init__(self, folder: Path, lab: Lab, scale: Scale, seed: int, servers: Servers) -> None:
        self.folder, self.lab, self.scale, self.seed = folder, lab, scale, seed
        self.chance = random.Random(seed)
        self.rounds_done = 0
        self.recoveries: list[float] = []
        self._allowed_seconds = 0.0
        self._background: Background | None = None
        self._connection: psycopg.Connection[Any] | None = None
        self._query_lock = threading.Lock()
        ensure_busybox()
        self.servers = servers
        servers.start_all()
        self.proxies: dict[tuple[str, str], ReplyProxy] = {}
        self._registry = Registry() if lab.registry else None
        self.engines = Engines(lab.engines, folder)
        self.orders = Orders(folder / "orders")
        self._journals = {name: Journal(folder / name) for name in (LEDGER, WITNESS, SAMPLES, ROWS)}
        try:
            self._open()
            self.client.mark("limits", gang_end_seconds=scale.allowed(_GANG_END_SECONDS))
        except BaseException:
            self.engines.end()
            raise

    def _variables(self, process: str, environment: Mapping[str, str]) -> dict[str, str]:
        """Where a process's orders are, and the proxies by which it reaches servers."""
        more = self.orders.variables(process)
        for server, proxied_process in self.lab.proxied:
            if proxied_process == process:
                name = f"LONGSHORE_{server.upper()}_URL"
                if (server, process) not in self.proxies:
                    self.proxies[(server, process)] = proxy_to(environment[name])
                more[name] = through(environment[name], self.proxies[(server, process)])
        return more

    def _open(self) -> None:
        settings = {**SETTINGS, **self.engines.settings, **self.lab.settings}
        if self._registry is not None:
            settings["registry_config"] = self._registry.config
        self.platform = Platform(
            self.servers,
            self.folder,
            slots=self.lab.slots,
            endpoints=self.engines.endpoints,
            sockets=self.engines.sockets,
            network=self.engines.network,
            variables=self._variables,
            **settings,
        )
        key = self.platform.client.http.headers["Authorization"].removeprefix("Bearer ")
        self.client = LedgerClient(self.platform.url, _ACCOUNT, key, self._journals[LEDGER])
        engines = self.engines.by_name()
        self._witness = Witness(engines, self.platform.installation, self._journals[WITNESS])
        self._sampler = Sampler(
            engines,
            self.platform.installation,
            self.platform.database_url,
            lambda: self.platform.pids,
            self._journals[SAMPLES],
        )
        self.keeper = Keeper(self.platform, self.client)
        self._onlooker = Onlooker(self.platform, _ACCOUNT, self.client, self._some_job)

    def play(self, work: Callable[[Trial], None], allowed_seconds: float) -> None:
        """Run a fault's function, after which a new job must have run within so long, and come to rest.

        Raises AssertionError where something that the function waits for does not come to be.
        """
        self._allowed_seconds = self.scale.allowed(allowed_seconds)
        work(self)
        self._rest()

    @property
    def registry(self) -> Registry:
        """The one that the lab asked for."""
        assert self._registry is not None
        return self._registry

    def background(
        self, *, jobs: int, per_second: float = 2.0, may_fail: bool = False, tries_again: bool = False
    ) -> None:
        """Mixed jobs from now on, at the side of whatever the fault submits; the rest as in `Background`."""
        self._background = Background(
            self.client,
            self.seed,
            most=jobs,
            per_second=per_second,
            longest_seconds=self.scale.pick(2.0, 20.0),
            may_fail=may_fail,
            tries_again=tries_again,
        )

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Nothing is placed meanwhile: ids of jobs must be known before the jobs come where they are awaited."""
        nodes = self.engines.by_name()
        for node in nodes:
            self.client.act("POST", f"/nodePools/default/nodes/{node}:drain", json={})
        try:
            yield
        finally:
            for node in nodes:
                self.client.act("POST", f"/nodePools/default/nodes/{node}:undrain", json={})

    @contextmanager
    def helped_by(self, *processes: str) -> Iterator[None]:
        """A second process of each kind, meanwhile."""
        for process in processes:
            self.platform.start(process, number=2)
        try:
            yield
        finally:
            for process in processes:
                if not self.platform.has_died(f"{process}#2"):
                    self.platform.terminate(f"{process}#2", seconds=120)

    def submit_known(self, job: KnownJob) -> str:
        """Its id."""
        return self.client.submit(job.body, expect=job.expect)

    def submit(self, **job: Any) -> str:
        """A job whose end and output are known (`load.known_job`); its id."""
        return self.submit_known(known_job(**job))

    def wait_states(self, jobs: Collection[str], states: Collection[str], seconds: float) -> None:
        """Until each of these jobs is in one of these states."""
        statement = "SELECT count(*) FROM jobs WHERE batch_job_id = ANY(%s) AND state = ANY(%s)"
        self.wait(
            lambda: self.query(statement, list(jobs), list(states)) == [(len(set(jobs)),)],
            seconds,
            f"{len(jobs)} jobs are {' or '.join(sorted(states))}",
        )

    @contextmanager
    def fault(self, what: str) -> Iterator[None]:
        """What is done inside is the fault; when it is left, the platform is whole again and must recover."""
        self.client.mark("fault", fault=what)
        yield
        self.client.mark("healed")
        self.recover()

    def recover(self) -> None:
        """See a new job run to its end, and note how long that took: one that goes before all others, since what
        there is to do when a fault is over may take longer than the platform takes to come back."""
        begun = time.monotonic()
        job_id = self.submit(seconds=0, lines=2, priority=100)
        self.wait(lambda: self.state(job_id) == "COMPLETED", 180, "a new job runs")
        seconds = round(time.monotonic() - begun, 2)
        self.recoveries.append(seconds)
        self.client.mark("recovered", seconds=seconds, allowed_seconds=self._allowed_seconds)

    def broken(self, invariant: str, what: str) -> None:
        """Note for the checker what only the fault's own function can see."""
        self.client.mark("broken", invariant=invariant, why=what)

    def state(self, job_id: str) -> str:
        """Of a job by the id that the API gave it; from the row, "" where there is none or no database."""
        rows = self.query("SELECT state FROM jobs WHERE batch_job_id = %s", job_id)
        return str(rows[0][0]) if rows else ""

    def query(self, statement: str, *values: Any) -> list[Any]:
        """Rows; none where the database is away."""
        with self._query_lock:
            try:
                if self._connection is None:
                    url = self.platform.database_url
                    self._connection = psycopg.connect(url, autocommit=True, connect_timeout=3)
                return self._connection.execute(statement, values).fetchall()
            except psycopg.OperationalError:
                if self._connection is not None:
                    self._connection.close()
                self._connection = None
                return []

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Until it holds, within a generous time: this machine may be busy."""
        wait_until(condition, seconds, what, every=0.2)

    def finish(self) -> None:
        """Let everything come to rest, write the last records, end the platform. Never raises for what is found:
        what did not come to rest is the checker's to see."""
        try:
            self._rest()
        except AssertionError as error:
            self.broken("I1", str(error))
        finally:
            self.close()

    def _rest(self, seconds: float = 300) -> None:
        if self._background is not None:
            self._background.stop()
            self._background = None
        self.wait(self._at_rest, seconds, "every job has ended and nothing is held")

    def _some_job(self) -> str | None:
        found = self.query("SELECT batch_job_id FROM jobs ORDER BY random() LIMIT 1")
        return str(found[0][0]) if found else None

    def _at_rest(self) -> bool:
        live = "SELECT count(*) FROM jobs WHERE state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')"
        held = "SELECT count(*) FROM ranks WHERE node_id IS NOT NULL AND released_at IS NULL"
        blocks = "SELECT count(*) FROM gang_networks"
        if self.query(f"SELECT ({live}) + ({held}) + ({blocks})") != [(0,)]:
            return False
        return not self.platform.containers() and not self.platform.gang_networks()

    def close(self) -> None:
        """Write the last records as things are now, and end everything that was started."""
        with ExitStack() as ending:
            # Last first, and each whatever became of the others: a run may leave an engine that does not answer.
            if self._registry is not None:
                ending.callback(self._registry.stop)
            ending.callback(self.servers.forget_brokers)
            ending.callback(self.servers.start_all)
            ending.callback(self.engines.end)
            for proxy in self.proxies.values():
                ending.callback(proxy.close)
            ending.callback(self.platform.stop)
            if self._connection is not None:
                ending.callback(self._connection.close)
            ending.callback(self.client.close)
            for journal in self._journals.values():
                ending.callback(journal.close)
            self._onlooker.stop()
            self.keeper.stop()
            self._witness.finish()
            self._sampler.finish()
            write_rows(self.platform.database_url, self.platform.object_store_url, self._journals[ROWS])


def run_trial(
    plays: Sequence[Play],
    *,
    lab: Lab,
    scale: Scale,
    seed: int,
    servers: Servers,
    folder: Path | None = None,
) -> Outcome:
    """Run faults, as `Trial.play` takes them, and have the checker judge it all. The records stay in the outcome's
    folder.

    `servers` are killed and started again as the fault likes, and are whole when it is over.
    """
    folder = folder or Path(tempfile.mkdtemp(prefix="longshore-fault-"))
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    trial = Trial(folder, lab, scale, seed, servers)
    try:
        for play in plays:
            begun_play = time.monotonic()
            trial.play(play.work, play.allowed_seconds)
            if len(plays) > 1:
                print(f"{play.name} took {time.monotonic() - begun_play:.0f} s", flush=True)
    except AssertionError as error:
        trial.broken("I7", f"the fault's own steps: {error}")
    except BaseException:
        # Told to end, or a defect of the fault's own function: nothing is waited for.
        trial.close()
        raise
    trial.finish()
    findings = check_folder(folder)
    jobs = sum(1 for line in (folder / ROWS).read_text().splitlines() if '"table": "job"' in line)
    return Outcome(
        findings,
        max(trial.rounds_done, 1),
        jobs,
        max(trial.recoveries, default=None),
        round(time.monotonic() - begun, 1),
        folder,
    )
