"""Who listens on a TCP port of this host, as the kernel has it (proc(5), /proc/net/tcp). Asks nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

_LISTENS = "0A"
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


@dataclass(frozen=True)
class Listener:
    """Who holds a port. `pid` None: a process that this user may not look at, or of another container."""

    address: IPv4Address | IPv6Address
    pid: int | None
    program: str

    @property
    def shown(self) -> str:
        return "a process of another user" if self.pid is None else f"process {self.pid} ({self.program})"


def listener_of(host: str, port: int) -> Listener | None:
    """Who is in the way of a program that wants to listen there, or is that program."""
    for address, inode in _listening(port):
        if _meets(host, address):
            pid = _holder(inode)
            return Listener(address, pid, "" if pid is None else _program(pid))
    return None


def _listening(port: int) -> Iterator[tuple[IPv4Address | IPv6Address, str]]:
    for table in _TABLES:
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        for line in lines:
            fields = line.split()
            address, _, number = fields[1].partition(":")
            if fields[3] == _LISTENS and int(number, 16) == port:
                yield _address(address), fields[9]


def _address(text: str) -> IPv4Address | IPv6Address:
    """Of words of 32 bits, each in the order of the machine, which is taken for a little-endian one."""
    words = [text[at : at + 8] for at in range(0, len(text), 8)]
    packed = b"".join(bytes.fromhex(word)[::-1] for word in words)
    if len(packed) == 4:
        return IPv4Address(packed)
    six = IPv6Address(packed)
    return six.ipv4_mapped or six


def _meets(host: str, address: IPv4Address | IPv6Address) -> bool:
    if address.is_unspecified:
        return True
    try:
        wanted = ip_address(host)
    except ValueError:
        return True
    return wanted.is_unspecified or wanted == address


def _holder(inode: str) -> int | None:
    wanted = f"socket:[{inode}]"
    for process in Path("/proc").glob("[0-9]*"):
        # Processes end, and those of others are closed to us.
        with suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    if str(descriptor.readlink()) == wanted:
                        return int(process.name)
    return None


def _program(pid: int) -> str:
    """Its command line, as far as it tells what it is."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        return " ".join(words)[:80].strip()
    return "?"
