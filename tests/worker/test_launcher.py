"""Launch steps on a real engine, one by one: what a step finds that another has left, and secrets at the start."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import docker
import pytest

from core.database import Database
from core.jobs import starting
from core.jobs.placing import Placement, place
from core.jobs.quotas import Limits
from core.jobs.reading import get_job
from core.jobs.submitting import Submission, submit
from core.nodes import ensure_node, nodes_of_group
from core.pools.changing import change_pool
from core.pools.nodes import change_node
from core.queue import Bell, make_celery
from core.sealing import sealing_keys
from core.secrets import create_secret, delete_secret
from core.settings import Settings
from core.spec import JobSpec, ShellExecutor
from core.states import JobState
from deploy.down import remove_ours
from deploy.secret_keys import ensure_keys
from tests.core.test_jobs import Pool
from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import ENGINE, free_octet
from worker.docker_engine.init_words import without_words
from worker.docker_engine.steps import DockerSteps
from worker.engine import ContainerSpec
from worker.launcher import Launcher

#: To the platform another node; the launcher is given the same engine for it.
OTHER_ENDPOINT = "unix:///elsewhere"


class Steps:
    """A pool of two nodes on one engine, and the launcher of a worker that serves both."""

    def __init__(self, database: Database, broker_url: str, folder: Path) -> None:
        ensure_busybox()
        ensure_keys(folder / "keys")
        self.database, self.pool = database, Pool(database)
        ensure_node(
            database,
            account=self.pool.account,
            name="other",
            endpoint=OTHER_ENDPOINT,
            worker_group=self.pool.account,
            cpu_count=4,
            memory_bytes=8 << 30,
        )
        # Two nodes on one engine: they meet by its host's own address.
        change_pool(database, self.pool.account, "default", {"network": "host"})
        for name in ("local", "other"):
            change_node(database, self.pool.account, "default", name, slots=None, address="127.0.0.1")
        self.nodes = [node.id for node in nodes_of_group(database, self.pool.account)]
        self.engine: Any = docker.DockerClient(base_url=ENGINE)
        octet = free_octet(self.engine)
        self.range = IPv4Network(f"10.{octet}.0.0/17")
        self.settings = Settings(
            database_url=database.url,
            broker_url=broker_url,
            installation=f"test-{secrets.token_hex(4)}",
            solo_network=IPv4Network(f"10.{octet}.128.0/20"),
            secret_keys_file=folder / "keys",
        )
        self.bell = Bell(make_celery(broker_url))
        self.launcher = self.launcher_with(DockerSteps(ENGINE, timeout_seconds=30))

    def launcher_with(self, steps: DockerSteps) -> Launcher:
        """As another worker process has one, with its own engine client."""
        return Launcher(self.database, self.bell, self.settings, lambda _: steps)

    def place_gang(self, value: str) -> str:
        """A job with a secret of this value, one rank on each node; its id."""
        create_secret(
            self.database,
            sealing_keys(self.settings.secret_keys_file),
            self.pool.account,
            "token",
            key_name="TOKEN",
            value=value,
            created_by="a@b.c",
        )
        return self.place(
            JobSpec(
                BUSYBOX,
                num_ranks=len(self.nodes),
                executor=ShellExecutor("echo $RANK $TOKEN; ls -A /.longshore"),
                secret_env_vars={"TOKEN": "token"},
            )
        )

    def place(self, spec: JobSpec) -> str:
        """A job whose ranks are placed, one on each node; its id."""
        submission = Submission(pool="default", display_name="", shared=False, spec=spec)
        job_id = submit(self.database, self.pool.caller, submission, Limits(1000, 10_000)).job.id
        placement = Placement(job_id, 1, tuple(self.nodes))
        assert place(self.database, self.pool.node.pool_row, [placement], self.range)
        return job_id

    def said(self, job_id: str, rank: int) -> str:
        container = self.engine.containers.get(f"ls-{job_id}-1-{rank}")
        container.wait(timeout=20)
        lines = container.logs().splitlines(keepends=True)
        return b"".join(without_words(line)[0] for line in lines).decode()

    def state(self, job_id: str) -> JobState:
        return get_job(self.database, self.pool.account, job_id).state

    def close(self) -> None:
        remove_ours(self.engine, self.settings.installation)
        self.engine.close()
        self.bell.close()


@pytest.fixture
def steps(database: Database, broker_url: str, tmp_path: Path) -> Iterator[Steps]:
    made = Steps(database, broker_url, tmp_path)
    yield made
    made.close()


def test_gang_over_nodes_gets_its_secrets_from_whichever_step_starts_it(steps: Steps) -> None:
    value = secrets.token_hex(8)
    job_id = steps.place_gang(value)
    first, last = steps.nodes
    steps.launcher.launch(job_id, 1, first)
    waiting = steps.engine.containers.get(f"ls-{job_id}-1-0")
    assert waiting.status == "created"
    assert not [change for change in waiting.diff() or () if "longshore" in change["Path"]]
    steps.launcher.launch(job_id, 1, last)
    assert steps.state(job_id) is JobState.PENDING
    steps.launcher.start(job_id, 1, first, ENGINE)
    assert steps.state(job_id) is JobState.RUNNING
    assert [steps.said(job_id, rank) for rank in range(2)] == [f"0 {value}\n", f"1 {value}\n"]


def test_start_that_was_claimed_and_not_made_is_made_with_the_secrets(steps: Steps) -> None:
    value = secrets.token_hex(8)
    job_id = steps.place_gang(value)
    for node in steps.nodes:
        steps.launcher.launch(job_id, 1, node)
    # A step that dies once it has the claim; its lease is over at once.
    assert starting.claim_start(steps.database, job_id, 1, steps.nodes[0], 0).containers
    steps.launcher.start(job_id, 1, steps.nodes[0], ENGINE)
    assert steps.said(job_id, 0) == f"0 {value}\n"


def test_secret_removed_before_the_start_fails_the_rank_and_leaves_no_container(steps: Steps) -> None:
    job_id = steps.place_gang("v")
    for node in steps.nodes:
        steps.launcher.launch(job_id, 1, node)
    delete_secret(steps.database, steps.pool.account, "token")
    steps.launcher.start(job_id, 1, steps.nodes[0], ENGINE)
    job = get_job(steps.database, steps.pool.account, job_id)
    assert "there is no secret" in job.status
    with pytest.raises(docker.errors.NotFound):
        steps.engine.containers.get(f"ls-{job_id}-1-0")


def test_secret_removed_before_the_launch_fails_the_job_without_a_container(steps: Steps) -> None:
    job_id = steps.place_gang("v")
    delete_secret(steps.database, steps.pool.account, "token")
    steps.launcher.launch(job_id, 1, steps.nodes[0])
    with pytest.raises(docker.errors.NotFound):
        steps.engine.containers.get(f"ls-{job_id}-1-0")
    assert "there is no secret" in get_job(steps.database, steps.pool.account, job_id).status


class _Interrupted(DockerSteps):
    """Lets something happen just before its first container is created."""

    def __init__(self, before_create: Callable[[], None]) -> None:
        super().__init__(ENGINE, timeout_seconds=30)
        self._before_create: Callable[[], None] | None = before_create

    def create(self, spec: ContainerSpec) -> str:
        call, self._before_create = self._before_create, None
        if call is not None:
            call()
        return super().create(spec)


def test_gang_whose_image_moves_on_between_two_nodes_runs_one_image(steps: Steps) -> None:
    name = "longshore-test/moving:1"
    steps.engine.images.get(BUSYBOX).tag(name)
    job_id = steps.place(JobSpec(name, num_ranks=2, executor=ShellExecutor("cat /which || echo old")))
    first, last = steps.nodes

    def move_on() -> None:
        container = steps.engine.containers.run(BUSYBOX, ["sh", "-c", "echo new > /which"], detach=True)
        container.wait()
        container.commit(*name.split(":"))
        container.remove()
        steps.launcher.launch(job_id, 1, last)

    other = steps.launcher_with(_Interrupted(move_on))
    try:
        other.launch(job_id, 1, first)
        with pytest.raises(docker.errors.NotFound):
            steps.engine.containers.get(f"ls-{job_id}-1-0")
        other.launch(job_id, 1, first)
        steps.launcher.start(job_id, 1, last, ENGINE)
        assert [steps.said(job_id, rank) for rank in range(2)] == ["new\n", "new\n"]
    finally:
        remove_ours(steps.engine, steps.settings.installation)
        steps.engine.images.remove(name, force=True)
