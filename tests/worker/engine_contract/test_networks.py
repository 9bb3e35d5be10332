"""Networks: made once, with the range asked for, kept while somebody is on them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from docker.errors import APIError

from core.errors import EngineError
from tests.lab.platform import wait_until
from tests.worker.engine_contract.subject import TIMEOUT_SECONDS, Subject
from worker.docker_engine.payload import network_payload
from worker.docker_engine.steps import DockerSteps


def test_network_has_the_range_and_the_options_asked_for(subject: Subject) -> None:
    told = subject.api.inspect_network(subject.network.name)
    subnet = subject.network.subnet
    assert subnet is not None
    assert told["IPAM"]["Config"] == [{"Subnet": str(subnet), "Gateway": str(subnet[1])}]
    assert told["Labels"] == dict(subject.network.labels)
    assert told["Options"] == {"com.docker.network.bridge.enable_icc": "false"}
    assert (told["Driver"], told["Scope"]) == ("bridge", "local")


def test_network_ensured_by_many_at_once_is_one(subject: Subject) -> None:
    spec = subject.network_spec()
    clients = [DockerSteps(subject.endpoint, timeout_seconds=TIMEOUT_SECONDS) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda client: client.ensure_network(spec), clients))
    assert len(subject.api.networks(names=[f"^{spec.name}$"])) == 1
    _remove(subject, spec.name)


def test_network_of_a_name_that_is_there_is_refused(subject: Subject) -> None:
    spec = subject.network_spec()
    with pytest.raises(APIError, match=f"network with name {subject.network.name} already exists") as refused:
        subject.steps._post("/networks/create", {**network_payload(spec), "Name": subject.network.name})
    assert refused.value.status_code == 409


def test_network_of_a_range_in_use_is_refused(subject: Subject) -> None:
    spec = replace(subject.network_spec(), subnet=subject.network.subnet)
    with pytest.raises(EngineError, match="Pool overlaps with other one on this address space"):
        subject.steps.ensure_network(spec)
    assert not subject.api.networks(names=[spec.name])


def test_network_of_a_range_that_is_none_is_refused(subject: Subject) -> None:
    body = network_payload(subject.network_spec()) | {"IPAM": {"Config": [{"Subnet": "bogus"}]}}
    with pytest.raises(APIError, match="Invalid subnet bogus"):
        subject.steps._post("/networks/create", body)


def test_network_looked_for_by_a_part_of_its_name_is_found(subject: Subject) -> None:
    """So whoever asks for a name must compare: `DockerSteps` does."""
    spec = subject.network_spec()
    longer = replace(subject.network_spec(), name=f"{spec.name}-longer")
    subject.steps.ensure_network(longer)
    assert [found["Name"] for found in subject.api.networks(names=[spec.name])] == [longer.name]
    subject.steps.ensure_network(spec)
    assert len(subject.api.networks(names=[spec.name])) == 2
    _remove(subject, spec.name)
    _remove(subject, longer.name)


def test_network_listing_has_gang_networks_of_this_installation_only(subject: Subject) -> None:
    spec, other = subject.network_spec(), subject.network_spec()
    other = replace(other, labels={**other.labels, "longshore.installation": subject.other_installation})
    for each in (spec, other):
        subject.steps.ensure_network(each)
    assert subject.run(lambda streams: streams.list_gang_networks()) == [spec.name]
    for each in (spec, other):
        _remove(subject, each.name)
    assert subject.run(lambda streams: streams.list_gang_networks()) == []


def test_network_removed_twice_is_no_fault(subject: Subject) -> None:
    spec = subject.network_spec()
    subject.steps.ensure_network(spec)
    _remove(subject, spec.name)
    _remove(subject, spec.name)


def test_network_with_a_running_container_is_kept_and_free_when_that_has_ended(subject: Subject) -> None:
    spec = subject.network_spec()
    subject.steps.ensure_network(spec)
    address = subject.address(10, spec)
    container = subject.started("sleep", "60", network=spec.name, address=address)
    holders = subject.api.inspect_network(spec.name)["Containers"]
    assert [holder["IPv4Address"] for holder in holders.values()] == [f"{address}/24"]
    with pytest.raises(EngineError, match="has active endpoints"):
        _remove(subject, spec.name)
    subject.steps.signal(container, "SIGKILL")
    subject.wait_end(container)
    wait_until(lambda: not subject.api.inspect_network(spec.name)["Containers"], 10, "nobody is on it")
    _remove(subject, spec.name)
    assert not subject.api.networks(names=[spec.name])
    subject.steps.remove(container)


def test_network_with_a_created_container_is_not_in_use(subject: Subject) -> None:
    """A gang's network can go before its last container was started: its start says that it is gone."""
    spec = subject.network_spec()
    subject.steps.ensure_network(spec)
    container = subject.steps.create(subject.spec("true", network=spec.name))
    _remove(subject, spec.name)
    with pytest.raises(EngineError, match="not found"):
        subject.steps.start(container)
    subject.steps.remove(container)


@pytest.mark.parametrize("name", ["bridge", "host", "none"])
def test_network_of_the_engine_itself_cannot_be_removed(subject: Subject, name: str) -> None:
    with pytest.raises(APIError, match="is a pre-defined network and cannot be removed"):
        subject.api.remove_network(name)


def test_network_that_is_not_there_is_told(subject: Subject) -> None:
    with pytest.raises(APIError, match="network nothing-like-it not found"):
        subject.api.inspect_network("nothing-like-it")


def test_network_overlay_without_a_swarm_is_refused(subject: Subject) -> None:
    body = network_payload(subject.network_spec()) | {"Driver": "overlay", "Attachable": True}
    with pytest.raises(APIError, match="not a swarm manager"):
        subject.steps._post("/networks/create", body)


def _remove(subject: Subject, name: str) -> None:
    subject.run(lambda streams: streams.remove_network(name))
