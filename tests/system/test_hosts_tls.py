"""Engines over TCP: both sides show a certificate, and what is wrong with either is said in a sentence."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from core.errors import NodeUnreachable
from deploy.certificates import Authority, Validity
from tests.faults.harness.chaos import let_pass
from tests.lab.hosts import Host, Hosts, can_make_hosts
from tests.lab.images import BUSYBOX
from tests.lab.platform import Platform, wait_until
from tests.lab.servers import Servers
from worker.docker_engine.steps import DockerSteps
from worker.docker_engine.streams import DockerStreams
from worker.docker_engine.transport import EngineAccess

pytestmark = pytest.mark.skipif(bool(can_make_hosts()), reason=can_make_hosts())
_RUNS = "i=0; while [ ! -e /tmp/go ]; do i=$((i+1)); echo $i; sleep 0.2; done; echo over"
_NOW = datetime.now(UTC)
PAST = Validity(_NOW - timedelta(days=2), _NOW - timedelta(days=1))
FUTURE = Validity(_NOW + timedelta(days=1), _NOW + timedelta(days=2))


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    lab = Hosts(1, live_restore=True)
    try:
        yield lab
    finally:
        lab.end()


@pytest.fixture(scope="module")
def host(hosts: Hosts) -> Host:
    return hosts[0]


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    """An authority that nobody here trusts."""
    return Authority.ensure(tmp_path / "stranger", name="stranger")


def ask_by_steps(endpoint: str, access: EngineAccess) -> str:
    return str(DockerSteps(endpoint, timeout_seconds=10, access=access)._api.version()["Version"])


def ask_by_streams(endpoint: str, access: EngineAccess) -> str:
    async def ask() -> str:
        streams = DockerStreams(endpoint, "tls", timeout_seconds=10, access=access)
        try:
            return await streams.version()
        finally:
            await streams.close()

    return asyncio.run(ask())


Ask = Callable[[str, EngineAccess], str]
BOTH = pytest.mark.parametrize("ask", [ask_by_steps, ask_by_streams])


@BOTH
def test_engine_answers_to_our_certificate(
    hosts: Hosts, host: Host, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the environment says of authorities and proxies is for other servers.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert ask(host.endpoint, EngineAccess(hosts.client_certificates)) == host.engine.version()["Version"]


@BOTH
def test_folder_of_the_hosts_own_name_comes_first(
    hosts: Hosts, host: Host, stranger: Authority, tmp_path: Path, ask: Ask
) -> None:
    stranger.issue_client(tmp_path / "certs")
    shutil.copytree(hosts.client_certificates, tmp_path / "certs" / host.address)
    assert ask(host.endpoint, EngineAccess(tmp_path / "certs"))


def no_setting(lab: Hosts, folder: Path, stranger: Authority) -> Path | None:
    return None


def empty_folder(lab: Hosts, folder: Path, stranger: Authority) -> Path:
    folder.mkdir()
    return folder


def no_key(lab: Hosts, folder: Path, stranger: Authority) -> Path:
    lab.authority.issue_client(folder)
    (folder / "key.pem").unlink()
    return folder


def other_key(lab: Hosts, folder: Path, stranger: Authority) -> Path:
    lab.authority.issue_client(folder)
    (folder / "key.pem").unlink()
    shutil.copy(lab.client_certificates / "key.pem", folder / "key.pem")
    return folder


def no_certificate_but_text(lab: Hosts, folder: Path, stranger: Authority) -> Path:
    lab.authority.issue_client(folder)
    (folder / "cert.pem").unlink()
    (folder / "cert.pem").write_text("none")
    return folder


def expired(lab: Hosts, folder: Path, stranger: Authority) -> Path:
    lab.authority.issue_client(folder, validity=PAST)
    return folder


def not_valid_yet(lab: Hosts, folder: Path, stranger: Authority) -> Path:
    lab.authority.issue_client(folder, validity=FUTURE)
    return folder


def of_another_authority(lab: Hosts, folder: Path, stranger: Authority) -> Path:
    stranger.issue_client(folder)
    (folder / "ca.pem").unlink()
    shutil.copy(lab.client_certificates / "ca.pem", folder / "ca.pem")
    return folder


def of_a_server(lab: Hosts, folder: Path, stranger: Authority) -> Path:
    lab.authority.issue_server(folder, ["longshore"])
    return folder


def trusts_another_authority(lab: Hosts, folder: Path, stranger: Authority) -> Path:
    lab.authority.issue_client(folder)
    (folder / "ca.pem").unlink()
    shutil.copy(stranger.folder / "ca.pem", folder / "ca.pem")
    return folder


OURS: dict[Callable[[Hosts, Path, Authority], Path | None], str] = {
    no_setting: "LONGSHORE_DOCKER_CERTS names no folder",
    empty_folder: "cert.pem cannot be read: No such file",
    no_key: "key.pem cannot be read: No such file",
    other_key: "no pair of certificate and key that fit",
    no_certificate_but_text: "cert.pem is not a certificate",
    expired: "our certificate .*cert.pem expired on ",
    not_valid_yet: "it refuses our certificate .*cert.pem",
    of_another_authority: "it refuses our certificate .*cert.pem",
    of_a_server: "it refuses our certificate .*cert.pem",
    trusts_another_authority: "its certificate is not of the authority in .*ca.pem",
}


@BOTH
@pytest.mark.parametrize("made", OURS, ids=lambda made: made.__name__)
def test_fault_of_our_certificate_is_said(
    hosts: Hosts,
    host: Host,
    stranger: Authority,
    tmp_path: Path,
    ask: Ask,
    made: Callable[[Hosts, Path, Authority], Path | None],
) -> None:
    access = EngineAccess(made(hosts, tmp_path / "certs", stranger))
    with pytest.raises(NodeUnreachable, match=OURS[made]) as refused:
        ask(host.endpoint, access)
    assert host.endpoint in str(refused.value) and "\n" not in str(refused.value)


@pytest.fixture
def served_with(hosts: Hosts, host: Host) -> Iterator[Callable[[Authority, list[str], Validity | None], None]]:
    """Start the engine with another certificate; it gets its own back."""

    def serve(authority: Authority, names: list[str], validity: Validity | None) -> None:
        authority.issue_server(host.certificates, names, validity=validity)
        if authority is not hosts.authority:
            (host.certificates / "ca.pem").unlink()
            shutil.copy(hosts.authority.folder / "ca.pem", host.certificates / "ca.pem")
        host.restart_tls()

    yield serve
    serve(hosts.authority, [host.address, host.name], None)


@pytest.mark.parametrize(
    ("name", "validity", "is_strange", "said"),
    [
        ("", PAST, False, "its certificate has expired"),
        ("", FUTURE, False, "its certificate is not valid yet"),
        ("10.0.0.1", None, False, "its certificate is not for {address}"),
        ("other.example", None, False, "its certificate is not for {address}"),
        ("", None, True, "its certificate is not of the authority in"),
    ],
)
def test_fault_of_the_engines_certificate_is_said(
    hosts: Hosts,
    host: Host,
    stranger: Authority,
    served_with: Callable[[Authority, list[str], Validity | None], None],
    name: str,
    validity: Validity | None,
    is_strange: bool,
    said: str,
) -> None:
    served_with(stranger if is_strange else hosts.authority, [name or host.address], validity)
    for ask in (ask_by_steps, ask_by_streams):
        with pytest.raises(NodeUnreachable, match=said.format(address=host.address)):
            ask(host.endpoint, EngineAccess(hosts.client_certificates))


@BOTH
def test_port_without_tls_is_said(hosts: Hosts, host: Host, ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        serving = asyncio.new_event_loop()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await writer.drain()
            writer.close()

        def run() -> None:
            asyncio.set_event_loop(serving)
            serving.run_until_complete(asyncio.start_server(answer, sock=server.dup()))
            serving.run_forever()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            with pytest.raises(NodeUnreachable, match="does not speak TLS"):
                ask(endpoint, EngineAccess(hosts.client_certificates))
        finally:
            serving.call_soon_threadsafe(serving.stop)
            thread.join(10)
            serving.close()


def test_create_that_was_given_up_while_its_host_was_cut_off_never_arrives(hosts: Hosts, host: Host) -> None:
    steps = DockerSteps(host.endpoint, timeout_seconds=2, access=EngineAccess(hosts.client_certificates))
    # The connection on which it is sent is there before the cut, as those of a worker are.
    steps._api.version()
    host.cut()
    try:
        with pytest.raises(requests.exceptions.RequestException):
            steps._api.create_container(BUSYBOX, "true", name="given-up")
        # So long do packets wait for the address of a neighbour, whatever became of their connection (arp(7)).
        let_pass(4)
    finally:
        host.heal()
    wait_until(host.engine.ping, 30, "the host is back")
    # More than has passed since it was sent: a kernel doubles the time from one try to the next.
    let_pass(8)
    assert [each.name for each in host.engine.containers.list(all=True)] == []


def test_engine_has_no_port_without_tls(host: Host) -> None:
    with pytest.raises(OSError):
        socket.create_connection((host.address, 2375), 2)


def test_node_says_what_is_wrong_and_is_ready_once_it_is_mended(
    servers: Servers, hosts: Hosts, host: Host, tmp_path: Path
) -> None:
    certificates = tmp_path / "certs"
    hosts.authority.issue_client(certificates, validity=PAST)
    platform = Platform(
        servers, tmp_path, docker_certs=certificates, listing_seconds=1, facts_seconds=1, engine_timeout_seconds=10
    )
    try:
        client = platform.client

        def far() -> dict[str, str]:
            found: dict[str, str] = client.http.get("/nodePools/tls/nodes/far").json()
            return found

        assert client.http.post("/nodePools", json={"nodePoolId": "tls", "nodePool": {}}).status_code == 200
        node = {"nodeId": "far", "node": {"endpoint": host.endpoint}}
        assert client.http.post("/nodePools/tls/nodes", json=node).status_code == 200
        wait_until(lambda: "our certificate" in far()["status"], 15, "the expired certificate is said")
        assert far()["state"] == "DOWN" and "expired on" in far()["status"]
        hosts.authority.issue_client(certificates)
        wait_until(lambda: far()["state"] == "READY", 15, "the node is READY without a restart of anything")
        job = client.shell("echo by TLS", image=BUSYBOX, nodePoolId="tls")
        assert client.wait_end(job["id"])["state"] == "COMPLETED"
        assert client.lines(job["id"]) == ["by TLS"]
        runs = client.shell(_RUNS, image=BUSYBOX, nodePoolId="tls")
        client.wait_for(runs["id"], lambda found: found["state"] == "RUNNING")
        (container,) = host.engine.containers.list()
        # Both sides have new certificates of the same authority, under a job that runs.
        hosts.authority.issue_client(certificates)
        # The engine gets a certificate of nobody we know, and its own again.
        Authority.ensure(tmp_path / "stranger").issue_server(host.certificates, [host.address])
        (host.certificates / "ca.pem").unlink()
        shutil.copy(hosts.authority.folder / "ca.pem", host.certificates / "ca.pem")
        host.restart_tls()
        wait_until(lambda: "not of the authority" in far()["status"], 20, "the strange certificate is said")
        assert far()["state"] == "DOWN"
        hosts.authority.issue_server(host.certificates, [host.address])
        host.restart_tls()
        wait_until(lambda: far()["state"] == "READY", 20, "the node is READY again")
        assert [found.id for found in host.engine.containers.list()] == [container.id]
        assert container.exec_run(["touch", "/tmp/go"]).exit_code == 0
        assert client.wait_end(runs["id"])["state"] == "COMPLETED"
        *counted, last = client.lines(runs["id"])
        assert (counted, last) == ([str(number + 1) for number in range(len(counted))], "over")
    finally:
        platform.stop()
