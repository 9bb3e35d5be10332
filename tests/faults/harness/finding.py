"""What a judgement consists of."""

from __future__ import annotations

from dataclasses import dataclass

from tests.faults.harness.evidence import RankKey


@dataclass(frozen=True)
class Finding:
    """One thing that must not be. `kind` is missed, extra, leaked or illegal."""

    kind: str
    invariant: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind:8} {self.invariant}  {self.what}"


def name_of(key: RankKey) -> str:
    return f"{key[0]}-{key[1]}-{key[2]}"
