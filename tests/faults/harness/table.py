"""What is published: a row for each long run in `tests/faults/results.jsonl`, and docs/faults.md from it."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.harness.trial import Outcome

_ROOT = Path(__file__).resolve().parents[3]
RESULTS = _ROOT / "tests/faults/results.jsonl"
PAGE = _ROOT / "docs/faults.md"

#: Runs of this one add up; of the others the last counts.
_ADDS_UP, _COUNTS = "F-33", ("rounds", "jobs", "missed", "twice", "leaked", "illegal")

_HEAD = """\
# What was done to it, and what was lost

Written by `tests/faults/run --write-table` from the last long run of each fault; runs of F-33 add up. In every run
mixed jobs of one to four ranks are submitted meanwhile; an offline checker compares what the client was answered,
what the engines say that ran, what was sampled four times a second, and the rows at the end. *Missed* are accepted
jobs without a true end, or output that is not whole; *twice* are second containers, starts or rows; *leaked* are
containers, networks, slots, address blocks or descriptors that are left at rest; *illegal* is everything else that
must not be: states, exit codes, half-started gangs, nodes over their slots, a recovery that took too long.
*Recovery* is the longest time from the end of a fault until a job submitted then had run, which goes before all
others. Where no jobs are counted, tests of the suite rehearse the fault and judge it themselves; rounds are then
those that passed, illegal those that did not.

| Fault | What is done | Rounds | Jobs | Missed | Twice | Leaked | Illegal | Recovery | Run again with |
|---|---|---:|---:|---:|---:|---:|---:|---:|---|
"""


def add(fault: str, what: str, outcome: Outcome, command: str) -> None:
    """Append a run's row. `command` is what makes the same run again."""
    row = {
        "fault": fault,
        "what": what,
        "command": command,
        "rounds": outcome.rounds,
        "jobs": outcome.jobs,
        "missed": outcome.count("missed"),
        "twice": outcome.count("extra"),
        "leaked": outcome.count("leaked"),
        "illegal": outcome.count("illegal"),
        "recovery_seconds": outcome.recovery_seconds,
        "seconds": outcome.seconds,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
    }
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def publish() -> None:
    """Write the page: of each fault the last run."""
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    last = {row["fault"]: row for row in rows}
    added = [row for row in rows if row["fault"] == _ADDS_UP]
    if added:
        last[_ADDS_UP] = {**added[-1], **{name: sum(row[name] for row in added) for name in _COUNTS}}
    lines = [_line(last[fault]) for fault in sorted(last, key=_place)]
    PAGE.write_text(_HEAD + "".join(lines))


def _place(fault: str) -> tuple[str, int]:
    letter, _, number = fault.partition("-")
    return letter, int(number)


def _line(row: dict[str, object]) -> str:
    recovery = row["recovery_seconds"]
    cells = [
        row["fault"], row["what"], row["rounds"], row["jobs"] or "–", row["missed"], row["twice"], row["leaked"],
        row["illegal"], "–" if recovery is None else f"{recovery} s",
        f"`{row['command']}`",
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |\n"


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=_ROOT, capture_output=True, text=True)
    return done.stdout.strip()
