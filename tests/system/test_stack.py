"""docker-compose.yml, brought up for real on locally built images: what it runs, may do and outlives."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import docker
import httpx
import pytest

from deploy.certificates import Authority
from deploy.down import remove_ours
from deploy.embedded.places import free_port
from deploy.home import read_env_file
from deploy.library_images import ensure_samples_image
from deploy.sample_jobs import SampleRun, samples
from deploy.stack_images import build_stack_images
from tests.lab.api_client import ApiClient
from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import ENGINE, ROOT, free_octet, wait_until

OURS = ("api", "worker", "supervisor", "beat")
SOCKET = "/var/run/docker.sock"


class Stack:
    """One compose project of its own name, folder, passwords, ports and address range."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project = f"lstest{secrets.token_hex(4)}"
        self.engine: Any = docker.DockerClient(base_url=ENGINE, timeout=300)
        # What is carried to a host that has the images.
        for name in ("docker-compose.yml", "docker-compose.override.yml"):
            shutil.copy(ROOT / name, folder)
        for name in ("compose.production.yml", "prepare-stack", "production"):
            copy = shutil.copytree if (ROOT / "deploy" / name).is_dir() else shutil.copy
            (folder / "deploy").mkdir(exist_ok=True)
            copy(ROOT / "deploy" / name, folder / "deploy" / name)
        subprocess.run([folder / "deploy" / "prepare-stack"], check=True)
        self.passwords = [
            (folder / "secrets" / name).read_text() for name in ("postgres-password", "valkey-password")
        ]
        octet = free_octet(self.engine)
        self.ports = {
            name: free_port() for name in ("LONGSHORE_PORT", "LONGSHORE_HTTPS_PORT", "LONGSHORE_HTTP_PORT")
        }
        self.environment = {
            **os.environ,
            **build_stack_images(self.engine),
            **{name: str(port) for name, port in self.ports.items()},
            "LONGSHORE_INSTALLATION": self.project,
            "LONGSHORE_NETWORK_RANGE": f"10.{octet}.0.0/17",
            "LONGSHORE_SOLO_NETWORK": f"10.{octet}.128.0/20",
            "LONGSHORE_HOST": "localhost",
            "LONGSHORE_DUMP_EVERY_SECONDS": "3",
            "LONGSHORE_DUMP_KEEP": "2",
        }

    def compose(self, *words: str, stdin: IO[bytes] | None = None) -> str:
        """Run a compose command; its output."""
        program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        command = [*program, "-p", self.project, *words]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def containers(self) -> dict[str, Any]:
        """What the engine says of each service's container."""
        label = f"com.docker.compose.project={self.project}"
        found = self.engine.containers.list(all=True, filters={"label": label}, ignore_removed=True)
        return {each.labels["com.docker.compose.service"]: each.attrs for each in found}

    def wait_well(self, *services: str) -> None:
        """Return when each of these is healthy by its own check."""

        def unwell() -> dict[str, str]:
            states = {name: each["State"] for name, each in self.containers().items() if name in services}
            return {
                name: f"{state['Status']} {state['Health']['Status']} {state['Health']['Log'][-1:]}"
                for name, state in states.items()
                if state.get("Health", {}).get("Status") != "healthy"
            }

        try:
            wait_until(lambda: not unwell(), 120, "every service is healthy", every=0.5)
        except AssertionError as error:
            error.add_note(f"{unwell()}\n{self.compose('logs', '--tail=20')}")
            raise

    def key(self) -> dict[str, str]:
        """URL, account and key as the stack's bootstrap wrote them."""
        words = ("run", "--rm", "--no-deps", "migrate", "cat", "/var/lib/longshore/env")
        (self.folder / "env").write_text(self.compose(*words))
        return read_env_file(self.folder / "env")

    def down(self) -> None:
        """Remove the project, its volumes, and what its jobs left on the engine."""
        self.compose("down", "-v", "--remove-orphans", "-t", "5")
        remove_ours(self.engine, self.project)
        self.engine.close()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    ensure_busybox()
    made = Stack(tmp_path)
    try:
        made.compose("up", "-d", "--no-build")
        yield made
    finally:
        made.down()


