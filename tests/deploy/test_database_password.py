"""The embedded database gets a new password under open sessions, also when that was broken off half-way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from deploy.database_password import rotate
from deploy.embedded import EmbeddedPostgres
from deploy.processes import SetupError
from migrations.databases import change_password, opens


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "postgres", tmp_path / "run")
    yield server
    server.remove()


def test_password_is_changed_under_open_sessions_and_the_old_one_opens_nothing(postgres: EmbeddedPostgres) -> None:
    old = postgres.start()
    with psycopg.connect(old) as session:
        rotate(postgres)
        assert session.execute("SELECT 1").fetchone() == (1,)
    assert postgres.url != old
    assert (opens(old), opens(postgres.url)) == (False, True)
    # Broken off after the server was told, and before that.
    postgres.draft_password("told")
    change_password(postgres.url, "told")
    rotate(postgres)
    assert opens(postgres.url)
    postgres.draft_password("never-told")
    rotate(postgres)
    assert opens(postgres.url)
    postgres.stop()
    with pytest.raises(SetupError, match="does not run"):
        rotate(postgres)
    assert opens(postgres.start())
