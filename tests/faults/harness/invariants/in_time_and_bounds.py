"""I7, I8, I9, I10: work goes on in time, nodes hold no more than they may, nobody sees what is not his."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.harness.evidence import Evidence
from tests.faults.harness.finding import Finding


def recovered(evidence: Evidence) -> Iterator[Finding]:
    """I7: after each healing a new job ran within the time that the fault allows."""
    for mark in evidence.marks:
        if mark["mark"] == "recovered" and mark["seconds"] > mark["allowed_seconds"]:
            what = f"{mark['seconds']:.1f} s until a new job had run; {mark['allowed_seconds']} s are allowed"
            yield Finding("illegal", "I7", what)
        elif mark["mark"] == "broken":
            yield Finding("illegal", mark.get("invariant", "I7"), mark["why"])


def started_in_time(evidence: Evidence) -> Iterator[Finding]:
    """I7: no job has waited longer for its start than the fault allows, where it says so."""
    allowed = evidence.limit("start_seconds")
    for row in evidence.rows["job"] if allowed is not None else ():
        if row["waited_seconds"] is not None and row["waited_seconds"] > allowed:
            what = f"job {row['batch_job_id']} waited {row['waited_seconds']:.1f} s; {allowed:g} s are allowed"
            yield Finding("illegal", "I7", what)


def within_slots(evidence: Evidence) -> Iterator[Finding]:
    """I8: no node ever held, or ran, more ranks than it has slots."""
    told: set[str] = set()
    for sample in evidence.samples:
        for node, (held, slots) in (sample["slots"] or {}).items():
            running = sum(state == "running" for *_, state in sample["engines"].get(node) or ())
            if max(held, running) > slots and node not in told:
                told.add(node)
                yield Finding("illegal", "I8", f"node {node} held {held} and ran {running} ranks in {slots} slots")


def isolated(evidence: Evidence) -> Iterator[Finding]:
    """I9: another account was answered nothing of the load's jobs, and was answered."""
    for mark in evidence.marks:
        if mark["mark"] == "seen_by_another":
            yield Finding("illegal", "I9", f"another account was answered at {mark['path']}")
    answers = [mark["answers"] for mark in evidence.marks if mark["mark"] == "onlooker"]
    if not any(answers):
        yield Finding("illegal", "I9", "another account that looked on was never answered")


def answered(evidence: Evidence) -> Iterator[Finding]:
    """I10: whatever happens, a call is answered well, or with 503 and when to ask again, or not at all."""
    for answer in evidence.answers:
        said = f"{answer['method']} {answer['path']} was answered {answer['status']}"
        if answer["status"] > 503 or answer["status"] in (500, 501, 502):
            yield Finding("illegal", "I10", said)
        elif answer["status"] == 503 and not answer.get("retry_after"):
            yield Finding("illegal", "I10", f"{said} without Retry-After")
