"""What the doctor finds on the host: clocks, disks, ports, files, networks and processes that are not right."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import redis
from docker.types import IPAMConfig, IPAMPool

from core.database import Database
from core.enrolment import ensure_first_account
from core.nodes import ensure_node, ensure_pool
from deploy.certificates import Authority, Validity
from deploy.diagnosis.__main__ import main
from deploy.embedded.places import free_port
from deploy.embedded.postgres import recorded_url
from deploy.home import Home, Roster
from deploy.processes import ProcessIdentity
from tests.deploy.doctor_run import doctor
from tests.lab.clock import Clock
from tests.lab.fake_engine.process import FleetProcess
from tests.lab.platform import ENGINE, ROOT, Platform, free_octet
from tests.lab.servers import Servers
from tests.lab.tls_server import tls_server

Environment = Mapping[str, str]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount and make links")


def test_clock_of_this_host_that_is_not_the_databases_is_named(healthy: Environment, tmp_path: Path) -> None:
    wrong = Clock(tmp_path / "clock", 600).variables
    ended = subprocess.run(
        [sys.executable, "-m", "deploy.diagnosis"],
        env={**os.environ, **healthy, **wrong, "PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
        timeout=60,
    )
    faults = [line for line in ended.stdout.splitlines() if line.startswith("fault ")]
    assert ended.returncode == 1 and len(faults) == 1, ended.stdout + ended.stderr
    assert "the database's clock is 600 s behind this host's" in faults[0] and "set-ntp" in faults[0]


def test_clock_of_an_engine_that_is_not_the_databases_is_named(healthy: Environment, tmp_path: Path) -> None:
    fleet = FleetProcess(1, tmp_path, "busybox:1", Clock(tmp_path / "clock", 3600).variables)
    try:
        # The platform's own node is another engine then, and has the right time.
        said = doctor(healthy, DOCKER_HOST=fleet.endpoints[0])
    finally:
        fleet.close()
    told = said.only_fault("engine clocks")
    assert f"the clock of the engine at {fleet.endpoints[0]} is 3600 s ahead of the database's" in told
    assert said.checks["other engines"]["says"] == "all others answer (1)"


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small disk."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "longshore-doctor", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@needs_root
def test_full_disk_of_the_state_folder_is_named(healthy: Environment, tmp_path: Path) -> None:
    keys = f"{healthy['LONGSHORE_HOME']}/secret-keys"
    with mounted(tmp_path / "state", "size=72m") as home:
        before = doctor(healthy, LONGSHORE_HOME=home, LONGSHORE_SECRET_KEYS_FILE=keys)
        assert before.of("fault") == set() and before.checks["disk"]["level"] == "warning"
        with (home / "filling").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 16 << 20)
        told = doctor(healthy, LONGSHORE_HOME=home, LONGSHORE_SECRET_KEYS_FILE=keys).only_fault("disk")
    assert f"the disk of {home} is full: 56 MiB free: free disk there" in told


@needs_root
def test_object_store_without_inodes_or_closed_to_writing_is_named(healthy: Environment, tmp_path: Path) -> None:
    with mounted(tmp_path / "objects", "size=4g,nr_inodes=500") as folder:
        told = doctor(healthy, LONGSHORE_OBJECT_STORE_URL=folder.as_uri()).only_fault("object store")
    assert "is full: 499 inodes free" in told and "LONGSHORE_RETENTION_DAYS" in told
    with mounted(tmp_path / "closed", "size=4g,ro") as folder:
        told = doctor(healthy, LONGSHORE_OBJECT_STORE_URL=folder.as_uri()).only_fault("object store")
    assert "cannot be written to: mount it for writing" in told


@needs_root
def test_full_disk_of_the_engine_is_named(healthy: Environment) -> None:
    found = doctor(healthy, LONGSHORE_MIN_FREE_DISK_BYTES=1 << 60)
    assert found.of("fault") == {"engine disk", "node disks"}
    assert "docker image prune" in found.checks["engine disk"]["cure"]


@pytest.fixture(scope="module")
def planted(servers: Servers) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A database with one node, which nobody serves: its rows stay as a test has them."""
    url = servers.new_database()
    database = Database(url, pool_size=1)
    ensure_first_account(
        database, account="acme", user_email="ann@acme.test", key_file_has_key=False, may_own_nodes=True
    )
    ensure_pool(database, account="acme")
    ensure_node(
        database, account="acme", endpoint=ENGINE, worker_group="planted", cpu_count=1, memory_bytes=1 << 30
    )
    database.close()
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def by_rows(healthy: Environment, planted: psycopg.Connection[tuple[object, ...]]) -> Environment:
    """With rows in which nothing is wrong."""
    planted.execute(
        "UPDATE nodes SET lease_until = now() + interval '1 hour', state = 'READY', state_detail = '',"
        " free_disk_bytes = NULL, endpoint = %s",
        (ENGINE,),
    )
    planted.execute("DELETE FROM gang_networks")
    info = planted.info
    url = f"postgresql://{info.user}:{info.password}@{info.host}:{info.port}/{info.dbname}"
    return {**healthy, "LONGSHORE_DATABASE_URL": url, "LONGSHORE_WORKER_GROUP": "planted"}


