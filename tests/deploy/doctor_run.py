"""The doctor as tests call it: in this process, by the variables that it is given, and what it said."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.diagnosis.__main__ import main


@dataclass(frozen=True)
class Said:
    """What it said of each check, and its exit code."""

    code: int
    checks: Mapping[str, Mapping[str, str]]

    def of(self, level: str) -> set[str]:
        """The checks that were found so."""
        return {name for name, each in self.checks.items() if each["level"] == level}

    def only_fault(self, name: str) -> str:
        """What is said of the one fault, with its cure; fails where there is another or none."""
        assert self.of("fault") == {name}, self.checks
        assert self.code == 1
        found = self.checks[name]
        assert found["cure"]
        return f"{found['says']}: {found['cure']}"


def doctor(environment: Mapping[str, str], **changes: object) -> Said:
    """With these variables changed, or taken away where they are None."""
    known = {**environment, **{name: str(value) for name, value in changes.items() if value is not None}}
    for name, value in changes.items():
        if value is None:
            known.pop(name, None)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main(["--json"], known)
    document: dict[str, Any] = json.loads(out.getvalue())
    assert document["healthy"] is (code == 0)
    return Said(code, {each["check"]: each for each in document["checks"]})
