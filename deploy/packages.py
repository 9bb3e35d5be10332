"""Debian packages that set-up needs, by apt, as root. Which ones and why is said where they are asked for."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from pathlib import Path

from deploy.processes import SetupError, run
from deploy.steps import is_debian

#: apt and dpkg hold their locks alone; of our own threads only one may ask at a time.
_ONE_AT_A_TIME = threading.Lock()
_LOCK_SECONDS = 120


def can_install() -> bool:
    """Whether packages can be had here without asking anybody: root on Debian or Ubuntu."""
    return os.geteuid() == 0 and is_debian()


def install(*packages: str) -> list[str]:
    """Install what is missing of the packages, without recommended ones; those that were missing.

    Raises SetupError with apt's own last words.
    """
    with _ONE_AT_A_TIME:
        missing = [package for package in packages if not _is_installed(package)]
        if not missing:
            return []
        # The list of packages of a fresh machine is empty or old; an old one names files that are gone.
        update_error: SetupError | None = None
        try:
            _apt("update")
        except SetupError as error:
            # One broken source among several is common, and the packages may come from another.
            update_error = error
        try:
            _apt("install", "-y", "--no-install-recommends", *missing)
        except SetupError as error:
            raise update_error or error from error
        return missing


def unpack(package: str, folder: Path) -> None:
    """The files of a package below a folder, without installing it: what is installed may start a server.

    Raises SetupError with apt's own last words, and where this is not Debian.
    """
    if not is_debian():
        raise SetupError(f"the package {package} is Debian's, and this is another system")
    with _ONE_AT_A_TIME, tempfile.TemporaryDirectory(prefix="longshore-package-") as name:
        downloads = Path(name)
        # Root gives what it downloads to a user of apt's own.
        downloads.chmod(0o777)
        try:
            _apt("download", package, directory=downloads)
        except SetupError:
            # As in `install`: the list may be empty, or name files that are gone.
            _apt("update")
            _apt("download", package, directory=downloads)
        for file in downloads.glob("*.deb"):
            unpacked = run(["dpkg", "-x", str(file), str(folder)])
            if unpacked.returncode != 0:
                raise SetupError(f"{file.name} cannot be unpacked: {unpacked.stdout.decode('utf-8', 'replace')}")


def _is_installed(package: str) -> bool:
    said = run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package])
    return said.returncode == 0 and said.stdout == b"installed"


def _apt(*words: str, directory: Path | None = None) -> None:
    result = subprocess.run(
        ["apt-get", "-qq", "-o", f"DPkg::Lock::Timeout={_LOCK_SECONDS}", *words],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # Nobody is there to answer a question, and restarting others' services is not ours to do.
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"},
        check=False,
    )
    if result.returncode == 0:
        return
    said = result.stdout.decode("utf-8", "replace").strip()
    if "Could not get lock" in said or "is held by process" in said:
        raise SetupError(
            f"another program has held apt's lock for {_LOCK_SECONDS} s; let it end, then run this again"
        )
    last = " | ".join(said.splitlines()[-4:])
    raise SetupError(f"`apt-get {' '.join(words)}` failed; put that right and run this again: {last}")
