"""Passwords that are in files come into the URLs that leave them out, and into no message."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy.engine import make_url

from core.settings import Settings

DATABASE_URL, BROKER_URL = "postgresql://app@db:5432/longshore", "redis://broker:6379/0"


def test_settings_take_passwords_of_any_characters_from_files(tmp_path: Path) -> None:
    secret = "p@ss/w:rd %41?#é "
    for end in ("", "\n", "\r\n"):
        file = tmp_path / "password"
        file.write_bytes(f"{secret}{end}".encode())
        settings = Settings(
            database_url=DATABASE_URL,
            broker_url=BROKER_URL,
            database_password_file=file,
            broker_password_file=file,
        )
        database, broker = make_url(settings.database_url), make_url(settings.broker_url)
        assert (database.username, database.password, database.host) == ("app", secret, "db")
        assert (broker.username or "", broker.password, broker.port) == ("", secret, 6379)
        assert settings.broker_url.endswith("/0")


@pytest.mark.parametrize(
    ("url", "content", "why"),
    [
        ("postgresql://app:known@db/x", b"other", "have no password"),
        ("postgresql:///x", b"other", "must name a host"),
        (DATABASE_URL, b"\n", "there is no password in"),
        (DATABASE_URL, b"hidden\xff", "is not a text"),
        (DATABASE_URL, None, "No such file"),
    ],
)
def test_settings_refuse_what_leaves_open_which_password_is_meant(
    tmp_path: Path, url: str, content: bytes | None, why: str
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValidationError) as refused:
        Settings(database_url=url, broker_url=BROKER_URL, database_password_file=file)
    message = str(refused.value)
    assert why in message and "hidden" not in message and "known" not in message
