"""What a check has found, and the running of checks, one after the other, each with a deadline of its own.

Of `longshore doctor` and of `deploy/doctor`, so that both say it in the same words. What is checked is theirs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

S = TypeVar("S")
DEADLINE_SECONDS = 5.0


class Level(StrEnum):
    """How bad it is; the later, the worse. What was not checked is as bad as what it needs, and no worse."""

    OK = "ok"
    UNCHECKED = "not checked"
    WARNING = "warning"
    FAULT = "fault"


_ORDER = tuple(Level)


@dataclass(frozen=True)
class Finding:
    """What a check says. Warnings and faults have a cure: a sentence that begins with what to do."""

    level: Level
    says: str
    cure: str = ""


@dataclass(frozen=True)
class Check(Generic[S]):
    """One thing to look at. Where one that it needs has found a fault, or was left out itself, so is it.

    `late` is the cure where `look` has not come back within the deadline.
    """

    name: str
    look: Callable[[S], Finding]
    needs: tuple[str, ...] = ()
    late: str = "look at what it asks; it hangs"


@dataclass(frozen=True)
class Found:
    """A finding and whose it is."""

    name: str
    finding: Finding

    @property
    def document(self) -> dict[str, str]:
        """As JSON has it."""
        found = self.finding
        return {"check": self.name, "level": found.level.value, "says": found.says, "cure": found.cure}

    @property
    def line(self) -> str:
        """As a person reads it: one line."""
        found = self.finding
        cure = f". Cure: {found.cure}" if found.cure else ""
        return " ".join(f"{found.level.value:<12} {self.name:<13} {found.says}{cure}".split("\n"))


def ok(says: str) -> Finding:
    return Finding(Level.OK, says)


def unchecked(says: str) -> Finding:
    """It cannot be known from here, and that is no fault."""
    return Finding(Level.UNCHECKED, says)


def warning(says: str, cure: str) -> Finding:
    """Something that will go wrong, or may."""
    return Finding(Level.WARNING, says, cure)


def fault(says: str, cure: str) -> Finding:
    """Something that is wrong."""
    return Finding(Level.FAULT, says, cure)


def worst(findings: Sequence[Finding]) -> Finding:
    """One finding of many, of which there must be one: what the worst say, and the first one's cure."""
    level = max((each.level for each in findings), key=_ORDER.index)
    those = [each for each in findings if each.level is level]
    return Finding(level, "; ".join(dict.fromkeys(each.says for each in those)), those[0].cure)


def each_found(
    checks: Iterable[Check[S]], subject: S, *, deadline_seconds: float = DEADLINE_SECONDS
) -> Iterator[Found]:
    """What each check finds, in their order."""
    bad: set[str] = set()
    for check in checks:
        missing = next((name for name in check.needs if name in bad), "")
        finding = unchecked(f"it needs {missing}") if missing else _within(deadline_seconds, check, subject)
        if finding.level in (Level.FAULT, Level.UNCHECKED):
            bad.add(check.name)
        yield Found(check.name, finding)


def has_fault(found: Iterable[Found]) -> bool:
    """Whether any of them is a fault."""
    return any(each.finding.level is Level.FAULT for each in found)


def tally(found: Sequence[Found]) -> str:
    """How many of each, in a sentence."""
    counts = {level: sum(each.finding.level is level for each in found) for level in _ORDER}
    plural = {Level.WARNING: "warnings", Level.FAULT: "faults"}
    said = [
        f"{count} {plural.get(level, level.value) if count != 1 else level.value}"
        for level, count in counts.items()
        if count
    ]
    return ", ".join(said)


def _within(seconds: float, check: Check[Any], subject: Any) -> Finding:
    """What a check finds, in a thread that is left behind where it hangs."""
    found: list[Finding] = []

    def look() -> None:
        try:
            found.append(check.look(subject))
        except Exception as error:  # noqa: BLE001  # one check that fails must not end the others
            found.append(fault(f"this check has failed itself: {error!r}", "report it, with this line"))

    thread = threading.Thread(target=look, name=check.name, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else fault(f"no answer within {seconds:g} s", check.late)
