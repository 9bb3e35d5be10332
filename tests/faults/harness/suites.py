"""Faults that tests of the suite rehearse and judge: run by the same command, kept in the same table."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.faults.harness.finding import Finding
from tests.faults.harness.trial import Outcome
from tests.lab.platform import ROOT

_MOST_SECONDS = 3 * 3600


@dataclass(frozen=True)
class Suite:
    """`tests` are pytest's names of them. A long run has those that are marked slow as well."""

    id: str
    what: str
    tests: tuple[str, ...]

    def play(self, *, short: bool, folder: Path | None = None) -> Outcome:
        """Run them; each that does not pass is a finding, and none at all is one too."""
        folder = folder or Path(tempfile.mkdtemp(prefix="longshore-fault-"))
        folder.mkdir(parents=True, exist_ok=True)
        report = folder / "tests.xml"
        begun = time.monotonic()
        marks = "not slow" if short else "slow or not slow"
        command = [sys.executable, "-m", "pytest", "-q", "-m", marks, f"--junitxml={report}", *self.tests]
        with (folder / "tests.log").open("wb") as log:
            code = subprocess.run(
                command, cwd=ROOT, stdout=log, stderr=log, timeout=_MOST_SECONDS, check=False
            ).returncode
        seconds = round(time.monotonic() - begun, 1)
        cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
        findings = [Finding("illegal", self.id, why) for case in cases if (why := _why_not(case))]
        passed = len(cases) - len(findings)
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            # One that was broken off has a test in its report of which nobody knows how it would have ended.
            findings.append(Finding("illegal", self.id, f"pytest ended with {code}"))
        if not passed:
            findings.append(Finding("illegal", self.id, "no test passed"))
        return Outcome(findings, passed, 0, None, seconds, folder)


def _why_not(case: ElementTree.Element) -> str:
    """Empty for a test that passed; one that was left out proves nothing."""
    for kind in ("failure", "error", "skipped"):
        found = case.find(kind)
        if found is not None:
            return f"{case.get('name')}: {kind}: {(found.get('message') or '').splitlines()[0:1]}"
    return ""
