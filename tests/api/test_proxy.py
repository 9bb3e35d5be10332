"""The proxy of the production overlay, as it is shipped, in front of a real API: over TLS, and as it comes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from core.database import Database
from core.jobs import job_moves
from core.log_records import STDOUT, LogRecord
from core.logs import ChunkToStore, append_chunks
from core.settings import Settings
from core.states import JobState
from deploy.certificates import Authority
from deploy.embedded.places import free_port
from deploy.packages import unpack
from tests.api.conftest import ACCOUNT, Served, client_of, serving
from tests.api.event_reader import reading
from tests.lab.platform import ROOT, wait_until

CONFIGURATION = ROOT / "deploy" / "production" / "nginx.conf"
LINE = b"x" * 999 + b"\n"
CHUNKS, LINES = 4, 1000


@dataclass(frozen=True)
class Proxy:
    url: str
    plain_url: str


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The machine's program, or Debian's, which is not installed: that would start a server."""
    if (found := shutil.which("nginx")) is not None:
        return Path(found)
    folder = tmp_path_factory.mktemp("package")
    unpack("nginx", folder)
    return folder / "usr/sbin/nginx"


@contextmanager
def proxying(nginx: Path, folder: Path, api_url: str) -> Iterator[Proxy]:
    """The shipped configuration, with only addresses and places of its own."""
    Authority.ensure(folder / "ca").issue_server(folder / "tls", ["localhost", "127.0.0.1"])
    tls_port, plain_port = free_port(), free_port()
    text = CONFIGURATION.read_text().replace("/tmp/", f"{folder}/")
    for shipped, here in {
        "listen 80 ": f"listen 127.0.0.1:{plain_port} ",
        "listen 443 ": f"listen 127.0.0.1:{tls_port} ",
        "api:8080": api_url.removeprefix("http://"),
        "/run/secrets/tls-certificate": f"{folder}/tls/cert.pem",
        "/run/secrets/tls-key": f"{folder}/tls/key.pem",
    }.items():
        assert text.count(shipped) == 1, shipped
        text = text.replace(shipped, here)
    (folder / "nginx.conf").write_text(text)
    command = [str(nginx), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        plain_url = f"http://127.0.0.1:{plain_port}"
        wait_until(lambda: process.poll() is not None or answers(plain_url), 20, "the proxy answers")
        assert process.poll() is None, (folder / "said").read_text()
        yield Proxy(f"https://localhost:{tls_port}", plain_url)
    finally:
        process.terminate()
        process.wait(10)


def answers(plain_url: str) -> bool:
    try:
        return httpx.get(f"{plain_url}/proxy-healthz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose authority every client of the test trusts, and no other."""
    Authority.ensure(tmp_path / "ca")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca" / "ca.pem"))
    return tmp_path


@pytest.fixture
def proxy(nginx: Path, trusted: Path, served: Served) -> Iterator[Proxy]:
    with proxying(nginx, trusted, served.url) as started:
        yield started


@pytest.fixture
def client(proxy: Proxy, served: Served) -> Iterator[httpx.Client]:
    with client_of(f"{proxy.url}/v1/accounts/{ACCOUNT}", served.admin_key) as opened:
        yield opened


def say(database: Database, job_id: str, seq: int, *lines: bytes) -> None:
    records = [LogRecord(10**18 + seq * 10**9 + index, STDOUT, line) for index, line in enumerate(lines)]
    append_chunks(database, [ChunkToStore(job_id, 1, 0, seq, records, 0, 0)])


def test_proxy_passes_a_stream_on_line_by_line(
    proxy: Proxy, client: httpx.Client, served: Served, database: Database, create: Callable[..., str]
) -> None:
    job_id = create(client)
    with database.transaction() as connection:
        assert job_moves.move_job(connection, job_id, 1, JobState.PENDING, status="")
        assert job_moves.move_job(connection, job_id, 1, JobState.RUNNING, status="")
    with reading(proxy.url, served.user_key, f"/batchJobs/{job_id}:streamLogs") as reader:
        for seq in range(3):
            say(database, job_id, seq, b"line\n")
            wait_until(lambda: reader.names().count("log") == seq + 1, 10, "it is told at once")  # noqa: B023
        assert not reader.closed.is_set()
        with database.transaction() as connection:
            assert job_moves.move_job(connection, job_id, 1, JobState.COMPLETED, status="")
        assert reader.closed.wait(10)
    assert reader.names() == ["log", "log", "log", "end"]


def test_proxy_passes_files_of_any_size_whole_in_both_directions(
    client: httpx.Client, admin: httpx.Client, database: Database, create: Callable[..., str]
) -> None:
    files = {"big.txt": "y" * (4 << 20)}
    job_id = create(client, files=files)
    for seq in range(CHUNKS):
        say(database, job_id, seq, *[LINE] * LINES)
    with client.stream("GET", f"/batchJobs/{job_id}:downloadLogs", headers={"X-Request-Id": "mine-1"}) as answer:
        assert answer.headers["X-Request-Id"] == "mine-1"
        assert b"".join(answer.iter_bytes()) == LINE * (CHUNKS * LINES)
    too_much = client.post("/batchJobs", json={"files": {"a": "y" * (16 << 20)}})
    assert too_much.status_code == 400 and "is larger than the limit" in too_much.text


def test_proxy_sends_plain_requests_to_tls(proxy: Proxy) -> None:
    answer = httpx.post(f"{proxy.plain_url}/v1/accounts/{ACCOUNT}/batchJobs?a=b", headers={"Host": "jobs.test"})
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"https://jobs.test/v1/accounts/{ACCOUNT}/batchJobs?a=b"


def test_proxy_has_wrong_keys_counted_against_who_sent_them_whatever_he_says(
    nginx: Path, trusted: Path, settings: Settings, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As the overlay has it, where the proxy's address is not known beforehand.
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    strict = settings.model_copy(update={"failed_key_limit_per_second": 0.01, "failed_key_limit_burst": 1})
    with serving(strict) as url, proxying(nginx, trusted, url) as proxy:
        path = f"{proxy.url}/v1/accounts/{ACCOUNT}/batchJobs"

        def ask(address: str, claimed: str) -> int:
            # What is believed are the certificates of SSL_CERT_FILE.
            with httpx.Client(transport=httpx.HTTPTransport(local_address=address)) as client:
                headers = {"Authorization": "Bearer wrong", "X-Forwarded-For": claimed}
                return client.get(path, headers=headers).status_code

        assert [ask("127.0.0.2", "10.9.9.1"), ask("127.0.0.2", "10.9.9.2")] == [401, 429]
        assert ask("127.0.0.3", "10.9.9.1") == 401
