"""The version that backups name is the project's."""

from __future__ import annotations

import tomllib
from pathlib import Path

from deploy.version import VERSION


def test_version_is_that_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION
