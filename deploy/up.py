"""`deploy/up`: from a bare machine to three finished jobs. The order of the steps is here, the steps are not.

Started by the shell script of the same name, which has made the Python environment.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from deploy.base_image import PYTHON_IMAGE, ensure_python_image
from deploy.embedded import EmbeddedPostgres, EmbeddedValkey
from deploy.engine import Engine, ensure_engine
from deploy.home import CHECKOUT, Home, read_env_file
from deploy.library_images import ensure_notebook_image, ensure_samples_image
from deploy.processes import SetupError
from deploy.sample_jobs import Outcome, SampleRun, samples, table
from deploy.secret_keys import ensure_keys
from deploy.services import (
    are_current,
    bootstrap,
    check_services,
    choose_port,
    migrate,
    public_url,
    service_environment,
    start_services,
    wait_until_ready,
)
from deploy.steps import elapsed_seconds, say, step


def main() -> int:
    """Set everything up; 0 when the samples completed, 1 with a sentence on stderr otherwise."""
    home = Home.from_environment()
    try:
        with home.locked(), ThreadPoolExecutor(max_workers=2) as pool:
            try:
                outcomes, url = _set_up(home, pool)
            except SetupError as error:
                # Said before the pool is waited for: an image that is being built there is built to its end.
                print(f"\ndeploy/up: {error}", file=sys.stderr, flush=True)
                return 1
    except SetupError as error:
        print(f"\ndeploy/up: {error}", file=sys.stderr)
        return 1
    _tell(home, outcomes, url)
    return 0 if all(outcome.state == "COMPLETED" for outcome in outcomes) else 1


def _set_up(home: Home, pool: ThreadPoolExecutor) -> tuple[list[Outcome], str]:
    say(f"Longshore in {CHECKOUT}, its state in {home.path}")
    engine_found: Future[Engine] = pool.submit(ensured_engine, home)
    # Images take longest, and only the samples need them: everything else goes on beside.
    images_made = pool.submit(lambda: _images(engine_found.result()))
    database_url, broker_url = ensured_servers(home)
    port = choose_port(home)
    environment = service_environment(home, database_url=database_url, broker_url=broker_url, port=port)
    with step("keys") as line:
        keys = Path(environment["LONGSHORE_SECRET_KEYS_FILE"])
        line.result = f"of secrets {'made' if ensure_keys(keys) else 'are there'} in {keys}"
    url = public_url(environment["LONGSHORE_API_HOST"], port)
    engine = engine_found.result()
    if are_current(home, environment, url):
        say(f"   0.0 s  {'platform':<10}  database, account and processes are as this code left them")
    else:
        start_platform(home, environment, url, engine)
    samples_image = images_made.result()
    known = read_env_file(home.env_file)
    with step("samples") as line:
        run = SampleRun(
            url=url,
            account=known["LONGSHORE_ACCOUNT"],
            key=known["LONGSHORE_API_KEY"],
            check=lambda: check_services(home),
        )
        outcomes = run.run(samples(samples_image), home.path / "samples")
        line.result = f"{sum(one.state == 'COMPLETED' for one in outcomes)} of {len(outcomes)} completed"
    return outcomes, url


def start_platform(home: Home, environment: dict[str, str], url: str, engine: Engine) -> None:
    """Migrate, make the first account, start the processes and wait until they are ready. Raises SetupError."""
    with step("migrations") as line:
        line.result = migrate(environment)
    with step("account") as line:
        line.result = bootstrap(
            environment,
            home,
            url=url,
            endpoint=engine.endpoint,
            cpu_count=engine.cpu_count,
            memory_bytes=engine.memory_bytes,
            default_image=PYTHON_IMAGE,
        )
    with step("processes") as line:
        started = start_services(home, environment)
        wait_until_ready(home, url)
        line.result = f"{started}; {url} is ready"


def ensured_servers(home: Home) -> tuple[str, str]:
    """The URLs of the database and the broker: those that are named, or those of our own servers."""
    database_url, broker_url = os.environ.get("LONGSHORE_DATABASE_URL"), os.environ.get("LONGSHORE_BROKER_URL")
    with step("postgres") as line:
        if database_url:
            line.result = "is the one that LONGSHORE_DATABASE_URL names"
        else:
            postgres = EmbeddedPostgres(home.path / "postgres", home.runtime)
            database_url = postgres.start()
            line.result = (
                f"on 127.0.0.1:{database_url.rpartition(':')[2].partition('/')[0]}, process {postgres.pid}"
            )
    with step("valkey") as line:
        if broker_url:
            line.result = "is the one that LONGSHORE_BROKER_URL names"
        else:
            valkey = EmbeddedValkey(home.path / "valkey", home.runtime)
            broker_url = valkey.start()
            line.result = f"on {home.runtime}/valkey.sock, process {valkey.pid}"
    return database_url, broker_url


def ensured_engine(home: Home) -> Engine:
    """An engine that answers, started where none did. Raises SetupError."""
    with step("engine") as line:
        engine = ensure_engine(home)
        line.result = f"Docker {engine.version} at {engine.endpoint} {engine.how}"
    return engine


def _images(engine: Engine) -> str:
    with step("image") as line:
        line.result = ensure_python_image(engine.client)
    with step("image") as line:
        line.result = ensure_notebook_image(engine.client)
    with step("image") as line:
        line.result = name = ensure_samples_image(engine.client)
    return name


def _tell(home: Home, outcomes: list[Outcome], url: str) -> None:
    env_file = home.env_file
    command = _shown(Path(sys.executable).parent / "longshore")
    print(f"""
{table(outcomes)}

Ready in {elapsed_seconds():.1f} s.
  API        {url}
  key        in {env_file} (only you can read it)
  operator   the platform's own key, for accounts: {home.operator_env_file}
  samples    logs and the executed notebook in {home.path / "samples"}
  logs       {home.path / "log"}
  command    {command}
  next       . {_shown(env_file)} && {command} ps -a
  stop       deploy/down""")


def _shown(path: Path) -> Path:
    """As it is typed in the checkout."""
    return path.relative_to(CHECKOUT) if path.is_relative_to(CHECKOUT) else path


if __name__ == "__main__":
    raise SystemExit(main())
