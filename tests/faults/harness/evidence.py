"""The four records of a run as the checker sees them. Reading only; what is wrong with them is its business."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.harness.journal import Entry, read_journal

LEDGER, WITNESS, SAMPLES, ROWS = "ledger.jsonl", "witness.jsonl", "samples.jsonl", "rows.jsonl"

#: How long a process may take from its start until it does its work: an interpreter, its imports, its connections,
#: on a machine that has other work.
_START_SECONDS = 10.0

#: (job, attempt, rank)
RankKey = tuple[str, int, int]


@dataclass
class Creation:
    """One job that the client asked for, by its Idempotency-Key, in as many calls as it took."""

    key: str
    ranks: int
    expect: Entry
    wanted_id: str = ""
    #: ids with which it was answered 2xx
    ids: set[str] = field(default_factory=set)
    #: calls that were not answered, or with 5xx: whether they took effect is not known
    open_calls: int = 0


@dataclass
class Evidence:
    """What was asked, what ran, what was there, what the rows say."""

    creations: dict[str, Creation]
    deleted: set[str]
    marks: list[Entry]
    #: what each call was answered, with its method and path
    answers: list[Entry]
    #: witnessed events by action
    events: dict[str, list[Entry]]
    final: list[Entry]
    #: engines that could not be listened to for a while: they are killed, and forget what ended meanwhile
    unheard: set[str]
    samples: list[Entry]
    rows: dict[str, list[Entry]]

    @classmethod
    def of(cls, folder: Path) -> Evidence:
        """Of a run's folder."""
        return cls.from_entries(
            read_journal(folder / LEDGER),
            read_journal(folder / WITNESS),
            read_journal(folder / SAMPLES),
            read_journal(folder / ROWS),
        )

    @classmethod
    def from_entries(
        cls, ledger: Iterable[Entry], witness: Iterable[Entry], samples: Iterable[Entry], rows: Iterable[Entry]
    ) -> Evidence:
        creations, deleted, marks, answers = _read_ledger(ledger)
        events, final, unheard = _read_witness(witness)
        by_table: dict[str, list[Entry]] = defaultdict(list)
        for row in rows:
            by_table[row["table"]].append(row)
        return cls(creations, deleted, marks, answers, events, final, unheard, list(samples), by_table)

    def limit(self, name: str) -> float | None:
        """A time that the run allows for something; None where it does not ask for that."""
        found = [mark[name] for mark in self.marks if mark["mark"] == "limits" and name in mark]
        return float(found[-1]) if found else None

    def outages(self) -> list[tuple[float, float]]:
        """When the platform was kept from acting, one stretch after the other.

        From each fault to its healing, or to when the calls that it caught have met their deadlines; and from each
        death of a process until the next one had time to start.
        """
        settling = self.limit("settle_seconds") or 0.0
        stretches: list[tuple[float, float]] = []
        since: dict[str, float] = {}
        for mark in self.marks:
            if mark["mark"] in ("fault", "died"):
                since.setdefault(mark.get("process", ""), mark["at"])
            elif mark["mark"] == "healed" and "" in since:
                stretches.append((since.pop(""), mark["at"] + settling))
            elif mark["mark"] == "restarted":
                stretches.append((since.pop(mark["process"], mark["at"]), mark["at"] + _START_SECONDS))
        return _one_after_the_other([*stretches, *((begun, float("inf")) for begun in since.values())])


def _one_after_the_other(stretches: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same time, no part of it twice."""
    found: list[tuple[float, float]] = []
    for begun, end in sorted(stretches):
        if found and begun <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begun, end))
    return found


def rank_of(entry: Entry) -> RankKey:
    """Of an event or a row."""
    return entry.get("job") or entry["job_id"], entry["attempt"], entry["rank"]


def _read_ledger(entries: Iterable[Entry]) -> tuple[dict[str, Creation], set[str], list[Entry], list[Entry]]:
    creations: dict[str, Creation] = {}
    calls: dict[int, Entry] = {}
    deleted: set[str] = set()
    marks: list[Entry] = []
    answers: list[Entry] = []
    for entry in entries:
        if entry["what"] == "mark":
            marks.append(entry)
        elif entry["what"] == "call":
            calls[entry["call"]] = entry
            if "key" in entry:
                made = creations.setdefault(
                    entry["key"], Creation(entry["key"], entry["ranks"], entry["expect"], entry["id"])
                )
                made.open_calls += 1
            elif entry["method"] == "DELETE":
                deleted.add(entry["path"].rpartition("/")[2])
        else:
            asked = calls[entry["call"]]
            answers.append({"method": asked["method"], "path": asked["path"], **entry})
            made_by = creations.get(asked.get("key", ""))
            if made_by is not None:
                if entry["status"] and entry["status"] < 500:
                    made_by.open_calls -= 1
                if 200 <= entry["status"] < 300:
                    made_by.ids.add(entry["id"])
    return creations, deleted, marks, answers


def _read_witness(entries: Iterable[Entry]) -> tuple[dict[str, list[Entry]], list[Entry], set[str]]:
    events: dict[str, list[Entry]] = defaultdict(list)
    final: list[Entry] = []
    unheard: set[str] = set()
    seen: set[tuple[Any, ...]] = set()
    for entry in entries:
        if entry.get("final"):
            final.append(entry)
        elif "unheard" in entry:
            unheard.add(entry["engine"])
        # A container that bears our label and is no rank at all counts only where it is left.
        elif "action" in entry and entry["job"]:
            # Stretches of listening overlap by design.
            mark = (entry["engine"], entry["container"], entry["action"], entry["at_ns"])
            if mark not in seen:
                seen.add(mark)
                events[entry["action"]].append(entry)
    return events, final, unheard
