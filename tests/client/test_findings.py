"""Checks run one after the other: what hangs, fails or needs another hides nothing else."""

from __future__ import annotations

import threading
import time

from client.findings import Check, Finding, Found, Level, each_found, fault, has_fault, ok, tally, warning, worst


def test_check_that_hangs_or_fails_is_a_fault_and_the_others_are_made() -> None:
    ends = threading.Event()

    def hangs(_: str) -> Finding:
        ends.wait(30)
        return ok("late")

    def fails(_: str) -> Finding:
        raise LookupError("nowhere")

    checks = (
        Check[str]("hangs", hangs, late="restart it"),
        Check[str]("fails", fails),
        Check[str]("after", ok, needs=("hangs",)),
        Check[str]("after that", ok, needs=("after",)),
        Check[str]("alone", ok),
    )
    began = time.monotonic()
    found = list(each_found(checks, "well", deadline_seconds=0.2))
    ends.set()
    assert time.monotonic() - began < 10
    levels = [(each.name, each.finding.level.value) for each in found]
    assert levels == [
        ("hangs", "fault"),
        ("fails", "fault"),
        ("after", "not checked"),
        ("after that", "not checked"),
        ("alone", "ok"),
    ]
    assert found[0].finding == fault("no answer within 0.2 s", "restart it")
    assert "LookupError('nowhere')" in found[1].line and ". Cure: report it" in found[1].line
    assert has_fault(found) and tally(found) == "1 ok, 2 not checked, 2 faults"


def test_worst_of_many_says_all_that_is_as_bad_and_no_more() -> None:
    found = worst(
        [ok("a"), warning("b", "mend b"), fault("c", "mend c"), fault("d", "mend d"), fault("c", "again")]
    )
    assert found == fault("c; d", "mend c")
    assert worst([ok("a"), warning("b", "mend b")]).level is Level.WARNING
    assert Found("x", fault("two\nlines", "mend")).line.count("\n") == 0
