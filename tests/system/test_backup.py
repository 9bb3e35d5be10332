"""A backup is made while jobs run, the database is lost, and what comes back is whole: nothing runs twice."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from deploy.secret_keys import ensure_keys
from tests.lab.engine_witness import EngineWitness
from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import COMMANDS, ENGINE, Platform, wait_until
from tests.lab.servers import Servers

_PRINTS = 'echo "begun with $TOKEN"; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo over'
_ENDS = 'echo printed; echo kept > "$LONGSHORE_OUTPUT_DIR/file"; [ "$TOKEN" = open-sesame ]'
_SECRET: dict[str, Any] = {"secretEnvVars": {"TOKEN": "token"}}
_RETRIED: dict[str, Any] = {"retryPolicy": {"maxAttempts": 3}}


@pytest.fixture(scope="module")
def kept(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform whose ended jobs are in the object store after a second, with room for three ranks."""
    ensure_busybox()
    folder = tmp_path_factory.mktemp("backup")
    keys = folder / "secret-keys"
    ensure_keys(keys)
    started = Platform(
        servers,
        folder,
        slots=3,
        sweep_seconds=1,
        listing_seconds=1,
        orphan_grace_seconds=2,
        compact_after_seconds=0,
        secret_keys_file=keys,
        home=folder / "home",
    )
    yield started
    started.stop()


def _go(platform: Platform, job_id: str) -> None:
    ((key,),) = platform.query(f"SELECT id FROM jobs WHERE batch_job_id = '{job_id}'")
    (container,) = platform.containers_of(key)
    # A rank's row says that it runs a moment before the engine lets others in.
    assert container.exec_run(["touch", "/tmp/go"]).exit_code == 0


def _lose_the_database(platform: Platform) -> None:
    """And all objects with it."""
    for name in COMMANDS:
        platform.kill(name)
    head, _, name = platform.database_url.rpartition("/")
    with psycopg.connect(f"{head}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    shutil.rmtree(platform.folder / "objects")


def _outputs(platform: Platform, job_id: str) -> bytes:
    answer = platform.client.http.get(f"/batchJobs/{job_id}/ranks/0/outputs/file")
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.timeout(600)
def test_platform_restored_from_a_backup_has_all_that_was_in_it_and_runs_nothing_twice(kept: Platform) -> None:
    client, backup = kept.client, kept.folder / "backup.tar"
    witness = EngineWitness({"local": ENGINE}, kept.installation, lambda look: None)
    answer = client.http.post("/secrets", json={"keyName": "TOKEN", "value": "open-sesame"})
    assert answer.status_code == 200, answer.text

    def run(command: str, **body: Any) -> str:
        made: str = client.shell(command, image=BUSYBOX, **_SECRET, **body)["id"]
        return made

    try:
        done = run(_ENDS)
        assert client.wait_end(done)["state"] == "COMPLETED"
        wait_until(lambda: kept.query("SELECT 1 FROM log_chunks") == [], 60, "its output is in the object store")
        live, gone = run(_PRINTS, **_RETRIED), run(_PRINTS, **_RETRIED)
        for job_id in (live, gone):
            client.wait_for(job_id, lambda job: job["state"] == "RUNNING")
            wait_until(lambda job_id=job_id: bool(client.lines(job_id)), 30, "it prints")  # type: ignore[misc]
        waiting = run(_ENDS, ranks=2)

        made = kept.run("deploy.backups.backup", str(backup))
        assert made.returncode == 0, made.stdout
        assert backup.stat().st_mode & 0o777 == 0o600
        assert b"open-sesame" not in backup.read_bytes()
        assert [path.name for path in kept.folder.iterdir() if "unfinished" in path.name] == []

        _go(kept, gone)
        assert client.wait_end(gone)["state"] == "COMPLETED"
        assert client.wait_end(waiting)["state"] == "COMPLETED"
        later = run(_PRINTS, ranks=2)
        client.wait_for(later, lambda job: job["state"] == "RUNNING")
        before = (client.get(done), client.lines(done), _outputs(kept, done))

        _lose_the_database(kept)
        restored = kept.run("deploy.backups.restore", "--no-start", str(backup))
        assert restored.returncode == 0, restored.stdout
        kept.connect_again()
        for name in COMMANDS:
            kept.start(name)
        kept.wait_ready()

        assert (client.get(done), client.lines(done), _outputs(kept, done)) == before
        lost = client.wait_end(gone)
        assert (lost["state"], "restored from the backup of" in lost["status"]) == ("FAILED", True), lost
        ended = client.get(waiting)
        assert (ended["state"], "clone it" in ended["status"]) == ("FAILED", True), ended
        assert client.http.get(f"/batchJobs/{later}").status_code == 404
        _go(kept, live)
        assert client.wait_end(live)["state"] == "COMPLETED"
        assert client.lines(live) == ["begun with open-sesame", "over"]
        # Secrets open, room is there, nothing of what no row explains is left.
        again = run(_ENDS)
        assert client.wait_end(again)["state"] == "COMPLETED"
        kept.wait_at_rest()

        refused = kept.run("deploy.backups.restore", "--no-start", str(backup))
        assert refused.returncode == 1
        assert "has 5 jobs; --replace" in refused.stdout, refused.stdout
        witness.wait_until_gone(30)
    finally:
        witness.stop()
    starts = Counter(story.key for story in witness.stories for _ in story.starts)
    assert len(starts) == 8
    assert set(starts.values()) == {1}

    # Whoever restores may say that jobs may run again; and may do so under processes that run.
    again_too = kept.run("deploy.backups.restore", "--no-start", "--replace", "--rerun-queued", str(backup))
    assert again_too.returncode == 0, again_too.stdout
    kept.connect_again()
    for job_id in (live, gone):
        client.wait_for(job_id, lambda job: job["attempt"] == 2)
        client.cancel(job_id)
    assert client.wait_end(waiting)["state"] == "COMPLETED"
    kept.wait_at_rest()


def test_backup_that_was_changed_or_broken_off_is_refused(kept: Platform) -> None:
    whole = kept.folder / "whole.tar"
    made = kept.run("deploy.backups.backup", "--with-secret-keys", str(whole))
    assert made.returncode == 0, made.stdout
    good = kept.run("deploy.backups.backup", "--verify", str(whole))
    assert good.returncode == 0, good.stdout
    content = whole.read_bytes()
    assert (kept.folder / "secret-keys").read_bytes() in content
    dump_at = content.index(b"PGDMP")
    for name, damaged in (
        ("changed", content[: dump_at + 5000] + bytes([content[dump_at + 5000] ^ 1]) + content[dump_at + 5001 :]),
        ("cut", content[: len(content) // 2]),
        ("manifest", content.replace(b'"revision": "00', b'"revision": "01', 1)),
        ("unfinished", content[:512] + b" " * 8192 + content[8704:]),
        ("other", b"something else" * 1000),
    ):
        path = kept.folder / name
        path.write_bytes(damaged)
        refusals = [kept.run("deploy.backups.backup", "--verify", str(path))]
        if name == "changed":
            refusals.append(kept.run("deploy.backups.restore", "--no-start", "--replace", str(path)))
        for said in refusals:
            assert said.returncode == 1, (name, said.stdout)
            assert "Traceback" not in said.stdout, said.stdout
    with contextlib.closing(httpx.Client(base_url=kept.url)) as http:
        assert http.get("/readyz").status_code == 200
