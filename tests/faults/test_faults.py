"""The short form of every fault. The catalogue says what they are, and the checker how they went.

The long form, and the same with another seed, is `tests/faults/run`.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.faults.catalogue import FAULTS, TOGETHER, play_together
from tests.faults.harness.command import show, together_command
from tests.faults.harness.trial import Outcome
from tests.lab.servers import Servers

_Group: TypeAlias = tuple[str, ...]


@pytest.fixture(scope="module")
def playing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[_Group, Future[Outcome]]]:
    """All groups that were selected, side by side where that is possible: most of their time is waiting.

    Those on hosts of their own follow each other in one lane, those on the machine's engine in the other; each
    lane has servers of its own, which it kills.
    """
    items = [item for item in request.session.items if item.path == request.path]
    asked: list[_Group] = [item.callspec.params["ids"] for item in items if hasattr(item, "callspec")]
    folder = tmp_path_factory.mktemp("faults")
    with ExitStack() as ending:
        played: dict[_Group, Future[Outcome]] = {}
        for on_own_hosts in (False, True):
            lane = [ids for ids in asked if bool(FAULTS[ids[0]].lab.engines.hosts) is on_own_hosts]
            if not lane:
                continue
            servers = Servers()
            ending.callback(servers.stop)
            pool = ThreadPoolExecutor(1, thread_name_prefix="own-hosts" if on_own_hosts else "machine")
            # What has not begun when the tests are told to end never does.
            ending.callback(pool.shutdown, cancel_futures=True)
            for ids in lane:
                played[ids] = pool.submit(_play, ids, servers, folder / "-".join(ids))
        yield played


def test_every_fault_is_rehearsed_in_one_short_form() -> None:
    assert sorted(chain.from_iterable(TOGETHER)) == sorted(FAULTS)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("ids", TOGETHER, ids=" ".join)
def test_faults_in_their_short_form_lose_double_and_leave_nothing(
    ids: _Group, playing: dict[_Group, Future[Outcome]]
) -> None:
    outcome = playing[ids].result()
    assert not outcome.findings, show(" ".join(ids), outcome, together_command(ids, outcome.seed))
    shutil.rmtree(outcome.folder, ignore_errors=True)


def _play(ids: Sequence[str], servers: Servers, folder: Path) -> Outcome:
    seed = secrets.randbelow(1 << 31)
    print(together_command(ids, seed))
    return play_together(ids, servers, seed=seed, folder=folder)
