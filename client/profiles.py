"""Which platform, which account, whose key: from arguments, else the environment, else a profile file.

The file holds keys, so it is its owner's alone: it is written with mode 0600, and not read with another. A key is
sent to nobody but the platform it belongs to: a profile's key goes with the profile's URL, and with no other.
"""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx

from client.errors import SettingsMissing

URL, API_KEY, ACCOUNT, PROFILE = "LONGSHORE_URL", "LONGSHORE_API_KEY", "LONGSHORE_ACCOUNT", "LONGSHORE_PROFILE"


@dataclass(frozen=True)
class Profile:
    """One platform as one user of it. `pool` is where jobs go that name none; `ca_file` who signed its name."""

    url: str = ""
    account: str = ""
    api_key: str = field(default="", repr=False)
    pool: str = ""
    ca_file: str = ""


@dataclass(frozen=True)
class Profiles:
    """All of a user's, and which of them is used where none is named."""

    named: Mapping[str, Profile] = field(default_factory=dict)
    default: str = ""


def profiles_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Where profiles are kept (XDG base directories)."""
    config = environment.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(config).expanduser() / "longshore" / "profiles.toml"


def read_profiles(path: Path) -> Profiles:
    """What the file says; nothing where there is none. Raises SettingsMissing where it is not to be used."""
    try:
        if path.stat().st_mode & 0o077:
            raise SettingsMissing(f"{path} holds keys and others may read it; chmod 600 {path}")
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Profiles()
    except OSError as error:
        raise SettingsMissing(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SettingsMissing(f"{path} is not TOML: {error}") from None
    known = Profile.__dataclass_fields__
    sections = given.get("profiles")
    named = {
        str(name): Profile(**{key: str(value) for key, value in section.items() if key in known})
        for name, section in (sections if isinstance(sections, dict) else {}).items()
        if isinstance(section, dict)
    }
    return Profiles(named, str(given.get("default", "")))


def write_profiles(path: Path, profiles: Profiles) -> None:
    """Put them into the file, whole or not at all, for nobody else to read."""
    lines = [f"default = {_toml(profiles.default)}"] if profiles.default else []
    for name, profile in profiles.named.items():
        lines += ["", f"[profiles.{_toml(name)}]"]
        lines += [f"{key} = {_toml(value)}" for key, value in asdict(profile).items() if value]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Made with mode 0600 from the first byte on.
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".profiles-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write("\n".join(lines) + "\n")
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def settings_of(
    given: Profile, profile: str = "", environment: Mapping[str, str] = os.environ, path: Path | None = None
) -> Profile:
    """What holds: each of `given` that is set, else the environment's, else the profile's.

    A profile that is named takes the environment's place. Raises SettingsMissing, saying what to set.
    """
    said = {} if profile else environment
    file = path or profiles_file(environment)
    found = _chosen(file, profile or environment.get(PROFILE, ""))
    own_url = (given.url or said.get(URL, "")).rstrip("/")
    own_key = given.api_key or said.get(API_KEY, "")
    url = own_url or found.url.rstrip("/")
    is_of_profile = url == found.url.rstrip("/")
    key = own_key or (found.api_key if is_of_profile else "")
    account = given.account or said.get(ACCOUNT, "") or (found.account if is_of_profile else "")
    for name, value in ((URL, url), (ACCOUNT, account), (API_KEY, key)):
        if not value:
            raise SettingsMissing(f"{name} is not set; set it, or make a profile: longshore profiles add NAME")
    _refuse_unfit(url)
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsMissing(f"{API_KEY} is not a key: it has characters that no key has")
    pool = given.pool or said.get("LONGSHORE_POOL", "") or (found.pool if is_of_profile else "")
    return Profile(url, account, key, pool, given.ca_file or (found.ca_file if is_of_profile else ""))


def _chosen(file: Path, name: str) -> Profile:
    profiles = read_profiles(file)
    if name and name not in profiles.named:
        known = ", ".join(profiles.named) or "none"
        raise SettingsMissing(f"there is no profile {name} in {file}; there are: {known}")
    return profiles.named.get(name or profiles.default, Profile())


def _refuse_unfit(url: str) -> None:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise SettingsMissing(f"{URL} is not a URL: {url}; it begins with http:// or https://")


def _toml(text: str) -> str:
    """A basic string. JSON's escapes are among TOML's, but for DEL, which TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