@pytest.mark.timeout(1200)
def test_stack_brought_up_runs_jobs_through_restarts_and_behind_its_proxy(stack: Stack) -> None:
    stack.wait_well("postgres", "redis", *OURS)
    check_powers(stack)
    known = stack.key()
    client = ApiClient(known["LONGSHORE_URL"], known["LONGSHORE_ACCOUNT"], known["LONGSHORE_API_KEY"])
    check_listeners(stack)
    try:
        check_restart(stack, client)
        check_samples(stack, known)
        check_production(stack, client)
    except AssertionError as error:
        error.add_note(stack.compose("logs", "--tail=20"))
        raise
    finally:
        client.close()


def check_powers(stack: Stack) -> None:
    """Who has the engine's socket, who is root, what is told of passwords, who comes back after a crash."""
    found = stack.containers()
    told = json.dumps(found)
    assert not [password for password in stack.passwords if password in told]
    mounts = {name: {mount["Destination"] for mount in each["Mounts"]} for name, each in found.items()}
    assert {name for name, paths in mounts.items() if SOCKET in paths} == {"worker", "supervisor"}
    for name in (*OURS, "migrate"):
        config, host = found[name]["Config"], found[name]["HostConfig"]
        assert config["User"] == "10001:10001" and host["CapDrop"] == ["ALL"] and host["ReadonlyRootfs"], name
    policies = {name: each["HostConfig"]["RestartPolicy"]["Name"] for name, each in found.items()}
    assert policies.pop("migrate") in ("no", "")
    assert set(policies.values()) == {"unless-stopped"}, policies


def check_listeners(stack: Stack) -> None:
    """Both listeners answer in the stack's network, from another container."""
    ask = "import urllib.request; print(urllib.request.urlopen('http://{}/metrics', timeout=9).read().decode())"
    for at in ("worker:9108", "supervisor:9109"):
        said = stack.compose("exec", "-T", "beat", "python3", "-c", ask.format(at))
        assert "longshore_engine_call_seconds" in said, at


def check_restart(stack: Stack, client: ApiClient) -> None:
    """A gang that runs while worker and supervisor are restarted prints every line once and ends well."""
    kept = client.http.post("/secrets", json={"keyName": "TOKEN", "value": "x" * 26})
    assert kept.status_code == 200, kept.text
    count = "for i in $(seq 20); do echo $RANK $i ${#TOKEN}; sleep 0.5; done"
    job = client.shell(count, image=BUSYBOX, ranks=2, secretEnvVars={"TOKEN": "token"})
    client.wait_for(job["id"], lambda each: each["state"] == "RUNNING", 120)
    stack.compose("restart", "-t", "10", "worker", "supervisor")
    done = client.wait_end(job["id"], 120)
    assert done["state"] == "COMPLETED", done
    for rank in (0, 1):
        assert client.lines(job["id"], rank) == [f"{rank} {number + 1} 26" for number in range(20)]
    assert len(client.ranks(job["id"])) == 2
    stack.wait_well(*OURS)


def check_samples(stack: Stack, known: dict[str, str]) -> None:
    """The three jobs that `deploy/up` shows, with the images that it makes."""
    run = SampleRun(
        url=known["LONGSHORE_URL"],
        account=known["LONGSHORE_ACCOUNT"],
        key=known["LONGSHORE_API_KEY"],
        check=lambda: None,
    )
    ended = run.run(samples(ensure_samples_image(stack.engine)), stack.folder / "samples")
    assert [(each.state, each.sample.result.search(each.result) is not None) for each in ended] == [
        ("COMPLETED", True)
    ] * 3, [(each.status, each.result) for each in ended]


