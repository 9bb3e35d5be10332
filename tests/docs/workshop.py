"""A folder that looks to a reader's shell as the checkout does after `deploy/up`, and a shell in it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from deploy.bootstrap import write_env_file
from tests.docs.pages import ROOT
from tests.lab.platform import Platform

#: Kept out of the folder: it has its own.
_NOT_SHOWN = frozenset({".git", ".longshore"})
#: curl takes an answer of 400 and more for a success; an example that was refused must fail.
_CURLRC = "fail-with-body\nmax-time = 60\n"
_SECONDS = 60.0


class Failed(Exception):
    """An example did not go as the page says."""


def make_workshop(folder: Path, platform: Platform, operator_key: str) -> None:
    """Everything of the checkout, and a `.longshore` whose URL and keys are the platform's."""
    for each in ROOT.iterdir():
        if each.name not in _NOT_SHOWN:
            (folder / each.name).symlink_to(each)
    home = folder / ".longshore"
    home.mkdir()
    (home / "venv").symlink_to(sys.prefix)
    (home / "log").symlink_to(platform.folder)
    account, key = platform.client.account, platform.client.http.headers["Authorization"].removeprefix("Bearer ")
    write_env_file(home / "env", url=platform.url, account=account, key=key)
    write_env_file(home / "operator.env", url=platform.url, account="operator", key=operator_key)
    (folder / ".curlrc").write_text(_CURLRC)


class Shell:
    """One bash for all blocks of a page, as a reader has one terminal. The first failing command ends it."""

    def __init__(self, folder: Path, scratch: Path, **variables: str) -> None:
        self._scratch = scratch
        self._count = 0
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGSHORE_")}
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env={**kept, "HOME": str(folder), "LC_ALL": "C.UTF-8", **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._say("set -eo pipefail")

    def run(self, text: str) -> str:
        """What the commands print on stdout. Raises Failed with what they printed on stderr."""
        self._count += 1
        script, out, err = (self._scratch / f"{self._count}.{kind}" for kind in ("sh", "out", "err"))
        script.write_text(text)
        self._say(f"source '{script}' >'{out}' 2>'{err}' </dev/null; echo done")
        if not self._is_done(time.monotonic() + _SECONDS):
            ended = self._bash.poll()
            how = f"did not end within {_SECONDS:.0f} s" if ended is None else f"failed with {ended}"
            raise Failed(f"{how}\n{out.read_text()[-2000:]}\n{err.read_text()[-2000:]}")
        return out.read_text()

    def end(self) -> None:
        """End the shell and whatever it still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.communicate()

    def _say(self, line: str) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"{line}\n".encode())
        self._bash.stdin.flush()

    def _is_done(self, deadline: float) -> bool:
        assert self._bash.stdout is not None
        readable, _, _ = select.select([self._bash.stdout], [], [], max(0.0, deadline - time.monotonic()))
        # An end of the shell is readable too, and says nothing.
        if readable and self._bash.stdout.readline() == b"done\n":
            return True
        if readable:
            self._bash.wait(10)
        return False
