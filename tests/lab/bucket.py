"""An S3 server on a free port of this machine, from moto, with one empty bucket."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx

from deploy.embedded.places import free_port
from tests.lab.platform import wait_until

_NAME = "kept"


class Bucket:
    """`url` is what LONGSHORE_OBJECT_STORE_URL takes; `variables` are what a process needs to reach it.

    The server keeps everything in memory: killed, it has forgotten the bucket too.
    """

    def __init__(self, folder: Path) -> None:
        self._log = folder / "s3.log"
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.url = f"s3://{_NAME}/some/prefix"
        self.variables: Mapping[str, str] = {
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "key",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }
        self._process = self._started()
        self.make()

    def _started(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(lambda: process.poll() is not None or self._answers(), 60, "the S3 server answers")
            assert process.poll() is None, self._log.read_text()
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process

    def _answers(self) -> bool:
        try:
            return httpx.get(self.endpoint, timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def make(self) -> None:
        """The bucket, empty, where there is none."""
        httpx.put(f"{self.endpoint}/{_NAME}", timeout=10, trust_env=False).raise_for_status()

    def drop(self) -> None:
        """The bucket goes with all that is in it; the server stays."""
        reset = httpx.post(f"{self.endpoint}/moto-api/reset", timeout=10, trust_env=False)
        reset.raise_for_status()

    def names(self) -> list[str]:
        """What is in it, by full name."""
        answer = httpx.get(f"{self.endpoint}/{_NAME}?list-type=2", timeout=10, trust_env=False)
        answer.raise_for_status()
        return [each.partition("</Key>")[0] for each in answer.text.split("<Key>")[1:]]

    def has_unfinished(self) -> bool:
        """Whether there are parts of objects that were neither finished nor given up: they cost, unseen."""
        answer = httpx.get(f"{self.endpoint}/{_NAME}?uploads", timeout=10, trust_env=False)
        answer.raise_for_status()
        return "<UploadId>" in answer.text

    def stop(self) -> None:
        """End the server."""
        self._process.terminate()
        self._process.wait(20)
