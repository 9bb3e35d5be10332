"""A fleet in a process of its own, as others start it and ask it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.lab.api_client import Json

_ROOT = Path(__file__).resolve().parents[3]


class FleetProcess:
    """`python -m tests.lab.fake_engine`, from construction until `close`; with `variables` in its environment."""

    def __init__(self, count: int, folder: Path, image: str, variables: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "tests.lab.fake_engine", "--count", str(count), "--folder", str(folder)]
        self._process = subprocess.Popen(
            [*command, image],
            cwd=_ROOT,
            env={**os.environ, **(variables or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self.endpoints = [f"unix://{folder}/{number}.sock" for number in range(count)]
        assert self._said() == "ready\n"

    def tally(self) -> Json:
        """What happened so far."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer: Json = json.loads(self._said())
        return answer

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=30)

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()
