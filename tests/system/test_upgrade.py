"""The previous release is replaced by this one while jobs run: the same containers go on, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from core.schema_revision import schema_revision
from migrations.__main__ import upgrade
from migrations.head import head
from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import COMMANDS, ROOT, Platform
from tests.lab.previous_release import PREVIOUS_REVISION, unpack_previous_release
from tests.lab.servers import Servers

_PRINTS = 'i=0; while [ ! -e /tmp/go ]; do i=$((i+1)); echo "$RANK $i"; sleep 0.1; done; echo "$RANK over"'


@pytest.fixture
def old(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    ensure_busybox()
    folder = tmp_path_factory.mktemp("upgrade")
    code = unpack_previous_release(folder / "previous")
    started = Platform(servers, folder, slots=3, sweep_seconds=1, listing_seconds=1, code=code)
    yield started
    started.stop()


def _assert_every_line_once(platform: Platform, job_id: str) -> None:
    for rank in (0, 1):
        *counted, last = platform.client.lines(job_id, rank)
        assert counted == [f"{rank} {number}" for number in range(1, len(counted) + 1)]
        assert last == f"{rank} over"


def test_platform_is_upgraded_from_the_previous_release_while_jobs_run(old: Platform) -> None:
    client = old.client
    assert schema_revision(old.database) == PREVIOUS_REVISION
    running = client.shell(_PRINTS, image=BUSYBOX, ranks=2)["id"]
    client.wait_for(running, lambda job: job["state"] == "RUNNING")
    waiting = client.shell('echo "$RANK ran"', image=BUSYBOX, ranks=2)["id"]
    before = {container.id for container in old.containers()}
    assert len(before) == 2

    # Migrations run beside the version before: what it is asked for it still does.
    upgrade(old.database_url)
    assert schema_revision(old.database) == head()
    assert httpx.get(f"{old.url}/readyz", timeout=10).status_code == 200
    assert client.get(running)["state"] == "RUNNING"
    beside = client.shell("echo beside", image=BUSYBOX)["id"]
    assert client.wait_end(beside)["state"] == "COMPLETED"
    assert client.lines(beside) == ["beside"]
    assert client.get(waiting)["state"] == "QUEUED"

    for name in COMMANDS:
        old.terminate(name)
    old.code = ROOT
    for name in COMMANDS:
        old.start(name)
    old.wait_ready()

    assert {container.id for container in old.containers()} == before
    for container in old.containers():
        assert container.exec_run(["touch", "/tmp/go"]).exit_code == 0
    assert client.wait_end(running)["state"] == "COMPLETED"
    assert client.wait_end(waiting)["state"] == "COMPLETED"
    assert client.get(beside)["state"] == "COMPLETED"
    _assert_every_line_once(old, running)
    assert sorted(client.lines(waiting)) == ["0 ran", "1 ran"]
    old.wait_at_rest()
