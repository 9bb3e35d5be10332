"""The short form of every fault. The catalogue says what they are, and the checker how they went.

The long form, and the same with another seed, is `tests/faults/run`.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.catalogue import FAULTS, Fault
from tests.faults.harness.command import replay_command, show
from tests.lab.servers import Servers


@pytest.fixture(scope="module")
def mortal_servers() -> Iterator[Servers]:
    """Of these tests alone: they are killed."""
    started = Servers()
    yield started
    started.stop()


# Slow until each short form has been timed on a quiet machine; one by one: `tests/faults/run F-1 --short`.
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_fault_in_its_short_form_loses_doubles_and_leaves_nothing(
    fault: Fault, mortal_servers: Servers, tmp_path: Path
) -> None:
    seed = secrets.randbelow(1 << 31)
    print(command := replay_command(fault, seed, short=True, rounds=1))
    outcome = fault.play(mortal_servers, seed=seed, short=True, folder=tmp_path / "records")
    assert not outcome.findings, show(fault, outcome, command)
    shutil.rmtree(outcome.folder, ignore_errors=True)
