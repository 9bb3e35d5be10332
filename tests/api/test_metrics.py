"""`/metrics` and `/readyz`: what is said, to whom, at what cost, and what is said while a part is away."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from api.platform_figures import PlatformFigures
from core.database import Database
from core.queue import Bell, make_celery
from core.settings import Settings
from tests.api.conftest import Served, serving
from tests.lab.platform import wait_until

Sample = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture(scope="module")
def scrape(served: Served) -> Iterator[Callable[[], dict[Sample, float]]]:
    with httpx.Client(headers={"Authorization": f"Bearer {served.operator_key}"}, timeout=30) as client:
        yield lambda: samples(client.get(f"{served.url}/metrics"))


def samples(answer: httpx.Response) -> dict[Sample, float]:
    """Every sample of a scrape, as Prometheus' own parser reads it."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(name: str, **labels: str) -> Sample:
    return name, frozenset(labels.items())


def later(scrape: Callable[[], dict[Sample, float]], is_there: Callable[[dict[Sample, float]], bool]) -> None:
    """Figures are kept for some seconds."""
    wait_until(lambda: is_there(scrape()), 20, "the figures say so", every=0.5)


def test_metrics_are_for_users_of_the_operator(served: Served) -> None:
    assert httpx.get(f"{served.url}/metrics").status_code == 401
    for key, status in ((served.admin_key, 403), (served.operator_key, 200)):
        answer = httpx.get(f"{served.url}/metrics", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == status


def test_queue_and_ended_jobs_are_counted(
    scrape: Callable[[], dict[Sample, float]], create: Callable[..., str], admin: httpx.Client
) -> None:
    before = scrape()
    assert before[of("longshore_figures_up")] == 1 and before[of("longshore_broker_up")] == 1
    cancelled = of("longshore_jobs_ended_total", state="CANCELLED", reason="CANCELLED")
    queued, waiting = of("longshore_jobs", state="QUEUED"), of("longshore_ranks", state="WAITING")
    create(numRanks=3)
    gone = create(numRanks=2)
    assert admin.post(f"/batchJobs/{gone}:cancel").status_code == 200
    later(
        scrape,
        lambda now: (
            now[queued] == before[queued] + 1
            and now[waiting] == before[waiting] + 3
            and now.get(cancelled, 0) == before.get(cancelled, 0) + 1
        ),
    )
    found = scrape()
    pools = {dict(labels)["pool"] for name, labels in found if name == "longshore_queue_jobs"}
    assert pools == {"acme/default"}
    assert not any(gone in value for _, labels in found for _, value in labels)


def test_requests_are_counted_by_the_routes_template(
    scrape: Callable[[], dict[Sample, float]], served: Served, admin: httpx.Client
) -> None:
    def counted(route: str, method: str, status: str) -> float:
        name = "longshore_http_request_seconds_count"
        return scrape().get(of(name, route=route, method=method, status=status), 0)

    route = "/v1/accounts/{account_id}/batchJobs/{job_id}"
    before, unknown = counted(route, "GET", "404"), counted("(none)", "(other)", "404")
    assert admin.get("/batchJobs/not-there").status_code == 404
    httpx.request("PROPFIND", f"{served.url}/a/{time.time()}")
    assert counted(route, "GET", "404") == before + 1
    assert counted("(none)", "(other)", "404") == unknown + 1


def test_figures_are_kept_for_whoever_scrapes_next(database: Database, broker_url: str) -> None:
    bell = Bell(make_celery(broker_url))
    for kept_seconds, more in ((600.0, 0), (0.0, 1)):
        figures = PlatformFigures(database, bell, kept_seconds=kept_seconds)
        before = _doomed(figures)
        with database.transaction() as connection:
            connection.execute(text("INSERT INTO doomed_objects (folder) VALUES (:f)"), {"f": f"logs/{more}/"})
        assert _doomed(figures) == before + more
        figures.close()
    bell.close()


def _doomed(figures: PlatformFigures) -> float:
    said = {metric.name: metric for metric in figures.metrics()}
    return said["longshore_doomed_folders"].samples[0].value


def test_locked_tables_cost_the_figures_and_nothing_else(
    settings: Settings, served: Served, database: Database, broker_url: str
) -> None:
    bell = Bell(make_celery(broker_url))
    figures = PlatformFigures(database, bell, patience_seconds=0.5)
    with database.transaction() as connection:
        connection.execute(text("LOCK TABLE job_tallies IN ACCESS EXCLUSIVE MODE"))
        begun = time.monotonic()
        said = {metric.name: metric for metric in figures.metrics()}
        assert time.monotonic() - begun < 5
    assert said["longshore_figures_up"].samples[0].value == 0
    assert "longshore_jobs" not in said
    figures.close()
    bell.close()


def test_silent_broker_costs_the_count_of_rings_and_nothing_else(database: Database) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        bell = Bell(make_celery(f"redis://127.0.0.1:{silent.getsockname()[1]}/0"))
        figures = PlatformFigures(database, bell, patience_seconds=2)
        said = {metric.name: metric for metric in figures.metrics()}
        figures.close()
        bell.close()
    assert said["longshore_figures_up"].samples[0].value == 1
    assert said["longshore_broker_up"].samples[0].value == 0
    assert "longshore_doomed_folders" in said


def test_figures_of_a_database_without_their_tables_are_left_out(database: Database, broker_url: str) -> None:
    bell = Bell(make_celery(broker_url))
    figures = PlatformFigures(database, bell)
    with database.transaction() as connection:
        connection.execute(text("ALTER TABLE job_tallies RENAME TO job_tallies_away"))
    try:
        said = {metric.name: metric for metric in figures.metrics()}
    finally:
        with database.transaction() as connection:
            connection.execute(text("ALTER TABLE job_tallies_away RENAME TO job_tallies"))
        figures.close()
        bell.close()
    assert said["longshore_figures_up"].samples[0].value == 0


def test_readiness_names_the_parts_and_hides_their_addresses(settings: Settings, served: Served) -> None:
    every = {"database": "ready", "migrations": "ready", "broker": "ready"}
    assert httpx.get(f"{served.url}/readyz").json() == {"parts": every}
    gone = settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    with serving(gone) as url:
        answer = httpx.get(f"{url}/readyz")
        assert answer.status_code == 503 and "127.0.0.1" not in answer.text
        assert answer.json()["details"][0]["metadata"] == {**every, "broker": "does not answer"}
        assert answer.json()["message"] == "not ready: broker: does not answer"
        without = httpx.get(f"{url}/readyz?exclude=broker")
        assert without.status_code == 200 and "broker" not in without.json()["parts"]
    assert httpx.get(f"{served.url}/readyz?exclude=brokre").status_code == 400


def test_readiness_with_a_silent_broker_answers_in_time(settings: Settings, served: Served) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        mute = settings.model_copy(update={"broker_url": f"redis://127.0.0.1:{silent.getsockname()[1]}/0"})
        with serving(mute) as url:
            begun = time.monotonic()
            answers = [httpx.get(f"{url}/readyz", timeout=10) for _ in range(2)]
            assert time.monotonic() - begun < 8
    for answer in answers:
        assert answer.status_code == 503
        assert answer.json()["details"][0]["metadata"]["database"] == "ready"


def test_readiness_with_older_tables_says_what_to_run(served: Served, database: Database) -> None:
    with database.transaction() as connection:
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    try:
        answer = httpx.get(f"{served.url}/readyz")
    finally:
        with database.transaction() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": version})
    assert answer.status_code == 503
    assert "python -m migrations" in answer.json()["details"][0]["metadata"]["migrations"]
    assert httpx.get(f"{served.url}/readyz").status_code == 200


@pytest.mark.parametrize(("sent", "kept"), [("trace-1.a:b", True), ("a b", False), ("x" * 65, False), ("", False)])
def test_request_id_is_the_callers_where_it_may_be_logged(served: Served, sent: str, kept: bool) -> None:
    answer = httpx.get(f"{served.url}/healthz", headers={"X-Request-Id": sent} if sent else {})
    request_id = answer.headers["X-Request-Id"]
    assert (request_id == sent) is kept
    assert kept or re.fullmatch("[0-9a-f]{16}", request_id)


def test_id_of_an_unforeseen_error_is_that_of_its_request(admin: httpx.Client, database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(text("ALTER TABLE jobs RENAME TO hidden_jobs"))
    try:
        answer = admin.get("/batchJobs", headers={"X-Request-Id": "mine"})
    finally:
        with database.transaction() as connection:
            connection.execute(text("ALTER TABLE hidden_jobs RENAME TO jobs"))
    assert answer.status_code == 500
    assert answer.json()["details"][0]["requestId"] == answer.headers["X-Request-Id"] == "mine"


def test_processes_that_share_a_port_say_the_sum(settings: Settings, served: Served) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "LONGSHORE_DATABASE_URL": settings.database_url,
        "LONGSHORE_BROKER_URL": settings.broker_url,
        "LONGSHORE_API_PORT": str(port),
        "LONGSHORE_API_PROCESSES": "2",
    }
    asked = 40
    process = subprocess.Popen([sys.executable, "-m", "api"], env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}/healthz"), 60, "it serves")
        for _ in range(asked):
            # A connection each: either process may take it.
            httpx.get(f"http://127.0.0.1:{port}/v1/accounts/a/batchJobs")
        key = {"Authorization": f"Bearer {served.operator_key}"}
        for _ in range(4):
            found = samples(httpx.get(f"http://127.0.0.1:{port}/metrics", headers=key, timeout=30))
            labels = {"route": "/v1/accounts/{account_id}/batchJobs", "method": "GET", "status": "401"}
            assert found[of("longshore_http_request_seconds_count", **labels)] == asked
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False
