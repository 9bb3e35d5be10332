"""The short form of every fault. The catalogue says what they are, and the checker how they went.

The long form, and the same with another seed, is `tests/faults/run`.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from tests.faults.catalogue import FAULTS, TOGETHER, play_together
from tests.faults.harness.command import show, together_command
from tests.lab.servers import Servers


@pytest.fixture(scope="module")
def mortal_servers() -> Iterator[Servers]:
    """Of these tests alone: they are killed."""
    started = Servers()
    yield started
    started.stop()


def test_every_fault_is_rehearsed_in_one_short_form() -> None:
    assert sorted(chain.from_iterable(TOGETHER)) == sorted(FAULTS)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("ids", TOGETHER, ids=" ".join)
def test_faults_in_their_short_form_lose_double_and_leave_nothing(
    ids: tuple[str, ...], mortal_servers: Servers, tmp_path: Path
) -> None:
    seed = secrets.randbelow(1 << 31)
    print(command := together_command(ids, seed))
    outcome = play_together(ids, mortal_servers, seed=seed, folder=tmp_path / "records")
    assert not outcome.findings, show(" ".join(ids), outcome, command)
    shutil.rmtree(outcome.folder, ignore_errors=True)
