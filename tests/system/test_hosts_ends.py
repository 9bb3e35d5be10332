"""How gangs over hosts end: one rank's failure at every moment, cancellations at every state, four kinds of kill.

Every gang here has five ranks: four fill the first host and the last is alone on the second, so that what is
wrong with a host befalls either rank 0 or rank 4 first. The judge says whether the others ended in time and what
is left.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lab.api_client import ENDED, ApiClient, Json
from tests.lab.host_pool import gang, ranks_of, used_hosts
from tests.lab.hosts import Hosts, can_make_hosts
from tests.lab.images import BUSYBOX
from tests.lab.platform import Platform, wait_until
from tests.lab.registry import Registry

pytestmark = [
    pytest.mark.skipif(bool(can_make_hosts()), reason=can_make_hosts()),
    pytest.mark.usefixtures("judge"),
]
RANKS = 5
#: The host that a rank is on, by the lab's numbers, when nothing else is in the pool.
HOST_OF = {0: 0, RANKS - 1: 1}
#: Doubles a string until the memory is gone.
EAT_MEMORY = """awk 'BEGIN { s = "xxxxxxxxxxxxxxxx"; while (1) s = s s }'"""
GRACE = {"stopGracePeriod": "1s"}
END_SECONDS = 90


@pytest.fixture
def client(hosts_platform: Platform) -> ApiClient:
    return hosts_platform.client


class Tags:
    """Names that are given to the hosts' own images, to each host another; they are taken back."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._given: list[tuple[int, str]] = []

    def give(self, number: int, image: str, name: str) -> None:
        """Call a host's image by a further name."""
        self._hosts[number].engine.images.get(image).tag(name)
        self._given.append((number, name))

    def commit(self, number: int, name: str, *changes: str) -> None:
        """Give a host an image of that name which is busybox with changes, as a Dockerfile says them."""
        container = self._hosts[number].engine.containers.create(BUSYBOX, "true")
        try:
            container.commit(*name.rsplit(":", 1), changes=list(changes))
        finally:
            container.remove()
        self._given.append((number, name))

    def take_back(self) -> None:
        """Remove them all."""
        for number, name in self._given:
            self._hosts[number].engine.images.remove(name, force=True)


@pytest.fixture
def tags(hosts: Hosts) -> Iterator[Tags]:
    given = Tags(hosts)
    yield given
    given.take_back()


def pull_fails(hosts: Hosts, tags: Tags, registry: Registry, rank: int) -> Json:
    """The image is on the other hosts, this one has it by no name, and the registry has not got it."""
    name = f"{registry.host}/team/gone-{rank}:1"
    for number in range(3):
        if number != HOST_OF[rank]:
            tags.commit(number, name, 'LABEL kept="elsewhere"')
    return {"imageRef": name, "shellExecutor": {"command": "sleep 60"}}


def create_fails(hosts: Hosts, tags: Tags, registry: Registry, rank: int) -> Json:
    """The image's own command is to be run, and on this host the image has none."""
    name = f"longshore-test/own-{rank}:1"
    for number in range(3):
        if number == HOST_OF[rank]:
            tags.give(number, BUSYBOX, name)
        else:
            tags.commit(number, name, 'CMD ["/bin/sleep", "60"]')
    return {"imageRef": name}


def start_fails(hosts: Hosts, tags: Tags, registry: Registry, rank: int) -> Json:
    """The image's directory is a file on this host: its containers are made, and cannot be started."""
    name = f"longshore-test/workdir-{rank}:1"
    for number in range(3):
        place = "/bin/busybox" if number == HOST_OF[rank] else "/tmp"
        tags.commit(number, name, f"WORKDIR {place}")
    return {"imageRef": name, "shellExecutor": {"command": "sleep 60"}}


def fails_soon(hosts: Hosts, tags: Tags, registry: Registry, rank: int) -> Json:
    """One second after its start."""
    script = f"[ $RANK = {rank} ] && {{ sleep 1; echo bad; exit 8; }}; sleep 60"
    return {"imageRef": BUSYBOX, "shellExecutor": {"command": script}}


