"""A process that does its work is found well by its health check, and one that does not is not."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.lab.platform import ROOT, wait_until
from worker.hearing import Hearing
from worker.heartbeat import Heartbeat, fault


def check(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker.heartbeat"],
        cwd=ROOT,
        env={"LONGSHORE_HEARTBEAT_FILE": str(file)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_check_fails_before_the_first_beat_and_holds_after_it(tmp_path: Path) -> None:
    file = tmp_path / "heartbeat"
    before = check(file)
    assert before.returncode == 1 and "No such file" in before.stderr
    Heartbeat(file, 3.0).beat()
    assert check(file).returncode == 0


def test_heartbeat_holds_for_thirty_seconds_or_three_of_its_periods(tmp_path: Path) -> None:
    for period, holds in ((3.0, 30.0), (100.0, 300.0)):
        file = tmp_path / f"{period}"
        begun = time.time()
        Heartbeat(file, period).beat()
        assert fault(str(file), begun + holds - 1) is None
        late = fault(str(file), time.time() + holds + 5)
        assert late is not None and "late by 5 s" in late


def test_heartbeat_without_a_file_is_nobodys(tmp_path: Path) -> None:
    Heartbeat(None, 1.0).beat()
    Heartbeat(tmp_path / "no folder" / "file", 1.0).beat()
    assert fault("", 0.0) is not None


def test_worker_that_takes_nothing_of_what_waits_does_not_beat() -> None:
    heard, is_deaf, waits = threading.Event(), threading.Event(), threading.Event()
    hearing = Hearing(2, waits.is_set, deaf_seconds=0.2)
    hearing.watch(is_deaf.set, heard=heard.set, look_seconds=0.05)
    assert heard.wait(5)
    waits.set()
    wait_until(lambda: not hearing_beats(heard), 5, "it does not beat any more", every=0)
    assert is_deaf.wait(5)


def hearing_beats(heard: threading.Event) -> bool:
    """Whether it beats within two looks from now."""
    heard.clear()
    return heard.wait(0.1)
