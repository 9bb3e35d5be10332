"""The code of the release before this one, out of the repository's history: what an upgrade begins from."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: No release has been tagged yet: a commit that stands for one, five migrations ago. Once there are tags it is the
#: last of them. Its code must run in today's Python environment.
PREVIOUS = "61d6045"
PREVIOUS_REVISION = "0009"


def unpack_previous_release(folder: Path) -> Path:
    """Write its code into a folder that is made.

    A clone that was made shallow has nothing to upgrade from: the test is skipped. Where the history is missing
    otherwise it is skipped on a laptop and fails in CI.
    """
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", PREVIOUS, "api", "core", "migrations", "worker"],
        capture_output=True,
        check=False,
    )
    if archive.returncode != 0:
        said = f"the history has no {PREVIOUS}: {archive.stderr.decode(errors='replace').strip()}"
        if os.environ.get("CI") and not _is_shallow():
            pytest.fail(said)
        pytest.skip(said)
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def _is_shallow() -> bool:
    asked = ["git", "-C", str(ROOT), "rev-parse", "--is-shallow-repository"]
    return subprocess.run(asked, capture_output=True, check=False).stdout.strip() == b"true"
