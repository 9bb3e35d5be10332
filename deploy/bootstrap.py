"""The first account, user, key, pool and node, and the file that a shell sources to use them.

`python -m deploy.bootstrap --env-file F`, with the database named in LONGSHORE_DATABASE_URL. It may be run
again at any time: what is there stays. The key is written to the file and is printed nowhere.
"""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from core.accounts import authenticate, ensure_first_account
from core.database import Database
from core.errors import Unauthenticated
from core.nodes import ensure_node, ensure_pool
from core.settings import load_settings
from deploy.embedded.server import write_secret
from deploy.home import read_env_file

FIRST_ACCOUNT = "main"


def main() -> None:
    """Make what is missing."""
    arguments = _arguments()
    settings = load_settings()
    database = Database(settings.database_url, pool_size=1)
    try:
        known = read_env_file(arguments.env_file)
        account = arguments.account or known.get("LONGSHORE_ACCOUNT") or FIRST_ACCOUNT
        key = known.get("LONGSHORE_API_KEY", "")
        made = ensure_first_account(
            database,
            account=account,
            user_email=arguments.email,
            key_file_has_key=_works(database, key, account),
        )
        ensure_pool(database, account=account, pool="default", default_image=arguments.default_image)
        ensure_node(
            database,
            account=account,
            endpoint=arguments.endpoint,
            worker_group=settings.worker_group,
            cpu_count=arguments.cpu_count,
            memory_bytes=arguments.memory_bytes,
        )
    finally:
        database.close()
    write_env_file(arguments.env_file, url=arguments.url, account=account, key=made or key)
    print(f"account {account}, pool default, node local; key {'made' if made else 'kept'} in {arguments.env_file}")


def write_env_file(path: Path, *, url: str, account: str, key: str) -> None:
    """Write the file for a shell, 0600, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"LONGSHORE_URL": url, "LONGSHORE_ACCOUNT": account, "LONGSHORE_API_KEY": key}
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    write_secret(draft, "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items()))
    draft.replace(path)


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
