"""The faults, by their ids: one table for pytest's short form, for the command's long form and for the docs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path

from tests.faults import (
    broker,
    crash_points,
    database,
    engines,
    everything,
    stops,
    strangers,
    submits,
    whole_system,
    workers,
)
from tests.faults.harness.suites import Suite
from tests.faults.harness.trial import Lab, Outcome, Play, Scale, Trial, run_trial
from tests.lab.servers import Servers


@dataclass(frozen=True)
class Fault:
    """`allowed_seconds` is how soon a new job must have run once the fault is over."""

    id: str
    what: str
    run: Callable[[Trial], None]
    lab: Lab = field(default_factory=Lab)
    allowed_seconds: float = 30.0
    #: rounds of a long run, unless the command says otherwise; a short one has one
    rounds: int = 1

    @property
    def part(self) -> Play:
        """What it is in a run of one or of several."""
        return Play(self.id, self.run, self.allowed_seconds)

    def play(
        self, servers: Servers, *, seed: int, short: bool, rounds: int = 0, folder: Path | None = None
    ) -> Outcome:
        """Run it once, and have it judged."""
        scale = Scale(short, rounds or (1 if short else self.rounds))
        return run_trial([self.part], lab=self.lab, scale=scale, seed=seed, servers=servers, folder=folder)


_ALL = (
    Fault(
        "F-1",
        "SIGKILL at every point between two steps, for 1, 2 and 4 ranks",
        crash_points.run,
        crash_points.LAB,
    ),
    Fault("F-2", "one of two workers killed every 5 s for 10 min", workers.kill_one_of_two, workers.LAB),
    Fault("F-3", "every worker and supervisor killed, and back after a minute", workers.kill_all, workers.LAB),
    Fault("F-4", "a worker or supervisor frozen past its lease, thawed later", workers.freeze_past_lease),
    Fault("F-5", "SIGTERM under load, as for a deployment", workers.terminate_under_load, workers.LAB, rounds=5),
    Fault("F-6", "the API killed under 500 submissions at once", submits.kill_under_submissions, submits.LAB, 60),
    Fault(
        "F-7",
        "the API killed with 150 streams open, 100 of them of output",
        submits.kill_under_streams,
        submits.LAB,
    ),
    Fault("F-8", "the broker killed, and back after 10 s", broker.kill, broker.LAB, 60, rounds=5),
    Fault("F-9", "the broker emptied with 500 jobs queued", broker.flush, broker.LAB, 60),
    Fault("F-10", "every message given out five times more, also when all is over", broker.replay, broker.LAB),
    Fault("F-11", "the broker silent for two minutes on open connections", broker.be_silent, broker.PROXIED, 15),
    Fault("F-12", "three restarts of the broker within 3 s, 50 times", broker.restart_thrice, broker.LAB, 15),
    Fault("F-13", "the database killed under load, and back after 20 s", database.kill, database.LAB, rounds=5),
    Fault("F-14", "five database connections a second ended, for 5 min", database.hang_up, database.LAB),
    Fault("F-15", "a commit that is not answered, 200 times", database.lose_commit_replies, database.PROXIED),
    Fault(
        "F-16",
        "an engine without live restore killed, and back",
        engines.kill_without_live_restore,
        engines.RESTARTED,
        60,
        rounds=3,
    ),
    Fault(
        "F-17",
        "an engine with live restore killed while ranks print, and back",
        engines.kill_with_live_restore,
        engines.RESTORED,
        60,
        rounds=3,
    ),
    Fault("F-18", "an engine frozen for 90 s", engines.wedge, engines.WEDGED, 60),
    Fault("F-19", "a host lost with all that it ran, under a gang", engines.lose_host, engines.LOST, 60, rounds=3),
    Fault("F-20", "an engine cut off, for less and for more than is borne", engines.cut_off, engines.CUT, 30),
    Fault("F-21", "the reply to create, start and remove lost", engines.lose_replies, engines.PROXIED),
    Fault("F-22", "other actors stop, remove, imitate, take names", strangers.meddle, strangers.LAB),
    Fault("F-23", "an engine not heard while 300 containers end", engines.miss_events, engines.PROXIED),
    Fault("F-25", "jobs cancelled in every state, and 200 as they end", stops.cancel_at_every_moment, stops.LAB),
    Fault("F-26", "ranks that ignore SIGTERM, with 500 zombies and a daemon", stops.end_what_does_not_want_to),
    Fault(
        "F-32", "everything killed at once, started in six orders", whole_system.cut_power, whole_system.LAB, 120
    ),
    Fault("F-33", "any of it at random, an hour", everything.run, everything.LAB, 60, rounds=60),
)

FAULTS = {fault.id: fault for fault in _ALL}

#: Short forms that follow each other on one platform, and are judged at once: to start and to end a platform takes
#: longer than most of them.
TOGETHER: tuple[tuple[str, ...], ...] = tuple(
    tuple(each.split())
    for each in (
        "F-1 F-2 F-3 F-4 F-5 F-6 F-7 F-8 F-9 F-10 F-12 F-13 F-14 F-22 F-25 F-26",
        "F-11 F-15",
        "F-16 F-18",
        "F-21 F-23",
        "F-17",
        "F-19",
        "F-20",
        "F-32",
        "F-33",
    )
)


def play_together(ids: Sequence[str], servers: Servers, *, seed: int, folder: Path | None = None) -> Outcome:
    """The short forms of these faults, one after the other on one platform."""
    faults = [FAULTS[each] for each in ids]
    lab = reduce(Lab.beside, (fault.lab for fault in faults))
    scale = Scale(short=True, rounds=1)
    parts = [fault.part for fault in faults]
    return run_trial(parts, lab=lab, scale=scale, seed=seed, servers=servers, folder=folder)


_ENDS, _POLICIES = "tests/system/test_hosts_ends.py", "tests/system/test_policies.py"
_SUITES = (
    Suite(
        "F-24",
        "the first or the last rank fails at pull, create, start, after 1 s, at the end",
        (
            f"{_ENDS}::test_rank_that_fails_is_named_with_its_host_and_the_others_are_stopped",
            f"{_POLICIES}::test_failure_of_one_rank_stops_the_others_whichever_and_whenever",
        ),
    ),
    Suite(
        "F-27",
        "out of memory, a child out of memory, killed by us, exit code 137: four records",
        (
            f"{_ENDS}::test_four_ends_by_a_kill_leave_four_different_records_in_a_gang",
            f"{_POLICIES}::test_ends_by_a_kill_leave_different_records",
        ),
    ),
    Suite(
        "F-28",
        "kernels killed, hanging, late, silent; a notebook that prints 100 MB",
        ("tests/system/test_notebook_faults.py",),
    ),
    Suite("F-29", "a node's disk, or its inodes, full", ("tests/system/test_hosts_disk.py",)),
    Suite("F-30", "clocks an hour off, and clocks that step", ("tests/faults/test_clocks.py",)),
    Suite(
        "F-31",
        "registries that refuse, ask to wait, fail, stall, lack the platform",
        ("tests/system/test_registry_faults.py", "tests/system/test_images.py"),
    ),
    Suite("L-1", "100,000 submissions as fast as they are taken", ("tests/faults/test_many_submits.py",)),
    Suite("L-2", "100,000 jobs queued, then all of them run", ("tests/faults/test_deep_queue.py",)),
    Suite("L-3", "ten times too much asked for, 10 min", ("tests/faults/test_overload.py",)),
    Suite("L-7", "1,000 streams left without a word", ("tests/faults/test_abandoned_streams.py",)),
    Suite(
        "B-7",
        "one Idempotency-Key a hundred times at once, and with another body",
        (
            "tests/api/test_creation.py::test_a_hundred_creates_at_a_time_with_one_key_make_one_job",
            "tests/api/test_creation.py::test_create_again_with_the_same_key_and_another_body_is_refused",
            "tests/api/test_creation.py::test_create_whose_reply_is_lost_with_the_process_is_found_by_the_retry",
        ),
    ),
    Suite("B-8", "output of any bytes, and of any length of line", ("tests/system/test_log_content.py",)),
    Suite(
        "B-11",
        "ranks that print for ever, fill the disk, never end",
        (
            "tests/system/test_endless_output.py",
            "tests/system/test_hosts_disk.py::test_rank_that_fills_the_disk_is_ended_and_the_others_go_on",
            f"{_POLICIES}::test_run_timeout_tells_the_ranks_then_kills_and_fails",
        ),
    ),
)
SUITES = {suite.id: suite for suite in _SUITES}
