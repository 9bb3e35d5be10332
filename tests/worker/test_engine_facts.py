"""What is read out of an engine's description of itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from worker.docker_engine.facts import FreeSpace, engine_facts

INFO: dict[str, Any] = {"ID": "abc", "Name": "host-1", "ServerVersion": "28.3.1", "NCPU": 16, "MemTotal": 64 << 30}


def _devices(*names: str) -> list[dict[str, str]]:
    return [{"Source": "cdi", "ID": name} for name in names]


@pytest.mark.parametrize(
    ("devices", "gpus"),
    [
        ({}, 0),
        ({"DiscoveredDevices": None}, 0),
        ({"DiscoveredDevices": _devices("nvidia.com/gpu=0", "nvidia.com/gpu=1", "nvidia.com/gpu=all")}, 2),
        ({"DiscoveredDevices": _devices("nvidia.com/gpu=0", "nvidia.com/gpu=GPU-6f2c", "vendor.com/net=0")}, 1),
    ],
)
def test_gpus_of_an_engine_are_counted_once_each(devices: dict[str, Any], gpus: int) -> None:
    facts = engine_facts({**INFO, **devices}, None)
    assert facts.gpu_count == gpus
    assert (facts.version, facts.cpu_count, facts.memory_bytes) == ("28.3.1", 16, 64 << 30)
    assert facts.free_disk_bytes is None


def test_clones_of_one_machine_are_different_engines() -> None:
    other = engine_facts({**INFO, "Name": "host-2"}, FreeSpace(1, None))
    assert other.engine_id != engine_facts(INFO, None).engine_id


def test_start_of_an_engine_is_when_it_made_its_default_bridge() -> None:
    bridge = {"Id": "b", "Created": "2026-11-27T14:48:03.5+01:00"}
    facts = engine_facts({**INFO, "LiveRestoreEnabled": True}, None, bridge)
    assert facts.started_at == datetime(2026, 11, 27, 13, 48, 3, 500_000, UTC)
    assert facts.keeps_containers
    # An engine may be told to have none, and then nothing says when it was started.
    assert engine_facts(INFO, None, None).started_at is None
    assert not engine_facts(INFO, None, None).keeps_containers
