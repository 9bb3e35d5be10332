"""A real sshd on a free port of 127.0.0.1, with keys and settings of its own in a temporary folder."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import subprocess
from pathlib import Path

from deploy.embedded.places import free_port
from tests.lab.platform import wait_until


class Sshd:
    """`kill` and `start` are for fault tests; `end` it, whatever happened.

    `key` is one that it lets in, `known_hosts` has its host key; both may be changed at any time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.key = self.new_key("user")
        self.host_key = self.new_key("host")
        self.known_hosts = folder / "known_hosts"
        self.authorized_keys = folder / "authorized_keys"
        self.user = getpass.getuser()
        self.forwards = "yes"
        self.trust()
        self.let_in()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def endpoint(self) -> str:
        """The engine of this host, by ssh."""
        return f"ssh://{self.user}@127.0.0.1:{self.port}"

    def new_key(self, name: str) -> Path:
        """A pair of keys."""
        key = self.folder / name
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)]
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        return key

    def trust(self, host_key: Path | None = None) -> None:
        """Put its host key, or another in its place, into `known_hosts`."""
        kind, text, *_ = (host_key or self.host_key).with_suffix(".pub").read_text().split()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {text}\n")

    def let_in(self) -> None:
        """Let `key` in."""
        self.authorized_keys.write_text(self.key.with_suffix(".pub").read_text())

    def shut_out(self) -> None:
        """Let nobody in."""
        self.authorized_keys.write_text("")

    def start(self) -> None:
        """Start it; returns when it takes connections."""
        settings = {
            "ListenAddress": "127.0.0.1",
            "Port": self.port,
            "HostKey": self.host_key,
            "PidFile": "none",
            "AuthorizedKeysFile": self.authorized_keys,
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "StrictModes": "no",
            "UsePAM": "no",
            "AllowStreamLocalForwarding": self.forwards,
            "MaxStartups": "100",
        }
        config = self.folder / "sshd_config"
        config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        program = shutil.which("sshd") or "/usr/sbin/sshd"
        said_before = len(self.log())
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(lambda: self._listens(said_before), 15, "sshd takes connections")

    def kill(self) -> None:
        """SIGKILL it with every connection that it serves."""
        assert self._process is not None
        for pid in [self._process.pid, *descendants(self._process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(10)
        self._process = None

    def end(self) -> None:
        """Kill it if it runs."""
        if self._process is not None:
            self.kill()

    def log(self) -> str:
        """What it has printed, by all its starts."""
        file = self.folder / "sshd.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def _listens(self, said_before: int) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        return f"port {self.port}" in self.log()[said_before:]


def can_run_sshd() -> str:
    """Why there can be no sshd here; empty where there can."""
    missing = [name for name in ("ssh", "ssh-keygen") if shutil.which(name) is None]
    if shutil.which("sshd") is None and not Path("/usr/sbin/sshd").exists():
        missing.append("sshd")
    return f"not installed: {', '.join(missing)}" if missing else ""


def descendants(pid: int) -> list[int]:
    """Every process below this one, by the system's own table."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, left = [], [pid]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def ssh_clients(of: Path) -> list[int]:
    """The ssh clients that use a file, of whatever process: by their command lines."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[0].endswith(b"ssh") and str(of).encode() in b" ".join(words):
                    found.append(int(entry.name))
    return found
