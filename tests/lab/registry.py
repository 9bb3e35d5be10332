"""A real image registry with Basic authentication on a free port of this machine, from Debian's package."""

from __future__ import annotations

import base64
import json
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import docker
import httpx

from deploy.embedded.places import free_port
from tests.lab.platform import ENGINE, wait_until

#: Of the access log: who asked, for what, and the answer's status.
_REQUEST = re.compile(r'^(?P<client>[\d.]+) .*"(?P<verb>[A-Z]+) (?P<path>\S+) HTTP/[\d.]+" (?P<status>\d+) ')


class Registry:
    """`user` may pull and push; `config` is a docker configuration file with its credentials.

    Engines trust it without TLS on the loopback, and where they are told to.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="longshore-registry-")
        folder = Path(self._folder.name)
        self.user, self.password = "puller", secrets.token_urlsafe(12)
        hashed = subprocess.run(
            ["htpasswd", "-nbB", self.user, self.password], check=True, capture_output=True, text=True
        ).stdout.strip()
        (folder / "htpasswd").write_text(hashed + "\n")
        self.host = f"{address}:{free_port(address)}"
        settings = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
            "http": {"addr": self.host},
            "auth": {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}},
        }
        (folder / "config.yml").write_text(json.dumps(settings))  # JSON is YAML
        self._log = folder / "log"
        program = shutil.which("docker-registry")
        assert program, "docker-registry is not installed: tests/run installs it"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [program, "serve", str(folder / "config.yml")], stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self._answers, 20, "the registry answers")
        self.config = folder / "docker-config.json"
        token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        self.config.write_text(json.dumps({"auths": {self.host: {"auth": token}}}))

    def push(self, image: str, name: str, *, endpoint: str = ENGINE) -> str:
        """Push an engine's image under a name; the reference by which it is pulled. The new tag is removed."""
        engine: Any = docker.DockerClient(base_url=endpoint)
        reference = f"{self.host}/{name}"
        engine.images.get(image).tag(reference)
        answer = engine.api.push(
            reference, auth_config={"username": self.user, "password": self.password}, stream=True, decode=True
        )
        errors = [line["error"] for line in answer if "error" in line]
        assert not errors, errors
        self.forget(reference, endpoint=endpoint)
        engine.close()
        return reference

    def downloads(self, name: str) -> list[tuple[str, str]]:
        """Who was given which part of an image, a layer or its configuration: a line for every time."""
        found = [_REQUEST.match(line) for line in self._log.read_text(errors="replace").splitlines()]
        blob = f"/v2/{name}/blobs/"
        return [
            (match["client"], match["path"].removeprefix(blob))
            for match in found
            if match and match["verb"] == "GET" and match["status"] == "200" and match["path"].startswith(blob)
        ]

    def forget(self, reference: str, *, endpoint: str = ENGINE) -> None:
        """Remove a reference, and what only it keeps, from an engine."""
        engine: Any = docker.DockerClient(base_url=endpoint)
        try:
            engine.images.remove(reference, force=True)
        except docker.errors.ImageNotFound:
            pass
        finally:
            engine.close()

    def publish_foreign(self, name: str) -> str:
        """Make a manifest list that has no entry for this machine's platform; its reference."""
        repository, _, tag = name.partition(":")
        source = self.push("longshore-test/busybox:1", f"{repository}:native")
        auth = (self.user, self.password)
        url = f"http://{self.host}/v2/{repository}/manifests"
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        native = httpx.get(f"{url}/native", auth=auth, headers={"Accept": kind})
        native.raise_for_status()
        list_kind = "application/vnd.docker.distribution.manifest.list.v2+json"
        listing = {
            "schemaVersion": 2,
            "mediaType": list_kind,
            "manifests": [
                {
                    "mediaType": kind,
                    "size": len(native.content),
                    "digest": native.headers["Docker-Content-Digest"],
                    "platform": {"architecture": "s390x", "os": "linux"},
                }
            ],
        }
        put = httpx.put(
            f"{url}/{tag}",
            auth=auth,
            content=json.dumps(listing),
            headers={"Content-Type": list_kind},
        )
        put.raise_for_status()
        return source.replace(":native", f":{tag}")

    def stop(self) -> None:
        """End the registry and remove its data."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)
        self._folder.cleanup()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://{self.host}/v2/", timeout=2).status_code == 401
        except httpx.TransportError:
            return False
