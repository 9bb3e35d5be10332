"""The pictures of states in docs/concepts.md have the arrows of the tables of legal moves, and no others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from enum import StrEnum

import pytest

from core.states import JOB_MOVES, RANK_MOVES, JobState, RankState
from tests.docs.pages import ROOT, blocks

_JOBS, _RANKS = (block for block in blocks(ROOT / "docs" / "concepts.md") if block.kind == "mermaid")
_ARROW = re.compile(r"^ +(\S+) --> (\S+)$", re.MULTILINE)


@pytest.mark.parametrize(
    ("picture", "moves", "first"),
    [(_JOBS.text, JOB_MOVES, JobState.QUEUED), (_RANKS.text, RANK_MOVES, RankState.WAITING)],
    ids=["jobs", "ranks"],
)
def test_picture_has_the_moves_of_the_code(
    picture: str, moves: Mapping[StrEnum, Set[StrEnum]], first: StrEnum
) -> None:
    drawn = _ARROW.findall(picture)
    legal = {(source.value, target.value) for source, targets in moves.items() for target in targets}
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == legal | {("[*]", first.value)}
