"""Where an installation keeps its things and which processes it started. Starts and stops nothing."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deploy.embedded.places import OPEN_STATE, remove_directory
from deploy.processes import ProcessIdentity, SetupError, is_running

CHECKOUT = Path(__file__).resolve().parent.parent

#: Beside the first account's file, that of the account which runs the platform.
OPERATOR_FILE = "operator.env"
#: What `down --purge` may remove; a folder that held something else before keeps that.
_FOLDERS = ("venv", "log", "pycache", "samples", "objects")
_FILES = ("env", OPERATOR_FILE, "secret-keys", "installation", "processes.json", "lock")
_LINKED = ("postgres", "valkey")


class Home:
    """The folder LONGSHORE_HOME, `.longshore` in the checkout by default."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Sockets' paths are short by nature, and this folder's may not be.
        self.digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]

    @classmethod
    def from_environment(cls) -> Home:
        """The home that LONGSHORE_HOME names."""
        wanted = os.environ.get("LONGSHORE_HOME") or CHECKOUT / ".longshore"
        return cls(Path(wanted).expanduser().resolve())

    @property
    def env_file(self) -> Path:
        """What a shell sources: URL, account, key."""
        return self.path / "env"

    @property
    def operator_env_file(self) -> Path:
        """The same for the operator's account."""
        return self.path / OPERATOR_FILE

    @property
    def secret_keys_file(self) -> Path:
        """The keys that seal secrets. Whoever loses it has lost every secret."""
        return self.path / "secret-keys"

    @property
    def objects(self) -> Path:
        """What ended jobs left, where no other object store is named."""
        return self.path / "objects"

    @property
    def runtime(self) -> Path:
        """A short folder for sockets, empty after a reboot."""
        if os.geteuid() == 0:
            return Path("/run") / f"longshore-{self.digest}"
        return Path(os.environ.get("XDG_RUNTIME_DIR", "/tmp")) / f"longshore-{os.geteuid()}-{self.digest}"

    @property
    def installation(self) -> str:
        """The mark on our containers and networks: another checkout's are not ours."""
        if named := os.environ.get("LONGSHORE_INSTALLATION"):
            return named
        try:
            return self._installation_file.read_text().strip()
        except FileNotFoundError:
            return f"longshore-{self.digest}"

    def take_over(self, installation: str) -> None:
        """Have the mark of an installation that is no more, from now on."""
        draft = self._installation_file.with_suffix(".new")
        draft.write_text(installation + "\n")
        draft.replace(self._installation_file)

    @property
    def _installation_file(self) -> Path:
        return self.path / "installation"

    def log(self, name: str) -> Path:
        """The log file of one process."""
        folder = self.path / "log"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.log"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the home alone; SetupError when another `up` or `down` is at work."""
        self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise SetupError("another deploy/up or deploy/down is at work here; wait until it ends") from error
            yield

    def purge(self) -> None:
        """Remove everything of ours, data included."""
        for name in _LINKED:
            remove_directory(self.path / name)
        remove_directory(self.runtime)
        with contextlib.suppress(OSError):  # Another installation's data is there, or nothing ever was.
            OPEN_STATE.rmdir()
        for name in _FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in _FILES:
            (self.path / name).unlink(missing_ok=True)
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()


class Roster:
    """`processes.json`: the processes that `up` started, each with the mark of what it was started from."""

    def __init__(self, home: Home) -> None:
        self._path = home.path / "processes.json"

    def running(self, name: str) -> ProcessIdentity | None:
        """The recorded process of that name, if it is still that process."""
        entry = self._read().get(name)
        if entry is None:
            return None
        process = ProcessIdentity(**entry["process"])
        return process if is_running(process) else None

    def mark(self, name: str) -> str:
        """What the process of that name was started from; empty where there is none."""
        return str(self._read().get(name, {}).get("mark", ""))

    def record(self, name: str, process: ProcessIdentity, mark: str = "") -> None:
        """Note a process that was started."""
        self._write(self._read() | {name: {"process": asdict(process), "mark": mark}})

    def forget(self, name: str) -> None:
        """Note that a process was stopped."""
        entries = self._read()
        if entries.pop(name, None) is not None:
            self._write(entries)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            return json.loads(self._path.read_text())  # type: ignore[no-any-return]
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise SetupError(f"{self._path} is damaged; stop our processes by hand and remove it") from error

    def _write(self, entries: dict[str, dict[str, Any]]) -> None:
        draft = self._path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(entries, indent=1))
        draft.replace(self._path)


def read_env_file(path: Path) -> dict[str, str]:
    """The variables of a file of `export NAME=value` lines; empty where there is no file."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.removeprefix("export ").partition("=") for line in lines if "=" in line)
    return {name: "".join(shlex.split(value)) for name, _, value in pairs}
