"""Settings, the database with its migrations, and the broker: what every process needs before all else."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import ValidationError

from client.findings import Finding, fault, ok, warning
from core.errors import Unavailable
from core.queue import CONTROL_QUEUE, group_queue, make_celery, rings_waiting
from core.schema_revision import schema_revision
from deploy.diagnosis.site import Site
from deploy.processes import SetupError
from migrations.head import head

_RESTART = "run deploy/up, which starts what is missing"
#: What libpq says of a connection that fails, what that is, and what to do. The first that is found holds.
_DATABASE_FAULTS = (
    (
        r"password authentication failed|no password supplied",
        "refuses the password",
        "put the right password into LONGSHORE_DATABASE_URL and restart the processes"
        " (that of deploy/up's own server is in `postgres/password` of its state folder)",
    ),
    (
        r"no pg_hba\.conf entry",
        "lets nobody in from this host",
        "add a line for this host and user to pg_hba.conf and reload Postgres",
    ),
    (
        r"database \"[^\"]*\" does not exist",
        "has no such database",
        "make it with `createdb`, or name the right one in LONGSHORE_DATABASE_URL",
    ),
    (
        r"role \"[^\"]*\" does not exist",
        "knows no such user",
        "make it with `createuser`, or name the right one in LONGSHORE_DATABASE_URL",
    ),
    (
        r"too many clients|connection slots are reserved",
        "has no connection left",
        "raise `max_connections` of Postgres, or end what holds them (pg_stat_activity)",
    ),
    (
        r"starting up|shutting down|recovery",
        "is not open yet, or not any more",
        "wait until it has started; its log says what it does",
    ),
    (
        r"resolve host|Name or service not known",
        "has a name that cannot be resolved",
        "correct the host in LONGSHORE_DATABASE_URL, or its name in DNS",
    ),
)
_BROKER_FAULTS = (
    (
        r"NOAUTH|WRONGPASS|invalid password|invalid username-password|AUTH .* without any password|Authentication",
        "refuses the password",
        "put the right one into LONGSHORE_BROKER_URL (redis://:password@host:port/0) and restart the processes",
    ),
    (r"OOM command", "is out of memory", "raise `maxmemory` of the broker, or empty it: rows are the truth"),
    (r"LOADING", "is reading its file yet", "wait until it has; its log says how far it is"),
    (r"resolve|Name or service", "has a name that cannot be resolved", "correct the host in LONGSHORE_BROKER_URL"),
)


def settings(site: Site) -> Finding:
    """Whether there is an installation, and its settings can be read."""
    try:
        found = site.settings
    except SetupError as error:
        return fault(str(error), "run deploy/up, or set LONGSHORE_DATABASE_URL and LONGSHORE_BROKER_URL")
    except PermissionError as error:
        return fault(f"{error.filename} may not be read by this user", "run deploy/doctor as who ran deploy/up")
    except ValidationError as error:
        said = "; ".join(
            f"LONGSHORE_{'_'.join(map(str, each['loc'])).upper()}: {each['msg']}" for each in error.errors()
        )
        return fault(said, "correct the variables that are named, and restart the processes")
    return ok(f"of {found.installation}, worker group {found.worker_group}, state in {site.home.path}")


def database(site: Site) -> Finding:
    """Whether the database lets us in."""
    where = f"the database at {address_in(site.settings.database_url)}"
    try:
        site.database.check()
    except Unavailable as error:
        found = _known(_DATABASE_FAULTS, str(error))
        if found is not None:
            return fault(f"{where} {found[0]}", found[1])
        start = (
            _RESTART if site.is_embedded_database else "start Postgres there, or correct LONGSHORE_DATABASE_URL"
        )
        return fault(f"{where} does not answer ({_after_colon(str(error))})", start)
    return ok(f"{where} answers")


def migrations(site: Site) -> Finding:
    """Whether the tables are those of this code."""
    found, wanted = schema_revision(site.database), head()
    if not found:
        return fault(f"the database has no tables, and this code needs migration {wanted}", _MIGRATE)
    if found < wanted:
        return fault(f"the database is at migration {found}, and this code needs {wanted}", _MIGRATE)
    site.database_answers = True
    if found > wanted:
        return warning(
            f"the database is at migration {found}, newer than this code, which knows {wanted}",
            "bring this host to the newer version (`git pull`, then deploy/up); the older one serves meanwhile",
        )
    return ok(f"the database is at {found}, as this code needs it")


_MIGRATE = "run deploy/up, or `python -m migrations` with LONGSHORE_DATABASE_URL set"


def broker(site: Site) -> Finding:
    """Whether the broker lets us in, and somebody takes what is in it."""
    chosen = site.settings
    where = f"the broker at {address_in(chosen.broker_url)}"
    names = (CONTROL_QUEUE, group_queue(chosen.worker_group))
    try:
        waiting = rings_waiting(make_celery(chosen.broker_url), names)
    except Unavailable as error:
        found = _known(_BROKER_FAULTS, str(error))
        if found is not None:
            return fault(f"{where} {found[0]}", found[1])
        return fault(
            f"{where} does not answer ({_after_colon(str(error))})",
            "start it, empty if need be: deploy/up starts its own, another is to be right in LONGSHORE_BROKER_URL",
        )
    return ok(f"{where} answers; {sum(waiting.values())} rings wait")


def address_in(url: str) -> str:
    """Where a server is, without the password that its URL has."""
    parts = urlsplit(url)
    if not parts.netloc:
        return parts.path
    return parts.netloc.rpartition("@")[2] + (parts.path if parts.scheme.startswith("postgres") else "")


def _known(table: tuple[tuple[str, str, str], ...], said: str) -> tuple[str, str] | None:
    return next(((what, cure) for pattern, what, cure in table if re.search(pattern, said)), None)


def _after_colon(said: str) -> str:
    """Without what we put before it."""
    return (said.partition("does not answer: ")[2] or said).rstrip(".")