def check_production(stack: Stack, client: ApiClient) -> None:
    """The overlay laid over the running stack: the api by TLS alone, and dumps, of which two are kept."""
    Authority.ensure(stack.folder / "ca").issue_server(stack.folder / "tls", ["localhost"])
    for name, file in (("tls-certificate", "cert.pem"), ("tls-key", "key.pem")):
        shutil.copy(stack.folder / "tls" / file, stack.folder / "secrets" / name)
    stack.environment["COMPOSE_FILE"] = "docker-compose.yml:deploy/compose.production.yml"
    stack.compose("up", "-d", "--no-build")
    stack.wait_well("proxy", "backup", *OURS)
    trusted = ssl.create_default_context(cafile=str(stack.folder / "ca" / "ca.pem"))
    url = f"https://localhost:{stack.ports['LONGSHORE_HTTPS_PORT']}"
    with httpx.Client(verify=trusted, base_url=url, headers=client.http.headers) as by_tls:
        wait_until(lambda: by_tls.get("/readyz").status_code == 200, 60, "the api is ready behind its proxy")
        listed = by_tls.get(f"/v1/accounts/{client.account}/batchJobs").json()
        assert listed["totalSize"] == 4, listed
    with pytest.raises(httpx.TransportError):
        client.http.get("/batchJobs")
    assert stack.key()["LONGSHORE_URL"] == "https://localhost"
    check_dumps(stack)
    check_restoring(stack)
    with httpx.Client(verify=trusted, base_url=url, headers=client.http.headers) as by_tls:
        wait_until(lambda: by_tls.get("/readyz").status_code == 200, 60, "the api is ready again")
        listed = by_tls.get(f"/v1/accounts/{client.account}/batchJobs").json()
        assert [job["state"] for job in listed["batchJobs"]] == ["COMPLETED"] * 4, listed


def check_dumps(stack: Stack) -> None:
    """More dumps are made than are kept; the newest is one that can be read."""

    def dumps() -> list[str]:
        return stack.compose("exec", "-T", "backup", "ls", "/var/backups/longshore").split()

    first = dumps()
    wait_until(lambda: not set(first) & set(dumps()), 60, "the first dumps have made room for newer ones")
    kept = sorted(name for name in dumps() if name.endswith(".dump"))
    assert len(kept) <= 3, kept
    newest = "pg_restore -l $(ls -d /var/backups/longshore/*.dump | tail -n 1)"
    listing = stack.compose("exec", "-T", "backup", "sh", "-c", newest)
    assert "TABLE DATA public jobs" in listing


def check_restoring(stack: Stack) -> None:
    """The newest dump in place of the rows, as docs/compose.md says it."""
    folder = "/var/backups/longshore"
    # At once: dumps come and go every few seconds.
    words = f"newest=$(ls {folder} | grep 'dump$' | tail -n 1) && echo $newest && cat {folder}/$newest"
    container = stack.engine.containers.get(stack.containers()["backup"]["Id"])
    said = container.exec_run(["sh", "-c", words], stderr=False)
    assert said.exit_code == 0
    name, _, content = said.output.partition(b"\n")
    newest, dump = name.decode(), stack.folder / "longshore.dump"
    dump.write_bytes(content)
    stack.compose("stop", "api", "worker", "supervisor", "beat", "backup")
    restore = (
        "export PGPASSWORD=$(cat /run/secrets/postgres-password) PGHOST=127.0.0.1 PGUSER=app\n"
        "createdb longshore_new && pg_restore -d longshore_new --exit-on-error &&\n"
        'psql -q -d postgres -c "ALTER DATABASE longshore RENAME TO longshore_replaced"'
        ' -c "ALTER DATABASE longshore_new RENAME TO longshore"'
    )
    with dump.open("rb") as content:
        stack.compose("exec", "-T", "postgres", "sh", "-c", restore, stdin=content)
    made_at = newest.removeprefix("longshore-").removesuffix(".dump")
    bring = ("python3", "-m", "deploy.backups.bring_to_now", made_at)
    assert "0 that waited are ended" in stack.compose("run", "--rm", "--no-deps", "worker", *bring)
    stack.compose("up", "-d", "--no-build")
    stack.wait_well("proxy", "backup", *OURS)
