"""Engines at `ssh://`: one ssh client for each, which brings the engine's socket to a socket of this host.

Both SDKs then speak to a unix socket, and all that is known of keys, jump hosts and agents is OpenSSH's own.
Nobody is asked anything: a host key that is not known is refused, and so is a password.

A tunnel that ends is made anew, and says meanwhile what was wrong. The client never outlives its process: Linux
ends it, whatever has ended us. Its socket, which is as good as root on that host, lies in a folder of ours alone.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import select
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from core.errors import NodeUnreachable
from worker.docker_engine.ssh_command import CONNECT_SECONDS, REFUSED, SshTarget, engine_fault

_LOOK_SECONDS = 0.05
_IDLE_LOOK_SECONDS = 1.0
_END_SECONDS = 3.0
#: From the end of one client to the start of the next. Hosts shut out who is refused too often.
_FIRST_DELAY_SECONDS, _DELAY_SECONDS, _REFUSED_DELAY_SECONDS = 0.5, 5.0, 20.0
#: What the client says of a connection may come so long after the connection has failed, and stands so long.
_SAID_SECONDS, _STANDS_SECONDS = 0.3, 5.0
#: A socket that nobody listens at is one of a process that was killed, unless it is just being made.
_LEFTOVER_SECONDS = 60.0
_KEPT_LINES = 40
#: Runs the rest of its arguments; SIGTERM when the thread that started it ends (PR_SET_PDEATHSIG, prctl(2)).
_GUARD = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class SshTunnel:
    """The way to one engine at `ssh://`, from now until `close`. Safe to share between threads."""

    def __init__(self, endpoint: str, key: Path | None, known_hosts: Path | None) -> None:
        self._refusal = f"the engine at {endpoint} is not used"
        target = SshTarget.of(endpoint, key, known_hosts)
        if target is None:
            raise NodeUnreachable(f"{self._refusal}: an endpoint by ssh is ssh://user@host:port")
        self._target = target
        self.socket = _own_folder(self._refusal) / f"{secrets.token_hex(8)}.sock"
        self._changed = threading.Condition()
        self._is_up = False
        self._fault = ""
        self._said_of_engine, self._said_at = "", 0.0
        self._closed = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)
        # A thread of its own for all its life: the client ends with the thread that started it.
        self._thread = threading.Thread(target=self._keep, name=f"ssh {endpoint}", daemon=True)
        self._thread.start()

    @property
    def is_settled(self) -> bool:
        """Whether it is known if the tunnel stands; it is not while the client connects."""
        return self._is_up or bool(self._fault)

    def check(self) -> None:
        """Raises NodeUnreachable where the tunnel does not stand."""
        fault = self._fault
        if not self._is_up and fault:
            raise NodeUnreachable(fault)

    def wait(self) -> None:
        """Wait for a client that is connecting, then `check`."""
        if not self._is_up:
            with self._changed:
                self._changed.wait_for(lambda: self.is_settled, 2 * CONNECT_SECONDS)
            self.check()

    def fault(self) -> str | None:
        """After a call that failed: why, in a sentence; None where the tunnel had nothing to do with it."""

        def known() -> bool:
            return bool(self._fault) or time.monotonic() - self._said_at < _STANDS_SECONDS

        with self._changed:
            if not self._changed.wait_for(known, _SAID_SECONDS):
                return None
            return self._fault or self._said_of_engine

    def close(self) -> None:
        """End the client and remove the socket."""
        atexit.unregister(self.close)
        self._closed.set()
        with self._changed:
            process = self._process
        if process is not None:
            process.terminate()
        self._thread.join(2 * _END_SECONDS)
        self.socket.unlink(missing_ok=True)

    def _keep(self) -> None:
        """One client after the other."""
        delay = _FIRST_DELAY_SECONDS
        while not self._closed.is_set():
            try:
                was_up, said = self._run()
            except OSError as error:  # no more processes, no room for a socket
                was_up, said = False, ""
                self._note(fault=f"ssh could not be started: {error}")
            refused = REFUSED.search(said) is not None
            most = _REFUSED_DELAY_SECONDS if refused else _DELAY_SECONDS
            delay = _FIRST_DELAY_SECONDS if was_up else min(2 * delay, most)
            self._closed.wait(delay)
            self._note(fault="")

    def _run(self) -> tuple[bool, str]:
        """One client, from its start to its end: whether its tunnel ever stood, and what it printed."""
        ssh = shutil.which("ssh")
        if ssh is None:
            self._note(fault="this host has no ssh client (Debian: openssh-client)")
            return False, ""
        if unreadable := self._target.unreadable():
            self._note(fault=unreadable)
            return False, ""
        self.socket.unlink(missing_ok=True)
        command = self._target.command(ssh, self.socket)
        with subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {"LC_ALL": "C"},
            # What is sent to our group, an interrupt from a terminal for one, is for us to see to.
            start_new_session=True,
        ) as process:
            with self._changed:
                self._process = process
            if self._closed.is_set():
                process.terminate()
            try:
                was_up, said = self._attend(process, process.stderr.fileno() if process.stderr else -1)
            finally:
                _end(process)
                with self._changed:
                    self._process = None
        self._note(fault=self._target.sentence(said))
        return was_up, said

    def _attend(self, process: subprocess.Popen[bytes], stream: int) -> tuple[bool, str]:
        """See the tunnel come up, and read what the client prints until it ends."""
        lines, pending = list[str](), b""
        # Not `select`, which takes no file numbers past 1,023.
        poll = select.poll()
        poll.register(stream, select.POLLIN)
        began, is_up = time.monotonic(), False
        while True:
            if not is_up and self._is_listening():
                is_up = True
                self._note(up=True)
            readable = poll.poll(1000 * (_IDLE_LOOK_SECONDS if is_up else _LOOK_SECONDS))
            piece = os.read(stream, 1 << 16) if readable else b""
            *whole, pending = (pending + piece).split(b"\n")
            for line in whole:
                self._hear(line.decode("utf-8", "replace").strip(), lines)
            stuck = not is_up and time.monotonic() - began > 3 * CONNECT_SECONDS
            if stuck:
                lines.append("Connection timed out")
            # Whoever has its output still open may outlive it: a proxy command.
            if stuck or (readable and not piece) or (not readable and process.poll() is not None):
                return is_up, "\n".join([*lines, pending.decode("utf-8", "replace")])

    def _hear(self, line: str, lines: list[str]) -> None:
        fault = engine_fault(line)
        if fault is None:
            lines.append(line)
            del lines[:-_KEPT_LINES]
            return
        with self._changed:
            self._said_of_engine, self._said_at = f"{self._refusal}: {fault}", time.monotonic()
            self._changed.notify_all()

    def _is_listening(self) -> bool:
        # Its socket is made once the host has let us in.
        if not self.socket.exists():
            return False
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.connect(str(self.socket))
            return True
        return False

    def _note(self, *, up: bool = False, fault: str = "") -> None:
        with self._changed:
            self._is_up = up
            self._fault = f"{self._refusal}: {fault}" if fault else ""
            self._changed.notify_all()


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, on which ssh ends its proxy command too; SIGKILL if that does not do."""
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_END_SECONDS)


def _own_folder(refusal: str) -> Path:
    """A folder that nobody else can look into, without the sockets of processes that were killed."""
    folder = Path(tempfile.gettempdir()) / f"longshore-ssh-{os.geteuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise NodeUnreachable(f"{refusal}: {folder} must be a folder of this user alone (mode 0700)")
    for each in folder.glob("*.sock"):
        with contextlib.suppress(OSError):
            if time.time() - each.lstat().st_mtime > _LEFTOVER_SECONDS and _is_deserted(each):
                each.unlink()
    return folder


def _is_deserted(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
    return False
