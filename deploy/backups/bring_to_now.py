"""What the rows of a backup may say now (`core.jobs.restoring`). Nobody else may use the database meanwhile.

`deploy/restore` does it by itself. By hand it is the last step for whoever restored the database by other means, a
dump of the stack or a provider's snapshot, with the settings of a worker and before any process is started:

    python -m deploy.backups.bring_to_now 2026-01-31T03:00:00Z
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from core.database import Database
from core.errors import CallerError, Unavailable
from core.jobs.restoring import fence_jobs, forget_holders, forget_missing_objects
from core.settings import load_settings
from deploy.backups.backup import store_folder
from deploy.processes import SetupError
from deploy.steps import say, step
from migrations.__main__ import upgrade


def main() -> int:
    """Migrate what was restored and bring it to now; 1 with a sentence on stderr where that cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.backups.bring_to_now",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("made_at", type=_moment, help="when the backup was made; without a zone it is UTC")
    parser.add_argument("--rerun-queued", action="store_true", help="jobs that waited may run, again if they have")
    add_objects_are_gone(parser)
    arguments = parser.parse_args()
    settings = load_settings()
    try:
        upgrade(settings.database_url)
        bring_to_now(
            settings.database_url,
            arguments.made_at,
            store_url=settings.object_store_url,
            rerun_queued=arguments.rerun_queued,
            objects_are_gone=arguments.objects_are_gone,
        )
    except (SetupError, Unavailable, CallerError) as error:
        print(f"\nbring_to_now: {error}", file=sys.stderr)
        return 1
    return 0


def add_objects_are_gone(parser: argparse.ArgumentParser) -> None:
    """The option that is said where most objects are missing and that is right."""
    parser.add_argument(
        "--objects-are-gone",
        action="store_true",
        help="most of what ended jobs left is not in the store, and never will be",
    )


def bring_to_now(
    database_url: str, made_at: datetime, *, store_url: str, rerun_queued: bool, objects_are_gone: bool = False
) -> None:
    """End what may have run since, look for what ran, free what was held, mark output that is gone.

    Raises SetupError where the folder of the objects is not there: all of them would be taken for gone.
    """
    folder = store_folder(store_url)
    if folder is not None and not folder.is_dir():
        raise SetupError(
            f"there is no folder {folder}, where LONGSHORE_OBJECT_STORE_URL says that the objects are"
        )
    database = Database(database_url, pool_size=2)
    try:
        with step("jobs") as line:
            forget_holders(database)
            if rerun_queued:
                line.result = "that waited will run, again if they ran since"
            else:
                fenced = fence_jobs(database, made_at)
                line.result = (
                    f"{fenced.ended} that waited are ended, because they may have run since; {fenced.looked_for}"
                    " that ran are looked for on their nodes"
                )
        if folder is not None:
            count = forget_missing_objects(
                database, lambda path: (folder / path).exists(), may_be_most=objects_are_gone
            )
            if count:
                say(f"         objects     of {count} attempts went since the backup was made; their jobs say so")
    finally:
        database.close()


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


if __name__ == "__main__":
    raise SystemExit(main())
