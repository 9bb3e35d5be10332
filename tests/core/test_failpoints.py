"""Orders to die: obeyed once, by the process that they are for, and by nobody where there are none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.failpoints import VARIABLE, Point
from tests.faults.harness.orders import Orders, taken
from tests.lab.platform import ROOT, wait_until

PROGRAM = (
    "import sys; from core.failpoints import Point, failpoint;"
    " failpoint(Point.PLACED, *sys.argv[1:]); print('went on', flush=True)"
)


def process(folder: Path | None, *subjects: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    environment["PYTHONPATH"] = str(ROOT)
    if folder is not None:
        environment |= Orders(folder).variables("worker")
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *subjects], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )


def outcome(folder: Path | None, *subjects: str) -> tuple[int, str]:
    started = process(folder, *subjects)
    said, _ = started.communicate(timeout=60)
    return started.returncode, said


def test_failpoint_without_the_variable_is_inert() -> None:
    assert outcome(None, "job") == (0, "went on\n")


def test_failpoint_with_an_order_for_its_subjects_kills_once(tmp_path: Path) -> None:
    order = Orders(tmp_path).give("worker", Point.PLACED, "job", "rank-1")
    assert outcome(tmp_path, "job", "rank-1", "more") == (-signal.SIGKILL, "")
    assert order.is_taken
    assert taken(tmp_path) == ["worker/placed.1"]
    assert outcome(tmp_path, "job", "rank-1", "more") == (0, "went on\n")


@pytest.mark.parametrize("subjects", [(), ("job",), ("other", "rank-1")])
def test_failpoint_with_an_order_for_others_is_inert(tmp_path: Path, subjects: tuple[str, ...]) -> None:
    order = Orders(tmp_path).give("worker", Point.PLACED, "job", "rank-1")
    assert outcome(tmp_path, *subjects) == (0, "went on\n")
    assert not order.is_taken


def test_failpoint_with_an_order_for_another_point_or_process_is_inert(tmp_path: Path) -> None:
    orders = Orders(tmp_path)
    orders.variables("api")
    orders.variables("worker")
    orders.give("worker", Point.LAUNCH_CLAIMED)
    orders.give("api", Point.PLACED)
    assert outcome(tmp_path, "job") == (0, "went on\n")


def test_failpoint_with_an_order_to_freeze_goes_on_when_it_is_thawed(tmp_path: Path) -> None:
    orders = Orders(tmp_path)
    orders.variables("worker")
    orders.give("worker", Point.PLACED, action="freeze")
    frozen = process(tmp_path, "job")
    stat = Path(f"/proc/{frozen.pid}/stat")
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", 60, "it is stopped")
    os.kill(frozen.pid, signal.SIGCONT)
    assert frozen.communicate(timeout=60)[0] == "went on\n"
