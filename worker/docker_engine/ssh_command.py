"""What the ssh client is called with, and what its words mean. Pure, but for a look at our own files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ENGINE_SOCKET = "/var/run/docker.sock"
CONNECT_SECONDS = 5
#: A host that has been cut off is noticed after three of these.
_ALIVE_SECONDS, _ALIVE_COUNT = 5, 3
_ENDPOINT = re.compile(r"ssh://(?:(?P<user>[^@/]+)@)?(?P<host>\[[^\]]+\]|[^:/@]+)(?::(?P<port>\d+))?/?")
_NO_CHANNEL = re.compile(r"channel \d+: open failed: ")
#: sshd tells us apart none of these.
_NO_SOCKET = (
    f"{ENGINE_SOCKET} there cannot be opened: no engine runs, the user is not in the group docker, or sshd lets no"
    " sockets be forwarded (AllowStreamLocalForwarding)"
)
REFUSED = re.compile(r"Permission denied|Too many authentication failures|Host key verification failed")
_TABLE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), sentence)
    for pattern, sentence in (
        (r"IDENTIFICATION HAS CHANGED", "its host key is not the one in {known_hosts}"),
        (r"Host key verification failed", "its host key is not known: it is not in {known_hosts}"),
        (r"UNPROTECTED PRIVATE KEY FILE", "others may read our key {key}: it must be of mode 0600"),
        (r"Load key .*", "our key cannot be used: {line}"),
        (r".*Permission denied.*|.*Too many authentication failures.*", "it refuses our key: {line}"),
        (r".*Could not resolve hostname.*", "there is no host of that name: {line}"),
        (
            r".*Connection (?:refused|timed out|reset|closed).*|.*No route to host.*|.*Network is unreachable.*"
            r"|.*Timeout, server.*|.*[Bb]roken pipe.*|.*closed by remote host.*",
            "no sshd answers there: {line}",
        ),
    )
)


@dataclass(frozen=True)
class SshTarget:
    """An endpoint taken apart, and what is used to get there. `user` and `port` may be empty."""

    user: str
    host: str
    port: str
    key: Path | None
    known_hosts: Path | None

    @classmethod
    def of(cls, endpoint: str, key: Path | None, known_hosts: Path | None) -> SshTarget | None:
        """None where the endpoint is not `ssh://[user@]host[:port]`."""
        parts = _ENDPOINT.fullmatch(endpoint)
        if parts is None:
            return None
        return cls(parts["user"] or "", parts["host"].strip("[]"), parts["port"] or "", key, known_hosts)

    def command(self, ssh: str, local: Path) -> list[str]:
        """The client's command line, which brings the engine's socket to `local`."""
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "ConnectTimeout": CONNECT_SECONDS,
            "ServerAliveInterval": _ALIVE_SECONDS,
            "ServerAliveCountMax": _ALIVE_COUNT,
            "ExitOnForwardFailure": "yes",
            "StreamLocalBindUnlink": "yes",
            "StreamLocalBindMask": "0177",
            # A shared connection would be another process's, and end with that.
            "ControlMaster": "no",
            "ControlPath": "none",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "PermitLocalCommand": "no",
            # What it says of single connections is of this level.
            "LogLevel": "INFO",
        }
        words = [ssh, "-N", "-T"]
        if self.known_hosts is not None:
            options |= {"UserKnownHostsFile": f'"{self.known_hosts}"', "GlobalKnownHostsFile": "none"}
        if self.key is not None:
            options |= {"IdentitiesOnly": "yes"}
            words += ["-i", str(self.key)]
        for name, setting in options.items():
            words += ["-o", f"{name}={setting}"]
        for flag, value in (("-l", self.user), ("-p", self.port)):
            words += [flag, value] if value else []
        return [*words, "-L", f"{local}:{ENGINE_SOCKET}", "--", self.host]

    def unreadable(self) -> str:
        """Which of our files cannot be read; empty where all can."""
        for name, file in (("KEY_FILE", self.key), ("KNOWN_HOSTS", self.known_hosts)):
            try:
                if file is not None:
                    file.open("rb").close()
            except OSError as error:
                return f"LONGSHORE_SSH_{name} names {file}, which cannot be read: {error.strerror}"
        return ""

    def sentence(self, said: str) -> str:
        """What is wrong, from all that the client has printed."""
        known_hosts = self.known_hosts or "the known_hosts of the user that runs this process"
        for pattern, sentence in _TABLE:
            if (match := pattern.search(said)) is not None:
                line = match[0].strip()
                return sentence.format(known_hosts=known_hosts, key=self.key or "file", line=line)
        lines = said.strip().splitlines()
        return f"ssh ended: {lines[-1]}" if lines else "ssh ended without a word"


def engine_fault(line: str) -> str | None:
    """Why the engine was not reached through a client that stands; None where the line says nothing of that."""
    return None if _NO_CHANNEL.search(line) is None else _NO_SOCKET
