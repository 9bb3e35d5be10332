"""The file of a backup by itself, and what of a backup is not rows: keys, and whose containers are whose."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.sealing import new_key_line, parse_keys
from deploy.backups.archive import DUMP, SUMS, BackupWriter, check, members, opened
from deploy.backups.backup import database_url_of
from deploy.backups.postgres_programs import without_password
from deploy.backups.restore import put_secret
from deploy.home import Home
from deploy.processes import SetupError


def _write(path: Path, contents: dict[str, bytes]) -> None:
    def in_two(content: bytes) -> Iterator[bytes]:
        yield content[: len(content) // 2]
        yield content[len(content) // 2 :]

    with path.open("w+b") as file:
        writer = BackupWriter(file)
        for name, content in contents.items():
            assert writer.add(name, in_two(content)) == len(content)
        writer.finish(
            version="1", revision="0001", installation="i", made_at="2026-03-04T05:06:07+00:00", postgres_major=16,
            object_store="file", object_count=2, object_bytes=1, dump_bytes=1, has_secret_keys=False,
        )  # fmt: skip


def test_backup_is_a_tar_that_other_programs_read_and_check(tmp_path: Path) -> None:
    contents = {DUMP: b"x" * 100_001, "objects/logs/a/1/0-1": b"", "objects/logs/a/1/1-1": b"y" * 512}
    path = tmp_path / "backup.tar"
    _write(path, contents)
    check(path)
    found = {member.name: member.content.read() for member in members(path)}
    assert {name: found[name] for name in contents} == contents
    subprocess.run(["tar", "-xf", path, "-C", tmp_path], check=True)
    assert all((tmp_path / name).read_bytes() == content for name, content in contents.items())
    subprocess.run(["sha256sum", "--quiet", "-c", SUMS], cwd=tmp_path, check=True)


def test_backup_whose_file_is_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "backup.tar"
    _write(path, {"objects/logs/a/1/0-1": b"z"})
    with pytest.raises(SetupError, match=f"it has no {DUMP}"), opened(path, DUMP):
        pass
    with pytest.raises(SetupError, match="no whole backup"):
        check(tmp_path / "nothing")


def test_database_of_a_backup_has_the_password_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p@ss\n")
    named = {"LONGSHORE_DATABASE_URL": "postgresql://longshore@db/longshore"}
    home = Home(tmp_path)
    assert database_url_of(home, named) == named["LONGSHORE_DATABASE_URL"]
    named["LONGSHORE_DATABASE_PASSWORD_FILE"] = str(tmp_path / "password")
    assert database_url_of(home, named) == "postgresql://longshore:p%40ss@db/longshore"
    named["LONGSHORE_DATABASE_PASSWORD_FILE"] = str(tmp_path / "none")
    with pytest.raises(SetupError, match=r"PASSWORD_FILE: the password in .*none cannot be read"):
        database_url_of(home, named)
    with pytest.raises(SetupError, match="no database runs"):
        database_url_of(home, {})


def test_keys_of_a_backup_open_behind_those_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "secret-keys"
    environment = {"LONGSHORE_SECRET_KEYS_FILE": str(file)}
    home, both, theirs = Home(tmp_path), new_key_line("both"), new_key_line("theirs")
    put_secret(home, environment, "secret-keys", both)
    assert (file.read_text(), file.stat().st_mode & 0o777) == (both, 0o600)
    file.write_text(new_key_line("ours") + both)
    put_secret(home, environment, "secret-keys", theirs + both)
    assert list(parse_keys(file.read_text())) == ["ours", "both", "theirs"]
    put_secret(home, environment, "env", "export LONGSHORE_API_KEY=k\n")
    assert home.env_file.stat().st_mode & 0o777 == 0o600


def test_installation_that_is_taken_over_is_ours_unless_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LONGSHORE_INSTALLATION", raising=False)
    home = Home(tmp_path)
    own = home.installation
    home.take_over("longshore-other")
    assert home.installation == "longshore-other" != own
    monkeypatch.setenv("LONGSHORE_INSTALLATION", "named")
    assert home.installation == "named"
    home.purge()
    monkeypatch.delenv("LONGSHORE_INSTALLATION")
    assert home.installation == own


def test_password_of_a_url_is_on_no_command_line() -> None:
    url = "postgresql+psycopg://app:p%40ss@db:5432/longshore?sslmode=require"
    assert without_password(url) == ("postgresql://app@db:5432/longshore?sslmode=require", "p@ss")
    assert without_password("postgresql://db/longshore") == ("postgresql://db/longshore", "")
