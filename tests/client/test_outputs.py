"""Files that ranks left: listed, iterated and copied, from a real API, and from one that lies about paths."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pexpect
import pytest

from client import AsyncLongshore, Job, Longshore, LongshoreError, NoConnection
from client.command_line.saving import save
from core.database import Database
from tests.api.conftest import ACCOUNT, IMAGE, Served
from tests.api.left_outputs import leave_outputs
from tests.client.conftest import Run, run_longshore
from tests.lab.platform import ROOT

FILES = {"model.bin": bytes(range(256)) * 9000, "log/a b.txt": b"first", "log/deep/ü.txt": b"", "run.sh": b"#!"}


@pytest.fixture(scope="module")
def left(served: Served, database: Database) -> Iterator[Job]:
    """A job of three ranks, of which the last left nothing, and the first not all that it wanted to."""
    with Longshore(served.url, served.admin_key, ACCOUNT, retry_seconds=20) as longshore:
        job = longshore.submit(image=IMAGE, pool="default", ranks=3)
        store = served.object_store_url
        leave_outputs(database, store, job.id, FILES, error="one file was too large")
        leave_outputs(database, store, job.id, {"model.bin": b"second"}, rank=1)
        yield job


def below(folder: Path) -> Mapping[str, bytes]:
    """Every file there is."""
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def test_outputs_are_iterated_and_downloaded_by_both_clients(left: Job, served: Served) -> None:
    found = list(left.outputs())
    assert [[file.path for file in each.files] for each in found] == [sorted(FILES), ["model.bin"], []]
    assert (found[0].error, found[0].files[2].size_bytes) == ("one file was too large", 256 * 9000)
    assert b"".join(left.download(0, "model.bin")) == FILES["model.bin"]

    async def by_loop() -> list[bytes]:
        async with AsyncLongshore(served.url, served.admin_key, ACCOUNT) as longshore:
            job = await longshore.job(left.id)
            files = [file async for each in job.outputs() for file in each.files]
            return [b"".join([piece async for piece in job.download(each.rank, each.path)]) for each in files]

    assert asyncio.run(by_loop()) == [*(FILES[path] for path in sorted(FILES)), b"second"]


def test_outputs_are_listed_and_copied_as_they_are_named(left: Job, run: Run, tmp_path: Path) -> None:
    listed = run("outputs", left.id)
    assert listed.returncode == 0 and "log/a b.txt" in listed.stdout and "rank 0: one file was" in listed.stderr
    assert [each["rank"] for each in json.loads(run("outputs", left.id, "--json").stdout)] == [0, 0, 0, 0, 1]
    everything = run("cp", left.id, "all")
    assert everything.returncode == 74 and "5 files" in everything.stderr
    assert "rank 0: one file was" in everything.stderr
    by_rank = {f"0/{path}": content for path, content in FILES.items()}
    assert below(tmp_path / "all") == {**by_rank, "1/model.bin": b"second"}
    assert run("cp", f"{left.id}:0", "rank").returncode == 74 and below(tmp_path / "rank") == FILES
    assert run("cp", f"{left.id}:0/log", "part").returncode == 74
    assert below(tmp_path / "part") == {"a b.txt": b"first", "deep/ü.txt": b""}
    [one] = json.loads(run("cp", f"{left.id}:1/model.bin", "named.bin", "--json").stdout)
    assert one == {"rank": 1, "path": "model.bin", "file": "named.bin", "sizeBytes": 6}
    assert run("cp", f"{left.id}:1/model.bin", "all").returncode == 0
    assert (tmp_path / "named.bin").read_bytes() == (tmp_path / "all/model.bin").read_bytes() == b"second"
    assert run("cp", f"{left.id}:0/log/a b.txt", "-").stdout == "first"
    assert run("cp", f"{left.id}:0/run.sh", "run.sh").returncode == 0
    assert (tmp_path / "run.sh").read_bytes() == b"#!"


def test_outputs_that_are_not_there_are_told_so(left: Job, run: Run, tmp_path: Path) -> None:
    for source in (f"{left.id}:2", f"{left.id}:0/none.txt"):
        ended = run("cp", source, "nothing")
        assert ended.returncode == 1 and "longshore outputs" in ended.stderr
    assert run("cp", f"{left.id}:9", "nothing").returncode == 66
    assert run("cp", f"{left.id}:x", "nothing").returncode == 2
    assert run("cp", left.id, "-").returncode == 2
    assert not (tmp_path / "nothing").exists()


def test_copy_shows_how_far_it_is_on_a_terminal(left: Job, served: Served, tmp_path: Path) -> None:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "client.command_line", "cp", left.id, str(tmp_path / "all")],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm",
            "LONGSHORE_URL": served.url,
            "LONGSHORE_ACCOUNT": ACCOUNT,
            "LONGSHORE_API_KEY": served.admin_key,
        },
        encoding="utf-8",
        timeout=60,
        dimensions=(24, 100),
    )
    child.expect(r"copying: file \d of 5, .* of 2\.2 MiB")
    child.expect("5 files, 2.2 MiB, to ")
    child.expect(pexpect.EOF)
    # What is not kept of rank 0 was said before.
    assert child.wait() == 74
    assert below(tmp_path / "all") == {
        **{f"0/{path}": each for path, each in FILES.items()},
        "1/model.bin": b"second",
    }


@dataclass
class Liar:
    """A platform that says of its one job whatever it is told to; `sizes` are what it says of lengths."""

    files: dict[str, bytes] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    #: bytes of each file that it sends before it hangs up
    sends: int = 1 << 20
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = unquote(handler.path.partition("?")[0])
        found = path.partition("/ranks/0/outputs")[2]
        if found.startswith("/"):
            content = self.files[found[1:]]
            self._send(handler, content, len(content))
            return
        listed = [
            {"path": name, "sizeBytes": str(self.sizes.get(name, len(content))), "mode": "0644"}
            for name, content in self.files.items()
        ]
        job = {"name": f"accounts/{ACCOUNT}/batchJobs/j", "numRanks": 1, "attempt": 1}
        body = json.dumps({"outputs": listed, "summary": {}} if "/outputs" in path else job).encode()
        self._send(handler, body, len(body), whole=True)

    def _send(self, handler: BaseHTTPRequestHandler, content: bytes, length: int, *, whole: bool = False) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        handler.wfile.write(content if whole else content[: self.sends])


@pytest.fixture
def liar() -> Iterator[Liar]:
    told = Liar()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        told.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def copy(liar: Liar, tmp_path: Path) -> Callable[[], str]:
    """Copies the liar's job into `to/dest`; what was said of it. It must have been refused."""

    def call() -> str:
        environment = {"LONGSHORE_URL": liar.url, "LONGSHORE_ACCOUNT": ACCOUNT, "LONGSHORE_API_KEY": "k"}
        ended = run_longshore("cp", "j:0", "to/dest", environment=environment, folder=tmp_path)
        assert ended.returncode != 0, ended
        return ended.stderr

    return call


