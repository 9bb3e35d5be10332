"""Credentials for private registries as the engine takes them: the operator's from a file, a job's from a secret.

Form: the docker client's `config.json`, its `auths` with `auth`, `username` and `password`, or a token. A secret
may also be `{"username", "password"}` for whatever registry the image is in. Credential helpers are programs
of somebody's desktop and are not run. No message in here holds anything of what was read.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from core.errors import EngineError
from core.secret_use import OpenedSecret, SecretUnfit
from worker.image_names import HUB, registry_of

_TOKENS = ("identitytoken", "registrytoken")
_HUB_HOSTS = frozenset({HUB, "index.docker.io", "registry-1.docker.io"})


def auth_header(config: Path | None, image_ref: str) -> dict[str, str]:
    """The X-Registry-Auth header for an image's registry; empty where the operator's file has nothing for it.

    Read at each pull. Raises EngineError where the file cannot be read: the sentence names it.
    """
    if config is None:
        return {}
    registry = registry_of(image_ref)
    try:
        credentials = _credentials(orjson.loads(config.read_bytes()), registry)
    except (OSError, ValueError) as error:
        raise EngineError(f"the registry configuration {config} cannot be read: {type(error).__name__}") from None
    return {} if credentials is None else _header(credentials, registry)


def secret_header(secret: OpenedSecret, image_ref: str) -> dict[str, str]:
    """The X-Registry-Auth header that a secret makes for an image's registry.

    Raises SecretUnfit where it is of another form, or has nothing for that registry.
    """
    registry = registry_of(image_ref)
    try:
        found = orjson.loads(secret.value.get_secret_value())
        plain = isinstance(found, dict) and "auths" not in found
        credentials = _entry(found) if plain else _credentials(found, registry)
    except ValueError:
        raise SecretUnfit(
            f'imagePullSecret: {secret.name} is neither a docker config.json ({{"auths": …}}) nor'
            ' {"username": …, "password": …}'
        ) from None
    if credentials is None:
        raise SecretUnfit(f"imagePullSecret: {secret.name} has no credentials for the registry {registry}")
    return _header(credentials, registry)


def _credentials(config: object, registry: str) -> Mapping[str, str] | None:
    """The entry of a registry. Raises ValueError where the configuration is of another form."""
    auths = config.get("auths") if isinstance(config, dict) else config
    if auths is None and isinstance(config, dict):
        return None
    if not isinstance(auths, dict):
        raise ValueError("no auths")
    entry = next((entry for key, entry in auths.items() if _host_of(key) == registry), None)
    return None if entry is None else _entry(entry)


def _entry(entry: Any) -> Mapping[str, str]:
    """What one registry gets to see. Raises ValueError."""
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key, ""), str) for key in _KEYS):
        raise ValueError("not an entry")
    for token in _TOKENS:
        if entry.get(token):
            return {token: entry[token]}
    username, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth"):
        # Both of its faults are ValueErrors: not base64, not UTF-8.
        username, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    if not username:
        raise ValueError("no user")
    return {"username": username, "password": password}


_KEYS = ("auth", "username", "password", *_TOKENS)


def _host_of(key: str) -> str:
    """A key of `auths` is a host, or a URL of it."""
    host = key.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return HUB if host in _HUB_HOSTS else host


def _header(credentials: Mapping[str, str], registry: str) -> dict[str, str]:
    value = orjson.dumps({**credentials, "serveraddress": registry})
    return {"X-Registry-Auth": base64.urlsafe_b64encode(value).decode()}
