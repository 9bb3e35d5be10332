"""Containers: created once, started once, found, removed; and what an engine says when it refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Any

import pytest
from docker.errors import APIError

from core.errors import CommandNotStarted, ContainerGone, EngineError, GpuUnavailable, ImageNotFound, NameTaken
from tests.lab.platform import wait_until
from tests.worker.engine_contract.subject import LIMITS, Subject
from worker.docker_engine.faults import last_line_of
from worker.docker_engine.payload import container_payload
from worker.docker_engine.steps import DockerSteps
from worker.engine import ContainerSpec, Observation, RankKey

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_create_twice_finds_the_same_container(subject: Subject) -> None:
    spec = subject.spec("sleep 60")
    assert subject.steps.create(spec) == subject.steps.create(spec)


def test_create_while_another_is_under_way_is_refused_and_its_container_not_to_be_seen_yet(
    subject: Subject,
) -> None:
    """A name is taken before its container can be found: whoever is refused has to look again."""
    for _ in range(20):
        spec = subject.spec("sleep 60")
        with ThreadPoolExecutor(6) as pool:
            outcomes = list(pool.map(lambda _, spec=spec: _create_or_look(subject, spec), range(6)))
        made = [outcome for outcome in outcomes if isinstance(outcome, str)]
        assert len(made) == 1
        assert subject.seen(spec.key.container_name).container_id == made[0]
        if None in outcomes:
            return
    raise AssertionError("a container was always to be seen at once")


def test_create_by_many_at_once_is_one_container(subject: Subject) -> None:
    spec = subject.spec("sleep 60")
    with ThreadPoolExecutor(6) as pool:
        found = set(pool.map(lambda _: subject.steps.create(spec), range(6)))
    assert len(found) == 1


def test_create_where_another_process_has_made_the_container_finds_that(subject: Subject) -> None:
    spec = subject.spec("sleep 60")
    body = {"Image": subject.image, "Cmd": ["true"], "Labels": dict(spec.labels)}
    other = subject.api.create_container_from_config(body, spec.key.container_name)["Id"]
    with pytest.raises(APIError) as refused:
        subject.api.create_container_from_config(body, spec.key.container_name)
    assert refused.value.status_code == 409
    assert f'"/{spec.key.container_name}" is already in use by container "{other}"' in str(
        refused.value.explanation
    )
    assert subject.steps.create(spec) == other


def test_create_where_somebody_elses_container_has_the_name_is_refused(subject: Subject) -> None:
    spec = subject.spec("sleep 60")
    other = subject.api.create_container_from_config(
        {"Image": subject.image, "Cmd": ["true"]}, spec.key.container_name
    )["Id"]
    with pytest.raises(NameTaken, match=f"is called {spec.key.container_name}"):
        subject.steps.create(spec)
    subject.api.remove_container(other)


def test_create_without_the_image_says_so(subject: Subject) -> None:
    with pytest.raises(ImageNotFound, match="No such image: longshore-test/nothing:latest"):
        subject.steps.create(replace(subject.spec("true"), image="longshore-test/nothing"))


def test_create_without_a_command_says_so(subject: Subject) -> None:
    with pytest.raises(CommandNotStarted, match="No command specified"):
        subject.steps.create(subject.spec())


@pytest.mark.parametrize(
    ("host", "more", "said"),
    [
        ({"NanoCpus": 4096 * 10**9}, {}, "Range of CPUs is from 0.01 to"),
        ({"Memory": 1 << 20, "MemorySwap": 1 << 20}, {}, "Minimum memory limit allowed is 6MB"),
        ({}, {"WorkingDir": "relative"}, "it needs to be an absolute path"),
    ],
)
def test_create_with_what_the_engine_cannot_do_is_refused(
    subject: Subject, host: dict[str, Any], more: dict[str, Any], said: str
) -> None:
    spec = subject.spec("true")
    body = container_payload(spec) | more
    body["HostConfig"] |= host
    with pytest.raises(APIError, match=said) as refused:
        subject.api.create_container_from_config(body, spec.key.container_name)
    assert refused.value.status_code == 400
    assert subject.steps.observe(spec.key.container_name) is None


@pytest.mark.parametrize("driver", ["nvidia", ""])
def test_start_with_devices_that_the_node_does_not_have_is_refused(subject: Subject, driver: str) -> None:
    asked = [{"Driver": driver, "Count": 0, "DeviceIDs": ["0"], "Capabilities": [["gpu"]]}]
    container = subject.create_raw(subject.spec("true"), DeviceRequests=asked)
    assert subject.api.inspect_container(container)["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] == ["0"]
    with pytest.raises(
        EngineError, match=rf'could not select device driver "{driver}" with capabilities: \[\[gpu'
    ):
        subject.steps.start(container)
    assert subject.seen(container).status == "created"


def test_start_with_a_gpu_that_the_node_does_not_have_is_the_nodes_fault(subject: Subject) -> None:
    container = subject.steps.create(replace(subject.spec("true"), gpu=1))
    host = subject.api.inspect_container(container)["HostConfig"]
    assert host["DeviceRequests"][0]["DeviceIDs"] == ["1"]
    with pytest.raises(GpuUnavailable, match=r"the node cannot give it its GPU: could not select device driver"):
        subject.steps.start(container)
    assert subject.seen(container).status == "created"


def test_create_without_a_gpu_asks_for_no_device(subject: Subject) -> None:
    container = subject.steps.create(subject.spec("true"))
    assert not subject.api.inspect_container(container)["HostConfig"].get("DeviceRequests")


def test_start_on_the_hosts_network_runs(subject: Subject) -> None:
    container = subject.ended("exit 6", network="host")
    assert subject.seen(container).exit_code == 6


def test_create_of_a_name_with_strange_letters_is_refused(subject: Subject) -> None:
    with pytest.raises(APIError, match="Invalid container name") as refused:
        subject.api.create_container_from_config({"Image": subject.image, "Cmd": ["true"]}, "strange!name")
    assert refused.value.status_code == 400


def test_create_keeps_what_it_was_told(subject: Subject) -> None:
    spec = subject.spec("sleep 60", environment={"COLOUR": "blue=green"})
    told = subject.api.inspect_container(subject.steps.create(spec))
    assert told["Config"]["Env"][0] == "COLOUR=blue=green"
    assert told["Config"]["Labels"] == dict(spec.labels)
    assert told["Config"]["Hostname"] == "rank-0"
    assert told["Name"] == f"/{spec.key.container_name}"
    assert (told["Path"], told["Args"]) == ("/bin/sh", ["-c", "sleep 60"])
    host = told["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (LIMITS.memory_bytes, 500_000_000, 64)
    assert host["CapDrop"] == ["ALL"]
    assert host["Init"] is True
    assert host["NetworkMode"] == subject.network.name


def test_observe_before_during_and_after_a_run_says_what_is(subject: Subject) -> None:
    before = datetime.now(UTC)
    spec = subject.spec("sleep 0.5; exit 3")
    assert subject.steps.observe(spec.key.container_name) is None
    container = subject.steps.create(spec)
    created = subject.seen(container)
    assert (created.status, created.exit_code, created.oom_killed, created.error) == ("created", 0, False, "")
    assert (created.started_at, created.ended_at, created.ended) == (None, None, False)
    subject.steps.start(container)
    running = subject.seen(spec.key.container_name)
    assert (running.container_id, running.status, running.ended_at) == (container, "running", None)
    assert running.started_at is not None
    assert before < running.started_at <= datetime.now(UTC)
    ended = subject.wait_end(container)
    assert (ended.status, ended.exit_code, ended.started_at) == ("exited", 3, running.started_at)
    assert ended.ended_at is not None
    assert timedelta(seconds=0.3) < ended.ended_at - running.started_at < timedelta(seconds=5)


def test_start_twice_is_one_run(subject: Subject) -> None:
    container = subject.started("sleep 60")
    first = subject.seen(container).started_at
    subject.steps.start(container)
    assert subject.seen(container).started_at == first


def test_start_of_an_ended_container_runs_it_again(subject: Subject) -> None:
    container = subject.ended("echo once")
    first = subject.seen(container).started_at
    subject.steps.start(container)
    second = subject.wait_end(container).started_at
    assert first is not None
    assert second is not None
    assert second > first
    assert [frame.data for frame in subject.frames(container)] == [b"once\n", b"once\n"]


def test_start_of_what_is_not_there_says_so(subject: Subject) -> None:
    with pytest.raises(ContainerGone):
        subject.steps.start("ls-nothing-1-0")


def test_start_of_a_missing_command_under_an_init_is_a_run_that_ends_127(subject: Subject) -> None:
    container = subject.ended("nosuchprogram", "x")
    assert subject.seen(container).exit_code == 127
    (frame,) = subject.frames(container)
    assert frame.stream == 2
    assert last_line_of(frame.data.decode().strip()) == "the image has no nosuchprogram"


@pytest.mark.parametrize("program", ["nosuchprogram", "/opt/nosuch/program"])
def test_start_of_a_missing_command_without_an_init_is_refused(subject: Subject, program: str) -> None:
    container = subject.create_raw(subject.spec(program, "x"), Init=False)
    with pytest.raises(CommandNotStarted, match=f"^the image has no {program}$"):
        subject.steps.start(container)
    seen = subject.seen(container)
    assert (seen.status, seen.exit_code, seen.started_at, seen.ended) == ("created", 127, None, False)
    assert program in seen.error


def test_start_on_a_network_that_is_not_there_is_refused(subject: Subject) -> None:
    container = subject.steps.create(subject.spec("true", network="no-such-network"))
    with pytest.raises(EngineError, match="network no-such-network not found"):
        subject.steps.start(container)
    assert subject.seen(container).status == "created"


def test_start_with_an_address_that_is_taken_is_refused(subject: Subject) -> None:
    address = subject.address(77)
    holder = subject.started("sleep 60", address=address)
    other = subject.steps.create(subject.spec("true", address=address))
    with pytest.raises(EngineError, match="Address already in use"):
        subject.steps.start(other)
    assert subject.seen(other).status == "created"
    subject.steps.remove(holder)
    subject.steps.start(other)
    assert subject.wait_end(other).exit_code == 0


def test_start_with_an_address_of_another_network_is_refused(subject: Subject) -> None:
    container = subject.steps.create(subject.spec("true", address=IPv4Address("10.9.9.9")))
    with pytest.raises(EngineError, match="does not belong to any of this network's subnets"):
        subject.steps.start(container)


def test_start_gives_the_address_and_the_names_asked_for(subject: Subject) -> None:
    address = subject.address(78)
    container = subject.started("sleep 60", address=address)
    endpoint = subject.api.inspect_container(container)["NetworkSettings"]["Networks"][subject.network.name]
    assert endpoint["IPAddress"] == str(address)
    assert "rank-0" in endpoint["Aliases"]
    subject.steps.remove(container)


def test_remove_twice_and_of_what_never_was_is_no_fault(subject: Subject) -> None:
    spec = subject.spec("sleep 60")
    container = subject.steps.create(spec)
    subject.steps.remove(container)
    assert subject.steps.observe(container) is None
    subject.steps.remove(container)
    subject.steps.remove(spec.key.container_name)
    subject.steps.remove("ls-nothing-1-0")


def test_remove_of_a_running_container_ends_it_and_frees_its_name(subject: Subject) -> None:
    spec = subject.spec("sleep 60")
    first = subject.steps.create(spec)
    subject.steps.start(first)
    subject.steps.remove(spec.key.container_name)
    assert subject.steps.observe(spec.key.container_name) is None
    assert subject.steps.create(spec) != first


def test_remove_without_force_of_a_running_container_is_refused(subject: Subject) -> None:
    container = subject.started("sleep 60")
    with pytest.raises(APIError, match="You cannot remove a running container") as refused:
        subject.api.remove_container(container)
    assert refused.value.status_code == 409
    assert subject.seen(container).status == "running"


def test_remove_by_many_at_once_is_no_fault(subject: Subject) -> None:
    container = subject.started("sleep 60")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: subject.steps.remove(container), range(4)))
    wait_until(lambda: subject.steps.observe(container) is None, 10, "the container is gone")


def test_list_by_label_has_containers_in_every_state_and_only_ours(subject: Subject) -> None:
    spec = subject.spec("sleep 60")
    created, running, ended = subject.steps.create(spec), subject.started("sleep 60"), subject.ended("true")
    other = subject.steps.create(subject.spec("sleep 60", installation=subject.other_installation))
    listed = {row.container_id: row for row in subject.run(lambda streams: streams.list_containers())}
    assert [listed[each].status for each in (created, running, ended)] == ["created", "running", "exited"]
    assert other not in listed
    assert listed[created].key == spec.key
    assert listed[created].labels == dict(spec.labels)
    assert abs(listed[created].created_at - datetime.now(UTC)) < timedelta(seconds=30)
    subject.steps.remove(ended)
    subject.steps.remove(other)
    assert ended not in {row.container_id for row in subject.run(lambda streams: streams.list_containers())}


def test_list_without_all_has_running_containers_only(subject: Subject) -> None:
    created, running = subject.steps.create(subject.spec("sleep 60")), subject.started("sleep 60")
    label = f"longshore.installation={subject.installation}"
    found = {row["Id"] for row in subject.api.containers(filters={"label": [label, "colour=blue"]})}
    assert running in found
    assert created not in found
    assert not subject.api.containers(all=True, filters={"label": [label, "colour=red"]})


def test_list_with_a_filter_that_is_none_is_refused(subject: Subject) -> None:
    with pytest.raises(APIError, match="Invalid filter 'bogus'"):
        subject.api.containers(filters={"bogus": "x"})


def test_engine_says_what_it_is(subject: Subject) -> None:
    facts = subject.run(lambda streams: streams.facts())
    assert facts.cpu_count >= 1
    assert facts.memory_bytes > 1 << 28
    assert facts.free_disk_bytes is not None
    assert facts.version.split(".")[0].isdigit()
    assert facts.engine_id == subject.run(lambda streams: streams.facts()).engine_id
    assert subject.run(lambda streams: streams.version()) == facts.version


def test_engine_says_since_when_it_runs(subject: Subject) -> None:
    began, seen = subject.steps.started_at(), subject.seen(subject.steps.create(subject.spec("true")))
    assert began is not None
    assert seen.created_at is not None
    assert began < seen.created_at


def test_engine_refuses_versions_that_it_does_not_have(subject: Subject) -> None:
    url = subject.api._url("/info").replace(f"/v{subject.api.api_version}/", "/v1.99/")
    answer = subject.api._get(url)
    assert answer.status_code == 400
    assert "is too new. Maximum supported API version" in answer.json()["message"]


def test_two_clients_of_one_engine_see_the_same(subject: Subject) -> None:
    spec = subject.spec("sleep 60")
    container = subject.steps.create(spec)
    assert DockerSteps(subject.endpoint, timeout_seconds=30).create(spec) == container
    assert RankKey.from_container_name(subject.api.inspect_container(container)["Name"]) == spec.key


def _create_or_look(subject: Subject, spec: ContainerSpec) -> str | Observation | None:
    """The id of the container made, or, where its name was taken, what was to be seen of it then."""
    try:
        return subject.create_raw(spec)
    except APIError as error:
        seen = subject.steps.observe(spec.key.container_name)
        assert error.status_code == 409
        return seen
