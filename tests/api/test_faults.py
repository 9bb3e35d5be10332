"""What is answered when something of ours is wrong: a part that is away, or an error that nobody foresaw."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import httpx
import pytest
from sqlalchemy import text

from api.errors import ANSWERS, answer_to
from core import errors
from core.database import Database
from core.settings import Settings
from tests.api.conftest import Served, serving
from tests.lab.platform import wait_until


def test_readiness_with_a_database_answers_200(served: Served) -> None:
    assert set(httpx.get(f"{served.url}/readyz").json()["parts"]) == {"database", "migrations", "broker"}
    assert httpx.get(f"{served.url}/healthz").json() == {}


def test_every_call_without_a_database_answers_503_and_says_no_address(settings: Settings, served: Served) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        port = taken.getsockname()[1]
        gone = settings.model_copy(update={"database_url": f"postgresql://app:pw@127.0.0.1:{port}/x"})
        with serving(gone) as url:
            ready = httpx.get(f"{url}/readyz")
            listed = httpx.get(
                f"{url}/v1/accounts/a/batchJobs",
                headers={"Authorization": f"Bearer {served.admin_key}"},
                timeout=30,
            )
            assert httpx.get(f"{url}/healthz").status_code == 200
    for answer in (ready, listed):
        assert answer.status_code == 503 and answer.json()["code"] == 14
        assert int(answer.headers["Retry-After"]) > 0 and str(port) not in answer.text
    assert "database" in ready.json()["message"]


def test_create_without_a_broker_is_stored_all_the_same(served: Served, settings: Settings) -> None:
    gone = settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    with serving(gone) as url:
        answer = httpx.post(
            f"{url}/v1/accounts/acme/batchJobs",
            json={"nodePoolId": "imaged"},
            headers={"Authorization": f"Bearer {served.admin_key}"},
        )
    assert answer.status_code == 200 and answer.json()["state"] == "QUEUED"


def test_an_unforeseen_error_answers_500_with_an_id_and_nothing_else(
    served: Served, admin: httpx.Client, database: Database
) -> None:
    with database.transaction() as connection:
        connection.execute(text("ALTER TABLE jobs RENAME TO hidden_jobs"))
    try:
        answer = admin.get("/batchJobs")
    finally:
        with database.transaction() as connection:
            connection.execute(text("ALTER TABLE hidden_jobs RENAME TO jobs"))
    assert answer.status_code == 500
    body = answer.json()
    assert (body["code"], body["message"]) == (13, "internal error")
    assert body["details"][0]["requestId"] and "jobs" not in answer.text
    assert admin.get("/batchJobs").status_code == 200


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NodeUnreachable("x"), 503),
        (errors.ImageNotFound("x"), 500),
        (ValueError("x"), 500),
        (errors.InvalidArgument.field("a", "b"), 400),
        (errors.Superseded("x"), 409),
    ],
)
def test_answer_to_an_error_is_that_of_its_nearest_family(error: Exception, status: int) -> None:
    assert answer_to(error).status == status


def test_answers_cover_every_error_of_a_caller() -> None:
    assert set(errors.CallerError.__subclasses__()) <= set(ANSWERS)


def test_schema_is_served_and_names_every_call(served: Served) -> None:
    schema = httpx.get(f"{served.url}/openapi.json").json()
    account = "/v1/accounts/{account_id}/batchJobs"
    assert {account, account + "/{job_id}", account + "/{job_id}:getLogs"} <= set(schema["paths"])
    assert "imageDigest" in schema["components"]["schemas"]["BatchJobRead"]["properties"]
    body = schema["paths"][account]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "stopGracePeriod" in body["properties"]


def test_process_serves_and_ends_on_sigterm(settings: Settings) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "LONGSHORE_DATABASE_URL": settings.database_url,
        "LONGSHORE_BROKER_URL": settings.broker_url,
        "LONGSHORE_API_PORT": str(port),
    }
    process = subprocess.Popen([sys.executable, "-m", "api"], env=environment)
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}/readyz")
        process.send_signal(signal.SIGTERM)
        # uvicorn, having ended in good order, ends by the signal that it was sent.
        assert process.wait(20) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    def is_ready() -> bool:
        assert process.poll() is None
        try:
            return httpx.get(url).status_code == 200
        except httpx.TransportError:
            return False

    wait_until(is_ready, 30, "it is ready")


def test_caller_who_leaves_within_a_body_disturbs_nobody(
    served: Served, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as leaving:
        leaving.sendall(b"POST /v1/accounts/acme/batchJobs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    said: list[str] = []

    def has_left() -> bool:
        said.append(capsys.readouterr().out + caplog.text)
        return "caller_left" in "".join(said)

    wait_until(has_left, 10, "the api has noticed that its caller left")
    assert "request_failed" not in "".join(said)
    assert httpx.get(f"{served.url}/readyz").status_code == 200
