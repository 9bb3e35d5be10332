"""B-8: whatever bytes a rank prints are stored, all of them, in order, each stream by itself."""

from __future__ import annotations

import gzip
import hashlib
import os
import signal
from collections.abc import Mapping

import pytest

from tests.lab.api_client import ApiClient
from tests.lab.host_pool import ranks_of
from tests.lab.platform import Platform, wait_until
from tests.lab.stored_output import stream_of

_PIECE = 16_384
_LONG = 3 * _PIECE + 5
_MIB = 1 << 20


def xs(count: int, then: str = "echo") -> str:
    return f"head -c {count} /dev/zero | tr '\\0' x; {then}"


_LINES = 500
_BOTH = f"i=0; while [ $i -lt {_LINES} ]; do echo out $i; echo err $i >&2; i=$((i+1)); done"
_OUT, _ERR = (b"".join(b"%s %d\n" % (name, i) for i in range(_LINES)) for name in (b"out", b"err"))

CONTENT: Mapping[str, tuple[str, dict[int, bytes]]] = {
    "NUL": (r"printf 'a\000b\000\n\000'", {1: b"a\0b\0\n\0"}),
    "broken UTF-8": (r"printf '\377\376 \303\n\360\237'", {1: b"\xff\xfe \xc3\n\xf0\x9f"}),
    "no final newline": ("printf 'one\\ntwo'; printf 'three' >&2", {1: b"one\ntwo", 2: b"three"}),
    "ANSI": (r"printf '\033[31mred\033[0m\r\033[2Kgone\n'", {1: b"\x1b[31mred\x1b[0m\r\x1b[2Kgone\n"}),
    "two streams": (_BOTH, {1: _OUT, 2: _ERR}),
    "empty lines": ("yes '' | head -n 50000", {1: b"\n" * 50_000}),
    **{
        f"a line of {count}{end}": (xs(count, then), {1: b"x" * count + more})
        for count in (_PIECE - 2, _PIECE - 1, _PIECE, _PIECE + 1, 2 * _PIECE)
        for end, then, more in ((" and its newline", "echo", b"\n"), (" without a newline", "true", b""))
    },
    "a long line, then another": (xs(_LONG, "echo; echo after"), {1: b"x" * _LONG + b"\nafter\n"}),
    "a long line on stderr": (f"({xs(_LONG)}; echo after) >&2", {2: b"x" * _LONG + b"\nafter\n"}),
}
MUCH: Mapping[str, tuple[str, dict[int, bytes]]] = {
    "a line of 50 MiB": (xs(50 * _MIB), {1: b"x" * (50 * _MIB) + b"\n"}),
    "a million empty lines": ("yes '' | head -n 1000000", {1: b"\n" * 1_000_000}),
}


_STORED = (
    "SELECT coalesce(sum(byte_count), 0)::bigint FROM log_chunks c JOIN jobs j ON j.id = c.job_id"
    " WHERE j.batch_job_id = '{}'"
)


def digest(data: bytes) -> tuple[int, str]:
    # Nobody wants to read how 50 MiB differ from others.
    return len(data), hashlib.sha256(data).hexdigest()


def downloaded(client: ApiClient, job_id: str, **params: str) -> bytes:
    answer = client.http.get(f"/batchJobs/{job_id}:downloadLogs", params=params, timeout=300)
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.parametrize(
    "name", [*CONTENT, *(pytest.param(name, marks=[pytest.mark.slow, pytest.mark.timeout(600)]) for name in MUCH)]
)
def test_every_byte_is_stored(client: ApiClient, platform: Platform, busybox: str, name: str) -> None:
    command, printed = {**CONTENT, **MUCH}[name]
    job = client.shell(command, image=busybox)
    done = client.wait_end(job["id"], 500)
    assert done["state"] == "COMPLETED", done["status"]
    for stream in (1, 2):
        stored = stream_of(platform.database_url, platform.object_store_url, job["id"], stream)
        assert digest(stored) == digest(printed.get(stream, b""))
    for stream, called in ((1, "stdout"), (2, "stderr")):
        assert digest(downloaded(client, job["id"], stream=called)) == digest(printed.get(stream, b""))
    if len(printed) == 1:
        assert digest(downloaded(client, job["id"])) == digest(*printed.values())
    (rank,) = ranks_of(client, job["id"])
    assert int(rank["logBytes"]) == sum(map(len, printed.values()))


@pytest.mark.timeout(600)
def test_all_that_is_printed_while_nobody_reads_is_stored_once_somebody_does(
    client: ApiClient, platform: Platform, busybox: str
) -> None:
    """More than engines' files usually hold: who follows it through several loses some, or is given some twice."""
    count = 130_000
    line = 'BEGIN { for (i = 0; i < 1000; i++) x = x "x"; for (i = 0; i < %d; i++) printf "%%07d %%s\\n", i, x }'
    wait = "while [ ! -e /tmp/read ]; do sleep 0.1; done"
    job = client.shell(f"sleep 2; awk '{line % count}'; touch /tmp/printed; {wait}", image=busybox)
    client.wait_for(job["id"], lambda seen: seen["state"] == "RUNNING", 60)
    (container,) = platform.containers_of(job["id"])
    os.kill(platform.pid("supervisor"), signal.SIGSTOP)
    try:
        has_printed = ["test", "-e", "/tmp/printed"]
        wait_until(lambda: container.exec_run(has_printed).exit_code == 0, 60, "all is printed")
    finally:
        os.kill(platform.pid("supervisor"), signal.SIGCONT)
    wait_until(
        lambda: platform.query(_STORED.format(job["id"])) >= [(count * 1000,)], 200, "the most of it is stored"
    )
    container.exec_run(["touch", "/tmp/read"])
    assert client.wait_end(job["id"], 300)["state"] == "COMPLETED"
    stored = stream_of(platform.database_url, platform.object_store_url, job["id"], 1)
    assert digest(stored) == digest(b"".join(b"%07d %s\n" % (number, b"x" * 1000) for number in range(count)))


def test_download_of_a_gang_has_every_line_whole_behind_its_rank(client: ApiClient, busybox: str) -> None:
    long_line = f"head -c {_LONG} /dev/zero | tr '\\0' $RANK; echo"
    command = f"i=0; while [ $i -lt 20 ]; do {long_line}; echo err $i >&2; i=$((i+1)); done"
    job = client.shell(command, image=busybox, ranks=2)
    assert client.wait_end(job["id"], 120)["state"] == "COMPLETED"
    for rank in (0, 1):
        lines = [b"[%d] " % rank + line for line in (b"%d" % rank * _LONG, *(b"err %d" % i for i in range(20)))]
        found = [line for line in downloaded(client, job["id"]).split(b"\n") if line.startswith(b"[%d]" % rank)]
        assert digest(b"".join(sorted(found))) == digest(b"".join(sorted([lines[0]] * 20 + lines[1:])))
    errors = downloaded(client, job["id"], ranks="1", stream="stderr", regex="^err 1.$")
    assert errors == b"".join(b"err 1%d\n" % i for i in range(10))
    assert gzip.decompress(downloaded(client, job["id"], format="gz")) == downloaded(client, job["id"])
