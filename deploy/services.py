"""Longshore's own four processes on this host: start, restart when the code changed, wait, stop."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence

import httpx

from deploy.embedded.places import free_port, is_free
from deploy.home import CHECKOUT, Home, Roster, read_env_file
from deploy.processes import SetupError, run, spawn, stop, tail, wait_until

#: In the order they start; they stop in the reverse of it.
COMMANDS: dict[str, tuple[str, ...]] = {
    "api": ("api",),
    "supervisor": ("worker", "supervise"),
    "worker": ("worker", "run"),
    "beat": ("worker", "beat"),
}
#: Those of a machine whose engine they serve, beside a platform elsewhere.
BESIDE = ("supervisor", "worker")
_ROOMS = ("api", "core", "migrations", "worker")
_READY_SECONDS = 40.0
_DEFAULT_PORT = 8080


def service_environment(
    home: Home, *, database_url: str, broker_url: str, port: int, given: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The settings of all processes, as variables; what is given beside them stays."""
    return {
        **given,
        "LONGSHORE_HOME": str(home.path),
        "LONGSHORE_DATABASE_URL": database_url,
        "LONGSHORE_BROKER_URL": broker_url,
        "LONGSHORE_API_HOST": given.get("LONGSHORE_API_HOST", "127.0.0.1"),
        "LONGSHORE_API_PORT": str(port),
        "LONGSHORE_WORKER_GROUP": given.get("LONGSHORE_WORKER_GROUP", "local"),
        "LONGSHORE_INSTALLATION": given.get("LONGSHORE_INSTALLATION") or home.installation,
        "LONGSHORE_SECRET_KEYS_FILE": given.get("LONGSHORE_SECRET_KEYS_FILE", str(home.secret_keys_file)),
        "LONGSHORE_OBJECT_STORE_URL": given.get("LONGSHORE_OBJECT_STORE_URL", home.objects.as_uri()),
        # Modules come from the checkout: what is run is what is there to be read.
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONUNBUFFERED": "1",
    }


def choose_port(home: Home) -> int:
    """The API's port: the one asked for, the one it has, 8080, or any free one, in this order."""
    asked = os.environ.get("LONGSHORE_API_PORT")
    if asked:
        return int(asked)
    roster = Roster(home)
    has = roster.mark("api").rpartition(":")[2]
    if has.isdigit() and (roster.running("api") is not None or is_free(int(has))):
        return int(has)
    return _DEFAULT_PORT if is_free(_DEFAULT_PORT) else free_port()


def migrate(environment: Mapping[str, str]) -> str:
    """Bring the database up to date; the last line of what alembic said."""
    return _module(["migrations"], environment)


def bootstrap(environment: Mapping[str, str], home: Home, *, url: str, endpoint: str, cpu_count: int,
              memory_bytes: int, default_image: str) -> str:  # fmt: skip
    """Make the first account, key, pool and node; what was made."""
    return _module(
        ["deploy.bootstrap", "--env-file", str(home.env_file), "--url", url, "--endpoint", endpoint,
         "--cpu-count", str(cpu_count), "--memory-bytes", str(memory_bytes), "--default-image", default_image],
        environment,
    )  # fmt: skip


def are_current(home: Home, environment: Mapping[str, str], url: str) -> bool:
    """Whether all processes run from this code and these settings, and the file's key opens the account.

    Then the database was migrated by this code and the account is there: both need not be done again.
    """
    if _stale(home, _mark(environment)) or not home.operator_env_file.exists():
        return False
    known = read_env_file(home.env_file)
    try:
        answer = httpx.get(
            f"{url}/v1/accounts/{known.get('LONGSHORE_ACCOUNT', '')}/batchJobs",
            params={"pageSize": 1},
            headers={"Authorization": f"Bearer {known.get('LONGSHORE_API_KEY', '')}"},
            timeout=5,
            trust_env=False,
        )
    except httpx.HTTPError:
        return False
    return answer.status_code == httpx.codes.OK and known.get("LONGSHORE_URL") == url


