"""Where settings come from, and what never happens to a key."""

from __future__ import annotations

from pathlib import Path

import certifi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client import Longshore, SettingsMissing
from client.profiles import Profile, Profiles, profiles_file, read_profiles, settings_of, write_profiles

WORK = Profile("https://work.example", "vision", "lsk_work", "gpus")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "longshore" / "profiles.toml"
    write_profiles(
        path, Profiles({"work": WORK, "home": Profile("http://127.0.0.1:1/", "main", "lsk_home")}, "work")
    )
    return path


def test_profiles_are_written_for_their_owner_alone_and_read_back(file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600
    found = read_profiles(file)
    assert found.default == "work" and found.named["work"] == WORK
    assert "lsk_work" not in repr(found)


def test_file_that_others_may_read_is_refused_with_the_way_out(file: Path) -> None:
    file.chmod(0o640)
    with pytest.raises(SettingsMissing, match="chmod 600"):
        read_profiles(file)


@settings(deadline=None)
@given(named=st.dictionaries(TEXT, st.builds(Profile, TEXT, TEXT, TEXT), max_size=3), default=TEXT)
def test_profiles_of_any_text_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, named: dict[str, Profile], default: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "profiles.toml"
    write_profiles(path, Profiles(named, default))
    assert read_profiles(path) == Profiles(named, default)


def test_arguments_come_before_the_environment_and_that_before_the_profile(file: Path) -> None:
    environment = {"LONGSHORE_URL": "http://env", "LONGSHORE_ACCOUNT": "e", "LONGSHORE_API_KEY": "lsk_env"}
    assert settings_of(Profile(), "", {}, file) == WORK
    assert settings_of(Profile(), "", environment, file) == Profile("http://env", "e", "lsk_env")
    assert settings_of(Profile(account="given"), "", environment, file).account == "given"
    assert settings_of(Profile(), "home", environment, file) == Profile("http://127.0.0.1:1", "main", "lsk_home")
    assert settings_of(Profile(), "", {"LONGSHORE_PROFILE": "home"}, file).account == "main"


def test_key_of_a_profile_goes_to_no_other_url(file: Path) -> None:
    with pytest.raises(SettingsMissing):
        settings_of(Profile(url="http://elsewhere"), "", {}, file)
    with pytest.raises(SettingsMissing, match="LONGSHORE_API_KEY"):
        settings_of(Profile(), "", {"LONGSHORE_URL": "http://elsewhere", "LONGSHORE_ACCOUNT": "vision"}, file)


@pytest.mark.parametrize("url", ["ftp://x", "localhost:8080", "http://", "http://[::1", "x"])
def test_url_that_is_none_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsMissing, match="not a URL"):
        settings_of(Profile(url, "a", "lsk_x"), "", {}, tmp_path / "none")


def test_profile_that_is_not_there_is_refused_with_those_that_are(file: Path) -> None:
    with pytest.raises(SettingsMissing, match="work, home"):
        settings_of(Profile(), "play", {}, file)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_ca_file_that_cannot_be_used_is_refused_by_its_path(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsMissing, match=str(path)):
        Longshore("https://work.example", "lsk_x", "vision", ca_file=str(path))


def test_ca_file_of_certificates_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(Path(certifi.where()).read_text())
    Longshore("https://work.example", "lsk_x", "vision", ca_file=str(path)).close()


def test_place_follows_xdg() -> None:
    assert profiles_file({"XDG_CONFIG_HOME": "/x"}) == Path("/x/longshore/profiles.toml")
    assert profiles_file({}) == Path.home() / ".config" / "longshore" / "profiles.toml"
