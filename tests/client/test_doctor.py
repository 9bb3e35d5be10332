"""`longshore doctor` and a real API: what is wrong on the way, with the key, and with the platform."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from core.database import Database
from core.nodes import ensure_node
from core.settings import Settings
from deploy.certificates import Authority, Validity
from tests.api.conftest import ACCOUNT, Served, serving
from tests.client.conftest import Run
from tests.lab.clock import Clock
from tests.lab.tls_server import tls_server

Doctor = Callable[..., tuple[int, Mapping[str, Mapping[str, str]]]]


@pytest.fixture
def with_node(served: Served, database: Database) -> Iterator[None]:
    """The default pool has a node that takes ranks; without this it has none."""
    ensure_node(database, account=ACCOUNT, endpoint="unix:///nowhere", cpu_count=2, memory_bytes=8 << 30)
    yield
    with database.transaction() as connection:
        connection.execute(text("DELETE FROM nodes"))


@pytest.fixture
def doctor(run: Run) -> Doctor:
    """The exit code, and what was found by the names of the checks."""

    def call(**variables: str) -> tuple[int, Mapping[str, Mapping[str, str]]]:
        ended = run("doctor", "--json", **variables)
        assert ended.stderr == ""
        document = json.loads(ended.stdout)
        assert document["healthy"] is (ended.returncode == 0)
        return ended.returncode, {each["check"]: each for each in document["checks"]}

    return call


def faults(found: Mapping[str, Mapping[str, str]]) -> set[str]:
    return {name for name, each in found.items() if each["level"] == "fault"}


def test_pool_without_a_node_is_named(doctor: Doctor) -> None:
    code, found = doctor()
    assert (code, faults(found)) == (1, {"pool"})
    assert "has no node" in found["pool"]["says"] and "deploy/node" in found["pool"]["cure"]


@pytest.mark.usefixtures("with_node")
def test_platform_that_can_be_used_has_no_fault(doctor: Doctor, run: Run) -> None:
    code, found = doctor()
    assert code == 0 and {each["level"] for each in found.values()} == {"ok"}, found
    shown = run("doctor")
    lines = shown.stdout.splitlines()
    assert shown.returncode == 0 and len(lines) == len(found)
    assert lines[0].split()[:2] == ["ok", "settings"]
    assert "deploy/doctor, on the platform's host, looks at the rest" in shown.stderr


@pytest.mark.usefixtures("with_node")
def test_key_that_is_wrong_is_named_and_one_of_no_admin_sees_no_nodes(doctor: Doctor, served: Served) -> None:
    code, found = doctor(LONGSHORE_API_KEY=served.admin_key[:-2] + "xx")
    assert (code, faults(found)) == (1, {"key"}) and "keys new" in found["key"]["cure"]
    assert found["pool"]["level"] == "not checked"
    code, found = doctor(LONGSHORE_API_KEY=served.user_key)
    assert code == 0 and found["pool"]["level"] == "not checked"


def test_url_where_nobody_listens_or_of_a_name_that_nobody_knows_is_named(doctor: Doctor) -> None:
    with socket.socket() as unserved:
        unserved.bind(("127.0.0.1", 0))
        code, found = doctor(LONGSHORE_URL=f"http://127.0.0.1:{unserved.getsockname()[1]}")
    assert (code, faults(found)) == (1, {"connection"})
    assert "nobody listens" in found["connection"]["says"] and "deploy/doctor" in found["connection"]["cure"]
    assert faults(doctor(LONGSHORE_URL="http://longshore.invalid")[1]) == {"name"}


@pytest.mark.usefixtures("with_node")
def test_broker_that_is_down_is_named_by_its_part(doctor: Doctor, settings: Settings, tmp_path: Path) -> None:
    away = settings.model_copy(update={"broker_url": f"redis+socket://{tmp_path}/none.sock?virtual_host=0"})
    with serving(away) as url:
        code, found = doctor(LONGSHORE_URL=url)
    assert (code, faults(found)) == (1, {"ready"})
    assert "broker: does not answer" in found["ready"]["says"] and "deploy/doctor" in found["ready"]["cure"]


@pytest.mark.usefixtures("with_node")
def test_clock_of_this_machine_that_is_wrong_is_named(doctor: Doctor, tmp_path: Path) -> None:
    code, found = doctor(**Clock(tmp_path / "clock", 600).variables)
    assert (code, faults(found)) == (1, {"clock"})
    assert "s behind this one's" in found["clock"]["says"] and "NTP" in found["clock"]["cure"]


def test_certificate_that_has_expired_or_will_soon_is_named(doctor: Doctor, run: Run, tmp_path: Path) -> None:
    authority = Authority.ensure(tmp_path / "certs")
    now = datetime.now(UTC)

    def seen(validity: Validity) -> Mapping[str, Mapping[str, str]]:
        with tls_server(authority, validity) as port:
            add = ("profiles", "add", "tls", "--url", f"https://127.0.0.1:{port}", "--account", ACCOUNT)
            ca_file = str(authority.folder / "ca.pem")
            assert run(*add, "--ca-file", ca_file, stdin="key", LONGSHORE_URL="").returncode == 0
            return doctor(LONGSHORE_URL="", LONGSHORE_ACCOUNT="", LONGSHORE_API_KEY="", LONGSHORE_PROFILE="tls")[1]

    soon = seen(Validity(now - timedelta(days=80), now + timedelta(days=9, hours=1)))
    assert soon["certificate"]["level"] == "warning" and "valid for 9 days" in soon["certificate"]["says"]
    assert faults(soon) == {"answer"} and "not Longshore" in soon["answer"]["says"]
    past = seen(Validity(now - timedelta(days=80), now - timedelta(days=1)))
    assert faults(past) == {"certificate"}
    assert "expired" in past["certificate"]["says"] and "renew it" in past["certificate"]["cure"]
