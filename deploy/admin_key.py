"""A new API key for an admin who has lost his.

    python -m deploy.admin_key --account main --email admin@localhost

with the database named in LONGSHORE_DATABASE_URL: whoever reaches the database may have any key anyway. The key
is printed, once, and nothing else is. Old keys stay; revoke them with the new one. `--account operator` is the
account that runs the platform.
"""

from __future__ import annotations

import argparse
import sys

from core.database import Database
from core.enrolment import new_admin_key
from core.errors import LongshoreError
from core.settings import load_settings

_DISPLAY_NAME = "made on the host"


def main() -> int:
    """Print the key; 1 with a sentence on stderr where there is no such admin."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.admin_key",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--account", required=True)
    parser.add_argument("--email", required=True)
    arguments = parser.parse_args()
    database = Database(load_settings().database_url, pool_size=1)
    try:
        print(new_admin_key(database, arguments.account, arguments.email, display_name=_DISPLAY_NAME))
    except LongshoreError as error:
        print(f"deploy.admin_key: {error}", file=sys.stderr)
        return 1
    finally:
        database.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
