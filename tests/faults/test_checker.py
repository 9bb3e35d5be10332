"""The judge, judged: a run in which all went well, and the same run doctored in each way that must be seen."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from tests.faults.good_run import RANK_PATH, Entry, Run


def _lost(run: Run) -> None:
    run.rows = [row for row in run.rows if "one" not in (row.get("id"), row.get("job_id"))]
    run.witness = [each for each in run.witness if each.get("job") != "one"]


def _never_ends(run: Run) -> None:
    run.row("job", "one")["state"] = "RUNNING"
    run.rows = [
        r for r in run.rows if (r["table"], r.get("job_id"), r.get("state")) != ("event", "one", "COMPLETED")
    ]
    run.samples.pop()


def _ends_otherwise(run: Run) -> None:
    run.ledger[0]["expect"]["states"] = ["CANCELLED"]


def _not_asked_for(run: Run) -> None:
    run.ledger = [each for each in run.ledger if each.get("call") != 0]


def _two_for_a_key(run: Run) -> None:
    run.ledger += [{**run.ledger[0], "call": 9}, {**run.ledger[1], "call": 9, "id": "two"}]


def _second_container(run: Run) -> None:
    run.seen("two", 1, "create", 101, container="other")


def _second_start(run: Run) -> None:
    run.seen("two", 1, "start", 102)


def _start_of_another_container(run: Run) -> None:
    run.row("rank", "two", 1)["container_id"] = "other"


def _start_of_an_unknown_job(run: Run) -> None:
    run.seen("three", 0, "start", 101)


def _attempts_overlap(run: Run) -> None:
    run.seen("one", 0, "start", 101, container="again", attempt=2)


def _attempts_overlap_on_an_engine_that_was_away(run: Run) -> None:
    run.unsee("one", "die")
    run.witness.append({"engine": "local", "unheard": "it is gone"})
    run.seen("one", 0, "start", 101, container="again", attempt=2)


def _attempt_too_many(run: Run) -> None:
    for action, at in (("start", 105), ("die", 106)):
        run.seen("one", 0, action, at, container="again", attempt=2)
    run.row("job", "one")["attempt"] = 2
    run.rows.append({**run.row("rank", "one", 0), "attempt": 2, "container_id": "again"})
    for state in RANK_PATH:
        run.event("one", 0, state, attempt=2)


def _container_left(run: Run) -> None:
    next(each for each in run.witness if each.get("final"))["containers"].append("/ls-one-1-0")


def _network_left(run: Run) -> None:
    next(each for each in run.witness if each.get("final"))["networks"].append("ls-two-1")


def _volume_left(run: Run) -> None:
    next(each for each in run.witness if each.get("final"))["volumes"].append("v")


def _no_final_listing(run: Run) -> None:
    run.witness = [each for each in run.witness if not each.get("final")]


def _slot_held(run: Run) -> None:
    run.row("rank", "one", 0)["released"] = False


def _block_held(run: Run) -> None:
    run.rows.append({"table": "network", "job_id": "two", "attempt": 1})


def _half_a_gang(run: Run) -> None:
    for at in range(40):
        run.samples.insert(3 + at, copy.deepcopy(run.samples[0]))
        run.samples[3 + at]["at"] = 103.0 + at
        run.samples[3 + at]["engines"]["local"][2][3] = "created"


def _gang_that_outlives_a_failure(run: Run) -> None:
    run.row("rank", "two", 0)["state"] = "FAILED"
    run.unsee("two", "die")
    run.seen("two", 0, "die", 103, code=3)
    run.seen("two", 1, "die", 110, code=143)


def _start_that_was_waited_for_too_long(run: Run) -> None:
    run.row("job", "one")["waited_seconds"] = 61.0


def _illegal_job_move(run: Run) -> None:
    run.event("one", None, "PENDING")
    run.event("one", None, "COMPLETED")


def _illegal_rank_move(run: Run) -> None:
    run.event("two", 0, "RUNNING")
    run.event("two", 0, "SUCCEEDED")


def _job_unlike_its_history(run: Run) -> None:
    run.rows = [
        r for r in run.rows if (r["table"], r.get("job_id"), r.get("state")) != ("event", "one", "COMPLETED")
    ]


def _rank_unlike_its_history(run: Run) -> None:
    run.rows = [
        r for r in run.rows if (r["table"], r.get("job_id"), r.get("state")) != ("event", "one", "SUCCEEDED")
    ]


def _end_that_changed(run: Run) -> None:
    run.samples[1]["states"]["one"] = ["FAILED", 1]


def _exit_code_made_up(run: Run) -> None:
    row = run.row("rank", "two", 1)
    row["exit_code"] = 3


def _success_of_a_failed_rank(run: Run) -> None:
    next(each for each in run.witness if each.get("job") == "one" and each["action"] == "die")["exit"] = 1


def _success_without_an_end(run: Run) -> None:
    run.unsee("one", "die")


def _failure_of_a_whole_job(run: Run) -> None:
    run.row("job", "one")["state"] = "FAILED"
    run.ledger[0]["expect"]["states"] = ["FAILED"]
    next(r for r in run.rows if (r["table"], r.get("job_id"), r.get("state")) == ("event", "one", "COMPLETED"))[
        "state"
    ] = "FAILED"
    run.samples.pop()


def _output_cut(run: Run) -> None:
    run.row("output", "two", 1)["sha256"] = "sha of less"


def _output_gone(run: Run) -> None:
    run.drop("output", "two", 1)


def _late_recovery(run: Run) -> None:
    run.mark("recovered", 110.0, seconds=31.0, allowed_seconds=30)


def _said_by_the_fault(run: Run) -> None:
    run.mark("broken", 110.0, invariant="I7", why="it was so")


def _too_many_held(run: Run) -> None:
    run.samples[1]["slots"]["local"][0] = 4


def _too_many_running(run: Run) -> None:
    run.samples[1]["engines"]["local"].append(["two", 1, 2, "running"])


def _seen_by_another_account(run: Run) -> None:
    run.mark("seen_by_another", 102.0, path="/onlooker/batchJobs/one")


def _nobody_looked_on(run: Run) -> None:
    run.ledger = [entry for entry in run.ledger if entry.get("mark") != "onlooker"]


def _answered_500(run: Run) -> None:
    run.ledger[1] |= {"status": 500}


def _answered_503_without_when(run: Run) -> None:
    run.ledger[1] |= {"status": 503, "retry_after": ""}


def _descriptors_kept(run: Run) -> None:
    run.samples[0]["processes"] = {"api": held(descriptors=40)}
    run.samples[-1]["processes"] = {"api": held(descriptors=400)}


def _memory_that_grows(run: Run) -> None:
    """For forty minutes, by 2 MiB a minute."""
    for minute in range(40):
        sample = copy.deepcopy(run.samples[-1])
        run.samples.append({**sample, "at": 104.0 + 60 * minute, "processes": {"api": held(mib=100 + 2 * minute)}})


def held(*, descriptors: int = 40, mib: int = 100) -> Entry:
    return {"pid": 7, "descriptors": descriptors, "resident_bytes": mib << 20}


DOCTORED: dict[Callable[[Run], None], tuple[str, str]] = {
    _lost: ("missed", "I1"),
    _never_ends: ("missed", "I1"),
    _ends_otherwise: ("illegal", "I1"),
    _not_asked_for: ("extra", "I1"),
    _two_for_a_key: ("extra", "I1"),
    _second_container: ("extra", "I2"),
    _second_start: ("extra", "I2"),
    _start_of_another_container: ("extra", "I2"),
    _start_of_an_unknown_job: ("extra", "I2"),
    _attempts_overlap: ("extra", "I2"),
    _attempts_overlap_on_an_engine_that_was_away: ("extra", "I2"),
    _attempt_too_many: ("extra", "I2"),
    _container_left: ("leaked", "I3"),
    _memory_that_grows: ("leaked", "I3"),
    _network_left: ("leaked", "I3"),
    _volume_left: ("leaked", "I3"),
    _no_final_listing: ("leaked", "I3"),
    _slot_held: ("leaked", "I3"),
    _block_held: ("leaked", "I3"),
    _descriptors_kept: ("leaked", "I3"),
    _half_a_gang: ("illegal", "I4"),
    _gang_that_outlives_a_failure: ("illegal", "I4"),
    _start_that_was_waited_for_too_long: ("illegal", "I7"),
    _illegal_job_move: ("illegal", "I5"),
    _illegal_rank_move: ("illegal", "I5"),
    _job_unlike_its_history: ("illegal", "I5"),
    _rank_unlike_its_history: ("illegal", "I5"),
    _end_that_changed: ("illegal", "I5"),
    _exit_code_made_up: ("illegal", "I5"),
    _success_of_a_failed_rank: ("illegal", "I5"),
    _success_without_an_end: ("illegal", "I5"),
    _failure_of_a_whole_job: ("illegal", "I5"),
    _output_cut: ("missed", "I6"),
    _output_gone: ("missed", "I6"),
    _late_recovery: ("illegal", "I7"),
    _said_by_the_fault: ("illegal", "I7"),
    _too_many_held: ("illegal", "I8"),
    _too_many_running: ("illegal", "I8"),
    _seen_by_another_account: ("illegal", "I9"),
    _nobody_looked_on: ("illegal", "I9"),
    _answered_500: ("illegal", "I10"),
    _answered_503_without_when: ("illegal", "I10"),
}


def test_checker_of_a_good_run_finds_nothing() -> None:
    assert Run().verdict() == set()


@pytest.mark.parametrize("doctor", DOCTORED, ids=lambda doctor: doctor.__name__.strip("_"))
def test_checker_of_a_doctored_run_finds_what_was_done(doctor: Callable[[Run], None]) -> None:
    run = Run()
    doctor(run)
    assert DOCTORED[doctor] in run.verdict()


def test_checker_of_an_unanswered_creation_that_took_effect_finds_nothing() -> None:
    run = Run()
    run.ledger[1]["status"] = 0
    run.ledger[1]["id"] = ""
    assert run.verdict() == set()


def test_checker_of_half_a_gang_while_the_platform_could_not_act_finds_nothing() -> None:
    run = Run()
    _half_a_gang(run)
    run.mark("fault", 102.5)
    run.mark("healed", 142.0)
    assert run.verdict() == set()


def test_checker_of_a_gang_that_outlives_a_failure_while_a_process_is_started_again_allows_for_it() -> None:
    run = Run()
    _gang_that_outlives_a_failure(run)
    assert ("illegal", "I4") in run.verdict()
    run.mark("died", 104.0, process="supervisor")
    run.mark("restarted", 106.0, process="supervisor")
    assert ("illegal", "I4") not in run.verdict()


def test_outages_that_overlap_count_once() -> None:
    run = Run()
    run.mark("fault", 110.0)
    run.mark("died", 112.0, process="api")
    run.mark("restarted", 114.0, process="api")
    run.mark("healed", 120.0)
    run.mark("died", 200.0, process="api")
    assert run.evidence().outages() == [(101.0, 102.0), (110.0, 124.0), (200.0, float("inf"))]


def test_outage_lasts_until_calls_have_met_their_deadlines_where_the_run_says_how_long_that_is() -> None:
    run = Run()
    run.mark("limits", 99.0, settle_seconds=20.0)
    assert run.evidence().outages() == [(101.0, 122.0)]


def test_checker_of_an_end_that_an_engine_did_not_live_to_tell_believes_the_row() -> None:
    run = Run()
    run.unsee("one", "die")
    run.witness.append({"engine": "local", "unheard": "it is gone"})
    assert run.verdict() == set()


@pytest.mark.parametrize(("state", "reason"), [("FAILED", "ENGINE_RESTARTED"), ("LOST", "NODE_LOST")])
def test_checker_of_exits_0_that_were_no_success_takes_the_failure_for_true(state: str, reason: str) -> None:
    run = Run()
    run.row("job", "one")["state"] = "FAILED"
    run.row("rank", "one", 0).update(state=state, reason=reason)
    run.ledger[0]["expect"] = {"states": ["FAILED"]}
    for row in run.rows:
        if row["table"] == "event" and row["job_id"] == "one" and row["state"] in ("COMPLETED", "SUCCEEDED"):
            row["state"] = "FAILED" if row["rank"] is None else state
    run.samples.pop()
    assert run.verdict() == set()


def test_checker_of_one_event_heard_twice_counts_it_once() -> None:
    run = Run()
    run.witness += [copy.deepcopy(each) for each in run.witness if "action" in each]
    assert run.verdict() == set()
