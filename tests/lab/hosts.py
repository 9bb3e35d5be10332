"""Several hosts on one machine: a network namespace each, on one bridge, with a real engine in it.

Every engine has its own images, networks, firewall and id, and a port that speaks mutual TLS. Nothing is found
by a broad name: what is ended was started here, by pid, or bears this lab's own random mark.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException
from docker.tls import TLSConfig

from deploy import processes
from deploy.certificates import Authority
from tests.lab.images import import_busybox
from tests.lab.platform import wait_until

PORT = 2376
_START_SECONDS = 60
_TRIES = 4


class Host:
    """One host. `start` and `kill` are of its engine, `cut` and `heal` of its cable."""

    def __init__(self, lab: Hosts, number: int, address: str) -> None:
        self.name = f"{lab.mark}-{number}"
        self.address = address
        self.folder = lab.folder / str(number)
        self.certificates = self.folder / "tls"
        self.live_restore = lab.live_restore
        self._lab = lab
        self._cable = f"{lab.mark}v{number}"
        self._dockerd: subprocess.Popen[bytes] | None = None
        self._client: Any = None
        self.folder.mkdir(parents=True)

    @property
    def gateway(self) -> str:
        """This machine's address, as the host sees it."""
        return self._lab.gateway

    @property
    def data(self) -> Path:
        """Where the engine keeps its data."""
        return self.folder / "data"

    @property
    def endpoint(self) -> str:
        """Where the platform reaches the engine."""
        return f"tcp://{self.address}:{PORT}"

    @property
    def socket(self) -> str:
        """Where tests reach it past the platform, whether the cable is cut or not."""
        return f"unix://{self.folder}/docker.sock"

    @property
    def engine(self) -> Any:
        """docker-py's own client on the local socket."""
        if self._client is None:
            self._client = docker.DockerClient(base_url=self.socket, timeout=60)
        return self._client

    @property
    def pid(self) -> int:
        """Of the engine."""
        assert self._dockerd is not None
        return self._dockerd.pid

    def log(self) -> str:
        """What the engine has printed."""
        return (self.folder / "dockerd.log").read_text(errors="replace")

    def plug_in(self) -> None:
        """The namespace with its cable to the bridge."""
        inner = f"{self._cable}i"
        _ip("netns", "add", self.name)
        _ip("link", "add", self._cable, "type", "veth", "peer", "name", inner)
        _ip("link", "set", inner, "netns", self.name)
        _ip("link", "set", self._cable, "master", self._lab.bridge, "up")
        _ip("-n", self.name, "link", "set", inner, "name", "eth0")
        _ip("-n", self.name, "addr", "add", f"{self.address}/{self._lab.network.prefixlen}", "dev", "eth0")
        _ip("-n", self.name, "link", "set", "eth0", "up")
        _ip("-n", self.name, "link", "set", "lo", "up")
        # No way out: a name server that nobody answers for would hold up every program that asks for a name.

    def start(self) -> None:
        """Start the engine; returns when it answers."""
        tls = self.certificates
        options = [
            *("--data-root", str(self.data), "--exec-root", f"{self.folder}/exec"),
            *("--pidfile", f"{self.folder}/docker.pid", "-H", self.socket),
            *("-H", f"tcp://{self.address}:{PORT}", "--tlsverify", "--tlscacert", f"{tls}/ca.pem"),
            *("--tlscert", f"{tls}/cert.pem", "--tlskey", f"{tls}/key.pem"),
            *("--config-file", f"{self.folder}/daemon.json"),
        ]
        if self.live_restore:
            options.append("--live-restore")
        # An engine's id comes from this key, by default one for all engines of a machine. It has no flag.
        settings: dict[str, Any] = {"deprecated-key-path": f"{self.folder}/key.json"}
        # A test's own registry listens at the gateway.
        settings["insecure-registries"] = [str(self._lab.network)]
        (self.folder / "daemon.json").write_text(json.dumps(settings))
        # Not `ip netns exec`: that hides the cgroup mounts. A name of its own, as hosts have.
        enter = ["nsenter", f"--net=/var/run/netns/{self.name}", "unshare", "--uts", "sh", "-c"]
        line = f'hostname {self.name} && exec dockerd "$@"'
        with (self.folder / "dockerd.log").open("ab") as log:
            self._dockerd = subprocess.Popen(
                [*enter, line, "dockerd", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    def start_as_a_service(self) -> None:
        """Start the engine, and once more where it crashes at that, as a service manager does.

        20.10 may panic while it cleans up after the one that was killed.
        """
        for tries in range(1, _TRIES + 1):
            try:
                self.start()
                return
            except AssertionError:
                if tries == _TRIES:
                    raise
                self._wait_for_containerd()

    def restart_tls(self) -> None:
        """Stop the engine and start it again, for instance with other certificates."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """End the engine as an operator does; without live restore its containers end with it."""
        if self._dockerd is None:
            return
        self._dockerd.terminate()
        try:
            self._dockerd.wait(60)
        except subprocess.TimeoutExpired:
            self._dockerd.kill()
            self._dockerd.wait(10)
        self._dockerd = None

    def kill(self) -> None:
        """SIGKILL the engine. Its containerd goes with it, the containers stay."""
        assert self._dockerd is not None
        self._dockerd.kill()
        self._dockerd.wait(10)
        self._dockerd = None
        self._wait_for_containerd()

    def lose(self) -> None:
        """The host as it is without power: nothing of the engine and of what it ran is alive."""
        inits = [int(each.attrs["State"]["Pid"]) for each in self.engine.containers.list(ignore_removed=True)]
        self.kill()
        for pid in filter(None, inits):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._end_remains()

    def freeze(self) -> None:
        """SIGSTOP: it accepts connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def cut(self) -> None:
        """Pull the cable: the host runs on, and nobody reaches it."""
        _ip("link", "set", self._cable, "down")

    def heal(self) -> None:
        """Plug it in again."""
        _ip("link", "set", self._cable, "up")

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """A command on the host, with `more` variables."""
        enter = ["nsenter", f"--net=/var/run/netns/{self.name}", "unshare", "--uts", "sh", "-c"]
        line = f'hostname {self.name} && exec "$@"'
        return subprocess.run(
            [*enter, line, "sh", *command], capture_output=True, text=True, timeout=120, env={**os.environ, **more}
        )

    def end(self) -> None:
        """Everything that the host left: containers, engine, mounts, cable, namespace."""
        with contextlib.suppress(DockerException, OSError):
            if self._dockerd is not None:
                self.engine.ping()
                for container in self.engine.containers.list(all=True, ignore_removed=True):
                    with contextlib.suppress(DockerException):
                        container.remove(force=True, v=True)
                with contextlib.suppress(DockerException):
                    self.engine.swarm.leave(force=True)
        if self._client is not None:
            self._client.close()
        with contextlib.suppress(ProcessLookupError):
            if self._dockerd is not None:
                self.thaw()
        self.stop()
        self._end_remains()
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            mount = line.split()[1]
            if mount.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "-l", mount], capture_output=True)
        if Path(f"/var/run/netns/{self.name}").exists():
            _ip("netns", "delete", self.name)
        subprocess.run(["ip", "link", "delete", self._cable], capture_output=True)

    def _end_remains(self) -> None:
        """Processes that name this host's own folder: a containerd, shims of killed containers."""
        processes.wait_until(lambda: not self._killed_remains(), 5, every=0.1)

    def _killed_remains(self) -> list[int]:
        remains = self._remains()
        for pid in remains:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return remains

    def _remains(self) -> list[int]:
        inode = None
        with contextlib.suppress(OSError):
            inode = Path(f"/var/run/netns/{self.name}").stat().st_ino
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                own = inode is not None and (entry / "ns/net").stat().st_ino == inode
                if own or (f"{self.folder}/".encode() in words and b"containerd" in words):
                    found.append(int(entry.name))
        return found

    def _wait_for_containerd(self) -> None:
        """A new engine takes a containerd that is about to go for a running one."""
        pid_file = self.folder / "exec/containerd/containerd.pid"
        with contextlib.suppress(OSError, ValueError):
            pid = int(pid_file.read_text())
            wait_until(lambda: not Path(f"/proc/{pid}").exists(), 20, "the engine's containerd ends")

    def _wait(self) -> None:
        def answers() -> bool:
            process = self._dockerd
            assert process is not None
            if process.poll() is not None:
                raise AssertionError(f"the engine of {self.name} ended:\n{self.log()[-3000:]}")
            try:
                return bool(self.engine.ping())
            except (DockerException, OSError):
                return False

        wait_until(answers, _START_SECONDS, f"the engine of {self.name} answers", every=0.1)


