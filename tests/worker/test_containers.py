"""What is asked of an engine: hardened, named, and with the environment that ranks are promised."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest

from core.jobs.launching import LaunchWork, RankLimits
from core.settings import Settings
from core.spec import JobSpec, NotebookExecutor, PythonExecutor, ShellExecutor
from worker.containers import container_of, network_of
from worker.docker_engine.payload import container_payload, network_payload
from worker.engine import RankKey
from worker.executors import invocation_of

SETTINGS = Settings(database_url="postgresql://nowhere/x", broker_url="redis://nowhere")


def work(ranks: int, **spec: Any) -> LaunchWork:
    return LaunchWork(
        batch_job_id="train",
        job_id="abc",
        attempt=1,
        node_id=7,
        endpoint="unix:///x",
        account="acme",
        spec=JobSpec(image_ref="i:1", num_ranks=ranks, **spec),
        image_digest="",
        ranks=tuple(range(ranks)),
        node_of_rank=(7,) * ranks,
        subnet=IPv4Network("10.201.0.0/29") if ranks > 1 else None,
        limits=RankLimits(1.5, 1 << 30, 512),
    )


def payload(of: LaunchWork, rank: int = 0) -> dict[str, Any]:
    return container_payload(container_of(of, rank, "sha256:1", network_of(of, SETTINGS), SETTINGS))


def test_container_payload_is_hardened() -> None:
    body = payload(work(1, executor=ShellExecutor("true")))
    host = body["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert "SYS_ADMIN" not in host["CapAdd"]
    assert "NET_RAW" not in host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Init"] is True
    assert (host["NanoCpus"], host["Memory"], host["PidsLimit"]) == (1_500_000_000, 1 << 30, 512)
    assert host["MemorySwap"] == host["Memory"]
    assert not host.keys() & {"Binds", "Mounts", "PortBindings", "Privileged", "Devices", "PidMode", "IpcMode"}


def test_container_payload_of_a_gang_has_its_peers_by_name() -> None:
    body = payload(work(4, executor=ShellExecutor("true")), rank=2)
    assert body["HostConfig"]["ExtraHosts"] == ["rank-0:10.201.0.2", "rank-1:10.201.0.3", "rank-3:10.201.0.5"]
    endpoint = body["NetworkingConfig"]["EndpointsConfig"]["ls-abc-1"]
    assert endpoint["IPAMConfig"] == {"IPv4Address": "10.201.0.4"}
    environment = dict(pair.split("=", 1) for pair in body["Env"])
    assert environment["RANK"] == environment["LOCAL_RANK"] == environment["JOB_COMPLETION_INDEX"] == "2"
    assert environment["WORLD_SIZE"] == environment["LOCAL_WORLD_SIZE"] == environment["PET_NNODES"] == "4"
    assert (environment["MASTER_ADDR"], environment["MASTER_PORT"]) == ("rank-0", "29500")
    assert environment["LONGSHORE_RANKS"] == "rank-0,rank-1,rank-2,rank-3"
    assert environment["LONGSHORE_OUTPUT_DIR"] == "/longshore/outputs"
    assert environment["LONGSHORE_HOSTFILE"].splitlines()[1] == "rank-1 slots=1"


def test_container_payload_on_the_hosts_own_network_has_names_and_no_network() -> None:
    gang = replace(
        work(3),
        node_of_rank=(7, 8, 8),
        subnet=None,
        driver="host",
        address_of_rank=("10.0.0.1", *["10.0.0.2"] * 2),
    )
    body = payload(gang, 1)
    assert body["HostConfig"]["NetworkMode"] == "host" and "NetworkingConfig" not in body
    assert body["HostConfig"]["ExtraHosts"] == ["rank-0:10.0.0.1", "rank-1:10.0.0.2", "rank-2:10.0.0.2"]
    assert body["Labels"]["longshore.network"] == "gang"
    with pytest.raises(ValueError, match="there is none to make"):
        network_payload(network_of(gang, SETTINGS))


def test_container_payload_of_a_rank_with_a_gpu_asks_for_that_one_and_no_other() -> None:
    gang = replace(work(4), node_of_rank=(7, 7, 8, 8), ranks=(0, 1), gpu_of_rank={0: 3, 1: 0})
    for rank, gpu in ((0, "3"), (1, "0")):
        body = payload(gang, rank)
        assert body["HostConfig"]["DeviceRequests"] == [
            {"Driver": "", "DeviceIDs": [gpu], "Capabilities": [["gpu"]]}
        ]
        environment = dict(pair.split("=", 1) for pair in body["Env"])
        assert (environment["LOCAL_RANK"], environment["LOCAL_WORLD_SIZE"]) == ("0", "2")
        assert (environment["RANK"], environment["NODE_RANK"]) == (str(rank), "0")
    assert "DeviceRequests" not in payload(work(4), 1)["HostConfig"]


def test_container_payload_user_variables_do_not_win_over_the_platforms() -> None:
    environment = payload(work(1, env_vars={"A": "b=c", "RANK": "9"}))["Env"]
    assert "A=b=c" in environment
    assert "RANK=0" in environment


@pytest.mark.parametrize(("ranks", "kept"), [(1, 1 << 30), (4, 1 << 28)])
def test_container_payload_has_all_that_is_kept_of_its_output_in_the_engines_first_file(
    ranks: int, kept: int
) -> None:
    assert SETTINGS.log_max_bytes // ranks == kept
    body = payload(work(ranks))
    config = body["HostConfig"]["LogConfig"]["Config"]
    assert int(config["max-size"]) == int(body["Labels"]["longshore.log-file-bytes"]) == 2 * kept
    assert config["max-file"] == "2"


def test_network_of_one_rank_cuts_containers_off_from_each_other() -> None:
    body = network_payload(network_of(work(1), SETTINGS))
    assert body["Options"] == {"com.docker.network.bridge.enable_icc": "false"}
    assert network_payload(network_of(work(2), SETTINGS))["Options"] == {}


def test_invocation_of_none_keeps_the_images_own() -> None:
    assert invocation_of(JobSpec("i")).entrypoint is None


def test_invocation_of_python_passes_arguments_unsplit() -> None:
    command = invocation_of(JobSpec("i", executor=PythonExecutor("MODULE", "a.b", ("x y", "$z")))).command
    assert command[2:] == ("a.b", "x y", "$z")


def test_invocation_of_notebook_passes_parameters_as_json() -> None:
    command = invocation_of(JobSpec("i", executor=NotebookExecutor("n.ipynb", {"a": 1}))).command
    assert command[3:] == ("n.ipynb", '{"a":1}')


def test_rank_key_name_and_back_is_the_same() -> None:
    key = RankKey("abc", 2, 13)
    assert RankKey.from_container_name("/" + key.container_name) == key
    assert RankKey.from_container_name("somebody-elses") is None