def fails_last(hosts: Hosts, tags: Tags, registry: Registry, rank: int) -> Json:
    """In the last second: the others are about to exit 0, and may do so before they are told to stop."""
    script = f"[ $RANK = {rank} ] && {{ sleep 2.5; echo bad; exit 8; }}; sleep 3"
    return {"imageRef": BUSYBOX, "shellExecutor": {"command": script}}


Arrange = Callable[[Hosts, Tags, Registry, int], Json]
MOMENTS: dict[Arrange, tuple[str, str]] = {
    pull_fails: ("IMAGE_NOT_FOUND", "could not be started"),
    create_fails: ("COMMAND_NOT_STARTED", "could not be started"),
    start_fails: ("COMMAND_NOT_STARTED", "could not be started"),
    fails_soon: ("EXIT_CODE", "failed first"),
    fails_last: ("EXIT_CODE", "failed first"),
}


@pytest.mark.parametrize("rank", HOST_OF)
@pytest.mark.parametrize("arrange", MOMENTS, ids=lambda each: each.__name__)
def test_rank_that_fails_is_named_with_its_host_and_the_others_are_stopped(
    client: ApiClient, hosts: Hosts, hosts_registry: Registry, tags: Tags, arrange: Arrange, rank: int
) -> None:
    reason, how = MOMENTS[arrange]
    body = arrange(hosts, tags, hosts_registry, rank)
    job = client.create(nodePoolId="swarm", numRanks=RANKS, **GRACE, **body)
    done = client.wait_end(job["id"], END_SECONDS)
    host = hosts[HOST_OF[rank]].name
    assert (done["state"], done["reason"], done["attempt"]) == ("FAILED", reason, 1), done["status"]
    assert done["status"].startswith(f"rank {rank} {how} on node {host}: "), done["status"]
    assert used_hosts(client, job["id"]) == 2
    of_rank = {found["rank"]: found for found in ranks_of(client, job["id"])}
    failed = of_rank.pop(rank)
    assert (failed["state"], failed["reason"]) == ("FAILED", reason)
    for other in of_rank.values():
        if arrange is pull_fails and other["nodeId"] == host:
            # What one rank's host has not got the others there have not got either.
            assert (other["state"], other["reason"]) == ("FAILED", reason)
            continue
        ended_well = arrange is fails_last and (other["state"], other["exitCode"]) == ("SUCCEEDED", 0)
        assert ended_well or other["state"] == "STOPPED", other
        if other["startTime"] is None:
            assert (other["reason"], other["exitCode"]) == ("STOPPED_BEFORE_START", None), other
        elif not ended_well:
            assert other["reason"] in ("STOPPED", "KILLED") and other["exitCode"] in (137, 143), other
        if how == "failed first":
            assert other["startTime"] is not None


def test_image_of_no_registry_that_differs_between_hosts_fails_the_gang(
    client: ApiClient, hosts: Hosts, tags: Tags
) -> None:
    """One name, two images: whichever host is first, the ranks of the other would run something else."""
    name = "longshore-test/differs:1"
    for number in range(3):
        tags.commit(number, name, f"LABEL host={number}")
    # More ranks than a host has slots, and the first host's are there before the second is begun with.
    job = client.create(
        nodePoolId="swarm", numRanks=RANKS, imageRef=name, shellExecutor={"command": "sleep 60"}, **GRACE
    )
    done = client.wait_end(job["id"], END_SECONDS)
    assert (done["state"], done["reason"], done["attempt"]) == ("FAILED", "IMAGE_DIFFERS", 1), done["status"]
    assert f"{name} is another image on this node" in done["status"]
    assert "push it to a registry" in done["status"]


def end_states(client: ApiClient, job_id: str) -> list[str]:
    """Of the job itself, from its history."""
    events = client.http.get(f"/batchJobs/{job_id}/events", params={"pageSize": 200}).json()["events"]
    return [event["state"] for event in events if event["rank"] is None and event["state"] in ENDED]


