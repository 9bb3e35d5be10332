"""docker-compose.yml, brought up for real on locally built images, and a job run through it."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from deploy.down import remove_ours
from deploy.embedded.places import free_port
from deploy.home import read_env_file
from deploy.stack_images import build_stack_images
from tests.lab.api_client import ApiClient
from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import ENGINE, ROOT, free_octet, wait_until


class Stack:
    """One compose project of its own name, passwords, port and address range."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project = f"lstest{secrets.token_hex(4)}"
        self.engine: Any = docker.DockerClient(base_url=ENGINE, timeout=300)
        octet = free_octet(self.engine)
        self.environment = {
            **os.environ,
            **build_stack_images(self.engine),
            "POSTGRES_PASSWORD": secrets.token_hex(12),
            "VALKEY_PASSWORD": secrets.token_hex(12),
            "LONGSHORE_PORT": str(free_port()),
            "LONGSHORE_INSTALLATION": self.project,
            "LONGSHORE_NETWORK_RANGE": f"10.{octet}.0.0/17",
            "LONGSHORE_SOLO_NETWORK": f"10.{octet}.128.0/20",
        }

    def compose(self, *words: str) -> str:
        """Run a compose command; its output."""
        program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        command = [*program, "-f", str(ROOT / "docker-compose.yml"), "-p", self.project, *words]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def client(self) -> ApiClient:
        """A client with the key that the stack's bootstrap wrote."""
        words = ("run", "--rm", "--no-deps", "migrate", "cat", "/var/lib/longshore/env")
        (self.folder / "env").write_text(self.compose(*words))
        found = read_env_file(self.folder / "env")
        wait_until(lambda: _ready(found["LONGSHORE_URL"]), 120, "the stack's API is ready")
        return ApiClient(found["LONGSHORE_URL"], found["LONGSHORE_ACCOUNT"], found["LONGSHORE_API_KEY"])

    def down(self) -> None:
        """Remove the project, its volumes, and what its jobs left on the engine."""
        self.compose("down", "-v", "--remove-orphans", "-t", "5")
        remove_ours(self.engine, self.project)
        self.engine.close()


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    ensure_busybox()
    made = Stack(tmp_path)
    try:
        made.compose("up", "-d", "--no-build")
        yield made
    finally:
        made.down()


@pytest.mark.timeout(600)
def test_stack_brought_up_runs_a_gang(stack: Stack) -> None:
    client = stack.client()
    kept = client.http.post("/secrets", json={"keyName": "TOKEN", "value": "x" * 26})
    assert kept.status_code == 200, kept.text
    job = client.shell("echo rank $RANK ${#TOKEN}", image=BUSYBOX, ranks=2, secretEnvVars={"TOKEN": "token"})
    done = client.wait_end(job["id"], 120)
    assert done["state"] == "COMPLETED", stack.compose("logs", "--tail=20")
    assert sorted(client.lines(job["id"])) == ["rank 0 26", "rank 1 26"]
    client.close()
