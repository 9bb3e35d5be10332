"""Downloads of output: every byte, whole lines, chosen as pages are, in bounded memory, and never half of it."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import func, text, update

from api.log_download import LogDownload, Wish
from api.log_feed import LogFeeds
from core.accounts import Caller
from core.database import Database
from core.jobs import job_moves, rank_moves
from core.jobs.reading import get_job
from core.log_filter import EVERYTHING
from core.log_records import PLATFORM, STDERR, STDOUT, LogRecord
from core.logs import ChunkToStore, append_chunks
from core.models import ApiKey
from core.settings import Settings
from core.states import JobState
from tests.api.conftest import ACCOUNT, Served, serving
from tests.lab.platform import wait_until

START_NS = 1_767_225_600 * 10**9
MILLISECOND = 10**6
PIECE = 16_384
Create = Callable[..., str]


def store(
    database: Database, job_id: str, rank: int, seq: int, *said: tuple[int, int, bytes], attempt: int = 1
) -> None:
    """(millisecond, stream, bytes) of each record."""
    records = [LogRecord(START_NS + at * MILLISECOND, stream, data) for at, stream, data in said]
    append_chunks(database, [ChunkToStore(job_id, attempt, rank, seq, records, 0, 0)])


def download(client: httpx.Client, job_id: str, **params: Any) -> bytes:
    answer = client.get(f"/batchJobs/{job_id}:downloadLogs", params=params)
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.fixture
def logged(database: Database, create: Create) -> str:
    """A job of two ranks; rank 0 has a line of three pieces, into which rank 1 prints, and broken UTF-8."""
    job_id = create(numRanks=2)
    pieces = [(1, STDOUT, b"x" * PIECE), (3, STDOUT, b"y" * PIECE)]
    store(database, job_id, 0, 0, (0, STDOUT, b"first \xff\0\n"), *pieces)
    store(
        database, job_id, 0, 1, (3, STDOUT, b"end\n"), (5, STDERR, b"warning: hot\r\n"), (6, STDOUT, b"no newline")
    )
    store(database, job_id, 1, 0, (2, STDOUT, b"loss 0.5\n"), (4, STDERR, b"warning: cold\n"))
    return job_id


LONG = b"x" * PIECE + b"y" * PIECE + b"end\n"


def test_download_merges_ranks_by_time_each_line_whole_and_behind_its_rank(
    admin: httpx.Client, logged: str
) -> None:
    answer = admin.get(f"/batchJobs/{logged}:downloadLogs")
    assert answer.content == (
        b"[0] first \xff\0\n[0] " + LONG + b"[1] loss 0.5\n[1] warning: cold\n[0] warning: hot\r\n[0] no newline"
    )
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{logged}.log"'
    assert "Content-Encoding" not in answer.headers


def test_download_of_one_rank_is_what_it_printed_byte_for_byte(admin: httpx.Client, logged: str) -> None:
    out, err = b"first \xff\0\n" + LONG, b"warning: hot\r\n"
    assert download(admin, logged, ranks=0) == out + err + b"no newline"
    assert download(admin, logged, ranks=0, stream="stdout") == out + b"no newline"
    assert download(admin, logged, ranks=0, stream="stderr") == err
    assert download(admin, logged, ranks="1,1") == b"loss 0.5\nwarning: cold\n"


@pytest.mark.parametrize(
    ("params", "lines"),
    [
        ({"stream": "stderr"}, ["[1] warning: cold", "[0] warning: hot\r"]),
        ({"filter": "warning"}, ["[1] warning: cold", "[0] warning: hot\r"]),
        ({"regex": r"loss \d", "ranks": "0,1"}, ["[1] loss 0.5"]),
        ({"regex": "^(warning|loss)", "filter": "o", "ranks": 1}, ["loss 0.5", "warning: cold"]),
        ({"filter": "warning", "regex": "^loss"}, []),
        ({"startTime": "2026-01-01T00:00:00.005Z"}, ["[0] warning: hot\r", "[0] no newline"]),
        ({"startTime": "9999-01-01T00:00:00Z"}, []),
    ],
)
def test_download_chooses_as_pages_do(
    admin: httpx.Client, logged: str, params: dict[str, Any], lines: list[str]
) -> None:
    found = download(admin, logged, **params).decode()
    assert found.split("\n")[: len(lines)] == lines and len(found.splitlines()) == len(lines)
    page = admin.get(f"/batchJobs/{logged}:getLogs", params={**params, "startFromHead": "true"}).json()["entries"]
    assert [each["message"] for each in page] == [line.removeprefix(f"[{line[1:2]}] ") for line in lines]


def test_download_of_an_attempt_is_its_own(admin: httpx.Client, database: Database, logged: str) -> None:
    with database.transaction() as connection:
        job_moves.move_job(connection, logged, 1, JobState.PENDING, status="")
        job_moves.requeue_job(connection, logged, 1, reason="X", status="again", delay_seconds=0, charged=True)
        rank_moves.insert_ranks(connection, logged, 2, 2)
    store(database, logged, 1, 0, (9, STDOUT, b"second\n"), attempt=2)
    assert download(admin, logged) == b"[1] second\n"
    assert download(admin, logged, attempt=1, ranks=1) == b"loss 0.5\nwarning: cold\n"
    assert download(admin, logged, attempt=3) == b""


def test_download_says_where_output_was_cut(admin: httpx.Client, database: Database, create: Create) -> None:
    job_id = create()
    store(database, job_id, 0, 0, (0, STDOUT, b"one\ntw"), (0, PLATFORM, b"longshore: the first 6 bytes\n"))
    assert download(admin, job_id) == b"one\ntw\nlongshore: the first 6 bytes\n"
    assert download(admin, job_id, stream="stdout") == b"one\ntw"


def test_download_as_gzip_is_the_same_compressed(admin: httpx.Client, logged: str, create: Create) -> None:
    answer = admin.get(f"/batchJobs/{logged}:downloadLogs", params={"format": "gz"})
    assert gzip.decompress(answer.content) == download(admin, logged)
    assert answer.headers["Content-Type"] == "application/gzip" and "Content-Encoding" not in answer.headers
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{logged}.log.gz"'
    assert gzip.decompress(download(admin, create(), format="gz")) == b"" == download(admin, create())


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"ranks": "2"}, "ranks"),
        ({"stream": "3"}, "stream"),
        ({"regex": "("}, "regex"),
        ({"filter": "a\0"}, "filter"),
        ({"startTime": "now"}, "startTime"),
        ({"attempt": "-1"}, "attempt"),
        ({"format": "zip"}, "format"),
        ({"pageSize": "1"}, "pageSize"),
    ],
)
def test_download_with_a_wrong_parameter_is_refused_naming_it(
    admin: httpx.Client, logged: str, params: dict[str, str], named: str
) -> None:
    answer = admin.get(f"/batchJobs/{logged}:downloadLogs", params=params)
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["details"][0]["fieldViolations"]] == [named]


MANY = 24 << 20


@pytest.fixture
def long_job(database: Database, create: Create) -> tuple[str, bytes]:
    """A job with much output that does not compress, and the digest of it."""
    job_id, digest = create(), hashlib.sha256()
    line = b"".join(hashlib.sha256(b"%d" % index).digest() for index in range(PIECE // 32)).replace(b"\n", b"x")
    for seq in range(MANY // (16 * PIECE)):
        lines = [b"%06d " % seq + line[: PIECE - 8] + b"\n"] * 16
        for each in lines:
            digest.update(each)
        store(database, job_id, 0, seq, *((seq, STDOUT, each) for each in lines))
    return job_id, digest.digest()


@contextmanager
def slowly(url: str, key: str, job_id: str, **params: str) -> Iterator[socket.socket]:
    """A client with little room that has asked for a download and reads nothing yet; the raw answer of HTTP."""
    host = urlsplit(url)
    query = "&".join(f"{name}={value}" for name, value in params.items())
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(60)
        client.connect((host.hostname, host.port))
        path = f"/v1/accounts/{ACCOUNT}/batchJobs/{job_id}:downloadLogs?{query}"
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
        yield client


def rest_of(client: socket.socket) -> bytes:
    """Everything until the server closes, or has ended the answer properly."""
    found = bytearray()
    while part := client.recv(1 << 20):
        found += part
        if found.endswith(b"\r\n0\r\n\r\n"):
            break
    return bytes(found)


def is_whole(answer: bytes) -> bool:
    return answer.endswith(b"\r\n0\r\n\r\n")


def connections_in_use(database: Database) -> int:
    """Of others, within a transaction."""
    count = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND state <> 'idle' AND backend_type = 'client backend'"
    )
    with database.transaction() as connection:
        return int(connection.execute(count).scalar_one())


def test_slow_client_holds_a_stream_and_no_connection_and_gets_everything(
    settings: Settings, served: Served, database: Database, long_job: tuple[str, bytes]
) -> None:
    job_id, digest = long_job
    few = settings.model_copy(update={"max_streams_per_account": 2})
    with serving(few) as url, slowly(url, served.user_key, job_id) as client:
        headers = {"Authorization": f"Bearer {served.user_key}"}
        path = f"{url}/v1/accounts/{ACCOUNT}/batchJobs/{job_id}:downloadLogs"
        begun = client.recv(1000, socket.MSG_PEEK)
        assert begun.startswith(b"HTTP/1.1 200")
        wait_until(
            lambda: connections_in_use(database) == 0, 20, "nothing is held for a client that does not read"
        )
        with slowly(url, served.user_key, job_id) as other:
            assert other.recv(100).startswith(b"HTTP/1.1 200")
            refused = httpx.get(path, headers=headers)
            assert refused.status_code == 429 and "streams open" in refused.json()["message"]
        answer = rest_of(client)
        assert is_whole(answer)
        # Both places are free again: of the one that was left, and of the one that has ended.
        wait_until(lambda: _begins(path, headers), 20, "the places are given back")
        whole = hashlib.sha256()
        with httpx.stream("GET", path, headers=headers, timeout=60) as response:
            for part in response.iter_bytes():
                whole.update(part)
        assert whole.digest() == digest


def test_download_has_one_page_in_memory_at_a_time(
    served: Served, database: Database, long_job: tuple[str, bytes]
) -> None:
    job_id, digest = long_job
    key_id = served.user_key.split("_")[1]
    caller = Caller(ACCOUNT, 0, "user", "user@acme.example", False, False, False, key_id)
    wish = Wish(1, None, EVERYTHING, since_ns=0, as_gzip=False)

    async def pieces() -> list[bytes]:
        feeds = LogFeeds(database)
        one = LogDownload(database, None, feeds, caller, get_job(database, ACCOUNT, job_id), wish)
        await one.begin()
        try:
            return [piece async for piece in one.pieces()]
        finally:
            await feeds.close()

    found = asyncio.run(pieces())
    assert hashlib.sha256(b"".join(found)).digest() == digest
    assert len(found) > 20 and max(map(len, found)) < 2 << 20


def _begins(path: str, headers: dict[str, str]) -> bool:
    with httpx.stream("GET", path, headers=headers) as one, httpx.stream("GET", path, headers=headers) as two:
        return (one.status_code, two.status_code) == (200, 200)


def test_download_is_broken_off_when_its_key_is_revoked(
    served: Served, database: Database, long_job: tuple[str, bytes]
) -> None:
    of_key = ApiKey.id == served.user_key.split("_")[1]
    with slowly(served.url, served.user_key, long_job[0]) as client:
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        with database.transaction() as connection:
            connection.execute(update(ApiKey).where(of_key).values(revoked_at=func.now()))
        try:
            headers = {"Authorization": f"Bearer {served.user_key}"}
            jobs = f"{served.url}/v1/accounts/{ACCOUNT}/batchJobs"
            wait_until(lambda: httpx.get(jobs, headers=headers).status_code == 401, 10, "the key is refused")
            answer = rest_of(client)
        finally:
            with database.transaction() as connection:
                connection.execute(update(ApiKey).where(of_key).values(revoked_at=None))
    assert not is_whole(answer)


def test_download_is_broken_off_when_its_job_is_deleted(
    admin: httpx.Client, served: Served, long_job: tuple[str, bytes]
) -> None:
    job_id = long_job[0]
    with slowly(served.url, served.admin_key, job_id) as client:
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert admin.delete(f"/batchJobs/{job_id}").status_code == 200
        wait_until(lambda: admin.get(f"/batchJobs/{job_id}").status_code == 404, 20, "it is gone")
        answer = rest_of(client)
    assert not is_whole(answer)


def test_download_of_a_job_that_prints_is_what_there_is_when_it_is_asked_for(
    served: Served, database: Database, long_job: tuple[str, bytes]
) -> None:
    job_id, seq = long_job[0], MANY // (16 * PIECE)
    with slowly(served.url, served.user_key, job_id, filter="none") as client:
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        store(database, job_id, 0, seq, (10**6, STDOUT, b"later, and none of it\n"))
        assert is_whole(rest_of(client))
    with slowly(served.url, served.user_key, job_id) as client:
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        store(database, job_id, 0, seq + 1, (10**6 + 1, STDOUT, b"even later\n"))
        answer = rest_of(client)
    assert is_whole(answer) and b"later, and none of it\n" in answer and b"even later\n" not in answer
