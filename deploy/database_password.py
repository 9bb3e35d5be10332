"""A new password for the Postgres that deploy/up runs: `python -m deploy.database_password`, then `deploy/up`.

Processes that run keep their connections and make no new ones until deploy/up has started them anew; containers do
not notice. May be broken off at any moment and begun again. A database of your own gets its password from you.
"""

from __future__ import annotations

import secrets
import sys

from deploy.embedded import EmbeddedPostgres
from deploy.home import Home
from deploy.processes import SetupError
from migrations.databases import Refused, change_password, opens


def rotate(postgres: EmbeddedPostgres) -> None:
    """Give a running server's role a new password. Raises SetupError, Refused."""
    if postgres.pid is None:
        raise SetupError("the database does not run; deploy/up starts it")
    drafted = postgres.drafted_password()
    if drafted and opens(postgres.url_with(drafted)):
        # An earlier rotation was broken off after the server had heard of it.
        postgres.keep_drafted_password()
    new = secrets.token_urlsafe(24)
    postgres.draft_password(new)
    change_password(postgres.url, new)
    postgres.keep_drafted_password()


def main() -> int:
    """Rotate; 1 with a sentence on stderr where that was not done."""
    home = Home.from_environment()
    try:
        with home.locked():
            if not (home.path / "postgres").exists():
                raise SetupError(f"deploy/up runs no database in {home.path}")
            rotate(EmbeddedPostgres(home.path / "postgres", home.runtime))
    except (SetupError, Refused) as error:
        print(f"database_password: {error}", file=sys.stderr)
        return 1
    print("the database has a new password; now run deploy/up, which starts the processes with it")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