def test_nodes_without_disk_supervisor_or_engine_are_named(
    by_rows: Environment, planted: psycopg.Connection[tuple[object, ...]]
) -> None:
    assert doctor(by_rows).of("fault") == set()
    planted.execute("UPDATE nodes SET free_disk_bytes = 12582912")
    assert "node acme/default/local: 12 MiB free" in doctor(by_rows).only_fault("node disks")
    planted.execute("UPDATE nodes SET free_disk_bytes = NULL, lease_until = now() - interval '1 minute'")
    told = doctor(by_rows).only_fault("supervisors")
    assert "no supervisor watches 1 of 1 nodes" in told and "LONGSHORE_WORKER_GROUP=planted" in told
    planted.execute(
        "UPDATE nodes SET lease_until = now() + interval '1 hour', state = 'DOWN', state_detail = 'it is off'"
    )
    assert "no node takes ranks: node acme/default/local is down: it is off" in doctor(by_rows).only_fault("nodes")


def test_host_without_an_engine_is_well_where_all_nodes_are_served_elsewhere(
    by_rows: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This machine has an engine at the usual place.
    monkeypatch.setattr("deploy.diagnosis.site.DEFAULT_SOCKET", tmp_path / "none.sock")
    said = doctor(by_rows, LONGSHORE_WORKER_GROUP="elsewhere", DOCKER_HOST=None)
    assert said.of("fault") == set()
    assert {"engine", "networks"} <= said.of("not checked")


def test_range_of_which_every_block_is_in_use_is_named(
    by_rows: Environment, planted: psycopg.Connection[tuple[object, ...]], platform: Platform
) -> None:
    range_of_one = f"10.{platform.octet}.64.0/29"
    planted.execute(
        "INSERT INTO gang_networks (job_id, attempt, pool_id, driver, subnet)"
        " SELECT 'j', 1, id, 'bridge', %s FROM node_pools",
        (range_of_one,),
    )
    told = doctor(by_rows, LONGSHORE_NETWORK_RANGE=range_of_one).only_fault("blocks")
    assert f"every block of LONGSHORE_NETWORK_RANGE {range_of_one} is in use" in told and "larger range" in told


def test_broker_whose_rings_nobody_takes_has_no_worker(healthy: Environment, servers: Servers) -> None:
    url = servers.new_broker()
    path, _, number = url.removeprefix("redis+socket://").partition("?virtual_host=")
    try:
        with redis.Redis(unix_socket_path=path, db=int(number)) as broker:
            broker.rpush("control", *["{}"] * 50)
        told = doctor(healthy, LONGSHORE_BROKER_URL=url).only_fault("workers")
    finally:
        servers.take_back_broker(url)
    assert "50 rings wait" in told and "deploy/up" in told


def test_range_that_a_network_of_the_engine_has_is_named(healthy: Environment, platform: Platform) -> None:
    octet = free_octet(platform.engine, {platform.octet})
    block = f"10.{octet}.5.0/24"
    name = f"doctor-{platform.installation}"
    ipam = IPAMConfig(pool_configs=[IPAMPool(subnet=block)])
    network = platform.engine.networks.create(name, driver="bridge", ipam=ipam)
    try:
        told = doctor(healthy, LONGSHORE_NETWORK_RANGE=f"10.{octet}.0.0/16").only_fault("networks")
    finally:
        network.remove()
    assert f"10.{octet}.0.0/16 collides with {block}, the network {name}" in told
    assert f"docker network rm {name}" in told


@needs_root
def test_range_that_a_route_of_the_host_has_is_named(healthy: Environment, platform: Platform) -> None:
    octet = free_octet(platform.engine, {platform.octet})
    link = f"lsdoc{os.getpid() % 10_000}"
    subprocess.run(["ip", "link", "add", link, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", f"10.{octet}.1.1/24", "dev", link], check=True)
        subprocess.run(["ip", "link", "set", link, "up"], check=True)
        told = doctor(healthy, LONGSHORE_SOLO_NETWORK=f"10.{octet}.0.0/20").only_fault("networks")
        behind = doctor(healthy, LONGSHORE_SOLO_NETWORK=f"10.{octet}.1.0/28")
    finally:
        subprocess.run(["ip", "link", "del", link], check=True)
    assert f"LONGSHORE_SOLO_NETWORK 10.{octet}.0.0/20 collides with 10.{octet}.1.0/24, a route" in told
    assert link in told and "ip route" in told
    assert behind.checks["networks"]["level"] == "warning"


def test_port_of_another_program_is_named_with_the_program(healthy: Environment) -> None:
    port = free_port()
    listening = (
        f"import socket; s = socket.create_server(('127.0.0.1', {port})); print('listens', flush=True); s.accept()"
    )
    with subprocess.Popen([sys.executable, "-c", listening], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "listens\n"
        try:
            told = doctor(healthy, LONGSHORE_API_PORT=port).only_fault("port")
        finally:
            other.kill()
    assert f"port {port} of 127.0.0.1, the API's, is used by process {other.pid} ({sys.executable}" in told
    assert f"`kill {other.pid}`" in told
    assert doctor(healthy, LONGSHORE_API_PORT=port).checks["port"]["says"] == f"nobody else has port {port}"


def test_certificates_that_have_expired_or_will_soon_are_named(healthy: Environment, tmp_path: Path) -> None:
    authority = Authority.ensure(tmp_path / "certs")
    now = datetime.now(UTC)
    authority.issue_client(authority.folder)
    authority.issue_server(authority.folder / "server/gpu1", ["gpu1"])
    well = doctor(healthy, LONGSHORE_DOCKER_CERTS=authority.folder)
    assert well.checks["certificates"]["level"] == "ok"
    soon = Validity(now - timedelta(days=700), now + timedelta(days=9, hours=1))
    authority.issue_server(authority.folder / "server/gpu1", ["gpu1"], validity=soon)
    later = doctor(healthy, LONGSHORE_DOCKER_CERTS=authority.folder).checks["certificates"]
    assert later["level"] == "warning" and "gpu1/cert.pem expires in 9 days" in later["says"]
    assert f"deploy.certificates {authority.folder} server gpu1" in later["cure"]
    past = Validity(now - timedelta(days=30), now - timedelta(days=3, hours=1))
    authority.issue_client(authority.folder, validity=past)
    told = doctor(healthy, LONGSHORE_DOCKER_CERTS=authority.folder).only_fault("certificates")
    assert f"{authority.folder}/cert.pem has expired 3 days ago" in told
    assert f"deploy.certificates {authority.folder} client" in told


def test_engine_that_shows_an_expired_certificate_and_one_that_is_away_are_named(
    by_rows: Environment, planted: psycopg.Connection[tuple[object, ...]], tmp_path: Path
) -> None:
    authority = Authority.ensure(tmp_path / "certs")
    authority.issue_client(authority.folder)
    now = datetime.now(UTC)
    past = Validity(now - timedelta(days=30), now - timedelta(days=3))
    settings = {"LONGSHORE_DOCKER_CERTS": authority.folder, "DOCKER_HOST": ENGINE}
    with tls_server(authority, past) as port:
        planted.execute(f"UPDATE nodes SET endpoint = 'tcp://127.0.0.1:{port}'")
        told = doctor(by_rows, **settings).only_fault("other engines")
    assert "node acme/default/local" in told and "its certificate has expired: make a new certificate" in told
    away = doctor(by_rows, **settings)
    # Of one host the platform's jobs are not.
    assert away.of("fault") == set() and away.checks["other engines"]["level"] == "warning"
    assert "nobody listens there" in away.checks["other engines"]["says"]


def test_files_of_keys_that_are_missing_damaged_or_open_are_named(healthy: Environment, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    gone = doctor(healthy, LONGSHORE_SECRET_KEYS_FILE=path).only_fault("secret keys")
    assert f"{path} is missing" in gone and "backup" in gone
    path.write_text("torn")
    assert "is damaged" in doctor(healthy, LONGSHORE_SECRET_KEYS_FILE=path).only_fault("secret keys")
    path.write_text((Path(healthy["LONGSHORE_HOME"]) / "secret-keys").read_text())
    path.chmod(0o644)
    found = doctor(healthy, LONGSHORE_SECRET_KEYS_FILE=path).checks["secret keys"]
    assert found["level"] == "warning" and f"chmod 600 {path}" in found["cure"]


def test_env_file_without_a_key_that_opens_is_named(healthy: Environment, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    changes = {
        "LONGSHORE_HOME": home,
        "LONGSHORE_SECRET_KEYS_FILE": f"{healthy['LONGSHORE_HOME']}/secret-keys",
    }
    (home / "env").write_text("export LONGSHORE_URL=http://127.0.0.1:1\n")
    assert "has no LONGSHORE_API_KEY" in doctor(healthy, **changes).only_fault("api key")
    (home / "env").write_text("export LONGSHORE_API_KEY=wrong\n")
    assert "deploy.admin_key" in doctor(healthy, **changes).only_fault("api key")


def test_name_that_nobody_knows_is_named(healthy: Environment) -> None:
    told = doctor(healthy, LONGSHORE_URL="https://longshore.invalid").only_fault("name")
    assert "longshore.invalid" in told or "name servers" in told


def test_process_of_ours_that_has_ended_is_named(healthy: Environment, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.path.mkdir()
    gone = ProcessIdentity(2**22 + 1, 1, "another boot")
    for name in ("api", "worker", "supervisor", "beat"):
        Roster(home).record(name, gone, mark="x:1")
    keys = f"{healthy['LONGSHORE_HOME']}/secret-keys"
    told = doctor(healthy, LONGSHORE_HOME=home.path, LONGSHORE_SECRET_KEYS_FILE=keys).only_fault("processes")
    assert "api, supervisor, worker, beat do not run" in told and "deploy/up" in told


def test_host_where_nothing_was_set_up_is_told_so_and_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([], {"LONGSHORE_HOME": str(tmp_path / "home")}) == 1
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith("fault ") and "run deploy/up" in first
    assert not any(line.startswith("fault ") for line in others)
    assert not (tmp_path / "home").exists()


def test_address_of_a_server_of_our_own_is_read_where_it_was_left(servers: Servers) -> None:
    assert recorded_url(servers.folder / "postgres") == servers.postgres.url
    assert recorded_url(servers.folder / "nothing") is None


def test_broken_setting_is_named(healthy: Environment) -> None:
    told = doctor(healthy, LONGSHORE_API_PORT="many").only_fault("settings")
    assert "LONGSHORE_API_PORT" in told
