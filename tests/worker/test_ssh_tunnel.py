"""Engines at ssh://, by a real sshd in front of this machine's engine: both SDKs, every fault, nothing left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import NodeUnreachable
from tests.lab.platform import ENGINE, ROOT, wait_until
from tests.lab.sshd import Sshd, can_run_sshd, descendants, ssh_clients
from worker.docker_engine.ssh_tunnel import SshTunnel
from worker.docker_engine.steps import DockerSteps
from worker.docker_engine.streams import DockerStreams
from worker.docker_engine.transport import EngineAccess

pytestmark = [
    pytest.mark.skipif(bool(can_run_sshd()), reason=can_run_sshd()),
    pytest.mark.skipif(ENGINE != "unix:///var/run/docker.sock", reason="the engine's socket is elsewhere"),
]
SECONDS = 30


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    started = Sshd(tmp_path / "sshd")
    yield started
    started.end()


@pytest.fixture
def access(sshd: Sshd) -> EngineAccess:
    return EngineAccess(ssh_key=sshd.key, ssh_known_hosts=sshd.known_hosts)


def ask_by_steps(endpoint: str, access: EngineAccess) -> str:
    steps = DockerSteps(endpoint, timeout_seconds=SECONDS, access=access)
    try:
        return str(steps._api.version()["Version"])
    finally:
        steps.close()


def ask_by_streams(endpoint: str, access: EngineAccess) -> str:
    async def ask() -> str:
        streams = DockerStreams(endpoint, "ssh", timeout_seconds=SECONDS, access=access)
        try:
            return await streams.version()
        finally:
            await streams.close()

    return asyncio.run(ask())


Ask = Callable[[str, EngineAccess], str]
BOTH = pytest.mark.parametrize("ask", [ask_by_steps, ask_by_streams])


@BOTH
def test_engine_answers_by_ssh_and_no_client_is_left(sshd: Sshd, access: EngineAccess, ask: Ask) -> None:
    assert ask(sshd.endpoint, access) == ask(ENGINE, EngineAccess())
    assert ssh_clients(sshd.key) == []


def a_strangers_host_key(sshd: Sshd, access: EngineAccess) -> EngineAccess:
    sshd.trust(sshd.new_key("stranger"))
    return access


def no_host_key(sshd: Sshd, access: EngineAccess) -> EngineAccess:
    sshd.known_hosts.write_text("")
    return access


def a_refused_key(sshd: Sshd, access: EngineAccess) -> EngineAccess:
    sshd.shut_out()
    return access


def a_key_that_others_may_read(sshd: Sshd, access: EngineAccess) -> EngineAccess:
    sshd.key.chmod(0o644)
    return access


def a_key_that_is_none(sshd: Sshd, access: EngineAccess) -> EngineAccess:
    sshd.key.write_text("none\n")
    return access


def no_key_file(sshd: Sshd, access: EngineAccess) -> EngineAccess:
    return replace(access, ssh_key=sshd.folder / "missing")


def no_known_hosts_file(sshd: Sshd, access: EngineAccess) -> EngineAccess:
    return replace(access, ssh_known_hosts=sshd.folder / "missing")


def a_dead_sshd(sshd: Sshd, access: EngineAccess) -> EngineAccess:
    sshd.kill()
    return access


def no_forwarding(sshd: Sshd, access: EngineAccess) -> EngineAccess:
    sshd.kill()
    sshd.forwards = "no"
    sshd.start()
    return access


FAULTS: dict[Callable[[Sshd, EngineAccess], EngineAccess], str] = {
    a_strangers_host_key: "its host key is not the one in .*known_hosts",
    no_host_key: "its host key is not known: it is not in .*known_hosts",
    a_refused_key: r"it refuses our key: .*Permission denied \(publickey\)",
    a_key_that_others_may_read: "others may read our key .*user: it must be of mode 0600",
    a_key_that_is_none: "our key cannot be used: Load key .*user",
    no_key_file: "LONGSHORE_SSH_KEY_FILE names .*missing, which cannot be read: No such file",
    no_known_hosts_file: "LONGSHORE_SSH_KNOWN_HOSTS names .*missing, which cannot be read: No such file",
    a_dead_sshd: "no sshd answers there: .*Connection refused",
    no_forwarding: r"docker.sock there cannot be opened: .*, or sshd lets no sockets be forwarded",
}


@BOTH
@pytest.mark.parametrize("spoil", FAULTS, ids=lambda spoil: spoil.__name__)
def test_fault_of_the_way_is_said_in_a_sentence(
    sshd: Sshd, access: EngineAccess, ask: Ask, spoil: Callable[[Sshd, EngineAccess], EngineAccess]
) -> None:
    access = spoil(sshd, access)
    with pytest.raises(NodeUnreachable, match=FAULTS[spoil]) as refused:
        ask(sshd.endpoint, access)
    assert str(refused.value).startswith(f"the engine at {sshd.endpoint} is not used: ")
    assert "\n" not in str(refused.value)
    assert ssh_clients(sshd.key) == []


@BOTH
def test_host_without_an_engine_is_said(
    sshd: Sshd, access: EngineAccess, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.docker_engine.ssh_command.ENGINE_SOCKET", str(sshd.folder / "nowhere.sock"))
    with pytest.raises(NodeUnreachable, match=r"there cannot be opened: no engine runs, the user is"):
        ask(sshd.endpoint, access)


@BOTH
def test_host_of_no_such_name_is_said(access: EngineAccess, ask: Ask) -> None:
    with pytest.raises(NodeUnreachable, match=r"there is no host of that name: .*nosuch\.invalid"):
        ask("ssh://root@nosuch.invalid", access)


def test_connection_that_is_lost_is_made_again(sshd: Sshd, access: EngineAccess) -> None:
    steps = DockerSteps(sshd.endpoint, timeout_seconds=SECONDS, access=access)
    try:
        sshd.kill()
        with pytest.raises(NodeUnreachable, match="no sshd answers there"):
            steps.observe("nothing")
        sshd.start()

        def answers() -> bool:
            try:
                return steps.observe("nothing") is None
            except NodeUnreachable:
                return False

        wait_until(answers, 30, "the engine answers again")
    finally:
        steps.close()
    assert ssh_clients(sshd.key) == []


def test_many_calls_at_once_share_one_connection(sshd: Sshd, access: EngineAccess) -> None:
    """sshd lets a connection have ten sessions; what is forwarded is none."""

    async def ask() -> None:
        streams = DockerStreams(sshd.endpoint, "ssh", timeout_seconds=SECONDS, access=access)
        try:
            followed = [asyncio.ensure_future(anext(streams.events())) for _ in range(100)]
            await asyncio.gather(*(streams.version() for _ in range(100)))
            assert len(ssh_clients(sshd.key)) == 1
            for each in followed:
                each.cancel()
            await asyncio.gather(*followed, return_exceptions=True)
        finally:
            await streams.close()

    asyncio.run(ask())


def test_socket_is_in_a_folder_of_ours_alone(sshd: Sshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tunnel = SshTunnel(sshd.endpoint, sshd.key, sshd.known_hosts)
    try:
        tunnel.wait()
        assert (tunnel.socket.stat().st_mode & 0o077, tunnel.socket.parent.stat().st_mode & 0o077) == (0, 0)
    finally:
        tunnel.close()
    assert not tunnel.socket.exists()
    tunnel.socket.parent.chmod(0o755)
    with pytest.raises(NodeUnreachable, match="must be a folder of this user alone"):
        SshTunnel(sshd.endpoint, sshd.key, sshd.known_hosts)


def test_socket_of_a_killed_process_is_removed_by_the_next(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("worker.docker_engine.ssh_tunnel._LEFTOVER_SECONDS", 0.0)
    first = start_holder(sshd, tmp_path)
    left = next((tmp_path / f"longshore-ssh-{os.geteuid()}").glob("*.sock"))
    os.kill(first.pid, signal.SIGKILL)
    first.wait(10)
    wait_until(lambda: ssh_clients(sshd.key) == [], 10, "its client is gone")
    tunnel = SshTunnel(sshd.endpoint, sshd.key, sshd.known_hosts)
    try:
        tunnel.wait()
        assert tunnel.socket.exists() and not left.exists()
    finally:
        tunnel.close()


def start_holder(sshd: Sshd, folder: Path) -> subprocess.Popen[bytes]:
    """A process that holds a tunnel, which stands."""
    script = (
        "import sys, time; from pathlib import Path; from worker.docker_engine.ssh_tunnel import SshTunnel\n"
        "tunnel = SshTunnel(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))\n"
        "tunnel.wait(); print('up', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, sshd.endpoint, str(sshd.key), str(sshd.known_hosts)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
    )
    assert holder.stdout is not None and holder.stdout.readline() == b"up\n"
    return holder


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_client_ends_with_its_process_whatever_ended_that(
    sshd: Sshd, tmp_path: Path, number: signal.Signals
) -> None:
    holder = start_holder(sshd, tmp_path)
    assert ssh_clients(sshd.key) == descendants(holder.pid) != []
    os.kill(holder.pid, number)
    holder.wait(10)
    wait_until(lambda: ssh_clients(sshd.key) == [], 10, "its client is gone")