def start_services(home: Home, environment: Mapping[str, str]) -> str:
    """Start what does not run and restart what runs from other code or settings; which those were."""
    return _start(home, environment, tuple(COMMANDS))


def _start(home: Home, environment: Mapping[str, str], names: Sequence[str]) -> str:
    roster, mark = Roster(home), _mark(environment)
    stale = [name for name in _stale(home, mark) if name in names]
    for name in reversed(stale):
        stop_service(home, name)
    for name in stale:
        process = spawn(
            [sys.executable, "-m", *COMMANDS[name]],
            log=home.log(name),
            environment=environment,
            directory=CHECKOUT,
        )
        roster.record(name, process, mark)
    kept = [name for name in names if name not in stale]
    return "; ".join(f"{verb} {', '.join(names)}" for verb, names in (("started", stale), ("kept", kept)) if names)


def start_beside(home: Home, environment: Mapping[str, str]) -> str:
    """Start a worker and a supervisor for this machine's own engine; restart those of other code or settings."""
    of_checkout = {"PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"}
    return _start(home, {**environment, **of_checkout}, BESIDE)


def stop_service(home: Home, name: str) -> bool:
    """Stop one process and forget it; whether it ran."""
    roster = Roster(home)
    process = roster.running(name)
    stopped = process is not None and stop(process, grace_seconds=20)
    roster.forget(name)
    return stopped


def check_services(home: Home, names: Sequence[str] = tuple(COMMANDS)) -> None:
    """Raise SetupError with the end of its log when one of the processes is gone."""
    roster = Roster(home)
    for name in names:
        if roster.running(name) is None:
            log = home.log(name)
            raise SetupError(f"the {name} process has ended; its log {log} ends:\n{tail(log)}")


def wait_until_ready(home: Home, url: str) -> None:
    """Return when the API says that it is ready; SetupError when a process died or that took too long."""
    said = "no answer"
    with httpx.Client(base_url=url, timeout=5, trust_env=False) as client:

        def is_ready() -> bool:
            nonlocal said
            check_services(home)
            try:
                answer = client.get("/readyz")
            except httpx.HTTPError as error:
                said = str(error)
                return False
            said = f"{answer.status_code} {answer.text[:200]}"
            return answer.status_code == httpx.codes.OK

        if not wait_until(is_ready, _READY_SECONDS, every=0.05):
            raise SetupError(f"{url}/readyz is not ready ({said}); see {home.log('api')}")


def _module(words: list[str], environment: Mapping[str, str]) -> str:
    result = run([sys.executable, "-m", *words], environment=environment)
    said = result.stdout.decode("utf-8", "replace").strip()
    if result.returncode != 0:
        raise SetupError(f"`python -m {words[0]}` failed:\n{said[-3000:]}")
    return said.splitlines()[-1] if said else "up to date"


def _stale(home: Home, mark: str) -> list[str]:
    roster = Roster(home)
    return [name for name in COMMANDS if roster.running(name) is None or roster.mark(name) != mark]


def _mark(environment: Mapping[str, str]) -> str:
    return f"{_fingerprint(environment)}:{environment.get('LONGSHORE_API_PORT', '')}"


def _fingerprint(environment: Mapping[str, str]) -> str:
    """A digest of the code and of the settings that the processes run with."""
    digest = hashlib.sha256()
    files = [file for room in _ROOMS for file in (CHECKOUT / room).rglob("*") if file.is_file()]
    for file in sorted([*files, CHECKOUT / "requirements.txt"]):
        if "__pycache__" not in file.parts:
            digest.update(str(file.relative_to(CHECKOUT)).encode() + b"\0" + file.read_bytes())
    for name in sorted(environment):
        if name.startswith(("LONGSHORE_", "DOCKER_", "OTEL_")):
            digest.update(f"{name}={environment[name]}\0".encode())
    return digest.hexdigest()[:16]


def public_url(host: str, port: int) -> str:
    """Where a client on this host finds the API."""
    reachable = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
