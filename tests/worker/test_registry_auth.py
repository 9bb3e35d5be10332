"""Credentials as engines take them, out of the operator's file or an account's secret; and no word of them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from core.errors import EngineError
from core.secret_use import OpenedSecret, SecretUnfit
from worker.registry_auth import auth_header, secret_header

AUTH = base64.b64encode(b"u:p:q").decode()
PAIR = {"username": "u", "password": "p:q"}


def sent(header: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(header["X-Registry-Auth"]))
    return found


def secret(value: object) -> OpenedSecret:
    text = value if isinstance(value, str) else json.dumps(value)
    return OpenedSecret("accounts/acme/secrets/s", SecretStr(text))


@pytest.mark.parametrize(
    ("key", "image"),
    [
        ("r.example:5000", "r.example:5000/app:1"),
        ("https://r.example", "r.example/app:1"),
        ("http://r.example/v2/", "r.example/app"),
        ("https://index.docker.io/v1/", "team/app:1"),
        ("docker.io", "index.docker.io/team/app"),
        ("registry-1.docker.io", "busybox"),
    ],
)
def test_header_is_of_the_entry_for_the_images_registry(tmp_path: Path, key: str, image: str) -> None:
    config = {"auths": {"elsewhere.example": {"auth": "eDp5"}, key: {"auth": AUTH}}, "credsStore": "desktop"}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    for header in (auth_header(file, image), secret_header(secret(config), image)):
        assert {name: sent(header)[name] for name in PAIR} == PAIR
    assert auth_header(file, "other.example/app") == {}
    assert auth_header(None, image) == {}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (PAIR, PAIR),
        ({"auths": {"r.example": PAIR}}, PAIR),
        ({"auths": {"r.example": {"auth": AUTH, "username": "x", "password": "y"}}}, PAIR),
        ({"auths": {"r.example": {"identitytoken": "t"}}}, {"identitytoken": "t"}),
        ({"auths": {"r.example": {"registrytoken": "t", "auth": ""}}}, {"registrytoken": "t"}),
    ],
)
def test_header_of_a_secret_takes_every_form(value: object, expected: dict[str, str]) -> None:
    assert sent(secret_header(secret(value), "r.example/app:1")) == {**expected, "serveraddress": "r.example"}


@pytest.mark.parametrize(
    "value",
    [
        "",
        "canary",
        '"canary"',
        ["canary"],
        {},
        {"username": "canary", "password": 1},
        {"password": "canary"},
        {"auths": "canary"},
        {"auths": {"r.example": "canary"}},
        {"auths": {"r.example": {"auth": "canary!"}}},
        {"auths": {"r.example": {"auth": "/////w=="}}},
        {"auths": {"r.example": {"auth": {"canary": 1}}}},
        {"auths": {"r.example": {}}},
        {"auths": {"canary.example": {"auth": AUTH}}},
        {"auths": None, "canary": 1},
    ],
)
def test_header_of_what_is_no_credential_is_refused_without_quoting_it(tmp_path: Path, value: object) -> None:
    with pytest.raises(SecretUnfit) as refused:
        secret_header(secret(value), "r.example/app:1")
    assert "accounts/acme/secrets/s" in str(refused.value)
    assert "canary" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("text", ["canary", "[]", '{"auths": []}', '{"auths": {"r.example": {"auth": "/w=="}}}'])
def test_operators_file_that_cannot_be_read_is_named_and_not_quoted(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(EngineError) as refused:
        auth_header(file, "r.example/app")
    assert str(file) in str(refused.value)
    assert "canary" not in str(refused.value)