def cancel_answer(client: ApiClient, job_id: str) -> tuple[int, Json]:
    answer = client.http.post(f"/batchJobs/{job_id}:cancel", json={})
    return answer.status_code, answer.json()


def wait_for_state(client: ApiClient, job: Json, state: str) -> None:
    client.wait_for(job["id"], lambda seen: seen["state"] == state)


def wait_until_up(client: ApiClient, job: Json) -> None:
    client.wait_for(job["id"], lambda _: client.lines(job["id"]) == ["up"] * RANKS)


def assert_cancelled_twice(client: ApiClient, job: Json) -> Json:
    """Cancel it, and again at once and when it has ended; the job."""
    assert [cancel_answer(client, job["id"]) for _ in range(2)] == [(200, {})] * 2
    done = client.wait_end(job["id"], END_SECONDS)
    assert (done["state"], done["reason"]) == ("CANCELLED", "CANCELLED")
    assert cancel_answer(client, job["id"]) == (200, {})
    assert end_states(client, job["id"]) == ["CANCELLED"]
    return done


def test_cancel_of_a_queued_gang_ends_it_at_once(client: ApiClient) -> None:
    job = gang(client, "true", 13)
    wait_for_state(client, job, "QUEUED")
    assert_cancelled_twice(client, job)
    assert {rank["state"] for rank in ranks_of(client, job["id"])} == {"STOPPED"}


@pytest.mark.parametrize("created", [0, 4])
def test_cancel_of_a_pending_gang_leaves_no_container(
    client: ApiClient, hosts: Hosts, tags: Tags, created: int
) -> None:
    """A registry that takes connections and says nothing holds it; on some hosts the image is already."""
    with socket.create_server((hosts.gateway, 0)) as silent:
        name = f"{hosts.gateway}:{silent.getsockname()[1]}/x:1"
        if created:
            tags.give(0, BUSYBOX, name)
        job = gang(client, "sleep 60", RANKS, image=name, **GRACE)

        def count() -> int:
            return sum(rank["state"] == "CREATED" for rank in ranks_of(client, job["id"]))

        wait_for_state(client, job, "PENDING")
        wait_until(lambda: count() == created, 30, f"{created} ranks are created")
        assert client.get(job["id"])["state"] == "PENDING"
        assert_cancelled_twice(client, job)
    assert {(rank["state"], rank["startTime"]) for rank in ranks_of(client, job["id"])} == {("STOPPED", None)}


def test_cancel_of_a_running_gang_ends_it_within_its_grace(client: ApiClient) -> None:
    job = gang(client, "sleep 60", RANKS, **GRACE)
    wait_for_state(client, job, "RUNNING")
    assert_cancelled_twice(client, job)
    assert {rank["state"] for rank in ranks_of(client, job["id"])} == {"STOPPED"}


def test_cancel_of_a_gang_that_is_being_cancelled_changes_nothing(client: ApiClient) -> None:
    script = "trap '' TERM; echo up; while :; do sleep 0.1; done"
    job = gang(client, script, RANKS, stopGracePeriod="2s")
    wait_until_up(client, job)
    assert cancel_answer(client, job["id"]) == (200, {})
    wait_for_state(client, job, "CANCELLING")
    assert_cancelled_twice(client, job)
    found = {(rank["state"], rank["reason"], rank["exitCode"]) for rank in ranks_of(client, job["id"])}
    assert found == {("STOPPED", "KILLED", 137)}


def test_cancel_of_a_gang_that_has_ended_is_refused(client: ApiClient) -> None:
    job = gang(client, "true", RANKS)
    assert client.wait_end(job["id"], END_SECONDS)["state"] == "COMPLETED"
    status, body = cancel_answer(client, job["id"])
    assert (status, body["code"]) == (400, 9)
    assert end_states(client, job["id"]) == ["COMPLETED"]