class Hosts:
    """A lab of hosts; `end` it, whatever happened. `swarm` joins their engines into one swarm.

    With `disk` (mount options of a tmpfs) every engine's data has a small file system of its own.
    """

    def __init__(self, count: int, *, live_restore: bool = False, disk: str = "") -> None:
        self.mark = f"lsh{secrets.token_hex(2)}"
        self.bridge = f"{self.mark}b"
        self.live_restore = live_restore
        self.disk = disk
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.mark}-", dir="/var/tmp"))
        self.network = _free_network()
        self.gateway = str(self.network.broadcast_address - 1)
        self.authority = Authority.ensure(self.folder / "ca")
        #: what the platform's LONGSHORE_DOCKER_CERTS names
        self.client_certificates = self.folder / "client"
        self.authority.issue_client(self.client_certificates)
        self.hosts: list[Host] = []
        try:
            self._lay_bridge()
            for number in range(1, count + 1):
                self._add(number)
        except BaseException:
            self.end()
            raise

    def __getitem__(self, number: int) -> Host:
        return self.hosts[number]

    def tls(self, folder: Path | None = None) -> TLSConfig:
        """docker-py's own TLS settings, with the platform's certificates or those of another folder."""
        used = folder or self.client_certificates
        pair = (str(used / "cert.pem"), str(used / "key.pem"))
        return TLSConfig(client_cert=pair, ca_cert=str(used / "ca.pem"), verify=True)

    def swarm(self, *, managers: int = 1) -> None:
        """One swarm of all hosts; the first `managers` of them manage it."""
        first = self.hosts[0]
        first.engine.swarm.init(advertise_addr=first.address, listen_addr=f"{first.address}:2377")
        for place, host in enumerate(self.hosts[1:], start=1):
            self.join(host, role="Manager" if place < managers else "Worker")

    def join(self, host: Host, *, role: str = "Worker") -> None:
        """Let a host into the swarm of the first."""
        first = self.hosts[0]
        first.engine.swarm.reload()
        host.engine.swarm.join(
            remote_addrs=[f"{first.address}:2377"],
            join_token=first.engine.swarm.attrs["JoinTokens"][role],
            advertise_addr=host.address,
            listen_addr=f"{host.address}:2377",
        )

    def end(self) -> None:
        """End the engines, and remove every namespace, link, rule and file of this lab."""
        for host in self.hosts:
            host.end()
        subprocess.run(["iptables", "-D", "FORWARD", *self._rule()], capture_output=True)
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _add(self, number: int) -> None:
        host = Host(self, number, str(self.network.network_address + number))
        self.hosts.append(host)
        self.authority.issue_server(host.certificates, [host.address, host.name])
        host.plug_in()
        if self.disk:
            host.data.mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", self.disk, "tmpfs", str(host.data)]
            subprocess.run(mount, check=True, capture_output=True)
        host.start()
        import_busybox(host.engine)

    def add_bare(self) -> Host:
        """One more host, without an engine."""
        number = len(self.hosts) + 1
        host = Host(self, number, str(self.network.network_address + number))
        self.hosts.append(host)
        host.plug_in()
        return host

    def _lay_bridge(self) -> None:
        _ip("link", "add", self.bridge, "type", "bridge")
        _ip("addr", "add", f"{self.gateway}/{self.network.prefixlen}", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")
        # The machine's own engine drops what is forwarded, and bridged packets count as that.
        subprocess.run(["iptables", "-I", "FORWARD", *self._rule()], check=True, capture_output=True)

    def _rule(self) -> Sequence[str]:
        return ("-i", self.bridge, "-o", self.bridge, "-j", "ACCEPT")


def can_make_hosts() -> str:
    """Why hosts cannot be made here; empty where they can."""
    if os.geteuid() != 0:
        return "namespaces need root"
    missing = [name for name in ("dockerd", "nsenter", "unshare", "ip", "iptables") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


def _free_network() -> IPv4Network:
    """A /24 of the range for carriers' own use (RFC 6598), which neither engines nor our settings take."""
    routes = subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=True).stdout
    while True:
        third = secrets.randbelow(200) + 20
        if f"100.80.{third}." not in routes:
            return IPv4Network(f"100.80.{third}.0/24")


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"ip {' '.join(words)}: {done.stderr.strip()}")
