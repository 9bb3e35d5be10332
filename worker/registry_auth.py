"""Credentials for private registries, out of the operator's docker configuration file. Read at each pull.

Form: the docker client's `config.json`, its `auths` with `auth` or `username` and `password`. Credential
helpers are programs of somebody's desktop and are not run.
"""

from __future__ import annotations

import base64
from pathlib import Path

import orjson

from core.errors import EngineError

_HUB_KEYS = ("https://index.docker.io/v1/", "docker.io", "index.docker.io")


def registry_of(image_ref: str) -> str:
    """The registry's host (and port) of a reference, `docker.io` where it names none."""
    first, slash, _ = image_ref.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first
    return "docker.io"


def auth_header(config: Path | None, image_ref: str) -> dict[str, str]:
    """The X-Registry-Auth header for an image's registry; empty where the file has nothing for it.

    Raises EngineError where the file cannot be read: the sentence names it and never what is in it.
    """
    if config is None:
        return {}
    try:
        auths = orjson.loads(config.read_bytes()).get("auths") or {}
    except (OSError, ValueError, AttributeError) as error:
        raise EngineError(f"the registry configuration {config} cannot be read: {type(error).__name__}") from None
    registry = registry_of(image_ref)
    keys = _HUB_KEYS if registry == "docker.io" else (registry, f"https://{registry}", f"http://{registry}")
    entry = next((auths[key] for key in keys if key in auths), None)
    if entry is None:
        return {}
    username, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth"):
        username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
    value = orjson.dumps({"username": username, "password": password, "serveraddress": registry})
    return {"X-Registry-Auth": base64.urlsafe_b64encode(value).decode()}
