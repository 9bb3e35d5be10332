"""What an engine that set-up installs is told beforehand."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.engine import keep_containers


def test_engine_that_is_to_be_installed_keeps_containers_running(tmp_path: Path) -> None:
    file = tmp_path / "docker" / "daemon.json"
    keep_containers(file)
    assert json.loads(file.read_text()) == {"live-restore": True}


def test_settings_of_an_engine_that_are_there_stay(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text('{"debug": true}')
    keep_containers(file)
    assert file.read_text() == '{"debug": true}'