@pytest.mark.parametrize(
    ("count", "ranks"),
    [(20, (1, 2, 5)), pytest.param(200, (1, 2, 3, 5, 8), marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
)
def test_cancels_that_race_the_natural_end_leave_one_end_each(
    client: ApiClient, count: int, ranks: tuple[int, ...]
) -> None:
    """Each is cancelled by two clients at about the time that it ends by itself."""
    draw = random.Random(25)
    answers: list[int] = []

    def cancel_near_end(job_id: str, seconds: float) -> None:
        client.wait_for(job_id, lambda job: job["state"] not in ("QUEUED", "PENDING"), 1200)
        time.sleep(seconds)  # not a wait for anything: the moment of the race
        answers.append(cancel_answer(client, job_id)[0])

    jobs, racers = [], []
    for number in range(count):
        job = gang(client, f"sleep 0.{number % 10}", ranks[number % len(ranks)], **GRACE)
        jobs.append(job["id"])
        for _ in range(2):
            racer = threading.Thread(target=cancel_near_end, args=(job["id"], draw.uniform(0, 1)))
            racer.start()
            racers.append(racer)
        while sum(each.is_alive() for each in racers) > 24:
            time.sleep(0.05)
    for racer in racers:
        racer.join(1200)
    assert len(answers) == 2 * count and set(answers) <= {200, 400}
    ends = []
    for job_id in jobs:
        done = client.wait_end(job_id, END_SECONDS)
        states = {rank["state"] for rank in ranks_of(client, job_id)}
        allowed = {"COMPLETED": {"SUCCEEDED"}, "CANCELLED": {"SUCCEEDED", "STOPPED"}}
        assert states <= allowed[done["state"]], (done, states)
        assert end_states(client, job_id) == [done["state"]]
        ends.append(done["state"])
    print(f"{ends.count('COMPLETED')} of {count} came to their own end")


def test_four_ends_by_a_kill_leave_four_different_records_in_a_gang(client: ApiClient) -> None:
    """The last rank, alone on its host, comes to each of them; the others wait for it, or sleep."""
    last = RANKS - 1
    scripts = {
        "out of memory": f"[ $RANK = {last} ] && exec {EAT_MEMORY}; sleep 60",
        "a child": f"[ $RANK = {last} ] && {{ {EAT_MEMORY}; sleep 1; echo survived; }}; exit 0",
        "exit 137": f"[ $RANK = {last} ] && exit 137; sleep 60",
        "killed by us": "trap '' TERM; echo up; while :; do sleep 0.1; done",
    }
    found: dict[str, tuple[Any, ...]] = {}
    for name, script in scripts.items():
        job = gang(client, script, RANKS, resources={"memory": "24Mi"}, stopGracePeriod="0.5s")
        if name == "killed by us":
            wait_until_up(client, job)
            client.cancel(job["id"])
        done = client.wait_end(job["id"], END_SECONDS)
        first, *_, rank = ranks_of(client, job["id"])
        assert rank["nodeId"] != first["nodeId"]
        if done["state"] == "FAILED":
            assert f"rank {last} failed first on node {rank['nodeId']}: " in done["status"]
        if name == "a child":
            assert f"rank {last}" in done["status"]
        found[name] = (
            done["state"],
            done["reason"],
            rank["state"],
            rank["reason"],
            rank["exitCode"],
            rank["outOfMemory"],
        )
    assert found == {
        "out of memory": ("FAILED", "OUT_OF_MEMORY", "FAILED", "OUT_OF_MEMORY", 137, True),
        "a child": ("COMPLETED", "CHILD_OUT_OF_MEMORY", "SUCCEEDED", "CHILD_OUT_OF_MEMORY", 0, True),
        "exit 137": ("FAILED", "EXIT_CODE", "FAILED", "EXIT_CODE", 137, False),
        "killed by us": ("CANCELLED", "CANCELLED", "STOPPED", "KILLED", 137, False),
    }