def test_path_that_leads_elsewhere_is_not_copied(liar: Liar, copy: Callable[[], str], tmp_path: Path) -> None:
    liar.files = {"../evil": b"evil"}
    assert "no path below" in copy()
    assert below(tmp_path) == {}


@pytest.mark.parametrize("path", ["../evil", "/{}/evil", "a/../../../evil", "a//evil", "..", "a/./evil", "a/", ""])
def test_path_that_leads_elsewhere_is_not_written(tmp_path: Path, path: str) -> None:
    with pytest.raises(LongshoreError, match="no path below"):
        save(tmp_path / "to/dest", path.format(tmp_path), [b"evil"], size=4)
    assert below(tmp_path) == {}


def test_link_in_the_destination_is_not_followed(liar: Liar, copy: Callable[[], str], tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "to/dest").mkdir(parents=True)
    (tmp_path / "to/dest/a").symlink_to(outside)
    liar.files = {"a/evil": b"evil"}
    assert "is a link" in copy()
    assert below(outside) == {}


def test_file_that_is_a_link_is_replaced_and_not_written_through(liar: Liar, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    (tmp_path / "dest").mkdir()
    (tmp_path / "dest/a").symlink_to(mine)
    liar.files = {"a": b"theirs"}
    environment = {"LONGSHORE_URL": liar.url, "LONGSHORE_ACCOUNT": ACCOUNT, "LONGSHORE_API_KEY": "k"}
    ended = run_longshore("cp", "j:0", "dest", environment=environment, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (mine.read_bytes(), (tmp_path / "dest/a").read_bytes()) == (b"mine", b"theirs")


def test_download_that_is_broken_off_or_of_another_length_leaves_nothing(
    liar: Liar, copy: Callable[[], str], tmp_path: Path
) -> None:
    liar.files, liar.sends = {"a": b"twelve bytes"}, 4
    assert "not whole" in copy()
    with Longshore(liar.url, "k", ACCOUNT, retry_seconds=0) as longshore, pytest.raises(NoConnection):
        list(longshore.job("j").download(0, "a"))
    liar.sends, liar.sizes = 100, {"a": 13}
    assert "a is 13 bytes, and 12 came" in copy()
    assert below(tmp_path) == {}
