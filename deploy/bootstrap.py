"""The first two accounts with their users and keys, a pool and a node, and the files that a shell sources.

`python -m deploy.bootstrap --env-file F`, with the database named in LONGSHORE_DATABASE_URL. It may be run
again at any time: what is there stays. The account `operator` runs the platform: its admins make accounts and
bound them; its key is in `operator.env` beside F. The other account, `main`, is for jobs, and may own nodes;
its key is in F. Both files are 0600, and keys are printed nowhere. A lost key: `python -m deploy.admin_key`.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import os
import shlex
from pathlib import Path

from core.accounts import OPERATOR
from core.api_keys import authenticate
from core.database import Database
from core.enrolment import ensure_first_account
from core.errors import NotFound, Unauthenticated
from core.nodes import ensure_node, ensure_pool
from core.pools.nodes import change_node, get_node_details
from core.settings import load_settings
from deploy.home import OPERATOR_FILE, read_env_file
from deploy.private_files import replace_private

FIRST_ACCOUNT = "main"


def main() -> None:
    """Make what is missing."""
    arguments = _arguments()
    settings = load_settings()
    known = read_env_file(arguments.env_file)
    account = arguments.account or known.get("LONGSHORE_ACCOUNT") or FIRST_ACCOUNT
    if account == OPERATOR:
        raise SystemExit(f"the account {OPERATOR} runs the platform and no jobs; give the first one another name")
    operator_file = arguments.env_file.with_name(OPERATOR_FILE)
    database = Database(settings.database_url, pool_size=1)
    try:
        made_operator = _ensure_account(database, operator_file, arguments, OPERATOR)
        made = _ensure_account(database, arguments.env_file, arguments, account)
        ensure_pool(database, account=account, pool="default", default_image=arguments.default_image)
        ensure_node(
            database,
            account=account,
            endpoint=arguments.endpoint,
            worker_group=settings.worker_group,
            cpu_count=arguments.cpu_count,
            memory_bytes=arguments.memory_bytes,
        )
        _ensure_address(database, account, settings.api_host)
    finally:
        database.close()
    print(
        f"account {account}, pool default, node local; key {made} in {arguments.env_file};"
        f" the operator's {made_operator} in {operator_file.name}"
    )


def _ensure_address(database: Database, account: str, api_host: str) -> None:
    """Where others reach this machine is where the API listens, unless the node has an address already.

    Ranks of gangs on the hosts' own networks find each other by it.
    """
    with contextlib.suppress(ValueError):
        if (heard := ipaddress.ip_address(api_host)).is_loopback or heard.is_unspecified:
            return
    with contextlib.suppress(NotFound):
        if api_host != "localhost" and not get_node_details(database, account, "default", "local").address:
            change_node(database, account, "default", "local", address=api_host)


def _ensure_account(database: Database, env_file: Path, arguments: argparse.Namespace, account: str) -> str:
    """Make the account, its admin and a key where the file has none that works; whether the key was made."""
    key = read_env_file(env_file).get("LONGSHORE_API_KEY", "")
    made = ensure_first_account(
        database,
        account=account,
        user_email=arguments.email,
        key_file_has_key=_works(database, key, account),
        is_operator=account == OPERATOR,
        may_own_nodes=account != OPERATOR,
    )
    write_env_file(env_file, url=arguments.url, account=account, key=made or key)
    return "made" if made else "kept"


def write_env_file(path: Path, *, url: str, account: str, key: str) -> None:
    """Write the file for a shell, 0600, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"LONGSHORE_URL": url, "LONGSHORE_ACCOUNT": account, "LONGSHORE_API_KEY": key}
    replace_private(path, "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items()))


def _works(database: Database, key: str, account: str) -> bool:
    """Whether the key of the file opens the account: after a purge, or another database, it does not."""
    try:
        return bool(key) and authenticate(database, key).account == account
    except Unauthenticated:
        return False


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.bootstrap", description=__doc__)
    parser.add_argument("--env-file", type=Path, required=True)
    parser.add_argument("--url", default=os.environ.get("LONGSHORE_URL", "http://127.0.0.1:8080"))
    parser.add_argument("--account", default=os.environ.get("LONGSHORE_ACCOUNT"))
    parser.add_argument("--email", default=os.environ.get("LONGSHORE_ADMIN_EMAIL", "admin@localhost"))
    parser.add_argument("--default-image")
    parser.add_argument("--endpoint", default=os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
    parser.add_argument("--cpu-count", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--memory-bytes", type=int, default=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
