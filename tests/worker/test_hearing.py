"""A worker that goes on taking steps after its broker was away, and one that is found to take none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery.worker import state

from core.queue import CONTROL_QUEUE, SWEEP, make_celery
from tests.lab.platform import ROOT, wait_until
from tests.lab.servers import Servers
from worker.app import is_rung_for
from worker.hearing import Hearing

THREADS = 2


@pytest.fixture(scope="module")
def mortal_servers() -> Iterator[Servers]:
    """Of these tests alone: they are killed."""
    started = Servers()
    yield started
    started.stop()


#: A worker as ours are, whose step says that it has begun and goes on until it is told to end.
_WORKER = """
import sys, time
from pathlib import Path
from core.queue import CONTROL_QUEUE, SWEEP, make_celery
from worker.hearing import keep_places
url, folder = sys.argv[1], Path(sys.argv[2])
app = make_celery(url)
@app.task(name=SWEEP)
def step(name):
    (folder / f"{name} begun").touch()
    while not (folder / f"{name} may end").exists():
        time.sleep(0.05)
keep_places()
app.worker_main(["worker", "--pool=threads", "--concurrency=2", "--queues=" + CONTROL_QUEUE,
                 "--loglevel=WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"])
"""


@pytest.fixture
def worker(mortal_servers: Servers, tmp_path: Path) -> Iterator[str]:
    """Its broker's URL. What it says goes to the file `said`."""
    url = mortal_servers.new_broker()
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen([sys.executable, "-c", _WORKER, url, str(tmp_path)], cwd=ROOT, stderr=said)
        try:
            yield url
        finally:
            process.kill()
            process.wait()


def test_worker_whose_acknowledgements_all_failed_takes_steps_once_the_broker_is_back(
    worker: str, mortal_servers: Servers, tmp_path: Path
) -> None:
    ring = make_celery(worker).send_task
    for name in ("first", "second"):
        ring(SWEEP, args=[name], queue=CONTROL_QUEUE)
    for name in ("first", "second"):
        wait_until((tmp_path / f"{name} begun").exists, 60, f"the {name} step is taken")
    mortal_servers.kill(mortal_servers.valkey)
    for name in ("first", "second"):
        (tmp_path / f"{name} may end").touch()
    said = tmp_path / "said"
    wait_until(lambda: said.read_text().count("Couldn't ack") == 2, 30, "no acknowledgement has arrived")
    mortal_servers.start(mortal_servers.valkey)
    ring(SWEEP, args=["third"], queue=CONTROL_QUEUE)
    wait_until((tmp_path / "third begun").exists, 30, "it takes a step again")


def hearing(is_rung_for: bool = True) -> Hearing:
    return Hearing(THREADS, lambda: is_rung_for, deaf_seconds=30)


def test_worker_that_takes_nothing_for_long_while_it_is_rung_for_is_deaf() -> None:
    found = hearing()
    assert [found.is_deaf(now) for now in (100.0, 129.9, 130.0)] == [False, False, True]


def test_worker_that_nobody_rings_for_is_not_deaf() -> None:
    found = hearing(is_rung_for=False)
    assert not any(found.is_deaf(now) for now in (100.0, 200.0))


def test_worker_that_takes_a_step_is_not_deaf() -> None:
    found = hearing()
    assert not found.is_deaf(100.0)
    with found.step():
        pass
    assert [found.is_deaf(now) for now in (131.0, 132.0, 161.9, 162.0)] == [False, False, False, True]


def test_worker_whose_threads_are_all_busy_is_not_deaf() -> None:
    found = hearing()
    with found.step(), found.step():
        assert not any(found.is_deaf(now) for now in (100.0, 200.0, 300.0))
    assert [found.is_deaf(now) for now in (301.0, 330.9, 331.0)] == [False, False, True]


def test_worker_that_was_told_to_end_takes_no_rings_and_is_not_rung_for(
    mortal_servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_celery(mortal_servers.new_broker())
    assert not is_rung_for(app, [CONTROL_QUEUE])
    app.send_task(SWEEP, queue=CONTROL_QUEUE)
    assert is_rung_for(app, [CONTROL_QUEUE])
    monkeypatch.setattr(state, "should_stop", 0)
    assert not is_rung_for(app, [CONTROL_QUEUE])


#: A process that says when it begins; the first of its lives is deaf.
_DEAF = """
import os, sys, time
from pathlib import Path
from worker.app import begin_anew
from worker.hearing import Hearing
file = Path(sys.argv[1])
lives = file.read_text().split() if file.exists() else []
file.write_text(" ".join([*lives, str(os.getpid())]))
if not lives:
    Hearing(1, lambda: True, deaf_seconds=0.2).watch(begin_anew, look_seconds=0.1)
    time.sleep(600)
"""


def test_deaf_worker_begins_anew_under_its_own_process_id(tmp_path: Path) -> None:
    file = tmp_path / "lives"
    process = subprocess.Popen([sys.executable, "-c", _DEAF, str(file)], cwd=ROOT)
    try:
        assert process.wait(60) == 0
    finally:
        process.kill()
    assert file.read_text().split() == [str(process.pid)] * 2
