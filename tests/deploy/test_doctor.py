"""The doctor on a healthy platform, and where engine, database or broker are not right: each fault for real."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import redis
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from deploy.embedded import EmbeddedValkey
from migrations.head import head
from tests.deploy.doctor_run import Said, doctor
from tests.lab.fake_engine.engine import FakeEngine
from tests.lab.fake_engine.fleet import FakeFleet
from tests.lab.platform import ROOT
from tests.lab.servers import Servers

Environment = Mapping[str, str]
#: Imports everything, then becomes nobody: the checkout may be closed to him.
_AS_NOBODY = """
import os, sys
import deploy.diagnosis.__main__ as doctor
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(doctor.main(sys.argv[1:], os.environ))
"""


def run(words: list[str], environment: Environment) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGSHORE_")}
    return subprocess.run(
        words, env={**kept, **environment, "PYTHONPATH": str(ROOT)}, text=True, capture_output=True, timeout=60
    )


def test_doctor_of_a_healthy_platform_finds_no_fault(healthy: Environment) -> None:
    said = doctor(healthy)
    assert said.of("fault") == set()
    assert said.code == 0
    assert {"database", "migrations", "broker", "engine", "clock"} <= said.of("ok")


def test_script_says_a_line_for_each_check_and_exits_by_faults(healthy: Environment) -> None:
    ended = run([str(ROOT / "deploy" / "doctor")], {**healthy, "DOCKER_HOST": "unix:///nowhere/docker.sock"})
    assert ended.returncode == 1, ended.stderr
    *lines, empty, last = ended.stdout.splitlines()
    assert empty == "" and last.endswith("1 fault")
    engine = next(line for line in lines if line.split()[1] == "engine")
    assert engine.startswith("fault ") and "unix:///nowhere/docker.sock is down" in engine and ". Cure: " in engine


def test_engine_that_nobody_serves_is_down(healthy: Environment, tmp_path: Path) -> None:
    there_is_none = doctor(healthy, DOCKER_HOST=f"unix://{tmp_path}/none.sock").only_fault("engine")
    assert "is down: there is no such socket" in there_is_none and "systemctl start docker" in there_is_none
    left = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(left))
    said = doctor(healthy, DOCKER_HOST=f"unix://{left}")
    assert "is down: nobody listens there" in said.only_fault("engine")
    assert "version" in said.of("not checked")


def test_engine_that_hangs_costs_a_few_seconds_and_is_named(healthy: Environment, tmp_path: Path) -> None:
    path = tmp_path / "hangs.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert "does not answer within" in doctor(healthy, DOCKER_HOST=f"unix://{path}").only_fault("engine")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_engine_socket_that_the_user_may_not_open_is_told_from_one_that_is_down(
    healthy: Environment,
) -> None:
    # Below /tmp, which nobody may enter: those of a test are closed to him.
    path = Path("/tmp") / f"longshore-doctor-{os.getpid()}.sock"
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            path.chmod(0o660)
            server.listen()
            ended = run(
                [sys.executable, "-c", _AS_NOBODY],
                # Of what else is closed to him nothing is asked here.
                {**healthy, "DOCKER_HOST": f"unix://{path}"},
            )
    finally:
        path.unlink(missing_ok=True)
    assert ended.returncode == 1, ended.stderr
    line = next(line for line in ended.stdout.splitlines() if line.split()[1] == "engine")
    assert "may not be used: this user may not use the socket" in line
    assert "usermod -aG docker" in line


def test_engine_that_is_too_old_is_named(healthy: Environment, tmp_path: Path) -> None:
    def age(engine: FakeEngine) -> None:
        engine.facts = replace(engine.facts, version="19.03.15")

    with FakeFleet(1, tmp_path, configure=age) as fleet:
        told = doctor(healthy, DOCKER_HOST=fleet.engines[0].endpoint).only_fault("version")
    assert "19.03.15" in told and "install a newer Docker" in told


def test_wrong_database_password_is_named_and_told_nowhere(healthy: Environment) -> None:
    url = healthy["LONGSHORE_DATABASE_URL"]
    head_of_url, _, rest = url.partition("@")
    wrong = f"{head_of_url.rpartition(':')[0]}:not-it-4711@{rest}"
    said = doctor(healthy, LONGSHORE_DATABASE_URL=wrong)
    told = said.only_fault("database")
    assert "refuses the password" in told and "LONGSHORE_DATABASE_URL" in told
    assert "not-it-4711" not in str(said.checks)
    assert "migrations" in said.of("not checked")


def test_database_that_is_down_or_of_another_name_is_named(healthy: Environment) -> None:
    url = healthy["LONGSHORE_DATABASE_URL"]
    with socket.socket() as unserved:
        unserved.bind(("127.0.0.1", 0))
        nobody = f"postgresql://app:x@127.0.0.1:{unserved.getsockname()[1]}/longshore"
        down = doctor(healthy, LONGSHORE_DATABASE_URL=nobody).only_fault("database")
    assert "does not answer" in down and "start Postgres" in down
    other = doctor(healthy, LONGSHORE_DATABASE_URL=url.rpartition("/")[0] + "/nowhere").only_fault("database")
    assert "has no such database" in other and "createdb" in other


def test_migrations_that_are_missing_or_newer_are_named(healthy: Environment, servers: Servers) -> None:
    url = servers.new_database()
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    config.attributes["database_url"] = url
    before = ScriptDirectory.from_config(config).get_revision("head").down_revision
    command.downgrade(config, "-1")
    said = doctor(healthy, LONGSHORE_DATABASE_URL=url)
    told = said.only_fault("migrations")
    assert f"is at migration {before}, and this code needs {head()}" in told and "python -m migrations" in told
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    newer = doctor(healthy, LONGSHORE_DATABASE_URL=url).checks["migrations"]
    assert newer["level"] == "warning" and "newer than this code" in newer["says"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE alembic_version")
    assert "has no tables" in doctor(healthy, LONGSHORE_DATABASE_URL=url).only_fault("migrations")


@pytest.fixture
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    folder = tmp_path_factory.mktemp("v")
    server = EmbeddedValkey(folder / "data", folder / "run")
    server.start()
    yield server
    server.remove()


def test_broker_that_refuses_the_password_and_one_that_is_down(
    healthy: Environment, valkey: EmbeddedValkey
) -> None:
    path = valkey.url.removeprefix("redis+socket://").partition("?")[0]
    said: Said = doctor(healthy, LONGSHORE_BROKER_URL=valkey.url)
    assert said.of("fault") == set()
    with redis.Redis(unix_socket_path=path) as client:
        client.config_set("requirepass", "right")
    refused = doctor(healthy, LONGSHORE_BROKER_URL=valkey.url).only_fault("broker")
    assert "refuses the password" in refused and "LONGSHORE_BROKER_URL" in refused
    valkey.stop()
    down = doctor(healthy, LONGSHORE_BROKER_URL=valkey.url).only_fault("broker")
    assert "does not answer" in down and "start it" in down


def test_servers_that_hang_cost_their_own_time_and_hide_nothing_else(healthy: Environment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        began = time.monotonic()
        said = doctor(
            healthy,
            LONGSHORE_DATABASE_URL=f"postgresql://app:x@127.0.0.1:{port}/longshore",
            LONGSHORE_BROKER_URL=f"redis://127.0.0.1:{port}/0",
        )
    assert said.of("fault") == {"database", "broker"} and said.code == 1
    assert {"engine", "networks", "port"} <= said.of("ok")
    assert all(said.checks[name]["cure"] for name in ("database", "broker"))
    # Two deadlines of five seconds, and what the others take.
    assert time.monotonic() - began < 60


def test_host_without_a_python_environment_is_told_so(tmp_path: Path) -> None:
    script = str(ROOT / "deploy" / "doctor")
    ended = run([script, "--json"], {"LONGSHORE_HOME": str(tmp_path)})
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["checks"][0]["cure"].startswith("run deploy/up")
