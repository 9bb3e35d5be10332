"""The table of engine versions that nothing is placed on, and what a node of such an engine is."""

from __future__ import annotations

import pytest

from core.engine_versions import why_unfit
from core.nodes import EngineFacts, Floor, why_withheld

TOO_OLD = ["1.13.1", "17.03.2-ce", "18.09.9", "19.03.15", "20.9.99", "v19.03.8", "18.09.1+dfsg1"]
LIARS = [
    *("23.0.0", "23.0.1", "23.0.5+azure", "23.0.6", "23.0.6+dfsg1", "23.0.0-rc.1"),
    *("24.0.0", "24.0.1", "24.0.2", "24.0.2-0ubuntu1", "24.0.0-beta.2", "24.0.2+dfsg1~bpo12", "24.0"),
]
FIT = [
    *("20.10", "20.10.0", "20.10.5+dfsg1", "20.10.24+dfsg1", "20.10.25-ce", "20.10.24~3-0", "v20.10.24"),
    *("23.0.7", "23.0.10", "23.0.15", "24.0.3", "24.0.3-rc.1", "24.0.7-0ubuntu4", "24.0.9+dfsg1", "24.0.20"),
    *("23.1.0", "24.1.0", "25.0.0", "26.1.5+dfsg1", "27.5.1", "28.3.1", "29.0", "29.0.0-dev", "100.0.0"),
]
UNREADABLE = [
    "",
    "dev",
    "library-import",
    "0.0.0-20230601120000-abcdef",
    "24",
    "24.",
    ".0.2",
    "a24.0.2",
    "²4.0.2",
    "99999.1",
]


@pytest.mark.parametrize("version", TOO_OLD)
def test_why_unfit_of_a_version_below_20_10_names_what_is_needed(version: str) -> None:
    assert why_unfit(version) == f"its engine is {version}, and at least 20.10 (API 1.41) is needed"


@pytest.mark.parametrize("version", LIARS)
def test_why_unfit_of_a_version_that_calls_killed_containers_successful_names_the_mended_one(version: str) -> None:
    said = why_unfit(version)
    assert said.startswith(f"its engine is {version}, which may record exit code 0 for what a hard reboot killed")
    assert said.endswith("24.0.3 or later is needed")


@pytest.mark.parametrize("version", [*FIT, *UNREADABLE])
def test_why_unfit_of_any_other_version_is_empty(version: str) -> None:
    assert why_unfit(version) == ""


@pytest.mark.parametrize(
    ("version", "free", "said"),
    [
        ("24.0.2", 1 << 40, "24.0.3 or later"),
        ("24.0.2", 0, "24.0.3 or later"),
        ("24.0.3", 0, "its disk is below"),
        ("24.0.3", 1 << 40, ""),
    ],
)
def test_why_withheld_says_an_unfit_version_before_what_mends_itself(version: str, free: int, said: str) -> None:
    facts = EngineFacts("e", version, cpu_count=1, gpu_count=0, memory_bytes=1 << 30, free_disk_bytes=free)
    found = why_withheld(facts, "", Floor(disk_bytes=1 << 30))
    assert said in found and bool(found) == bool(said)
